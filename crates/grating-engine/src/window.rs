//! The sliding window: weights of a few blocks in memory, the next ones on their way.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use grating_backend::{Backend, HostBlock};
use grating_io::{Block, Checkpoint, IoError, IoMode, Lease};
use grating_io::{PrefetchOptions, PrefetchStats, Prefetcher, SlotAllocator};
use grating_model::{Model, Part};
use grating_sched::{BlockPart, ModelShape, Staging, WeightLayout};

use crate::error::Result;

/// Weights of a whole model, a few blocks at a time. While its layout stays the same, reading goes on from one request
/// to the next.
pub(crate) struct Window {
    layout: WeightLayout,
    /// The host's part, where the device has a memory of its own.
    staging: Option<Staging>,
    prefetcher: Prefetcher,
    /// Every block of the model as it was planned, in the order of computing, and its bytes in the files.
    planned: Vec<grating_sched::Block>,
    blocks: Vec<Block>,
    /// Blocks that stay in the host's memory once they have been read.
    stay: Range<usize>,
    /// Leases of those that have been read, in order.
    pinned: Vec<Arc<Lease>>,
    /// Blocks before this one may have been read before the request came.
    read_ahead: usize,
}

/// Memory for slots as the backend likes it.
pub(crate) fn slot_memory<B: Backend>(ops: &B) -> Option<SlotAllocator> {
    let allocate = ops.host_memory()?;
    Some(Arc::new(move |bytes| allocate(bytes).map_err(io::Error::other)))
}

/// The weights of one block, for as long as they are needed.
pub(crate) struct Weights {
    lease: Arc<Lease>,
}

impl Window {
    /// Starts reading the first blocks, into slots where `memory` has them. `shape` is the one that the layout was made for.
    pub(crate) fn open(
        model: &Model,
        checkpoint: &Checkpoint,
        shape: &ModelShape,
        (layout, staging): (WeightLayout, Option<Staging>),
        io: IoMode,
        memory: Option<SlotAllocator>,
    ) -> Result<Self> {
        let planned: Vec<_> = layout.blocks(shape).collect();
        let block = |planned: &grating_sched::Block| {
            let block =
                stored(checkpoint, planned.index, parts(model, planned.layer, planned.part));
            block.with_least_slot(bytes(planned.slot_bytes))
        };
        let blocks: Vec<Block> = planned.iter().map(block).collect();
        let on_device = layout.pinned_layers * layout.unit.parts().len();
        let (stay, slots) = match &staging {
            None => (0..on_device, layout.all_slots(shape)),
            Some(staging) => {
                let count = staging.pinned_layers * layout.unit.parts().len();
                let stay = on_device..(on_device + count).min(planned.len());
                let own = planned[stay.clone()].iter().map(|block| block.slot_bytes);
                let slots = staging.slots.iter().copied().chain(own).collect();
                (stay, slots)
            }
        };
        let slots: Vec<usize> = slots.into_iter().map(bytes).collect();
        let read_ahead = slots.len() - stay.len();
        let options = PrefetchOptions::new(slots).with_io(io);
        let prefetcher = checkpoint.prefetcher_in(options, memory)?;
        prefetcher.schedule(blocks.iter().cloned())?;
        let pinned = Vec::new();
        Ok(Window { layout, staging, prefetcher, planned, blocks, stay, pinned, read_ahead })
    }

    /// Whether it is the one of such a layout.
    pub(crate) fn is_of(&self, layout: &WeightLayout, staging: Option<&Staging>) -> bool {
        &self.layout == layout && self.staging.as_ref() == staging
    }

    /// The block after `block`, in the order of computing.
    pub(crate) fn after(&self, block: &grating_sched::Block) -> Option<grating_sched::Block> {
        self.planned.get(block.index + 1).copied()
    }

    /// Whether the weights of the block whose turn is next would come at once, or an error.
    pub(crate) fn is_ready(&self, index: usize) -> bool {
        self.pinned_at(index).is_some() || self.prefetcher.is_ready()
    }

    fn pinned_at(&self, index: usize) -> Option<&Arc<Lease>> {
        self.pinned.get(index.checked_sub(self.stay.start)?)
    }

    /// The blocks of a layer, in the order of computing.
    pub(crate) fn blocks_of(&self, layer: usize) -> Vec<grating_sched::Block> {
        self.planned.iter().filter(|block| block.layer == layer).copied().collect()
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
        if let Some(lease) = self.pinned_at(index) {
            return Ok(Weights { lease: Arc::clone(lease) });
        }
        let lease = Arc::new(self.next(index)?);
        debug_assert_eq!(lease.tag(), index as u64, "blocks come in the order of computing");
        if self.stay.contains(&index) {
            self.pinned.push(Arc::clone(&lease));
        }
        Ok(Weights { lease })
    }

    /// The next block, which is `index`. What failed before the request came may be well by now: it is read once more.
    fn next(&mut self, index: usize) -> Result<Lease, IoError> {
        match self.prefetcher.next() {
            Err(_) if index < self.read_ahead => {
                self.read_ahead = 0;
                self.prefetcher.reschedule(self.unread(index))?;
                self.prefetcher.next()
            }
            outcome => outcome,
        }
    }

    /// Begins anew for the next request: what neither stays here nor is one of the first `on_device` blocks is read again
    /// from the first block on, and what of the old order has not been handed out is forgotten.
    pub(crate) fn rewind(&mut self, on_device: usize) -> Result<()> {
        let free = self.prefetch_slots();
        let first = self.unread(on_device);
        let ahead = first.get(..free).unwrap_or(&first);
        self.read_ahead = ahead.last().map_or(0, |block| block.tag as usize + 1);
        Ok(self.prefetcher.reschedule(first)?)
    }

    /// Slots that blocks pass through.
    fn prefetch_slots(&self) -> usize {
        self.staging.as_ref().map_or(&self.layout.slots, |staging| &staging.slots).len()
    }

    /// Blocks from `first` on that do not stay here, or have not been read yet.
    fn unread(&self, first: usize) -> Vec<Block> {
        let stays = |index: &usize| self.pinned_at(*index).is_some();
        (first..self.blocks.len()).filter(|i| !stays(i)).map(|i| self.blocks[i].clone()).collect()
    }
}

impl Weights {
    /// When the block was read.
    pub(crate) fn read_span(&self) -> std::ops::Range<std::time::Instant> {
        self.lease.read_span()
    }

    /// Bytes of the block's tensors.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.lease.extents().iter().map(|e| e.len as u64).sum()
    }
}

/// A block of `parts` as it lies in the checkpoint, called `tag`.
pub(crate) fn stored(checkpoint: &Checkpoint, tag: usize, parts: &[Part]) -> Block {
    Block::new(tag as u64, parts.iter().map(|p| p.extent(checkpoint)).collect())
}

/// A size in the planner's numbers as the reader's; one beyond the address space is for the allocation to refuse.
fn bytes(planned: u64) -> usize {
    usize::try_from(planned).unwrap_or(usize::MAX)
}

impl HostBlock for Weights {
    fn len(&self) -> usize {
        self.lease.extents().len()
    }

    fn bytes(&self, index: usize) -> &[u8] {
        self.lease.bytes(index)
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
    use grating_backend::Precision;
    use grating_cpu::{CpuOps, Isa};
    use grating_io::{Faults, FaultyStorage, Storage};

    use grating_sched::BlockUnit;

    use super::*;
    use crate::shape::model_shape;
    use crate::testing::golden;

    /// A window of so many slots for any block, and so many pinned layers.
    fn open(
        (model, checkpoint): (&Model, &Checkpoint),
        unit: BlockUnit,
        slots: usize,
        pinned_layers: usize,
    ) -> Window {
        let shape = model_shape(model, checkpoint, &CpuOps::new(Isa::Portable, Precision::Full));
        let weights = WeightLayout::new(&shape, unit, slots, pinned_layers);
        let layout = (weights, None);
        Window::open(model, checkpoint, &shape, layout, IoMode::default(), None).unwrap()
    }

    /// Asks for every block of one pass and compares its bytes with the checkpoint's.
    fn check_pass(window: &mut Window, model: &Model, checkpoint: &Checkpoint) {
        for planned in window.planned.clone() {
            let weights = window.block(planned.index).unwrap();
            let parts = parts(model, planned.layer, planned.part);
            for (at, part) in parts.iter().enumerate() {
                let mut expected = vec![0; part.byte_len()];
                part.read(checkpoint, &mut expected).unwrap();
                assert_eq!(weights.bytes(at), expected);
            }
        }
    }

    #[test]
    fn every_pass_gets_every_block_in_order_and_pinned_ones_are_read_once() {
        let (model, checkpoint) = golden("qwen3-tied-f32");
        let layers = model.config().layers;
        for unit in [BlockUnit::Layer, BlockUnit::HalfLayer] {
            for (slots, pinned) in [(1, 0), (2, 1), (2, 0), (3, 2), (0, layers)] {
                let mut window = open((&model, &checkpoint), unit, slots, pinned);
                check_pass(&mut window, &model, &checkpoint);
                let read = window.stats().bytes;
                for _ in 0..2 {
                    window.rewind(0).unwrap();
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
    fn what_the_device_or_the_host_keeps_is_read_once() {
        let (model, checkpoint) = golden("qwen3-tied-f32");
        let shape = model_shape(&model, &checkpoint, &CpuOps::new(Isa::Portable, Precision::Full));
        for (unit, on_device, in_host) in
            [(BlockUnit::Layer, 1, 2), (BlockUnit::HalfLayer, 2, 1), (BlockUnit::Layer, 0, 0)]
        {
            let weights = WeightLayout::new(&shape, unit, 1, on_device);
            let staging = Staging::new(weights.slots.clone(), in_host);
            let layout = (weights, Some(staging));
            let mut window =
                Window::open(&model, &checkpoint, &shape, layout, IoMode::default(), None).unwrap();
            check_pass(&mut window, &model, &checkpoint);
            let parts = unit.parts().len();
            assert_eq!(window.stay, on_device * parts..(on_device + in_host) * parts);
            assert_eq!(window.pinned.len(), in_host * parts);
            for _ in 0..2 {
                window.rewind(on_device * parts).unwrap();
                let before = window.stats().bytes;
                let rest = window.planned[on_device * parts..].to_vec();
                rest.iter().for_each(|block| drop(window.block(block.index).unwrap()));
                let read = window.stats().bytes - before;
                // With the gaps between tensors; what was read ahead was counted before.
                let streamed = rest.iter().filter(|block| !window.stay.contains(&block.index));
                let most: usize = streamed.map(|b| window.blocks[b.index].slot_bytes()).sum();
                assert!(read <= most as u64, "{read} of {most} bytes");
            }
        }
    }

    #[test]
    fn a_pass_that_ends_early_is_forgotten() {
        let (model, checkpoint) = golden("bert-gelu-f32");
        let mut window = open((&model, &checkpoint), BlockUnit::Layer, 2, 1);
        for ends in [1, 2, 1, 3] {
            for index in 0..ends {
                drop(window.block(index).unwrap());
            }
            window.rewind(0).unwrap();
        }
        check_pass(&mut window, &model, &checkpoint);
    }

    #[test]
    fn what_failed_before_the_pass_is_read_again_and_what_fails_in_it_is_an_error() {
        let (model, checkpoint) = golden("bert-gelu-f32");
        let mut disks = Vec::new();
        let broken = || Faults::default().with_errors(1.0);
        let faulty = checkpoint.map_storages(|storage| {
            let disk = Arc::new(FaultyStorage::new(storage, broken()));
            disks.push(Arc::clone(&disk));
            disk as Arc<dyn Storage>
        });
        let set = |faults: Faults| disks.iter().for_each(|disk| disk.set_faults(faults.clone()));
        let mut window = open((&model, &faulty), BlockUnit::Layer, 2, 0);
        assert!(window.block(0).is_err(), "the disk is broken still");
        let failed = window.stats().failed_reads;
        window.rewind(0).unwrap();
        // The disk mends between the reading ahead and the pass.
        while window.stats().failed_reads == failed {
            std::thread::yield_now();
        }
        set(Faults::default());
        check_pass(&mut window, &model, &checkpoint);
    }
}
