//! Buffers put aside on disk and fetched again, on a thread of its own.

mod buffer;
mod file;
mod options;
mod space;
mod state;
mod worker;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::error::{IoError, Result};
use file::UnlinkedFile;
use state::{Phase, State};

pub use buffer::Buffer;
pub use file::SpillFile;
pub use options::{SpillEvent, SpillOptions, SpillStats};

/// Buffers put aside on disk under a key and fetched again, behind the caller's back.
///
/// [`write`](SpillStore::write) hands a buffer over and returns; a thread writes it. Given a hint by
/// [`prefetch`](SpillStore::prefetch), the thread has read a buffer by the time that
/// [`take`](SpillStore::take) asks for it. The file has no name, so that nothing is left behind,
/// whatever happens to the process.
///
/// ```
/// use grating_io::{SpillOptions, SpillStore};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = SpillStore::create(&std::env::temp_dir(), SpillOptions::default())?;
/// for key in 0..8 {
///     let mut chunk = store.buffer(4096);
///     chunk.as_mut_slice().fill(key as u8);
///     store.write(key, chunk)?;
/// }
/// for key in (0..8).rev() {
///     if key > 0 {
///         store.prefetch(key - 1)?; // read while this one is computed on
///     }
///     let chunk = store.take(key)?;
///     assert_eq!(chunk.as_slice(), [key as u8; 4096]);
///     store.recycle(chunk);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Memory
///
/// At most [`writes_in_flight`](SpillOptions::writes_in_flight) +
/// [`reads_ahead`](SpillOptions::reads_ahead) +
/// [`spare_buffers`](SpillOptions::spare_buffers) buffers, and one more while
/// [`take`](SpillStore::take) reads what was not read ahead. Buffers whose write failed come on
/// top, until they are taken. What the system's page cache holds of the file is the system's to
/// give up.
///
/// # Errors
///
/// A full disk is found before a buffer is accepted, and the buffer comes back in [`NotSpilled`].
/// If a write fails later, the buffer stays in memory, where [`take`](SpillStore::take) finds it,
/// and the next [`write`](SpillStore::write) reports the error. A read that fails is the error of
/// its key's [`take`](SpillStore::take), which may be tried again.
pub struct SpillStore {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    folder: PathBuf,
    file: Box<dyn SpillFile>,
    options: SpillOptions,
    state: Mutex<State>,
    /// Jobs have become available, or the end has come.
    work: Condvar,
    /// A task is done.
    done: Condvar,
}

/// A buffer that was not accepted, and why.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
#[non_exhaustive]
pub struct NotSpilled {
    /// Why: [`IoError::NoSpace`], or the error of an earlier write.
    pub error: Box<IoError>,
    /// The buffer as it was.
    pub buffer: Buffer,
}

impl SpillStore {
    /// Creates a file without a name in `folder` and starts the thread.
    ///
    /// # Errors
    /// [`IoError::SpillFolder`], [`IoError::Thread`].
    pub fn create(folder: &Path, options: SpillOptions) -> Result<Self> {
        let fail =
            |source| IoError::SpillFolder { folder: folder.into(), reason: Arc::new(source) };
        let file = UnlinkedFile::create(folder).map_err(fail)?;
        Self::over(Box::new(file), folder, options)
    }

    /// A store over another kind of file; `folder` is what error messages call it.
    ///
    /// # Errors
    /// [`IoError::Thread`].
    pub fn over(
        file: Box<dyn SpillFile>,
        folder: impl Into<PathBuf>,
        options: SpillOptions,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            folder: folder.into(),
            file,
            options,
            state: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
        });
        let name = "spill";
        let its = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name(name.into())
            .spawn(move || worker::run(&its))
            .map_err(|source| IoError::Thread { name: name.into(), reason: Arc::new(source) })?;
        Ok(SpillStore { shared, thread: Some(thread) })
    }

    /// A buffer of `len` bytes, a used one if there is one; what it holds is unspecified.
    pub fn buffer(&self, len: usize) -> Buffer {
        let used = self.shared.lock().reuse(len);
        used.unwrap_or_else(|| Buffer::zeroed(len))
    }

    /// Gives a buffer back for reuse.
    pub fn recycle(&self, buffer: Buffer) {
        self.shared.lock().keep_spare(buffer, &self.shared.options);
    }

    /// Puts a buffer aside under `key`, in place of what was there. Returns when it is among the
    /// [`writes_in_flight`](SpillOptions::writes_in_flight).
    ///
    /// # Errors
    /// The buffer, with [`IoError::NoSpace`] or with the error of an earlier write
    /// ([`IoError::SpillWrite`]), which is reported once. What was under `key` is gone then too.
    pub fn write(&self, key: u64, buffer: Buffer) -> Result<(), NotSpilled> {
        self.remove(key);
        let limit = self.shared.options.writes_in_flight.max(1);
        let mut state = self.shared.wait_while(self.shared.lock(), |state| {
            state.error.is_none() && state.writes() >= limit
        });
        let room = match state.error.take() {
            Some(error) => Err(error),
            None => self.shared.make_room(&mut state, buffer.len()),
        };
        match room {
            Ok(area) => state.queue_write(key, area, buffer),
            Err(error) => return Err(NotSpilled { error: Box::new(error), buffer }),
        }
        drop(state);
        self.shared.work.notify_one();
        Ok(())
    }

    /// Asks for the buffer under `key` to be read ahead. It is, as soon as fewer than
    /// [`reads_ahead`](SpillOptions::reads_ahead) others have been read and not taken.
    ///
    /// # Errors
    /// [`IoError::UnknownKey`].
    pub fn prefetch(&self, key: u64) -> Result<()> {
        self.shared.lock().request(key)?;
        self.shared.work.notify_one();
        Ok(())
    }

    /// The buffer under `key`, which is gone from the store; waits until it has been read.
    ///
    /// # Errors
    /// [`IoError::UnknownKey`]; [`IoError::SpillRead`], after which it may be tried again.
    pub fn take(&self, key: u64) -> Result<Buffer> {
        let mut state = self.shared.lock();
        state.request_now(key)?;
        self.shared.work.notify_one();
        state = self.shared.wait_while(state, |state| state.is_busy(key));
        state.take(key)
    }

    /// Forgets the buffer under `key`, if there is one, and frees its place in the file.
    pub fn remove(&self, key: u64) {
        let mut state = self.shared.lock();
        state.withdraw(key);
        state = self.shared.wait_while(state, |state| state.is_in_hand(key));
        state.remove(key, &self.shared.options);
    }

    /// Forgets all buffers, gives the file's room back to the disk, and an error that has not been
    /// reported with it.
    pub fn clear(&self) {
        let keys: Vec<u64> = self.shared.lock().keys().collect();
        keys.into_iter().for_each(|key| self.remove(key));
        let mut state = self.shared.lock();
        state.error = None;
        self.shared.shrink(&mut state);
    }

    /// Number of buffers in the store.
    pub fn len(&self) -> usize {
        self.shared.lock().keys().count()
    }

    /// Whether there are no buffers in the store.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counters since the start.
    pub fn stats(&self) -> SpillStats {
        self.shared.lock().stats
    }

    /// Starts to record every read and write, or stops; what has been recorded is forgotten.
    pub fn record(&self, record: bool) {
        self.shared.lock().events = record.then(Vec::new);
    }

    /// The reads and writes that were recorded since the last call, in the order in which they
    /// ended.
    pub fn take_events(&self) -> Vec<SpillEvent> {
        self.shared.lock().events.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

impl Drop for SpillStore {
    /// Waits for the read or write in progress, and for nothing else.
    fn drop(&mut self) {
        self.shared.lock().close();
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take() {
            let outcome = thread.join();
            debug_assert!(outcome.is_ok(), "the spill thread turns panics into errors");
        }
    }
}

impl fmt::Debug for SpillStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpillStore")
            .field("folder", &self.shared.folder)
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, and counts the time.
    fn wait_while<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        mut condition: impl FnMut(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        if !condition(&state) {
            return state;
        }
        let since = Instant::now();
        while condition(&state) {
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.stats.wait += since.elapsed();
        state
    }

    /// A place in the file for `bytes`, reserved on the disk.
    fn make_room(&self, state: &mut State, bytes: usize) -> Result<space::Area> {
        let area = state.space.allocate(bytes);
        let (have, end) = (state.stats.file_bytes, state.space.end());
        if end <= have {
            return Ok(area);
        }
        let needed = end - have;
        let free = self.file.free_bytes().unwrap_or(u64::MAX);
        let usable = free
            .saturating_sub(self.options.keep_free_bytes)
            .min(self.options.max_bytes.saturating_sub(have));
        let reserved = if needed > usable {
            Err(usable)
        } else {
            self.file.resize(end).map_err(|_| self.file.free_bytes().unwrap_or(0))
        };
        match reserved {
            Ok(()) => {
                state.stats.file_bytes = end;
                Ok(area)
            }
            Err(free) => {
                state.space.release(area);
                Err(IoError::NoSpace { folder: self.folder.clone(), needed, free })
            }
        }
    }

    fn shrink(&self, state: &mut State) {
        // A file that cannot shrink keeps its size, which does no harm but to the disk.
        if self.file.resize(state.space.end()).is_ok() {
            state.stats.file_bytes = state.space.end();
        }
    }
}

#[cfg(test)]
mod tests;
