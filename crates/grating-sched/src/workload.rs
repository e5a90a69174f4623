//! How much there is to compute, layer by layer.

use crate::chunk;
use crate::shape::{ModelShape, PoolShape};

/// Fixed work of a chunk in a layer (its weights pass from memory to the caches once more, its scratch is
/// packed), in tokens that could have been computed instead. This is why chunks should be large.
pub(crate) const CHUNK_OVERHEAD_TOKENS: f64 = 8.0;

/// What one layer computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LayerLoad {
    /// Tokens of the live candidates, without the shared prefix.
    pub(crate) tokens: usize,
    /// Tokens of the shared prefix.
    pub(crate) prefix_tokens: usize,
    /// Pairs of a query token and a key token that attention looks at.
    pub(crate) token_pairs: f64,
    /// Chunks that the live candidates are packed in.
    pub(crate) chunks: usize,
}

/// What a request computes: one entry per layer that runs, from layer 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    pub(crate) layers: Vec<LayerLoad>,
}

impl LayerLoad {
    fn new(lengths: &[usize], prefix_tokens: usize, chunk_tokens: usize) -> Self {
        let prefix = prefix_tokens as f64;
        let pairs = |n: &usize| *n as f64 * (prefix + *n as f64);
        Self {
            tokens: lengths.iter().fold(0, |sum, &n| sum.saturating_add(n)),
            prefix_tokens,
            token_pairs: prefix * prefix + lengths.iter().map(pairs).sum::<f64>(),
            chunks: chunk::plan(lengths, chunk_tokens).len(),
        }
    }

    /// Tokens computed, the shared prefix included.
    pub(crate) fn all_tokens(&self) -> usize {
        self.tokens.saturating_add(self.prefix_tokens)
    }

    /// Work of the matrix products, overhead of the chunks included, FLOP.
    pub(crate) fn linear_flops(&self, model: &ModelShape) -> f64 {
        let chunks = self.chunks + usize::from(self.prefix_tokens > 0);
        let tokens = self.all_tokens() as f64 + CHUNK_OVERHEAD_TOKENS * chunks as f64;
        tokens * model.flops_per_token
    }

    /// Work of attention over pairs of tokens, FLOP.
    pub(crate) fn pair_flops(&self, model: &ModelShape) -> f64 {
        self.token_pairs * model.attention_flops_per_token_pair
    }
}

impl Workload {
    /// The whole pool through all layers, each with as many tokens as are left in it.
    pub fn full(model: &ModelShape, pool: &PoolShape, chunk_tokens: usize) -> Self {
        let load = |lengths: &[usize]| LayerLoad::new(lengths, pool.prefix_tokens, chunk_tokens);
        let mut layers = vec![load(&pool.lengths); model.layers];
        for later in &pool.later {
            let from = later.from_layer.min(model.layers);
            layers[from..].fill(load(&later.lengths));
        }
        Self { layers }
    }

    /// The work in FLOP as the cost model counts it; give it to [`Machine::observe`](crate::Machine::observe).
    pub fn flops(&self, model: &ModelShape) -> f64 {
        self.layers.iter().map(|load| load.linear_flops(model) + load.pair_flops(model)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_layers_count_what_is_left() {
        let model = ModelShape { layers: 4, flops_per_token: 1.0, ..ModelShape::default() };
        let pool =
            PoolShape::new(vec![100, 10]).with_later(2, vec![40, 10]).with_later(9, vec![1, 1]);
        let load = Workload::full(&model, &pool, 64);
        assert_eq!(load.layers.iter().map(|l| l.tokens).collect::<Vec<_>>(), [110, 110, 50, 50]);
        assert_eq!(load.layers.iter().map(|l| l.chunks).collect::<Vec<_>>(), [2, 2, 1, 1]);
    }

    #[test]
    fn a_layer_counts_prefix_pairs_and_chunks() {
        let load = LayerLoad::new(&[10, 20], 5, 16);
        assert_eq!((load.tokens, load.all_tokens(), load.chunks), (30, 35, 2));
        // 5 x 5 among the prefix, 10 x 15 and 20 x 25 from the candidates.
        assert_eq!(load.token_pairs, 25.0 + 150.0 + 500.0);
    }
}
