//! Pre-norm decoder layers: Qwen3, Qwen2 and Llama (`modeling_qwen3.py`, `modeling_qwen2.py`, `modeling_llama.py`).

use grating_kernels::attention::{Heads, Span};

use super::linear::Linear;
use crate::config::{Family, ModelConfig};
use crate::context::{ChunkContext, KeysValues};
use crate::error::Result;
use crate::ops::Ops;
use crate::parts::Spec;
use crate::weights::LayerWeights;

/// Prefix of layer `i`'s tensors.
pub(crate) fn layer_prefix(layer: usize) -> String {
    format!("model.layers.{layer}.")
}

/// The tensors of one layer's attention block.
pub(crate) fn attention_specs(config: &ModelConfig) -> Vec<Spec> {
    let ModelConfig { hidden, heads, kv_heads, head_dim, .. } = *config;
    let (q, kv) = (heads * head_dim, kv_heads * head_dim);
    let mut specs = vec![
        Spec::new("input_layernorm.weight", [hidden]),
        Spec::new("self_attn.q_proj.weight", [q, hidden]),
        Spec::new("self_attn.k_proj.weight", [kv, hidden]),
        Spec::new("self_attn.v_proj.weight", [kv, hidden]),
        Spec::new("self_attn.o_proj.weight", [hidden, q]),
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
    specs
}

/// The tensors of one layer's feed-forward block.
pub(crate) fn feed_forward_specs(config: &ModelConfig) -> Vec<Spec> {
    let ModelConfig { hidden, intermediate, .. } = *config;
    let mut specs = vec![
        Spec::new("post_attention_layernorm.weight", [hidden]),
        Spec::new("mlp.gate_proj.weight", [intermediate, hidden]),
        Spec::new("mlp.up_proj.weight", [intermediate, hidden]),
        Spec::new("mlp.down_proj.weight", [hidden, intermediate]),
    ];
    if config.mlp_bias {
        specs.push(Spec::new("mlp.gate_proj.bias", [intermediate]));
        specs.push(Spec::new("mlp.up_proj.bias", [intermediate]));
        specs.push(Spec::new("mlp.down_proj.bias", [hidden]));
    }
    specs
}

/// A bound attention block: `x + attention(norm(x))`.
pub(crate) struct DecoderAttention<'w, O: Ops> {
    input_layernorm: O::Weight<'w>,
    q_proj: Linear<'w, O>,
    k_proj: Linear<'w, O>,
    v_proj: Linear<'w, O>,
    o_proj: Linear<'w, O>,
    q_norm: Option<O::Weight<'w>>,
    k_norm: Option<O::Weight<'w>>,
}

/// A bound feed-forward block: `x + down(act(gate(norm(x))) * up(norm(x)))`.
pub(crate) struct DecoderFeedForward<'w, O: Ops> {
    post_attention_layernorm: O::Weight<'w>,
    gate_proj: Linear<'w, O>,
    up_proj: Linear<'w, O>,
    down_proj: Linear<'w, O>,
}

impl<'w, O: Ops> DecoderAttention<'w, O> {
    pub(crate) fn bind(ops: &O, weights: &LayerWeights<'w>) -> Result<Self> {
        let linear = |w: &str, b: &str| Linear::bind(ops, weights, w, b);
        let optional = |name: &str| weights.optional(name).map(|view| ops.bind(view)).transpose();
        Ok(DecoderAttention {
            input_layernorm: ops.bind(weights.view("input_layernorm.weight")?)?,
            q_proj: linear("self_attn.q_proj.weight", "self_attn.q_proj.bias")?,
            k_proj: linear("self_attn.k_proj.weight", "self_attn.k_proj.bias")?,
            v_proj: linear("self_attn.v_proj.weight", "self_attn.v_proj.bias")?,
            o_proj: linear("self_attn.o_proj.weight", "self_attn.o_proj.bias")?,
            q_norm: optional("self_attn.q_norm.weight")?,
            k_norm: optional("self_attn.k_norm.weight")?,
        })
    }

    /// Attends with every token of `x` `[tokens, hidden]`; also returns the keys and values, for those that come after.
    pub(crate) fn forward(
        &self,
        ops: &O,
        config: &ModelConfig,
        x: O::Tensor,
        chunk: &ChunkContext<'_, O>,
    ) -> Result<(O::Tensor, KeysValues<O>)> {
        let normed = ops.rms_norm(&x, &self.input_layernorm, config.norm_eps)?;
        let maps = [self.q_proj.map(), self.k_proj.map(), self.v_proj.map()];
        let [q, k, v] = ops.linear(&normed, maps)?;
        drop(normed);
        let q = self.turn(ops, config, q, &self.q_norm, chunk, chunk.positions())?;
        let k = self.turn(ops, config, k, &self.k_norm, chunk, chunk.positions())?;
        let own = KeysValues { k, v };
        let x = self.attend(ops, config, x, q, &own, chunk, &chunk.ragged().spans())?;
        Ok((x, own))
    }

    /// Attends with the last token of each sequence alone: `[sequences, hidden]`.
    pub(crate) fn forward_scored(
        &self,
        ops: &O,
        config: &ModelConfig,
        x: O::Tensor,
        chunk: &ChunkContext<'_, O>,
    ) -> Result<O::Tensor> {
        let rows = chunk.ragged().last_rows();
        let normed = ops.rms_norm(&x, &self.input_layernorm, config.norm_eps)?;
        let own = self.keys_values_of(ops, config, &normed, chunk)?;
        let [q] = ops.linear(&ops.select_rows(&normed, &rows)?, [self.q_proj.map()])?;
        drop(normed);
        let positions: Vec<u32> = rows.iter().map(|&row| chunk.positions()[row]).collect();
        let q = self.turn(ops, config, q, &self.q_norm, chunk, &positions)?;
        let x = ops.select_rows(&x, &rows)?;
        self.attend(ops, config, x, q, &own, chunk, &chunk.ragged().spans_of(&rows))
    }

    /// Keys and values of every token, for sequences whose own scores nobody asks for.
    pub(crate) fn keys_values(
        &self,
        ops: &O,
        config: &ModelConfig,
        x: &O::Tensor,
        chunk: &ChunkContext<'_, O>,
    ) -> Result<KeysValues<O>> {
        let normed = ops.rms_norm(x, &self.input_layernorm, config.norm_eps)?;
        self.keys_values_of(ops, config, &normed, chunk)
    }

    fn keys_values_of(
        &self,
        ops: &O,
        config: &ModelConfig,
        normed: &O::Tensor,
        chunk: &ChunkContext<'_, O>,
    ) -> Result<KeysValues<O>> {
        let [k, v] = ops.linear(normed, [self.k_proj.map(), self.v_proj.map()])?;
        let k = self.turn(ops, config, k, &self.k_norm, chunk, chunk.positions())?;
        Ok(KeysValues { k, v })
    }

    /// The norm of each head, where the family has one, and the rotary embedding.
    fn turn(
        &self,
        ops: &O,
        config: &ModelConfig,
        x: O::Tensor,
        norm: &Option<O::Weight<'w>>,
        chunk: &ChunkContext<'_, O>,
        positions: &[u32],
    ) -> Result<O::Tensor> {
        let x = match norm {
            Some(weight) => ops.rms_norm_heads(x, weight, config.norm_eps)?,
            None => x,
        };
        let x = match config.rotary_neighbours {
            true => ops.neighbours_to_halves(x, config.head_dim)?,
            false => x,
        };
        let (cos, sin) = chunk.angles();
        ops.rope(x, cos, sin, config.head_dim, positions)
    }

    #[allow(clippy::too_many_arguments)]
    fn attend(
        &self,
        ops: &O,
        config: &ModelConfig,
        x: O::Tensor,
        q: O::Tensor,
        own: &KeysValues<O>,
        chunk: &ChunkContext<'_, O>,
        spans: &[Span],
    ) -> Result<O::Tensor> {
        let heads = Heads {
            queries: config.heads,
            keys: config.kv_heads,
            width: config.head_dim,
            causal: true,
        };
        let prefix = chunk.prefix().map(|p| (&p.k, &p.v));
        let attended = ops.attention(q, &own.k, &own.v, prefix, heads, spans)?;
        self.o_proj.forward_add(ops, x, &attended)
    }
}

impl<'w, O: Ops> DecoderFeedForward<'w, O> {
    pub(crate) fn bind(ops: &O, weights: &LayerWeights<'w>) -> Result<Self> {
        let linear = |w: &str, b: &str| Linear::bind(ops, weights, w, b);
        Ok(DecoderFeedForward {
            post_attention_layernorm: ops.bind(weights.view("post_attention_layernorm.weight")?)?,
            gate_proj: linear("mlp.gate_proj.weight", "mlp.gate_proj.bias")?,
            up_proj: linear("mlp.up_proj.weight", "mlp.up_proj.bias")?,
            down_proj: linear("mlp.down_proj.weight", "mlp.down_proj.bias")?,
        })
    }

    pub(crate) fn forward(&self, ops: &O, config: &ModelConfig, x: O::Tensor) -> Result<O::Tensor> {
        let normed = ops.rms_norm(&x, &self.post_attention_layernorm, config.norm_eps)?;
        let [gate, up] = ops.linear(&normed, [self.gate_proj.map(), self.up_proj.map()])?;
        drop(normed);
        let gated = ops.gate(gate, &up, config.activation)?;
        drop(up);
        self.down_proj.forward_add(ops, x, &gated)
    }
}
