//! Post-norm encoder layers: BERT and XLM-RoBERTa (`modeling_bert.py`, `modeling_xlm_roberta.py`).

use super::linear::Linear;
use crate::config::{Family, ModelConfig};
use crate::error::Result;
use crate::model::ChunkContext;
use crate::ops::{AttentionShape, Ops};
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

/// The tensors of one layer. Checkpoints converted from TensorFlow spell LayerNorm's `gamma` and `beta`.
pub(crate) fn layer_specs(config: &ModelConfig) -> Vec<Spec> {
    let (h, f) = (config.hidden, config.intermediate);
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
        Spec::new("intermediate.dense.weight", [f, h]),
        Spec::new("intermediate.dense.bias", [f]),
        Spec::new("output.dense.weight", [h, f]),
        Spec::new("output.dense.bias", [h]),
        Spec::new("output.LayerNorm.weight", [h]).or("output.LayerNorm.gamma"),
        Spec::new("output.LayerNorm.bias", [h]).or("output.LayerNorm.beta"),
    ]
}

/// LayerNorm's weight and bias.
pub(crate) struct LayerNorm<'w, O: Ops> {
    weight: O::Weight<'w>,
    bias: O::Weight<'w>,
}

impl<'w, O: Ops> LayerNorm<'w, O> {
    pub(crate) fn bind(
        ops: &O,
        weights: &LayerWeights<'w>,
        weight: &str,
        bias: &str,
    ) -> Result<Self> {
        Ok(LayerNorm {
            weight: ops.bind(weights.view(weight)?)?,
            bias: ops.bind(weights.view(bias)?)?,
        })
    }

    pub(crate) fn forward(&self, ops: &O, x: &O::Tensor, eps: f32) -> Result<O::Tensor> {
        ops.layer_norm(x, &self.weight, &self.bias, eps)
    }
}

/// One bound encoder layer.
pub(crate) struct EncoderLayer<'w, O: Ops> {
    query: Linear<'w, O>,
    key: Linear<'w, O>,
    value: Linear<'w, O>,
    attention_output: Linear<'w, O>,
    attention_norm: LayerNorm<'w, O>,
    intermediate: Linear<'w, O>,
    output: Linear<'w, O>,
    output_norm: LayerNorm<'w, O>,
}

impl<'w, O: Ops> EncoderLayer<'w, O> {
    pub(crate) fn bind(ops: &O, weights: &LayerWeights<'w>) -> Result<Self> {
        let linear = |w: &str, b: &str| Linear::bind(ops, weights, w, b);
        let norm = |w: &str, b: &str| LayerNorm::bind(ops, weights, w, b);
        Ok(EncoderLayer {
            query: linear("attention.self.query.weight", "attention.self.query.bias")?,
            key: linear("attention.self.key.weight", "attention.self.key.bias")?,
            value: linear("attention.self.value.weight", "attention.self.value.bias")?,
            attention_output: linear(
                "attention.output.dense.weight",
                "attention.output.dense.bias",
            )?,
            attention_norm: norm(
                "attention.output.LayerNorm.weight",
                "attention.output.LayerNorm.bias",
            )?,
            intermediate: linear("intermediate.dense.weight", "intermediate.dense.bias")?,
            output: linear("output.dense.weight", "output.dense.bias")?,
            output_norm: norm("output.LayerNorm.weight", "output.LayerNorm.bias")?,
        })
    }

    /// `norm(x + attention(x))`, then `norm(x + feed_forward(x))`; `x` is `[tokens, hidden]`.
    pub(crate) fn forward(
        &self,
        ops: &O,
        config: &ModelConfig,
        x: O::Tensor,
        context: &ChunkContext<O>,
    ) -> Result<O::Tensor> {
        let q = self.query.forward(ops, &x)?;
        let k = self.key.forward(ops, &x)?;
        let v = self.value.forward(ops, &x)?;
        let shape = AttentionShape {
            heads: config.heads,
            kv_heads: config.heads,
            head_dim: config.head_dim,
            causal: false,
        };
        let attended = ops.attention(&q, &k, &v, shape, context.ragged())?;
        let attended = self.attention_output.forward(ops, &attended)?;
        let x = self.attention_norm.forward(ops, &ops.add(&x, &attended)?, config.norm_eps)?;
        let wide = ops.activate(&self.intermediate.forward(ops, &x)?, config.activation)?;
        let narrow = self.output.forward(ops, &wide)?;
        self.output_norm.forward(ops, &ops.add(&x, &narrow)?, config.norm_eps)
    }
}
