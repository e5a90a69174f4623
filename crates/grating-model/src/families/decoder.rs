//! Pre-norm decoder layers: Qwen3, Qwen2 and Llama (`modeling_qwen3.py`, `modeling_qwen2.py`, `modeling_llama.py`).

use grating_backend::{AttentionSpec, Ops, Rows};

use super::linear::Linear;
use crate::config::{Family, ModelConfig};
use crate::context::{ChunkContext, KeysValues};
use crate::error::Result;
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
pub(crate) struct DecoderAttention<'w, B: Ops> {
    input_layernorm: B::Weight<'w>,
    q_proj: Linear<'w, B>,
    k_proj: Linear<'w, B>,
    v_proj: Linear<'w, B>,
    o_proj: Linear<'w, B>,
    q_norm: Option<B::Weight<'w>>,
    k_norm: Option<B::Weight<'w>>,
}

/// A bound feed-forward block: `x + down(act(gate(norm(x))) * up(norm(x)))`.
pub(crate) struct DecoderFeedForward<'w, B: Ops> {
    post_attention_layernorm: B::Weight<'w>,
    gate_proj: Linear<'w, B>,
    up_proj: Linear<'w, B>,
    down_proj: Linear<'w, B>,
}

// Shapes: t tokens of a chunk, s sequences, h hidden, q = heads * head_dim, kv = kv_heads * head_dim, f intermediate.
impl<'w, B: Ops> DecoderAttention<'w, B> {
    pub(crate) fn bind(weights: &LayerWeights<'w, B>) -> Result<Self> {
        let linear = |w: &str, b: &str| Linear::bind(weights, w, b);
        Ok(DecoderAttention {
            input_layernorm: weights.bind("input_layernorm.weight")?,
            q_proj: linear("self_attn.q_proj.weight", "self_attn.q_proj.bias")?,
            k_proj: linear("self_attn.k_proj.weight", "self_attn.k_proj.bias")?,
            v_proj: linear("self_attn.v_proj.weight", "self_attn.v_proj.bias")?,
            o_proj: linear("self_attn.o_proj.weight", "self_attn.o_proj.bias")?,
            q_norm: weights.optional("self_attn.q_norm.weight")?,
            k_norm: weights.optional("self_attn.k_norm.weight")?,
        })
    }

    /// Attends with every token of `x` `[t, h]`; also returns the keys and values, for those that come after.
    pub(crate) fn forward(
        &self,
        ops: &B,
        config: &ModelConfig,
        x: B::Tensor,
        chunk: &ChunkContext<'_, B>,
    ) -> Result<(B::Tensor, KeysValues<B>)> {
        let normed = ops.rms_norm(&x, &self.input_layernorm, config.norm_eps)?; // [t, h]
        let maps = [self.q_proj.map(), self.k_proj.map(), self.v_proj.map()];
        let [q, k, v] = ops.linear(&normed, maps)?; // [t, q], [t, kv], [t, kv]
        drop(normed);
        let q = self.rotated(ops, config, q, &self.q_norm, chunk, Rows::All)?;
        let k = self.rotated(ops, config, k, &self.k_norm, chunk, Rows::All)?;
        let own = KeysValues { k, v };
        let x = self.attend(ops, config, x, q, &own, chunk, Rows::All)?; // [t, h]
        Ok((x, own))
    }

    /// Attends with the scored token of each sequence alone: `[t, h] -> [s, h]`.
    pub(crate) fn forward_scored(
        &self,
        ops: &B,
        config: &ModelConfig,
        x: B::Tensor,
        chunk: &ChunkContext<'_, B>,
    ) -> Result<B::Tensor> {
        let normed = ops.rms_norm(&x, &self.input_layernorm, config.norm_eps)?; // [t, h]
        let own = self.keys_values_of(ops, config, &normed, chunk)?; // [t, kv] each
        let [q] = ops.linear(&ops.scored_rows(&normed, chunk.rows())?, [self.q_proj.map()])?; // [s, q]
        drop(normed);
        let q = self.rotated(ops, config, q, &self.q_norm, chunk, Rows::Scored)?;
        let x = ops.scored_rows(&x, chunk.rows())?; // [s, h]
        self.attend(ops, config, x, q, &own, chunk, Rows::Scored)
    }

    /// Keys and values of every token, for sequences whose own scores nobody asks for.
    pub(crate) fn keys_values(
        &self,
        ops: &B,
        config: &ModelConfig,
        x: &B::Tensor,
        chunk: &ChunkContext<'_, B>,
    ) -> Result<KeysValues<B>> {
        let normed = ops.rms_norm(x, &self.input_layernorm, config.norm_eps)?;
        self.keys_values_of(ops, config, &normed, chunk)
    }

    fn keys_values_of(
        &self,
        ops: &B,
        config: &ModelConfig,
        normed: &B::Tensor,
        chunk: &ChunkContext<'_, B>,
    ) -> Result<KeysValues<B>> {
        let [k, v] = ops.linear(normed, [self.k_proj.map(), self.v_proj.map()])?; // [t, kv] each
        let k = self.rotated(ops, config, k, &self.k_norm, chunk, Rows::All)?;
        Ok(KeysValues { k, v })
    }

    /// The norm of each head, where the family has one, and the rotary embedding; the shape stays.
    fn rotated(
        &self,
        ops: &B,
        config: &ModelConfig,
        x: B::Tensor,
        norm: &Option<B::Weight<'w>>,
        chunk: &ChunkContext<'_, B>,
        rows: Rows,
    ) -> Result<B::Tensor> {
        let x = match norm {
            Some(weight) => ops.rms_norm_heads(x, weight, config.norm_eps)?,
            None => x,
        };
        let x = match config.rotary_neighbours {
            true => ops.neighbours_to_halves(x, config.head_dim)?,
            false => x,
        };
        Ok(ops.rope(x, chunk.angles(), config.head_dim, chunk.rows(), rows)?)
    }

    #[allow(clippy::too_many_arguments)]
    fn attend(
        &self,
        ops: &B,
        config: &ModelConfig,
        x: B::Tensor,
        q: B::Tensor,
        own: &KeysValues<B>,
        chunk: &ChunkContext<'_, B>,
        rows: Rows,
    ) -> Result<B::Tensor> {
        let spec = AttentionSpec::new(config.heads, config.kv_heads, config.head_dim, true);
        let layout = chunk.rows();
        let attended = ops.attention(q, own.tensors(), chunk.prefix(), &spec, layout, rows)?; // as q
        self.o_proj.forward_add(ops, x, &attended) // as x
    }
}

impl<'w, B: Ops> DecoderFeedForward<'w, B> {
    pub(crate) fn bind(weights: &LayerWeights<'w, B>) -> Result<Self> {
        let linear = |w: &str, b: &str| Linear::bind(weights, w, b);
        Ok(DecoderFeedForward {
            post_attention_layernorm: weights.bind("post_attention_layernorm.weight")?,
            gate_proj: linear("mlp.gate_proj.weight", "mlp.gate_proj.bias")?,
            up_proj: linear("mlp.up_proj.weight", "mlp.up_proj.bias")?,
            down_proj: linear("mlp.down_proj.weight", "mlp.down_proj.bias")?,
        })
    }

    /// `[t, h] -> [t, h]`
    pub(crate) fn forward(&self, ops: &B, config: &ModelConfig, x: B::Tensor) -> Result<B::Tensor> {
        let normed = ops.rms_norm(&x, &self.post_attention_layernorm, config.norm_eps)?; // [t, h]
        let [gate, up] = ops.linear(&normed, [self.gate_proj.map(), self.up_proj.map()])?; // [t, f] each
        drop(normed);
        let gated = ops.gate(gate, &up, config.activation)?; // [t, f]
        drop(up);
        self.down_proj.forward_add(ops, x, &gated) // [t, h]
    }
}
