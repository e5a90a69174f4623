//! The slots: which are free, and which a block may take.

use super::{Placement, SlotMemory};
use crate::error::{IoError, Result};

/// A fixed set of slots; those of equal capacity form a class.
pub(super) struct Slots<M: SlotMemory> {
    slots: Vec<Slot<M>>,
    source: M::Source,
    closed: bool,
}

struct Slot<M> {
    capacity: usize,
    occupancy: Occupancy<M>,
}

enum Occupancy<M> {
    /// Never used: no memory yet.
    New,
    Free(M),
    Taken,
}

impl<M: SlotMemory> Slots<M> {
    pub(super) fn new(capacities: &[usize], source: M::Source) -> Self {
        let slot = |&capacity| Slot { capacity, occupancy: Occupancy::New };
        Slots { slots: capacities.iter().map(slot).collect(), source, closed: false }
    }

    /// The smallest capacity that holds the block. It never takes a larger slot, for which a
    /// larger block may be waiting.
    pub(super) fn class_for(&self, placement: &Placement) -> Result<usize> {
        let needed = placement.block.slot_bytes();
        let capacities = || self.slots.iter().map(|slot| slot.capacity);
        capacities().filter(|&capacity| capacity >= needed).min().ok_or_else(|| {
            IoError::SlotTooSmall {
                block: placement.block.tag,
                expected: needed,
                found: capacities().max().unwrap_or(0),
            }
        })
    }

    pub(super) fn free(&self, class: usize) -> Option<usize> {
        let is_free = |slot: &Slot<M>| !matches!(slot.occupancy, Occupancy::Taken);
        // One that has memory before one that would have to take some.
        let of_class = || self.slots.iter().enumerate().filter(|(_, s)| s.capacity == class);
        of_class()
            .find(|(_, slot)| matches!(slot.occupancy, Occupancy::Free(_)))
            .or_else(|| of_class().find(|(_, slot)| is_free(slot)))
            .map(|(at, _)| at)
    }

    /// Takes a free slot. If there is no memory for it, it stays free.
    pub(super) fn take(&mut self, slot: usize) -> Result<M> {
        let slot = &mut self.slots[slot];
        match std::mem::replace(&mut slot.occupancy, Occupancy::Taken) {
            Occupancy::Free(memory) => Ok(memory),
            Occupancy::New => {
                let memory = M::allocate(&self.source, slot.capacity);
                memory.inspect_err(|_| slot.occupancy = Occupancy::New)
            }
            Occupancy::Taken => unreachable!("a slot is taken once"),
        }
    }

    /// A slot comes back; after [`Slots::close`] its memory is dropped.
    pub(super) fn put(&mut self, slot: usize, memory: M) {
        let occupancy = &mut self.slots[slot].occupancy;
        debug_assert!(matches!(occupancy, Occupancy::Taken), "a slot comes back once");
        *occupancy = if self.closed { Occupancy::New } else { Occupancy::Free(memory) };
    }

    /// Drops the memory of free slots.
    pub(super) fn close(&mut self) {
        self.closed = true;
        for slot in &mut self.slots {
            if matches!(slot.occupancy, Occupancy::Free(_)) {
                slot.occupancy = Occupancy::New;
            }
        }
    }
}
