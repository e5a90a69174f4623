//! Blocks of weights: what is read at once, and in which order.

/// Alignment of reads past the page cache, bytes.
pub const PAGE: u64 = 4096;

/// Separate extents of a file that one block may consist of: an encoder layer has 16 tensors.
const EXTENTS: u64 = 16;

/// Bytes that a slot needs for a block of so many bytes of weights.
///
/// Reads past the page cache start and end on pages, so an extent of n bytes takes up to n + 2 × (4096 − 1).
/// A slot is therefore ⌈bytes / 4096⌉ × 4096 + 16 × 2 × 4096: whole pages, and a page before and after each of
/// up to 16 extents (128 KiB together). Nothing to read needs no slot.
pub fn slot_capacity(bytes: u64) -> u64 {
    if bytes == 0 {
        return 0;
    }
    bytes.div_ceil(PAGE).saturating_mul(PAGE).saturating_add(2 * EXTENTS * PAGE)
}

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

    /// Every block of a model of so many layers, as (layer, part), in the order in which they are read and computed.
    ///
    /// Those of pinned layers are read by the first request alone. A slot is free for the next block of its size as soon
    /// as the block that had it is computed.
    ///
    /// ```
    /// use grating_sched::{BlockPart::{Attention, FeedForward}, BlockUnit};
    ///
    /// let order = BlockUnit::HalfLayer.order(2);
    /// assert!(order.eq([(0, Attention), (0, FeedForward), (1, Attention), (1, FeedForward)]));
    /// ```
    pub fn order(self, layers: usize) -> impl Iterator<Item = (usize, BlockPart)> {
        (0..layers).flat_map(move |layer| self.parts().iter().map(move |&part| (layer, part)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacities_are_pages_with_room_to_align() {
        assert_eq!(slot_capacity(0), 0);
        assert_eq!(slot_capacity(1), 33 * PAGE);
        assert_eq!(slot_capacity(PAGE), 33 * PAGE);
        assert_eq!(slot_capacity(PAGE + 1), 34 * PAGE);
        // The worst case: 16 extents that each start on the last byte of a page.
        let extents = [PAGE + 2; 16];
        let read: u64 = extents.iter().map(|n| (PAGE - 1 + n).div_ceil(PAGE) * PAGE).sum();
        assert!(read <= slot_capacity(extents.iter().sum()));
    }
}
