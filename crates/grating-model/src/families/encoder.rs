//! Post-norm encoder layers: BERT and XLM-RoBERTa (`modeling_bert.py`, `modeling_xlm_roberta.py`).

use grating_kernels::attention::{Heads, Span};

use super::linear::Linear;
use crate::config::{Family, ModelConfig};
use crate::error::Result;
use crate::ops::Ops;
use crate::parts::Spec;
use crate::ragged::Ragged;
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

    pub(crate) fn forward(&self, ops: &O, x: O::Tensor, eps: f32) -> Result<O::Tensor> {
        ops.layer_norm(x, &self.weight, &self.bias, eps)
    }
}

/// A bound attention block: `norm(x + attention(x))`.
pub(crate) struct EncoderAttention<'w, O: Ops> {
    query: Linear<'w, O>,
    key: Linear<'w, O>,
    value: Linear<'w, O>,
    output: Linear<'w, O>,
    norm: LayerNorm<'w, O>,
}

/// A bound feed-forward block: `norm(x + output(act(intermediate(x))))`.
pub(crate) struct EncoderFeedForward<'w, O: Ops> {
    intermediate: Linear<'w, O>,
    output: Linear<'w, O>,
    norm: LayerNorm<'w, O>,
}

impl<'w, O: Ops> EncoderAttention<'w, O> {
    pub(crate) fn bind(ops: &O, weights: &LayerWeights<'w>) -> Result<Self> {
        let linear = |w: &str, b: &str| Linear::bind(ops, weights, w, b);
        let (weight, bias) =
            ("attention.output.LayerNorm.weight", "attention.output.LayerNorm.bias");
        Ok(EncoderAttention {
            query: linear("attention.self.query.weight", "attention.self.query.bias")?,
            key: linear("attention.self.key.weight", "attention.self.key.bias")?,
            value: linear("attention.self.value.weight", "attention.self.value.bias")?,
            output: linear("attention.output.dense.weight", "attention.output.dense.bias")?,
            norm: LayerNorm::bind(ops, weights, weight, bias)?,
        })
    }

    /// Attends with every token of `x` `[tokens, hidden]`.
    pub(crate) fn forward(
        &self,
        ops: &O,
        config: &ModelConfig,
        x: O::Tensor,
        ragged: &Ragged,
    ) -> Result<O::Tensor> {
        let maps = [self.query.map(), self.key.map(), self.value.map()];
        let [q, k, v] = ops.linear(&x, maps)?;
        self.attend(ops, config, x, q, (k, v), &ragged.spans())
    }

    /// Attends with the first token of each sequence alone: `[sequences, hidden]`.
    pub(crate) fn forward_scored(
        &self,
        ops: &O,
        config: &ModelConfig,
        x: O::Tensor,
        ragged: &Ragged,
    ) -> Result<O::Tensor> {
        let rows = ragged.first_rows();
        let [k, v] = ops.linear(&x, [self.key.map(), self.value.map()])?;
        let x = ops.select_rows(&x, &rows)?;
        let [q] = ops.linear(&x, [self.query.map()])?;
        self.attend(ops, config, x, q, (k, v), &ragged.spans_of(&rows))
    }

    fn attend(
        &self,
        ops: &O,
        config: &ModelConfig,
        x: O::Tensor,
        q: O::Tensor,
        (k, v): (O::Tensor, O::Tensor),
        spans: &[Span],
    ) -> Result<O::Tensor> {
        let heads = Heads {
            queries: config.heads,
            keys: config.heads,
            width: config.head_dim,
            causal: false,
        };
        let attended = ops.attention(q, &k, &v, None, heads, spans)?;
        drop((k, v));
        let x = self.output.forward_add(ops, x, &attended)?;
        self.norm.forward(ops, x, config.norm_eps)
    }
}

impl<'w, O: Ops> EncoderFeedForward<'w, O> {
    pub(crate) fn bind(ops: &O, weights: &LayerWeights<'w>) -> Result<Self> {
        let linear = |w: &str, b: &str| Linear::bind(ops, weights, w, b);
        Ok(EncoderFeedForward {
            intermediate: linear("intermediate.dense.weight", "intermediate.dense.bias")?,
            output: linear("output.dense.weight", "output.dense.bias")?,
            norm: LayerNorm::bind(
                ops,
                weights,
                "output.LayerNorm.weight",
                "output.LayerNorm.bias",
            )?,
        })
    }

    pub(crate) fn forward(&self, ops: &O, config: &ModelConfig, x: O::Tensor) -> Result<O::Tensor> {
        let wide = ops.activate(self.intermediate.forward(ops, &x)?, config.activation)?;
        let x = self.output.forward_add(ops, x, &wide)?;
        self.norm.forward(ops, x, config.norm_eps)
    }
}
