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
        let blocks: Vec<Block> = (0..model.config().layers)
            .flat_map(|layer| plan.unit.parts().iter().map(move |&part| (layer, part)))
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
    pub(crate) fn views<'a>(&'a self, parts: &'a [Part], first: usize) -> Result<LayerWeights<'a>> {
        let view = |(i, part): (usize, &'a Part)| {
            let bytes = self.lease.bytes(first + i);
            Ok((part.name(), TensorView::new(part.dtype(), part.shape(), bytes)?))
        };
        let views: grating_model::Result<Vec<_>> = parts.iter().enumerate().map(view).collect();
        Ok(LayerWeights::new(views.map_err(|e| crate::Error::of_model("weights", e))?))
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
