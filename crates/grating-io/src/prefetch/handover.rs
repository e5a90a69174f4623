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

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::plan::Plan;
use crate::error::{IoError, Result};
use crate::sync::{Condvar, Mutex, MutexGuard};
use class::Slots;
use filling::Filling;

/// What slots are made of.
pub(super) trait Memory: Sized {
    /// Exclusive access to a range while the rest is written by others.
    type Part;
    /// The memory while parts of it exist.
    type Lent;

    fn allocate(bytes: usize) -> Result<Self>;
    fn lend(self, ranges: impl Iterator<Item = Range<usize>>) -> (Self::Lent, Vec<Self::Part>);
    /// Called when all parts have been dropped.
    fn reclaim(lent: Self::Lent) -> Self;
}

/// One request for a reader.
#[derive(Debug)]
pub(super) struct Job<P> {
    pub(super) plan: Arc<Plan>,
    /// Position in the plan's requests.
    pub(super) request: usize,
    pub(super) part: P,
    filling: u64,
}

/// A block that has been read.
#[derive(Debug)]
pub(super) struct Ready<M> {
    pub(super) plan: Arc<Plan>,
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

pub(super) struct Handover<M: Memory> {
    state: Mutex<State<M>>,
    /// Requests have become available, or the end has come.
    work: Condvar,
    /// The block at the head may have been read, or have failed.
    ready: Condvar,
}

struct State<M: Memory> {
    slots: Slots<M>,
    /// In the order of the schedule.
    queue: VecDeque<Entry<M>>,
    /// Forgotten blocks with requests in flight.
    draining: Vec<Filling<M>>,
    fillings: u64,
    closed: bool,
    waits: Waits,
}

struct Entry<M: Memory> {
    plan: Arc<Plan>,
    /// Capacity of the slots that may hold it.
    class: usize,
    phase: Phase<M>,
}

enum Phase<M: Memory> {
    Waiting,
    Filling(Filling<M>),
    Ready(Ready<M>),
    Failed(IoError),
}

impl<M: Memory> Handover<M> {
    pub(super) fn new(capacities: &[usize]) -> Self {
        let state = State {
            slots: Slots::new(capacities),
            queue: VecDeque::new(),
            draining: Vec::new(),
            fillings: 0,
            closed: false,
            waits: Waits::default(),
        };
        Handover { state: Mutex::new(state), work: Condvar::new(), ready: Condvar::new() }
    }

    /// Appends blocks.
    ///
    /// # Errors
    /// [`IoError::SlotTooSmall`]; then nothing is appended.
    pub(super) fn schedule(&self, plans: Vec<Arc<Plan>>) -> Result<()> {
        let mut state = self.lock();
        let entries = state.entries(plans)?;
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
    pub(super) fn reschedule(&self, plans: Vec<Arc<Plan>>) -> Result<()> {
        let mut state = self.lock();
        let entries = state.entries(plans)?;
        let mut old = std::mem::take(&mut state.queue);
        let mut parted = Vec::new();
        for mut entry in entries {
            if !parted.contains(&entry.class) {
                match old.iter().position(|old| old.can_become(&entry)) {
                    Some(at) => {
                        let kept = std::mem::replace(&mut old[at].phase, Phase::Waiting);
                        entry.phase = kept.of(&entry.plan);
                    }
                    None => parted.push(entry.class),
                }
            }
            state.queue.push_back(entry);
        }
        old.into_iter().for_each(|entry| state.forget(entry));
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

    /// A leased slot comes back.
    pub(super) fn give_back(&self, slot: usize, memory: M) {
        let mut state = self.lock();
        state.slots.put(slot, memory);
        self.progress(state);
    }

    /// The next request to read, in the order of the schedule; waits for one. `None` is the end.
    pub(super) fn take_job(&self) -> Option<Job<M::Part>> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.next_job() {
                return Some(job);
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
    pub(super) fn complete(&self, job: Job<M::Part>, outcome: Result<()>) {
        let filling = job.filling;
        drop(job); // The part must be gone before its memory is reclaimed.
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
        let wake_readers = state.assign() || state.closed;
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

impl<M: Memory> State<M> {
    fn entries(&self, plans: Vec<Arc<Plan>>) -> Result<Vec<Entry<M>>> {
        let entry = |plan: Arc<Plan>| {
            Ok(Entry { class: self.slots.class_for(&plan)?, plan, phase: Phase::Waiting })
        };
        plans.into_iter().map(entry).collect()
    }

    /// Starts every block that has a slot to go to, in order within each size of slot, up to a
    /// block that has failed: the schedule ends there. Whether any was started.
    fn assign(&mut self) -> bool {
        let mut taken = Vec::new();
        let mut started = false;
        for entry in &mut self.queue {
            match entry.phase {
                Phase::Failed(_) => break,
                Phase::Waiting if !taken.contains(&entry.class) => {
                    let Some(slot) = self.slots.free(entry.class) else {
                        taken.push(entry.class);
                        continue;
                    };
                    self.fillings += 1;
                    entry.phase = match self.slots.take(slot) {
                        Ok(memory) => Filling::start(self.fillings, slot, memory, &entry.plan),
                        Err(error) => Phase::Failed(error),
                    };
                    started = true;
                }
                _ => {}
            }
        }
        started
    }

    fn next_job(&mut self) -> Option<Job<M::Part>> {
        for entry in &mut self.queue {
            match &mut entry.phase {
                Phase::Filling(filling) => {
                    if let Some(job) = filling.next_job(&entry.plan) {
                        return Some(job);
                    }
                }
                Phase::Failed(_) => return None,
                Phase::Waiting | Phase::Ready(_) => {}
            }
        }
        None
    }

    fn complete(&mut self, id: u64, outcome: Result<()>) {
        if let Some(at) = self.draining.iter().position(|filling| filling.id == id) {
            if self.draining[at].returned() {
                let filling = self.draining.swap_remove(at);
                self.retire(filling);
            }
            return;
        }
        let is_it = |phase: &Phase<M>| matches!(phase, Phase::Filling(f) if f.id == id);
        let Some(entry) = self.queue.iter_mut().find(|entry| is_it(&entry.phase)) else {
            unreachable!("a block with a request in flight is in the queue or drains");
        };
        let Phase::Filling(mut filling) = std::mem::replace(&mut entry.phase, Phase::Waiting)
        else {
            unreachable!("the entry was just seen to be filling");
        };
        let idle = filling.returned();
        match outcome {
            Ok(()) if idle && filling.is_complete() => {
                entry.phase = filling.finish(Arc::clone(&entry.plan));
            }
            Ok(()) => entry.phase = Phase::Filling(filling),
            Err(error) => {
                entry.phase = Phase::Failed(error);
                self.retire(filling);
            }
        }
    }

    fn forget_all(&mut self) {
        std::mem::take(&mut self.queue).into_iter().for_each(|entry| self.forget(entry));
    }

    fn forget(&mut self, entry: Entry<M>) {
        match entry.phase {
            Phase::Filling(filling) => self.retire(filling),
            Phase::Ready(ready) => self.slots.put(ready.slot, ready.memory),
            Phase::Waiting | Phase::Failed(_) => {}
        }
    }

    /// Asks for no more of this block; its slot is free as soon as nobody writes into it.
    fn retire(&mut self, filling: Filling<M>) {
        match filling.abandon() {
            Ok((slot, memory)) => self.slots.put(slot, memory),
            Err(filling) => self.draining.push(filling),
        }
    }
}

impl<M: Memory> Entry<M> {
    /// Whether what was read for this block serves the other.
    fn can_become(&self, other: &Entry<M>) -> bool {
        matches!(self.phase, Phase::Filling(_) | Phase::Ready(_))
            && self.plan.block.extents == other.plan.block.extents
    }
}

impl<M: Memory> Phase<M> {
    /// The same, for another block of the same extents.
    fn of(self, plan: &Arc<Plan>) -> Self {
        match self {
            Phase::Ready(ready) => Phase::Ready(Ready { plan: Arc::clone(plan), ..ready }),
            other => other,
        }
    }
}

#[cfg(all(test, loom))]
mod model;
