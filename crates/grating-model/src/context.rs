//! What the layers need to know of a pass and of each of its chunks.

use std::sync::Arc;

use grating_backend::{Backend, Ops, Ragged};

use crate::error::{ModelError, Result};
use crate::rope::RopeSpec;

/// What all chunks of a pass share: the rotary angles of every position, and the table of distances. Made once.
pub struct PassContext<B: Backend> {
    /// Cosines and sines, `[positions, width / 2]` each, of each of the model's rotary embeddings.
    angles: Vec<(B::Tensor, B::Tensor)>,
    positions: usize,
    distances: Option<Arc<B::Tensor>>,
}

/// Keys and values `[tokens, kv_heads * head_dim]` of a prefix that the candidates of a request share, after one
/// attention block.
pub struct KeysValues<B: Backend> {
    pub(crate) k: B::Tensor,
    pub(crate) v: B::Tensor,
}

impl<B: Backend> KeysValues<B> {
    /// Keys and values.
    pub fn tensors(&self) -> (&B::Tensor, &B::Tensor) {
        (&self.k, &self.v)
    }
}

/// Where a chunk's rows are, as the backend has it. Made once for all layers.
pub struct ChunkLayout<B: Backend> {
    rows: B::Layout,
    /// Tokens of the prefix that the rows continue.
    prefix: usize,
}

/// A chunk of sequences on its way through a layer.
pub struct ChunkContext<'a, B: Backend> {
    pass: &'a PassContext<B>,
    layout: &'a ChunkLayout<B>,
    prefix: Option<&'a KeysValues<B>>,
}

impl<B: Ops> PassContext<B> {
    pub(crate) fn new(
        ops: &B,
        ropes: &[RopeSpec],
        distances: Option<Arc<B::Tensor>>,
        longest: usize,
    ) -> Result<Self> {
        let angles = ropes.iter().map(|rope| {
            let frequencies = rope.frequencies();
            let table = |function| {
                ops.written(longest, rope.width / 2, |out| {
                    frequencies.write(function, out);
                    Ok::<(), ModelError>(())
                })
            };
            Ok((table(f64::cos)?, table(f64::sin)?))
        });
        let angles = angles.collect::<Result<_>>()?;
        Ok(PassContext { angles, positions: longest, distances })
    }

    /// The backend's form of a chunk's rows.
    ///
    /// # Errors
    /// The backend's.
    ///
    /// # Panics
    /// If a sequence is longer than the pass's longest.
    pub fn layout(&self, ops: &B, rows: &Ragged) -> Result<ChunkLayout<B>> {
        assert!(rows.longest() <= self.positions, "a sequence is longer than the pass's");
        Ok(ChunkLayout { rows: ops.layout(rows)?, prefix: rows.prefix() })
    }

    /// A chunk of this pass. `prefix` holds the keys and values of the tokens that its rows continue.
    ///
    /// # Panics
    /// If the rows continue a prefix that did not come.
    pub fn chunk<'a>(
        &'a self,
        layout: &'a ChunkLayout<B>,
        prefix: Option<&'a KeysValues<B>>,
    ) -> ChunkContext<'a, B> {
        assert_eq!(layout.prefix > 0, prefix.is_some(), "a prefix comes with its keys");
        ChunkContext { pass: self, layout, prefix }
    }
}

impl<B: Backend> ChunkLayout<B> {
    /// The backend's own.
    pub fn rows(&self) -> &B::Layout {
        &self.rows
    }
}

impl<'a, B: Backend> ChunkContext<'a, B> {
    pub(crate) fn rows(&self) -> &'a B::Layout {
        &self.layout.rows
    }

    pub(crate) fn prefix(&self) -> Option<(&'a B::Tensor, &'a B::Tensor)> {
        self.prefix.map(KeysValues::tensors)
    }

    /// The table of distances between tokens, `[rows, hidden]`.
    pub(crate) fn distances(&self) -> &'a B::Tensor {
        self.pass.distances.as_ref().expect("a model whose layers attend by distance has a table")
    }

    /// Tables of cosines and sines of the model's rotary embedding `rope`.
    pub(crate) fn angles(&self, rope: usize) -> (&'a B::Tensor, &'a B::Tensor) {
        let (cos, sin) = &self.pass.angles[rope];
        (cos, sin)
    }
}
