//! Pre-norm decoder layers: Qwen3, Qwen2 and Llama (`modeling_qwen3.py`, `modeling_qwen2.py`, `modeling_llama.py`).

use super::linear::Linear;
use crate::config::{Family, ModelConfig};
use crate::error::Result;
use crate::model::ChunkContext;
use crate::ops::{AttentionShape, Ops};
use crate::parts::Spec;
use crate::weights::LayerWeights;

/// Prefix of layer `i`'s tensors.
pub(crate) fn layer_prefix(layer: usize) -> String {
    format!("model.layers.{layer}.")
}

/// The tensors of one layer.
pub(crate) fn layer_specs(config: &ModelConfig) -> Vec<Spec> {
    let ModelConfig { hidden, heads, kv_heads, head_dim, intermediate, .. } = *config;
    let (q, kv) = (heads * head_dim, kv_heads * head_dim);
    let mut specs = vec![
        Spec::new("input_layernorm.weight", [hidden]),
        Spec::new("self_attn.q_proj.weight", [q, hidden]),
        Spec::new("self_attn.k_proj.weight", [kv, hidden]),
        Spec::new("self_attn.v_proj.weight", [kv, hidden]),
        Spec::new("self_attn.o_proj.weight", [hidden, q]),
        Spec::new("post_attention_layernorm.weight", [hidden]),
        Spec::new("mlp.gate_proj.weight", [intermediate, hidden]),
        Spec::new("mlp.up_proj.weight", [intermediate, hidden]),
        Spec::new("mlp.down_proj.weight", [hidden, intermediate]),
    ];
    if config.family == Family::Qwen3 {
        specs.push(Spec::new("self_attn.q_norm.weight", [head_dim]));
        specs.push(Spec::new("self_attn.k_norm.weight", [head_dim]));
    }
    if config.qkv_bias {
        specs.push(Spec::new("self_attn.q_proj.bias", [q]));
        specs.push(Spec::new("self_attn.k_proj.bias", [kv]));
        specs.push(Spec::new("self_attn.v_proj.bias", [kv]));
    }
    if config.output_bias {
        specs.push(Spec::new("self_attn.o_proj.bias", [hidden]));
    }
    if config.mlp_bias {
        specs.push(Spec::new("mlp.gate_proj.bias", [intermediate]));
        specs.push(Spec::new("mlp.up_proj.bias", [intermediate]));
        specs.push(Spec::new("mlp.down_proj.bias", [hidden]));
    }
    specs
}

/// One bound decoder layer.
pub(crate) struct DecoderLayer<'w, O: Ops> {
    input_layernorm: O::Weight<'w>,
    q_proj: Linear<'w, O>,
    k_proj: Linear<'w, O>,
    v_proj: Linear<'w, O>,
    o_proj: Linear<'w, O>,
    q_norm: Option<O::Weight<'w>>,
    k_norm: Option<O::Weight<'w>>,
    post_attention_layernorm: O::Weight<'w>,
    gate_proj: Linear<'w, O>,
    up_proj: Linear<'w, O>,
    down_proj: Linear<'w, O>,
}

impl<'w, O: Ops> DecoderLayer<'w, O> {
    pub(crate) fn bind(ops: &O, weights: &LayerWeights<'w>) -> Result<Self> {
        let linear = |w: &str, b: &str| Linear::bind(ops, weights, w, b);
        let vector = |name: &str| ops.bind(weights.view(name)?);
        let optional = |name: &str| weights.optional(name).map(|view| ops.bind(view)).transpose();
        Ok(DecoderLayer {
            input_layernorm: vector("input_layernorm.weight")?,
            q_proj: linear("self_attn.q_proj.weight", "self_attn.q_proj.bias")?,
            k_proj: linear("self_attn.k_proj.weight", "self_attn.k_proj.bias")?,
            v_proj: linear("self_attn.v_proj.weight", "self_attn.v_proj.bias")?,
            o_proj: linear("self_attn.o_proj.weight", "self_attn.o_proj.bias")?,
            q_norm: optional("self_attn.q_norm.weight")?,
            k_norm: optional("self_attn.k_norm.weight")?,
            post_attention_layernorm: vector("post_attention_layernorm.weight")?,
            gate_proj: linear("mlp.gate_proj.weight", "mlp.gate_proj.bias")?,
            up_proj: linear("mlp.up_proj.weight", "mlp.up_proj.bias")?,
            down_proj: linear("mlp.down_proj.weight", "mlp.down_proj.bias")?,
        })
    }

    /// `x + attention(norm(x))`, then `x + feed_forward(norm(x))`; `x` is `[tokens, hidden]`.
    pub(crate) fn forward(
        &self,
        ops: &O,
        config: &ModelConfig,
        x: O::Tensor,
        context: &ChunkContext<O>,
    ) -> Result<O::Tensor> {
        let normed = ops.rms_norm(&x, &self.input_layernorm, config.norm_eps)?;
        let x = ops.add(&x, &self.attention(ops, config, &normed, context)?)?;
        let normed = ops.rms_norm(&x, &self.post_attention_layernorm, config.norm_eps)?;
        ops.add(&x, &self.feed_forward(ops, config, &normed)?)
    }

    fn attention(
        &self,
        ops: &O,
        config: &ModelConfig,
        x: &O::Tensor,
        context: &ChunkContext<O>,
    ) -> Result<O::Tensor> {
        let mut q = self.q_proj.forward(ops, x)?;
        let mut k = self.k_proj.forward(ops, x)?;
        let v = self.v_proj.forward(ops, x)?;
        if let Some(weight) = &self.q_norm {
            q = ops.rms_norm(&q, weight, config.norm_eps)?;
        }
        if let Some(weight) = &self.k_norm {
            k = ops.rms_norm(&k, weight, config.norm_eps)?;
        }
        let (cos, sin) = context.angles();
        let q = ops.rope(&q, cos, sin, config.head_dim)?;
        let k = ops.rope(&k, cos, sin, config.head_dim)?;
        let shape = AttentionShape {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            causal: true,
        };
        let attended = ops.attention(&q, &k, &v, shape, context.ragged())?;
        self.o_proj.forward(ops, &attended)
    }

    /// Gated feed-forward: `down(act(gate(x)) * up(x))`.
    fn feed_forward(&self, ops: &O, config: &ModelConfig, x: &O::Tensor) -> Result<O::Tensor> {
        let gate = ops.activate(&self.gate_proj.forward(ops, x)?, config.activation)?;
        let gated = ops.mul(&gate, &self.up_proj.forward(ops, x)?)?;
        self.down_proj.forward(ops, &gated)
    }
}
