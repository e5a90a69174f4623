//! What is known about a tensor without reading it.

use std::ops::Range;

use crate::dtype::Dtype;

/// A tensor's description: where its bytes are and what they mean.
///
/// As a [`Checkpoint`](crate::Checkpoint) returns it, `range` lies within the shard's file and
/// its length is that of `shape` × `dtype`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TensorInfo {
    /// Name, unique within the checkpoint.
    pub name: String,
    /// Type of the elements.
    pub dtype: Dtype,
    /// Extent of each dimension, outermost first; empty for a scalar. Row-major.
    pub shape: Vec<usize>,
    /// Position in [`Checkpoint::shards`](crate::Checkpoint::shards) of the file that holds it.
    pub shard: usize,
    /// Absolute byte range within that file.
    pub range: Range<u64>,
}

impl TensorInfo {
    /// A description whose range, in bytes, lies in the file of shard `shard`.
    pub fn new(
        name: impl Into<String>,
        dtype: Dtype,
        shape: Vec<usize>,
        shard: usize,
        range: Range<u64>,
    ) -> Self {
        TensorInfo { name: name.into(), dtype, shape, shard, range }
    }

    /// Bytes of the tensor's data.
    pub fn byte_len(&self) -> u64 {
        // A hand-made reversed range is empty, not a panic.
        self.range.end.saturating_sub(self.range.start)
    }

    /// Number of elements: 1 for a scalar, 0 when a dimension is 0.
    pub fn elements(&self) -> usize {
        self.shape.iter().fold(1, |product: usize, &extent| product.saturating_mul(extent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize], range: Range<u64>) -> TensorInfo {
        TensorInfo { name: "t".into(), dtype: Dtype::U8, shape: shape.into(), shard: 0, range }
    }

    #[test]
    fn sizes() {
        assert_eq!(tensor(&[2, 3], 10..16).elements(), 6);
        assert_eq!(tensor(&[2, 3], 10..16).byte_len(), 6);
        assert_eq!(tensor(&[], 10..11).elements(), 1);
        assert_eq!(tensor(&[7, 0], 10..10).elements(), 0);
    }

    #[test]
    #[allow(clippy::reversed_empty_ranges)]
    fn a_hand_made_tensor_does_not_panic() {
        assert_eq!(tensor(&[usize::MAX, 2], 9..3).elements(), usize::MAX);
        assert_eq!(tensor(&[], 9..3).byte_len(), 0);
    }
}
