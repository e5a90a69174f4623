//! Blocks of weights in a device's own memory: those that stay, and the slots that the others pass through.

use std::collections::VecDeque;
use std::sync::Arc;

use grating_backend::Ops;
use grating_sched::{Block, WeightLayout};

use crate::error::Result;
use crate::executor::Executor;
use crate::window::{Weights, Window};

/// What of the model is on the device. Where the backend computes on the host's blocks themselves, nothing is.
pub(crate) struct DeviceSlots<B: Ops> {
    /// Whether the device has a memory of its own.
    own_memory: bool,
    /// Most slots that blocks pass through.
    sliding: usize,
    /// How many of them there are.
    made: usize,
    /// Those that nobody needs, the one that was used longest ago first.
    spare: VecDeque<B::Slot>,
    /// Leading blocks that stay, in order; one that is being computed is out.
    kept: Vec<Option<B::Slot>>,
    /// A block that was admitted before its turn, or why not.
    ahead: Option<(usize, Result<B::Slot>)>,
}

impl<B: Ops> DeviceSlots<B> {
    /// For a layout, with nothing on the device yet.
    pub(crate) fn new(ops: &B, layout: &WeightLayout) -> Self {
        DeviceSlots {
            own_memory: !ops.caps().shares_host_memory,
            sliding: layout.slots.len(),
            made: 0,
            spare: VecDeque::new(),
            kept: Vec::new(),
            ahead: None,
        }
    }

    /// Leading blocks that are on the device to stay: they need not be read again.
    pub(crate) fn kept(&self) -> usize {
        self.kept.iter().take_while(|slot| slot.is_some()).count()
    }

    /// A block whose turn has come, from the window where it is not on the device yet.
    pub(crate) fn take(
        &mut self,
        on: Executor<'_, B>,
        planned: &Block,
        weights: impl FnOnce() -> Result<Weights>,
    ) -> Result<B::Slot> {
        if let Some(slot) = self.kept.get_mut(planned.index).and_then(Option::take) {
            return Ok(slot);
        }
        match self.ahead.take() {
            Some((index, slot)) if index == planned.index => slot,
            _ => self.admit(on, planned, weights()?),
        }
    }

    /// A block that has been computed, or is queued to be.
    pub(crate) fn put(&mut self, planned: &Block, slot: B::Slot) {
        match (self.own_memory, planned.pinned) {
            // The window waits for the host's block.
            (false, _) => drop(slot),
            (true, true) => {
                let count = self.kept.len().max(planned.index + 1);
                self.kept.resize_with(count, || None);
                self.kept[planned.index] = Some(slot);
            }
            (true, false) => self.spare.push_back(slot),
        }
    }

    /// Whether a block whose turn is next can be admitted now, without waiting for anything.
    pub(crate) fn has_room(&self, next: &Block, window: &Window) -> bool {
        let there = self.kept.get(next.index).is_some_and(Option::is_some);
        let room = next.pinned || self.made < self.sliding || !self.spare.is_empty();
        self.own_memory && !there && room && window.is_ready(next.index)
    }

    /// Starts to copy the next block to the device while another is computed: nobody waits for it.
    pub(crate) fn admit_ahead(
        &mut self,
        on: Executor<'_, B>,
        next: &Block,
        weights: impl FnOnce() -> Result<Weights>,
    ) {
        // What goes wrong is an error of the block's own turn, which may never come.
        let slot = weights().and_then(|weights| self.admit(on, next, weights));
        self.ahead = Some((next.index, slot));
    }

    fn admit(&mut self, on: Executor<'_, B>, planned: &Block, weights: Weights) -> Result<B::Slot> {
        let mut spare = None;
        if self.own_memory && !planned.pinned {
            match self.made < self.sliding {
                true => self.made += 1,
                false => spare = self.spare.pop_front(),
            }
        }
        on.ops.admit(Arc::new(weights), spare).map_err(|e| on.fail(e))
    }

    /// For the next pass, which begins with the first block: what was admitted before its turn has none, and slots that
    /// an error took are made anew.
    pub(crate) fn rewind(&mut self) {
        self.ahead = None;
        self.kept.truncate(self.kept());
        self.made = self.spare.len();
    }
}
