//! The spill store's thread.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::buffer::Buffer;
use super::state::Task;
use super::{Phase, Shared};
use crate::error::IoError;

/// Works until the end.
pub(super) fn run(shared: &Shared) {
    let mut state = shared.lock();
    while !state.closed {
        let Some(task) = state.next_task(&shared.options) else {
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        drop(state);
        match task {
            Task::Write { key, area, buffer } => write(shared, key, area.offset, buffer),
            Task::Read { key, area, len } => read(shared, key, area.offset, len),
        }
        shared.done.notify_all();
        state = shared.lock();
    }
}

fn write(shared: &Shared, key: u64, offset: u64, buffer: Buffer) {
    let begin = Instant::now();
    let outcome = guarded(|| shared.file.write_at(offset, buffer.as_slice()));
    let mut state = shared.lock();
    state.stats.write_time += begin.elapsed();
    state.record(key, true, buffer.len(), begin);
    match outcome {
        Ok(()) => state.written(key, buffer, &shared.options),
        Err(source) => {
            let needed = buffer.len() as u64;
            state.finish(key, Phase::Here(buffer));
            state.error = Some(write_error(shared, offset, needed, source));
        }
    }
}

fn write_error(shared: &Shared, offset: u64, needed: u64, source: io::Error) -> IoError {
    let folder = shared.folder.clone();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let free = shared.file.free_bytes().unwrap_or(0);
            IoError::NoSpace { folder, needed, free }
        }
        _ => IoError::SpillWrite { folder, offset, length: needed, reason: Arc::new(source) },
    }
}

fn read(shared: &Shared, key: u64, offset: u64, len: usize) {
    let used = shared.lock().reuse(len);
    let mut buffer = used.unwrap_or_else(|| Buffer::zeroed(len));
    let begin = Instant::now();
    let outcome = guarded(|| shared.file.read_at(offset, buffer.as_mut_slice()));
    let mut state = shared.lock();
    state.stats.read_time += begin.elapsed();
    state.record(key, false, len, begin);
    match outcome {
        Ok(()) => {
            state.stats.reads += 1;
            state.stats.bytes_read += len as u64;
            state.finish(key, Phase::Here(buffer));
        }
        Err(source) => {
            let (folder, reason) = (shared.folder.clone(), Arc::new(source));
            let error = IoError::SpillRead { folder, offset, length: len as u64, reason };
            state.finish(key, Phase::Failed(error));
            state.keep_spare(buffer, &shared.options);
        }
    }
}

/// A panic of the file's implementation is an error of the buffer.
fn guarded(operation: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    catch_unwind(AssertUnwindSafe(operation))
        .unwrap_or_else(|_| Err(io::Error::other("the spill file's implementation panicked")))
}
