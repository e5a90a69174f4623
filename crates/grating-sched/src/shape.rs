//! What is planned for: the sizes of a model and of a pool.

use std::collections::BTreeSet;

use crate::block::BlockPart;
use crate::error::PlanError;

/// Bytes of an `f32`, the type of activations.
pub(crate) const F32: u64 = 4;

/// What a model needs, by size. All layers are taken to be alike: give the largest.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ModelShape {
    /// Number of layers.
    pub layers: usize,
    /// Weights of one layer's attention block as stored, norms included, bytes.
    pub attention_bytes: u64,
    /// Weights of one layer's feed-forward block as stored, norms included, bytes.
    pub feed_forward_bytes: u64,
    /// What a slot must have for a whole layer, bytes: its weights, and what alignment and reading neighbours in one go
    /// add. The reader says how much (`grating_io::Block::slot_bytes`).
    pub layer_slot: u64,
    /// What a slot must have for an attention block, bytes.
    pub attention_slot: u64,
    /// What a slot must have for a feed-forward block, bytes.
    pub feed_forward_slot: u64,
    /// What stays in memory all the time: stem, head, position rows, bytes.
    pub resident_bytes: u64,
    /// Width of the hidden state, elements of f32.
    pub hidden: usize,
    /// Rows of the token-embedding matrix.
    pub vocab: usize,
    /// Bytes of one row of the token-embedding matrix as stored.
    pub row_bytes: u64,
    /// Work of one layer's matrix products per token, FLOP.
    pub flops_per_token: f64,
    /// Work of one layer's attention per pair of query token and key token, FLOP.
    pub attention_flops_per_token_pair: f64,
    /// Columns of the keys and values that the shared prefix keeps: 2 × kv heads × head size.
    pub kv_columns: usize,
    /// Bytes of an element of those.
    pub key_bytes: u64,
    /// Activations live at the widest point of a layer, bytes per token of a chunk, without the
    /// hidden state itself.
    pub workspace_per_token: u64,
    /// Scratch that does not grow with the chunk (packing and attention, all threads), bytes.
    pub workspace_fixed: u64,
}

impl ModelShape {
    /// A model of so many layers over hidden states of so many columns, with keys of f32; every other size is 0 until it
    /// is set.
    pub fn new(layers: usize, hidden: usize) -> Self {
        Self { layers, hidden, key_bytes: F32, ..Self::default() }
    }

    /// Weights of one layer as stored, bytes.
    pub fn layer_bytes(&self) -> u64 {
        self.attention_bytes.saturating_add(self.feed_forward_bytes)
    }

    /// Weights of a block as stored, bytes.
    pub fn block_bytes(&self, part: BlockPart) -> u64 {
        match part {
            BlockPart::Whole => self.layer_bytes(),
            BlockPart::Attention => self.attention_bytes,
            BlockPart::FeedForward => self.feed_forward_bytes,
        }
    }

    /// What a slot must have for a block, bytes.
    pub fn slot_bytes(&self, part: BlockPart) -> u64 {
        match part {
            BlockPart::Whole => self.layer_slot,
            BlockPart::Attention => self.attention_slot,
            BlockPart::FeedForward => self.feed_forward_slot,
        }
    }

    /// Hidden states of so many tokens, bytes.
    pub fn hidden_bytes(&self, tokens: usize) -> u64 {
        (tokens as u64).saturating_mul(self.hidden as u64).saturating_mul(F32)
    }

    pub(crate) fn validate(&self) -> Result<(), PlanError> {
        if self.layers == 0 {
            return Err(PlanError::NoLayers);
        }
        for (what, found) in [
            ("flops_per_token", self.flops_per_token),
            ("attention_flops_per_token_pair", self.attention_flops_per_token_pair),
        ] {
            if !(found.is_finite() && found >= 0.0) {
                let expected = "at least 0";
                return Err(PlanError::InvalidNumber { what, found, expected });
            }
        }
        Ok(())
    }
}

/// A pool of candidates, by length.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolShape {
    /// Tokens computed for each candidate, in the order in which they are packed, without the
    /// shared prefix.
    pub lengths: Vec<usize>,
    /// Tokens of the prefix that all candidates share and that is computed once per layer; 0 for
    /// none.
    pub prefix_tokens: usize,
    /// What is left of them in later layers where tokens leave long ones, the earliest layer first.
    pub later: Vec<LaterLengths>,
}

/// The candidates of a pool from some layer on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaterLengths {
    /// The first layer that computes so few tokens.
    pub from_layer: usize,
    /// Tokens computed for each candidate from there on, without the shared prefix.
    pub lengths: Vec<usize>,
}

impl PoolShape {
    /// A pool of these candidates without a shared prefix.
    pub fn new(lengths: Vec<usize>) -> Self {
        Self { lengths, prefix_tokens: 0, later: Vec::new() }
    }

    /// So many candidates of the same length, without a shared prefix.
    pub fn uniform(candidates: usize, tokens: usize) -> Self {
        Self::new(vec![tokens; candidates])
    }

    /// With a shared prefix of so many tokens.
    #[must_use]
    pub fn with_prefix(self, prefix_tokens: usize) -> Self {
        Self { prefix_tokens, ..self }
    }

    /// With these lengths from a layer on, which is after those that were given before.
    #[must_use]
    pub fn with_later(mut self, from_layer: usize, lengths: Vec<usize>) -> Self {
        self.later.push(LaterLengths { from_layer, lengths });
        self
    }

    /// Tokens that a layer computes for each candidate, without the shared prefix.
    pub fn lengths_in(&self, layer: usize) -> &[usize] {
        let later = self.later.iter().rev().find(|later| later.from_layer <= layer);
        later.map_or(&self.lengths, |later| &later.lengths)
    }

    /// The candidates of several pools, one pool's after the other's, with a prefix of so many tokens.
    pub fn joined<'a>(pools: impl Iterator<Item = &'a PoolShape> + Clone, prefix: usize) -> Self {
        let layers = pools.clone().flat_map(|pool| pool.later.iter().map(|later| later.from_layer));
        let layers: BTreeSet<usize> = layers.collect();
        let all = |layer: usize| -> Vec<usize> {
            pools.clone().flat_map(|pool| pool.lengths_in(layer).iter().copied()).collect()
        };
        let lengths = pools.clone().flat_map(|pool| pool.lengths.iter().copied()).collect();
        let joined = PoolShape::new(lengths).with_prefix(prefix);
        layers.into_iter().fold(joined, |joined, layer| joined.with_later(layer, all(layer)))
    }

    /// Tokens of all candidates, without the shared prefix.
    pub fn tokens(&self) -> usize {
        self.lengths.iter().fold(0, |sum, &n| sum.saturating_add(n))
    }

    /// Length of the longest candidate, tokens.
    pub fn longest(&self) -> usize {
        self.lengths.iter().copied().max().unwrap_or(0)
    }

    /// The smallest chunk that can hold every candidate, and the prefix, whole; at least 1.
    pub fn smallest_chunk(&self) -> usize {
        self.longest().max(self.prefix_tokens).max(1)
    }

    /// An upper bound of the number of different token ids: one per token, none beyond the vocabulary.
    pub fn distinct_ids(&self, vocab: usize) -> usize {
        self.tokens().saturating_add(self.prefix_tokens).min(vocab)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_pools_shrink_where_any_of_them_does() {
        let first =
            PoolShape::new(vec![10, 20]).with_later(3, vec![10, 12]).with_later(5, vec![10, 8]);
        let second = PoolShape::new(vec![30]).with_prefix(4).with_later(4, vec![15]);
        let joined = PoolShape::joined([&first, &second].into_iter(), 4);
        assert_eq!((&*joined.lengths, joined.prefix_tokens), (&[10, 20, 30][..], 4));
        let lengths = [2, 3, 4, 5, 9].map(|layer| joined.lengths_in(layer));
        let expected =
            [[10, 20, 30], [10, 12, 30], [10, 12, 15], [10, 8, 15], [10, 8, 15]].map(Vec::from);
        assert_eq!(lengths.map(Vec::from), expected);
    }
}
