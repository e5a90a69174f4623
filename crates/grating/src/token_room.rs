//! What the tokens of a request may take within the memory budget, before anybody can plan how it is run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use grating_engine::{Engine, current_rss_bytes};
use grating_model::Encoding;

use crate::error::{Error, Result};

/// Taken without asking.
const FREE: u64 = 1 << 20;
/// Less room than this is none.
const LEAST: u64 = 512 << 10;
/// What a distinct text takes later: in the request, and while it is computed.
const TEXT_BYTES: u64 = 72;
/// What an allocator adds to each of a text's two lists.
const ALLOCATION: u64 = 16;
/// Tokens and types of a short text, where none has been seen.
const SHORT: u64 = 80;
/// What reading takes for each byte of a piece, where it takes most: each character a word.
const READING_BYTES: u64 = 400;
/// How often one that waits for room looks again.
const INTERVAL: Duration = Duration::from_millis(5);

/// Requests that need more than a little ask one after another: two that wait for each other's room would wait forever.
static ASKING: Mutex<()> = Mutex::new(());

/// Counts what a request's texts and tokens take.
pub(crate) struct TokenRoom<'r> {
    engine: &'r Engine,
    budget: Option<u64>,
    /// Distinct texts, those that are encoded, and the bytes of these.
    texts: AtomicU64,
    encoded: AtomicU64,
    encoded_bytes: AtomicU64,
    taken: AtomicU64,
    /// May be taken before asking again.
    granted: AtomicU64,
}

impl<'r> TokenRoom<'r> {
    pub(crate) fn new(engine: &'r Engine, budget: Option<u64>) -> Self {
        let counter = AtomicU64::new;
        let granted = counter(if budget.is_some() { FREE } else { u64::MAX });
        let (texts, encoded, encoded_bytes, taken) =
            (counter(0), counter(0), counter(0), counter(0));
        TokenRoom { engine, budget, texts, encoded, encoded_bytes, taken, granted }
    }

    /// Counts what is about to be taken for so many distinct texts.
    ///
    /// # Errors
    /// [`Error::TextsOverBudget`] where there is no room and nobody computes who would leave some; what `wanted` says while
    /// it waits for that.
    pub(crate) fn reserve(
        &self,
        texts: usize,
        bytes: usize,
        wanted: impl Fn() -> Result<()>,
    ) -> Result<()> {
        self.texts.store(texts as u64, Ordering::Relaxed);
        self.add(bytes as u64, bytes as u64, wanted)
    }

    /// Counts the tokens of one text, which are there.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    pub(crate) fn take(&self, encoding: &Encoding, wanted: impl Fn() -> Result<()>) -> Result<()> {
        let bytes = 4 * encoding.ids.capacity() + encoding.type_ids.capacity();
        let bytes = bytes as u64 + 2 * ALLOCATION;
        self.encoded.fetch_add(1, Ordering::Relaxed);
        self.encoded_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.add(bytes, 0, wanted)
    }

    /// Whether a text may be read on, of which the next piece is so many bytes longer than usual, on one of `threads`
    /// threads that may all be at such a text.
    ///
    /// # Errors
    /// [`Error::TextOverBudget`].
    pub(crate) fn read(&self, bytes: usize, threads: usize) -> Result<()> {
        let Some(budget) = self.budget.filter(|_| bytes > 0) else { return Ok(()) };
        let resident = current_rss_bytes().unwrap_or(0);
        let takes = READING_BYTES.saturating_mul(bytes as u64).saturating_mul(threads as u64);
        let about = resident.saturating_add(takes);
        match about <= budget {
            true => Ok(()),
            false => Err(Error::TextOverBudget { budget, bytes, about }),
        }
    }

    /// `ahead` of the bytes are not taken yet.
    fn add(&self, bytes: u64, ahead: u64, wanted: impl Fn() -> Result<()>) -> Result<()> {
        let taken = self.taken.fetch_add(bytes, Ordering::Relaxed) + bytes;
        match self.budget {
            Some(budget) if taken > self.granted.load(Ordering::Relaxed) => {
                self.ask(budget, ahead, wanted)
            }
            _ => Ok(()),
        }
    }

    fn ask(&self, budget: u64, ahead: u64, wanted: impl Fn() -> Result<()>) -> Result<()> {
        let _turn = turn(&wanted)?;
        loop {
            let taken = self.taken.load(Ordering::Relaxed);
            if taken <= self.granted.load(Ordering::Relaxed) {
                return Ok(());
            }
            grating_engine::settle();
            // Where the system does not tell, the plan decides.
            let resident = current_rss_bytes().unwrap_or(0);
            let texts = self.texts.load(Ordering::Relaxed);
            let needed = resident + ahead + TEXT_BYTES * texts;
            let left = budget.saturating_sub(needed);
            if left >= LEAST {
                self.granted.store(taken + left, Ordering::Relaxed);
                return Ok(());
            }
            let waiting = self.engine.waiting();
            if waiting.running == 0 && waiting.jobs.is_empty() {
                let encoded = self.encoded.load(Ordering::Relaxed);
                let bytes = self.encoded_bytes.load(Ordering::Relaxed);
                let each = bytes.checked_div(encoded).unwrap_or(SHORT);
                let about = needed + texts.saturating_sub(encoded) * each;
                return Err(Error::TextsOverBudget { budget, texts: texts as usize, about });
            }
            wanted()?;
            std::thread::sleep(INTERVAL);
        }
    }
}

/// Waits for its turn as long as that is wanted.
fn turn(wanted: impl Fn() -> Result<()>) -> Result<MutexGuard<'static, ()>> {
    loop {
        match ASKING.try_lock() {
            Ok(turn) => return Ok(turn),
            Err(TryLockError::Poisoned(turn)) => return Ok(PoisonError::into_inner(turn)),
            Err(TryLockError::WouldBlock) => {
                wanted()?;
                std::thread::sleep(INTERVAL);
            }
        }
    }
}
