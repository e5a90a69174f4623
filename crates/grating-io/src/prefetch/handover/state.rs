//! Blocks and slots at one moment, and what may happen next.

use std::collections::VecDeque;
use std::sync::Arc;

use super::class::Slots;
use super::filling::Filling;
use super::{Placement, ReadTask, Ready, SlotMemory, Waits};
use crate::error::{IoError, Result};

pub(super) struct State<M: SlotMemory> {
    pub(super) slots: Slots<M>,
    /// In the order of the schedule.
    pub(super) queue: VecDeque<Entry<M>>,
    /// Forgotten blocks with requests in flight.
    draining: Vec<Filling<M>>,
    last_filling: u64,
    pub(super) closed: bool,
    pub(super) waits: Waits,
}

pub(super) struct Entry<M: SlotMemory> {
    placement: Arc<Placement>,
    /// Capacity of the slots that may hold it.
    class: usize,
    pub(super) phase: Phase<M>,
}

pub(super) enum Phase<M: SlotMemory> {
    Waiting,
    Filling(Filling<M>),
    Ready(Ready<M>),
    Failed(IoError),
}

impl<M: SlotMemory> State<M> {
    pub(super) fn new(capacities: &[usize], source: M::Source) -> Self {
        State {
            slots: Slots::new(capacities, source),
            queue: VecDeque::new(),
            draining: Vec::new(),
            last_filling: 0,
            closed: false,
            waits: Waits::default(),
        }
    }

    pub(super) fn entries(&self, placements: Vec<Arc<Placement>>) -> Result<Vec<Entry<M>>> {
        let entry = |placement: Arc<Placement>| {
            Ok(Entry { class: self.slots.class_for(&placement)?, placement, phase: Phase::Waiting })
        };
        placements.into_iter().map(entry).collect()
    }

    /// Starts every block that has a slot to go to, in order within each size of slot, up to a
    /// block that has failed: the schedule ends there.
    pub(super) fn assign(&mut self) {
        let mut taken = Vec::new();
        for entry in &mut self.queue {
            match entry.phase {
                Phase::Failed(_) => break,
                Phase::Waiting if !taken.contains(&entry.class) => {
                    let Some(slot) = self.slots.free(entry.class) else {
                        taken.push(entry.class);
                        continue;
                    };
                    self.last_filling += 1;
                    entry.phase = match self.slots.take(slot) {
                        Ok(memory) => {
                            Filling::start(self.last_filling, slot, memory, &entry.placement)
                        }
                        Err(error) => Phase::Failed(error),
                    };
                }
                _ => {}
            }
        }
    }

    /// Blocks that are being read, up to one that has failed.
    fn fillings(&mut self) -> impl Iterator<Item = (&Arc<Placement>, &mut Filling<M>)> {
        let sound = |entry: &&mut Entry<M>| !matches!(entry.phase, Phase::Failed(_));
        self.queue.iter_mut().take_while(sound).filter_map(|entry| match &mut entry.phase {
            Phase::Filling(filling) => Some((&entry.placement, filling)),
            _ => None,
        })
    }

    /// Whether [`State::next_task`] would find one.
    pub(super) fn has_job(&mut self) -> bool {
        self.fillings().any(|(_, filling)| filling.has_job())
    }

    /// Whether nothing is being read, and nothing can be until a slot comes back or the schedule changes.
    pub(super) fn is_idle(&mut self) -> bool {
        let busy = |entry: &Entry<M>| matches!(&entry.phase, Phase::Filling(f) if f.is_in_flight());
        !self.has_job() && self.draining.is_empty() && !self.queue.iter().any(busy)
    }

    pub(super) fn next_task(&mut self) -> Option<ReadTask<M::Portion>> {
        self.fillings().find_map(|(placement, filling)| filling.next_task(placement))
    }

    pub(super) fn complete(&mut self, id: u64, outcome: Result<()>) {
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
                entry.phase = filling.finish(Arc::clone(&entry.placement));
            }
            Ok(()) => entry.phase = Phase::Filling(filling),
            Err(error) => {
                entry.phase = Phase::Failed(error);
                self.retire(filling);
            }
        }
    }

    /// See [`Handover::reschedule`](super::Handover::reschedule).
    pub(super) fn replace_queue(&mut self, entries: Vec<Entry<M>>) {
        let mut old = std::mem::take(&mut self.queue);
        let mut parted = Vec::new();
        for mut entry in entries {
            if !parted.contains(&entry.class) {
                match old.iter().position(|old| old.can_become(&entry)) {
                    Some(at) => {
                        let kept = std::mem::replace(&mut old[at].phase, Phase::Waiting);
                        entry.phase = kept.of(&entry.placement);
                    }
                    None => parted.push(entry.class),
                }
            }
            self.queue.push_back(entry);
        }
        old.into_iter().for_each(|entry| self.forget(entry));
    }

    pub(super) fn forget_all(&mut self) {
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

impl<M: SlotMemory> Entry<M> {
    /// Whether what was read for this block serves the other.
    fn can_become(&self, other: &Entry<M>) -> bool {
        matches!(self.phase, Phase::Filling(_) | Phase::Ready(_))
            && self.class == other.class
            && self.placement.block.extents == other.placement.block.extents
    }
}

impl<M: SlotMemory> Phase<M> {
    /// The same, for another block of the same extents.
    fn of(self, placement: &Arc<Placement>) -> Self {
        match self {
            Phase::Ready(ready) => {
                Phase::Ready(Ready { placement: Arc::clone(placement), ..ready })
            }
            other => other,
        }
    }
}
