//! Post-norm encoder layers: BERT and XLM-RoBERTa (`modeling_bert.py`, `modeling_xlm_roberta.py`).

use grating_backend::{AttentionSpec, Ops, Rows};

use super::linear::Linear;
use crate::config::{Family, ModelConfig};
use crate::context::ChunkContext;
use crate::error::Result;
use crate::parts::Spec;
use crate::weights::LayerWeights;

/// Prefix of all tensors of the encoder itself.
pub(crate) fn model_prefix(family: Family) -> &'static str {
    match family {
        Family::XlmRoberta => "roberta.",
        _ => "bert.",
    }
}

/// Prefix of layer `i`'s tensors.
pub(crate) fn layer_prefix(family: Family, layer: usize) -> String {
    format!("{}encoder.layer.{layer}.", model_prefix(family))
}

/// The tensors of one layer's attention block. Checkpoints converted from TensorFlow spell LayerNorm's `gamma` and
/// `beta`.
pub(crate) fn attention_specs(config: &ModelConfig) -> Vec<Spec> {
    let h = config.hidden;
    vec![
        Spec::new("attention.self.query.weight", [h, h]),
        Spec::new("attention.self.query.bias", [h]),
        Spec::new("attention.self.key.weight", [h, h]),
        Spec::new("attention.self.key.bias", [h]),
        Spec::new("attention.self.value.weight", [h, h]),
        Spec::new("attention.self.value.bias", [h]),
        Spec::new("attention.output.dense.weight", [h, h]),
        Spec::new("attention.output.dense.bias", [h]),
        Spec::new("attention.output.LayerNorm.weight", [h]).or("attention.output.LayerNorm.gamma"),
        Spec::new("attention.output.LayerNorm.bias", [h]).or("attention.output.LayerNorm.beta"),
    ]
}

/// The tensors of one layer's feed-forward block.
pub(crate) fn feed_forward_specs(config: &ModelConfig) -> Vec<Spec> {
    let (h, f) = (config.hidden, config.intermediate);
    vec![
        Spec::new("intermediate.dense.weight", [f, h]),
        Spec::new("intermediate.dense.bias", [f]),
        Spec::new("output.dense.weight", [h, f]),
        Spec::new("output.dense.bias", [h]),
        Spec::new("output.LayerNorm.weight", [h]).or("output.LayerNorm.gamma"),
        Spec::new("output.LayerNorm.bias", [h]).or("output.LayerNorm.beta"),
    ]
}

/// LayerNorm's weight and bias.
pub(crate) struct LayerNorm<'w, B: Ops> {
    weight: B::Weight<'w>,
    bias: B::Weight<'w>,
}

impl<'w, B: Ops> LayerNorm<'w, B> {
    pub(crate) fn bind(weights: &LayerWeights<'w, B>, weight: &str, bias: &str) -> Result<Self> {
        Ok(LayerNorm { weight: weights.bind(weight)?, bias: weights.bind(bias)? })
    }

    pub(crate) fn forward(&self, ops: &B, x: B::Tensor, eps: f32) -> Result<B::Tensor> {
        Ok(ops.layer_norm(x, &self.weight, &self.bias, eps)?)
    }
}

/// A bound attention block: `norm(x + attention(x))`.
pub(crate) struct EncoderAttention<'w, B: Ops> {
    query: Linear<'w, B>,
    key: Linear<'w, B>,
    value: Linear<'w, B>,
    output: Linear<'w, B>,
    norm: LayerNorm<'w, B>,
}

/// A bound feed-forward block: `norm(x + output(act(intermediate(x))))`.
pub(crate) struct EncoderFeedForward<'w, B: Ops> {
    intermediate: Linear<'w, B>,
    output: Linear<'w, B>,
    norm: LayerNorm<'w, B>,
}

// Shapes: t tokens of a chunk, s sequences, h hidden = heads * head_dim, f intermediate.
impl<'w, B: Ops> EncoderAttention<'w, B> {
    pub(crate) fn bind(weights: &LayerWeights<'w, B>) -> Result<Self> {
        let linear = |w: &str, b: &str| Linear::bind(weights, w, b);
        let (weight, bias) =
            ("attention.output.LayerNorm.weight", "attention.output.LayerNorm.bias");
        Ok(EncoderAttention {
            query: linear("attention.self.query.weight", "attention.self.query.bias")?,
            key: linear("attention.self.key.weight", "attention.self.key.bias")?,
            value: linear("attention.self.value.weight", "attention.self.value.bias")?,
            output: linear("attention.output.dense.weight", "attention.output.dense.bias")?,
            norm: LayerNorm::bind(weights, weight, bias)?,
        })
    }

    /// Attends with every token: `[t, h] -> [t, h]`.
    pub(crate) fn forward(
        &self,
        ops: &B,
        config: &ModelConfig,
        x: B::Tensor,
        chunk: &ChunkContext<'_, B>,
    ) -> Result<B::Tensor> {
        let maps = [self.query.map(), self.key.map(), self.value.map()];
        let [q, k, v] = ops.linear(&x, maps)?; // [t, h] each
        self.attend(ops, config, x, q, (k, v), chunk, Rows::All)
    }

    /// Attends with the scored token of each sequence alone: `[t, h] -> [s, h]`.
    pub(crate) fn forward_scored(
        &self,
        ops: &B,
        config: &ModelConfig,
        x: B::Tensor,
        chunk: &ChunkContext<'_, B>,
    ) -> Result<B::Tensor> {
        let [k, v] = ops.linear(&x, [self.key.map(), self.value.map()])?; // [t, h] each
        let x = ops.scored_rows(&x, chunk.rows())?; // [s, h]
        let [q] = ops.linear(&x, [self.query.map()])?; // [s, h]
        self.attend(ops, config, x, q, (k, v), chunk, Rows::Scored)
    }

    #[allow(clippy::too_many_arguments)]
    fn attend(
        &self,
        ops: &B,
        config: &ModelConfig,
        x: B::Tensor,
        q: B::Tensor,
        (k, v): (B::Tensor, B::Tensor),
        chunk: &ChunkContext<'_, B>,
        rows: Rows,
    ) -> Result<B::Tensor> {
        let spec = AttentionSpec::new(config.heads, config.heads, config.head_dim, false);
        let attended = ops.attention(q, (&k, &v), None, &spec, chunk.rows(), rows)?; // as q
        drop((k, v));
        let x = self.output.forward_add(ops, x, &attended)?; // as x
        self.norm.forward(ops, x, config.norm_eps)
    }
}

impl<'w, B: Ops> EncoderFeedForward<'w, B> {
    pub(crate) fn bind(weights: &LayerWeights<'w, B>) -> Result<Self> {
        let linear = |w: &str, b: &str| Linear::bind(weights, w, b);
        let (weight, bias) = ("output.LayerNorm.weight", "output.LayerNorm.bias");
        Ok(EncoderFeedForward {
            intermediate: linear("intermediate.dense.weight", "intermediate.dense.bias")?,
            output: linear("output.dense.weight", "output.dense.bias")?,
            norm: LayerNorm::bind(weights, weight, bias)?,
        })
    }

    /// `[t, h] -> [t, h]`
    pub(crate) fn forward(&self, ops: &B, config: &ModelConfig, x: B::Tensor) -> Result<B::Tensor> {
        let wide = ops.activate(self.intermediate.forward(ops, &x)?, config.activation)?; // [t, f]
        let x = self.output.forward_add(ops, x, &wide)?; // [t, h]
        self.norm.forward(ops, x, config.norm_eps)
    }
}
