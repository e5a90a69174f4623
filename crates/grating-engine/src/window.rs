//! The sliding window: weights of a few blocks in memory, the next ones on their way.

use std::sync::Arc;

use grating_io::{Block, Checkpoint, IoError, Lease, PrefetchOptions, PrefetchStats, Prefetcher};
use grating_model::{LayerWeights, Model, Part, TensorView};
use grating_sched::{BlockPart, BlockUnit};

use crate::error::Result;

/// What of a plan the window is made of. While it stays the same, reading goes on from one request to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WindowPlan {
    pub(crate) unit: BlockUnit,
    /// Capacities of the slots that slide, bytes.
    pub(crate) slots: Vec<usize>,
    /// Leading layers that stay once they have been read.
    pub(crate) pinned_layers: usize,
    pub(crate) io: grating_io::IoMode,
}

/// Weights of a whole model, a few blocks at a time.
pub(crate) struct Window {
    plan: WindowPlan,
    prefetcher: Prefetcher,
    /// Every block of the model, in the order of computing.
    blocks: Vec<Block>,
    /// Leases of the pinned blocks that have been read, in order.
    pinned: Vec<Arc<Lease>>,
    /// Blocks before this one may have been read before the request came.
    read_ahead: usize,
}

/// The weights of one block, for as long as they are needed.
pub(crate) struct Weights {
    lease: Arc<Lease>,
}

impl Window {
    /// Starts reading the first blocks.
    pub(crate) fn open(model: &Model, checkpoint: &Checkpoint, plan: WindowPlan) -> Result<Self> {
        let blocks: Vec<Block> = plan
            .unit
            .order(model.config().layers)
            .enumerate()
            .map(|(tag, (layer, part))| {
                let parts = parts(model, layer, part);
                Block::new(
                    tag as u64,
                    parts.iter().map(|p| checkpoint.extent(p.tensor())).collect(),
                )
            })
            .collect();
        let pinned = plan.pinned_layers * plan.unit.parts().len();
        let own = blocks[..pinned].iter().map(|block| {
            // A block takes the smallest slot that holds it, so a pinned one needs one of a sliding size.
            let needed = block.slot_bytes();
            let fits = plan.slots.iter().copied().filter(|&slot| slot >= needed);
            fits.min().unwrap_or(needed)
        });
        let slots = plan.slots.iter().copied().chain(own).collect();
        let options = PrefetchOptions { io: plan.io, ..PrefetchOptions::new(slots) };
        let prefetcher = checkpoint.prefetcher(options)?;
        let read_ahead = plan.slots.len();
        let window = Window { plan, prefetcher, blocks, pinned: Vec::new(), read_ahead };
        window.prefetcher.schedule(window.blocks.iter().cloned())?;
        Ok(window)
    }

    pub(crate) fn plan(&self) -> &WindowPlan {
        &self.plan
    }

    pub(crate) fn stats(&self) -> PrefetchStats {
        self.prefetcher.stats()
    }

    /// Bytes of the pinned blocks that are in memory.
    pub(crate) fn pinned_bytes(&self) -> u64 {
        self.pinned.iter().flat_map(|l| l.extents()).map(|e| e.len as u64).sum()
    }

    /// The weights of block `index` (in the order of computing); blocks are asked for in order.
    pub(crate) fn block(&mut self, index: usize) -> Result<Weights> {
        if let Some(lease) = self.pinned.get(index) {
            return Ok(Weights { lease: Arc::clone(lease) });
        }
        let lease = Arc::new(self.next(index)?);
        debug_assert_eq!(lease.tag(), index as u64, "blocks come in the order of computing");
        if index < self.plan.pinned_layers * self.plan.unit.parts().len() {
            self.pinned.push(Arc::clone(&lease));
        }
        Ok(Weights { lease })
    }

    /// The next block, which is `index`. What failed before the request came may be well by now: it is read once more.
    fn next(&mut self, index: usize) -> Result<Lease, IoError> {
        match self.prefetcher.next() {
            Err(_) if index < self.read_ahead => {
                self.read_ahead = 0;
                self.prefetcher.reschedule(self.blocks[index..].iter().cloned())?;
                self.prefetcher.next()
            }
            outcome => outcome,
        }
    }

    /// Turns to the next request: what is not pinned is read again from the first block on, and what of the old
    /// order has not been handed out is forgotten.
    pub(crate) fn rewind(&mut self) -> Result<()> {
        self.read_ahead = self.pinned.len() + self.plan.slots.len();
        let next = &self.blocks[self.pinned.len()..];
        Ok(self.prefetcher.reschedule(next.iter().cloned())?)
    }
}

impl Weights {
    /// Views of `parts`, which are the block's, wholly or from its extent `first` on.
    ///
    /// # Errors
    /// [`grating_model::ModelError::WeightBytes`] when they are another block's.
    pub(crate) fn views<'a>(
        &'a self,
        parts: &'a [Part],
        first: usize,
    ) -> grating_model::Result<LayerWeights<'a>> {
        let view = |(i, part): (usize, &'a Part)| {
            let bytes = self.lease.bytes(first + i);
            Ok((part.name(), TensorView::new(part.dtype(), part.shape(), bytes)?))
        };
        let views: grating_model::Result<Vec<_>> = parts.iter().enumerate().map(view).collect();
        Ok(LayerWeights::new(views?))
    }

    /// When the block was read.
    pub(crate) fn read_span(&self) -> std::ops::Range<std::time::Instant> {
        self.lease.read_span()
    }

    /// Bytes of the block's tensors.
    pub(crate) fn bytes(&self) -> u64 {
        self.lease.extents().iter().map(|e| e.len as u64).sum()
    }
}

/// The parts of a block.
pub(crate) fn parts(model: &Model, layer: usize, part: BlockPart) -> &[Part] {
    match part {
        BlockPart::Whole => model.layer_parts(layer),
        BlockPart::Attention => model.attention_parts(layer),
        BlockPart::FeedForward => model.feed_forward_parts(layer),
    }
}

#[cfg(test)]
mod tests {
    use grating_io::{Faults, FaultyStorage, Storage};

    use super::*;
    use crate::testing::golden;

    /// So many slots of the model's largest block, and so many pinned layers.
    fn plan(
        model: &Model,
        checkpoint: &Checkpoint,
        unit: BlockUnit,
        slots: usize,
        pinned_layers: usize,
    ) -> WindowPlan {
        let blocks = unit.order(model.config().layers);
        let blocks = blocks.map(|(layer, part)| parts(model, layer, part));
        let bytes = blocks.map(|parts| {
            let extents = parts.iter().map(|p| checkpoint.extent(p.tensor())).collect();
            Block::new(0, extents).slot_bytes()
        });
        let largest = bytes.max().unwrap();
        WindowPlan { unit, slots: vec![largest; slots], pinned_layers, io: Default::default() }
    }

    /// Asks for every block of one pass and compares its bytes with the checkpoint's.
    fn check_pass(window: &mut Window, model: &Model, checkpoint: &Checkpoint) {
        for (index, (layer, part)) in window.plan().unit.order(model.config().layers).enumerate() {
            let weights = window.block(index).unwrap();
            let parts = parts(model, layer, part);
            let views = weights.views(parts, 0).unwrap();
            for part in parts {
                let mut expected = vec![0; part.byte_len()];
                part.read(checkpoint, &mut expected).unwrap();
                assert_eq!(views.view(part.name()).unwrap().bytes(), expected);
            }
        }
    }

    #[test]
    fn every_pass_gets_every_block_in_order_and_pinned_ones_are_read_once() {
        let (model, checkpoint) = golden("qwen3-tied-f32");
        let layers = model.config().layers;
        for unit in [BlockUnit::Layer, BlockUnit::HalfLayer] {
            for (slots, pinned) in [(1, 0), (2, 1), (2, 0), (3, 2), (0, layers)] {
                let plan = plan(&model, &checkpoint, unit, slots, pinned);
                let mut window = Window::open(&model, &checkpoint, plan).unwrap();
                check_pass(&mut window, &model, &checkpoint);
                let read = window.stats().bytes;
                for _ in 0..2 {
                    window.rewind().unwrap();
                    check_pass(&mut window, &model, &checkpoint);
                }
                let blocks = pinned * unit.parts().len();
                assert_eq!(window.pinned.len(), blocks, "{unit:?} {slots} {pinned}");
                let bytes = (0..pinned).flat_map(|layer| model.layer_parts(layer));
                let bytes: usize = bytes.map(Part::byte_len).sum();
                assert_eq!(window.pinned_bytes(), bytes as u64);
                assert_eq!(window.stats().bytes == read, pinned == layers);
            }
        }
    }

    #[test]
    fn a_pass_that_ends_early_is_forgotten() {
        let (model, checkpoint) = golden("bert-gelu-f32");
        let plan = plan(&model, &checkpoint, BlockUnit::Layer, 2, 1);
        let mut window = Window::open(&model, &checkpoint, plan).unwrap();
        for ends in [1, 2, 1, 3] {
            for index in 0..ends {
                drop(window.block(index).unwrap());
            }
            window.rewind().unwrap();
        }
        check_pass(&mut window, &model, &checkpoint);
    }

    #[test]
    fn what_failed_before_the_pass_is_read_again_and_what_fails_in_it_is_an_error() {
        let (model, checkpoint) = golden("bert-gelu-f32");
        let mut disks = Vec::new();
        let broken = || Faults { errors: 1.0, ..Faults::default() };
        let faulty = checkpoint.map_storages(|storage| {
            let disk = Arc::new(FaultyStorage::new(storage, broken()));
            disks.push(Arc::clone(&disk));
            disk as Arc<dyn Storage>
        });
        let set = |faults: Faults| disks.iter().for_each(|disk| disk.set_faults(faults.clone()));
        let plan = plan(&model, &checkpoint, BlockUnit::Layer, 2, 0);
        let mut window = Window::open(&model, &faulty, plan).unwrap();
        assert!(window.block(0).is_err(), "the disk is broken still");
        let failed = window.stats().failed_reads;
        window.rewind().unwrap();
        // The disk mends between the reading ahead and the pass.
        while window.stats().failed_reads == failed {
            std::thread::yield_now();
        }
        set(Faults::default());
        check_pass(&mut window, &model, &checkpoint);
    }
}
