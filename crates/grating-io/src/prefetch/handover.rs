//! The hand-over between the schedule, the readers and the consumer: one lock, two conditions.
//!
//! ```text
//!             slot of its class free          last request done           next()
//!  waiting ───────────────────────▶ filling ────────────────────▶ ready ─────────▶ leased
//!                                     │ request failed                               │ drop
//!                                     ▼                                              ▼
//!                                  failed ──▶ next() fails, schedule forgotten     slot free
//! ```
//! A block that is forgotten while requests are in flight drains: its slot is free when the last of
//! them returns. Nothing here reads, so that `loom` can check all of it.

mod class;
mod filling;
mod state;

use std::ops::Range;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::placement::Placement;
use crate::error::{IoError, Result};
use crate::sync::{Condvar, Mutex, MutexGuard};
use state::{Phase, State};

/// What slots are made of.
pub(super) trait SlotMemory: Sized {
    /// Exclusive access to a range while the rest is written by others.
    type Portion;
    /// The memory while portions of it exist.
    type Lent;
    /// Where it is allocated.
    type Source;

    /// Called under the hand-over's lock: it must not panic.
    fn allocate(source: &Self::Source, bytes: usize) -> Result<Self>;
    fn lend(self, ranges: impl Iterator<Item = Range<usize>>) -> (Self::Lent, Vec<Self::Portion>);
    /// Called when all portions have been dropped.
    fn reclaim(lent: Self::Lent) -> Self;
}

/// One request for a reader.
#[derive(Debug)]
pub(super) struct ReadTask<P> {
    pub(super) placement: Arc<Placement>,
    /// Position in the placement's requests.
    pub(super) request: usize,
    pub(super) portion: P,
    filling: u64,
}

/// A block that has been read.
#[derive(Debug)]
pub(super) struct Ready<M> {
    pub(super) placement: Arc<Placement>,
    pub(super) memory: M,
    pub(super) slot: usize,
    /// From the first request's start to the last one's end.
    pub(super) read: Range<Instant>,
}

/// Time spent waiting here.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waits {
    pub(super) consumer: Duration,
    pub(super) readers: Duration,
}

pub(super) struct Handover<M: SlotMemory> {
    state: Mutex<State<M>>,
    /// Requests have become available, or the end has come.
    work: Condvar,
    /// The block at the head may have been read, or have failed.
    ready: Condvar,
}

impl<M: SlotMemory> Handover<M> {
    pub(super) fn new(capacities: &[usize], source: M::Source) -> Self {
        Handover {
            state: Mutex::new(State::new(capacities, source)),
            work: Condvar::new(),
            ready: Condvar::new(),
        }
    }

    /// Appends blocks.
    ///
    /// # Errors
    /// [`IoError::SlotTooSmall`]; then nothing is appended.
    pub(super) fn schedule(&self, placements: Vec<Arc<Placement>>) -> Result<()> {
        let mut state = self.lock();
        let entries = state.entries(placements)?;
        state.queue.extend(entries);
        self.progress(state);
        Ok(())
    }

    /// Replaces what has not been handed out. Of the blocks that have a slot, those stay that come
    /// first in the new order among the blocks of their slot size: any other could hold the slot
    /// that a block before it waits for.
    ///
    /// # Errors
    /// [`IoError::SlotTooSmall`]; then the schedule is as before.
    pub(super) fn reschedule(&self, placements: Vec<Arc<Placement>>) -> Result<()> {
        let mut state = self.lock();
        let entries = state.entries(placements)?;
        state.replace_queue(entries);
        self.progress(state);
        Ok(())
    }

    /// Forgets everything that has not been handed out.
    pub(super) fn cancel(&self) {
        let mut state = self.lock();
        state.forget_all();
        self.progress(state);
    }

    /// The block at the head of the schedule; waits until it has been read.
    ///
    /// # Errors
    /// What made it fail, after which the schedule is empty. [`IoError::NothingScheduled`].
    pub(super) fn next(&self) -> Result<Ready<M>> {
        let mut state = self.lock();
        let mut waiting_since = None;
        let outcome = loop {
            match state.queue.front().map(|entry| &entry.phase) {
                None => break Err(IoError::NothingScheduled),
                Some(Phase::Ready(_) | Phase::Failed(_)) => {
                    let head = state.queue.pop_front().map(|entry| entry.phase);
                    match head {
                        Some(Phase::Ready(ready)) => break Ok(ready),
                        Some(Phase::Failed(error)) => break Err(error),
                        _ => unreachable!("the head was just seen to be ready or failed"),
                    }
                }
                Some(Phase::Waiting | Phase::Filling(_)) => {
                    waiting_since.get_or_insert_with(Instant::now);
                    state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        if let Some(since) = waiting_since {
            state.waits.consumer += since.elapsed();
        }
        if outcome.is_err() {
            state.forget_all();
            self.progress(state);
        }
        outcome
    }

    /// Whether [`Handover::next`] would return at once.
    pub(super) fn is_ready(&self) -> bool {
        let state = self.lock();
        let head = state.queue.front().map(|entry| &entry.phase);
        !matches!(head, Some(Phase::Waiting | Phase::Filling(_)))
    }

    /// Whether readers have nothing to do until a slot comes back or the schedule changes.
    pub(super) fn is_idle(&self) -> bool {
        self.lock().is_idle()
    }

    /// A leased slot comes back.
    pub(super) fn give_back(&self, slot: usize, memory: M) {
        let mut state = self.lock();
        state.slots.put(slot, memory);
        self.progress(state);
    }

    /// The next request to read, in the order of the schedule; waits for one. `None` is the end.
    pub(super) fn take_task(&self) -> Option<ReadTask<M::Portion>> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(task) = state.next_task() {
                return Some(task);
            }
            let starved = state.queue.iter().any(|entry| matches!(entry.phase, Phase::Waiting));
            let since = Instant::now();
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            if starved {
                state.waits.readers += since.elapsed();
            }
        }
    }

    /// A request has been read, or has failed.
    pub(super) fn complete(&self, task: ReadTask<M::Portion>, outcome: Result<()>) {
        let filling = task.filling;
        drop(task); // The portion must be gone before its memory is reclaimed.
        let mut state = self.lock();
        state.complete(filling, outcome);
        self.progress(state);
    }

    /// Ends the readers and drops all memory that is not leased; what is leased or being written
    /// follows when it comes back.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.forget_all();
        state.slots.close();
        self.progress(state);
    }

    pub(super) fn waits(&self) -> Waits {
        self.lock().waits
    }

    /// Gives free slots to waiting blocks and wakes whoever may go on.
    fn progress(&self, mut state: MutexGuard<'_, State<M>>) {
        state.assign();
        let wake_readers = state.has_job() || state.closed;
        drop(state);
        if wake_readers {
            self.work.notify_all();
        }
        self.ready.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<M>> {
        // No code of others runs under the lock, and a panic within it is a defect that the
        // thread which panicked reports.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, loom))]
mod model;
