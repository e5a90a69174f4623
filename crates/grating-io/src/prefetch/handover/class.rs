//! The slots: which are free, and which a block may take.

use super::{Placement, SlotMemory};
use crate::error::{IoError, Result};

/// A fixed set of slots; those of equal capacity form a class.
pub(super) struct Slots<M> {
    slots: Vec<Slot<M>>,
    closed: bool,
}

struct Slot<M> {
    capacity: usize,
    place: Place<M>,
}

enum Place<M> {
    /// Never used: no memory yet.
    New,
    Free(M),
    Taken,
}

impl<M: SlotMemory> Slots<M> {
    pub(super) fn new(capacities: &[usize]) -> Self {
        let slot = |&capacity| Slot { capacity, place: Place::New };
        Slots { slots: capacities.iter().map(slot).collect(), closed: false }
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
        let is_free = |slot: &Slot<M>| !matches!(slot.place, Place::Taken);
        // One that has memory before one that would have to take some.
        let of_class = || self.slots.iter().enumerate().filter(|(_, s)| s.capacity == class);
        of_class()
            .find(|(_, slot)| matches!(slot.place, Place::Free(_)))
            .or_else(|| of_class().find(|(_, slot)| is_free(slot)))
            .map(|(at, _)| at)
    }

    /// Takes a free slot. If there is no memory for it, it stays free.
    pub(super) fn take(&mut self, slot: usize) -> Result<M> {
        let slot = &mut self.slots[slot];
        match std::mem::replace(&mut slot.place, Place::Taken) {
            Place::Free(memory) => Ok(memory),
            Place::New => M::allocate(slot.capacity).inspect_err(|_| slot.place = Place::New),
            Place::Taken => unreachable!("a slot is taken once"),
        }
    }

    /// A slot comes back; after [`Slots::close`] its memory is dropped.
    pub(super) fn put(&mut self, slot: usize, memory: M) {
        let place = &mut self.slots[slot].place;
        debug_assert!(matches!(place, Place::Taken), "a slot comes back once");
        *place = if self.closed { Place::New } else { Place::Free(memory) };
    }

    /// Drops the memory of free slots.
    pub(super) fn close(&mut self) {
        self.closed = true;
        for slot in &mut self.slots {
            if matches!(slot.place, Place::Free(_)) {
                slot.place = Place::New;
            }
        }
    }
}
