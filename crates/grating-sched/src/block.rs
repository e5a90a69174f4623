//! Blocks of weights: what is read at once, in which order, and into which slot.

use crate::shape::ModelShape;

/// What one slot of the window holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum BlockUnit {
    /// A whole layer.
    Layer,
    /// The attention block or the feed-forward block of a layer.
    HalfLayer,
}

/// The part of a layer that a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum BlockPart {
    /// All of it.
    Whole,
    /// Attention with its norms.
    Attention,
    /// Feed-forward with its norms.
    FeedForward,
}

impl BlockUnit {
    /// The blocks that a layer is cut into, in the order of computing.
    pub fn parts(self) -> &'static [BlockPart] {
        match self {
            Self::Layer => &[BlockPart::Whole],
            Self::HalfLayer => &[BlockPart::Attention, BlockPart::FeedForward],
        }
    }
}

/// One block of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Block {
    /// Its number in the order in which blocks are read and computed.
    pub index: usize,
    /// The layer that it belongs to.
    pub layer: usize,
    /// Which part of the layer.
    pub part: BlockPart,
    /// Capacity of the slot that it goes into, bytes; blocks of one capacity share its slots.
    pub slot_bytes: u64,
    /// Whether it keeps a slot of its own once it has been read.
    pub pinned: bool,
}

/// How a model's weights are kept: the window's slots, and the layers that stay. The one definition of which blocks run
/// in which order and from which slots.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct WeightLayout {
    /// What a slot holds.
    #[cfg_attr(feature = "serde", serde(rename = "block"))]
    pub unit: BlockUnit,
    /// Capacities of the slots that slide, bytes; none if all layers are pinned. With two slots of half layers the first
    /// is for attention, the second for feed-forward.
    pub slots: Vec<u64>,
    /// Leading layers that are read once and stay.
    pub pinned_layers: usize,
}

impl WeightLayout {
    /// So many slots that slide, each for any block of this unit, and so many leading layers that stay; without slots
    /// all of them.
    pub fn new(model: &ModelShape, unit: BlockUnit, slots: usize, pinned_layers: usize) -> Self {
        let largest = unit.parts().iter().map(|&part| model.slot_bytes(part)).max().unwrap_or(0);
        let pinned_layers = if slots == 0 { model.layers } else { pinned_layers };
        Self { unit, slots: vec![largest; slots], pinned_layers }
    }

    /// Two slots of half layers, one for attention and one for feed-forward.
    pub(crate) fn halves(model: &ModelShape) -> Self {
        let unit = BlockUnit::HalfLayer;
        let slots = unit.parts().iter().map(|&part| model.slot_bytes(part)).collect();
        Self { unit, slots, pinned_layers: 0 }
    }

    /// Every block of the model, in the order in which they are read and computed.
    ///
    /// Those of pinned layers are read by the first request alone. A slot is free for the next block of its capacity as
    /// soon as the block that had it is computed.
    ///
    /// ```
    /// use grating_sched::{BlockPart::{Attention, FeedForward}, BlockUnit, ModelShape, WeightLayout};
    ///
    /// let mut model = ModelShape::new(2, 64);
    /// (model.attention_slot, model.feed_forward_slot) = (4096, 8192);
    /// let weights = WeightLayout::new(&model, BlockUnit::HalfLayer, 1, 1);
    /// let order = weights.blocks(&model).map(|block| (block.layer, block.part, block.pinned));
    /// assert!(order.eq([
    ///     (0, Attention, true), (0, FeedForward, true), (1, Attention, false), (1, FeedForward, false),
    /// ]));
    /// assert_eq!(weights.all_slots(&model), [8192; 3]);
    /// ```
    pub fn blocks(&self, model: &ModelShape) -> impl Iterator<Item = Block> {
        (0..model.layers).flat_map(move |layer| self.blocks_of(layer, model))
    }

    /// The blocks of one layer, in order.
    pub fn blocks_of(&self, layer: usize, model: &ModelShape) -> impl Iterator<Item = Block> {
        let (parts, pinned) = (self.unit.parts(), layer < self.pinned_layers);
        parts.iter().enumerate().map(move |(place, &part)| Block {
            index: layer * parts.len() + place,
            layer,
            part,
            slot_bytes: self.slot_bytes(part, model),
            pinned,
        })
    }

    /// Capacities of all slots: those that slide, and one for each pinned block. What a run has memory for.
    pub fn all_slots(&self, model: &ModelShape) -> Vec<u64> {
        let pinned = self.blocks(model).filter(|block| block.pinned).map(|block| block.slot_bytes);
        self.slots.iter().copied().chain(pinned).collect()
    }

    /// The slots of one layer's blocks, bytes. Those of a pinned one are as large as those that slide: blocks of one capacity share its
    /// slots, so one of another would be taken by a block that slides.
    pub(crate) fn layer_slots(&self, model: &ModelShape) -> u64 {
        let bytes = self.unit.parts().iter().map(|&part| self.slot_bytes(part, model));
        bytes.fold(0, u64::saturating_add)
    }

    fn slot_bytes(&self, part: BlockPart, model: &ModelShape) -> u64 {
        match (part, self.slots.as_slice()) {
            (_, []) => model.slot_bytes(part),
            (BlockPart::FeedForward, [_, second, ..]) => *second,
            (_, [first, ..]) => *first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> ModelShape {
        ModelShape {
            layers: 3,
            layer_slot: 100,
            attention_slot: 40,
            feed_forward_slot: 70,
            ..ModelShape::default()
        }
    }

    #[test]
    fn a_run_has_a_slot_for_every_block_that_stays_and_those_that_slide() {
        let model = model();
        let halves = WeightLayout { pinned_layers: 1, ..WeightLayout::halves(&model) };
        assert_eq!(halves.all_slots(&model), [40, 70, 40, 70]);
        assert_eq!(halves.layer_slots(&model), 110);
        // One slot for both: a pinned attention block takes as large a one.
        let single = WeightLayout::new(&model, BlockUnit::HalfLayer, 1, 1);
        assert_eq!(single.all_slots(&model), [70; 3]);
        assert_eq!(single.layer_slots(&model), 140);
        let all = WeightLayout::new(&model, BlockUnit::Layer, 0, 0);
        assert_eq!((all.all_slots(&model), all.pinned_layers), (vec![100; 3], 3));
    }

    #[test]
    fn blocks_are_numbered_through_the_layers() {
        let model = model();
        let halves = WeightLayout::halves(&model);
        assert!(halves.blocks(&model).map(|b| b.index).eq(0..6));
        assert!(halves.blocks_of(2, &model).map(|b| b.index).eq([4, 5]));
    }
}
