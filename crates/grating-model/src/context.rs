//! What the layers need to know of a request and of each of its chunks.

use crate::config::{ModelConfig, Positions};
use crate::error::{ModelError, Result};
use crate::ops::Ops;
use crate::ragged::Ragged;
use crate::rope::Rope;

/// What all chunks of a request share: the rotary angles of every position. Made once per request.
pub struct RequestContext<O: Ops> {
    /// Cosines and sines, `[positions, head_dim / 2]` each.
    angles: Option<(O::Tensor, O::Tensor)>,
    positions: usize,
}

/// Keys and values `[tokens, kv_heads * head_dim]` of a prefix that all candidates share, after one attention block.
pub struct KeysValues<O: Ops> {
    pub(crate) k: O::Tensor,
    pub(crate) v: O::Tensor,
}

impl<O: Ops> KeysValues<O> {
    /// Keys and values.
    pub fn tensors(&self) -> (&O::Tensor, &O::Tensor) {
        (&self.k, &self.v)
    }
}

/// A chunk of sequences on its way through a layer.
pub struct ChunkContext<'a, O: Ops> {
    request: &'a RequestContext<O>,
    ragged: &'a Ragged,
    positions: Vec<u32>,
    prefix: Option<&'a KeysValues<O>>,
}

impl<O: Ops> RequestContext<O> {
    pub(crate) fn new(ops: &O, config: &ModelConfig, longest: usize) -> Result<Self> {
        if longest > config.max_positions {
            let positions = config.max_positions;
            return Err(ModelError::TooManyTokens { tokens: longest, positions });
        }
        let angles = match config.positions {
            Positions::Absolute { .. } => None,
            Positions::Rope { theta, scaling } => {
                let rope = Rope::new(theta, scaling, config.head_dim);
                let table = |function| {
                    ops.written(longest, config.head_dim / 2, |out| {
                        rope.write(function, out);
                        Ok(())
                    })
                };
                Some((table(f64::cos)?, table(f64::sin)?))
            }
        };
        Ok(RequestContext { angles, positions: longest })
    }

    /// A chunk of this request. `prefix` holds the keys and values of the tokens that `ragged` continues.
    ///
    /// # Panics
    /// If a sequence is longer than the request's longest, or `ragged` continues a prefix that did not come.
    pub fn chunk<'a>(
        &'a self,
        ragged: &'a Ragged,
        prefix: Option<&'a KeysValues<O>>,
    ) -> ChunkContext<'a, O> {
        assert!(ragged.longest() <= self.positions, "a sequence is longer than the request's");
        assert_eq!(ragged.prefix() > 0, prefix.is_some(), "a prefix comes with its keys");
        let positions = ragged.positions().map(|p| p as u32).collect();
        ChunkContext { request: self, ragged, positions, prefix }
    }
}

impl<'a, O: Ops> ChunkContext<'a, O> {
    /// Where each sequence lies.
    pub fn ragged(&self) -> &'a Ragged {
        self.ragged
    }

    /// The position of each row.
    pub(crate) fn positions(&self) -> &[u32] {
        &self.positions
    }

    pub(crate) fn prefix(&self) -> Option<&'a KeysValues<O>> {
        self.prefix
    }

    /// Tables of cosines and sines.
    pub(crate) fn angles(&self) -> (&O::Tensor, &O::Tensor) {
        let (cos, sin) = self.request.angles.as_ref().expect("decoders' contexts have angles");
        (cos, sin)
    }
}
