//! What decoders in the line of Llama share: causal layers with rotary positions, normalised before each block, a gated
//! feed-forward block, and a final norm before the head.

use grating_backend::{Activation, AttentionSpec, Scored};

use crate::config::{Form, ModelConfig, Raw};
use crate::error::Result;
use crate::spec::{
    AttentionBlockSpec, EmbeddingSpec, FeedForwardSpec, HeadSpec, LayerSpec, ModelSpec, Names,
    OutputSpec, Rotary,
};

/// In what the families differ.
pub(super) struct Variant {
    /// Whether heads of queries and keys are normalised.
    pub(super) head_norms: bool,
    pub(super) qkv_bias: bool,
    pub(super) output_bias: bool,
    pub(super) feed_forward_bias: bool,
}

pub(super) fn spec(raw: &Raw, config: &ModelConfig, variant: Variant) -> Result<ModelSpec> {
    let eps = raw.rms_norm_eps()?;
    let activation = raw.activation("silu")?;
    let rope = raw.rope(config.head_dim)?;
    let layer = |layer| {
        let names = Names::of_layer("model.layers.", layer);
        LayerSpec {
            attention: attention(config, &names, &variant, eps),
            feed_forward: feed_forward(config, &names, &variant, activation, eps),
        }
    };
    let h = config.hidden;
    let names = Names::of_model("");
    let tokens = names.tensor("model.embed_tokens.weight", "token_embd.weight", [config.vocab, h]);
    let tied = config.tied && config.form == Form::YesNo;
    let (output, never_last) = match config.form {
        // Heads of layers are put in by their family.
        Form::YesNo | Form::LayerHeads => (OutputSpec::Answers(None), None),
        // transformers scores the last token that is not padding.
        Form::SequenceClassification => {
            (OutputSpec::Label(names.linear("score", "cls.output", [1, h], false)), raw.padding())
        }
    };
    Ok(ModelSpec {
        embedding: EmbeddingSpec {
            // Some tools store the one table under the other name.
            tokens: if tied { tokens.or("lm_head.weight") } else { tokens },
            positions: None,
            types: None,
            factor: None,
            norm: None,
            project: None,
            after: None,
            distances: None,
        },
        ropes: vec![rope],
        layers: (0..config.layers).map(layer).collect(),
        head: HeadSpec {
            norm: Some(names.rms_norm("model.norm", "output_norm", h, eps)),
            dense: None,
            output,
            softcap: None,
        },
        scored: Scored::Last,
        never_last,
        compressible: false,
    })
}

fn attention(
    config: &ModelConfig,
    names: &Names,
    variant: &Variant,
    eps: f32,
) -> AttentionBlockSpec {
    let ModelConfig { hidden: h, heads, kv_heads, head_dim, .. } = *config;
    let (q, kv) = (heads * head_dim, kv_heads * head_dim);
    let Variant { head_norms, qkv_bias, output_bias, .. } = *variant;
    let head_norm = |name: &str, llama_cpp| names.rms_norm(name, llama_cpp, head_dim, eps);
    AttentionBlockSpec {
        before: Some(names.rms_norm("input_layernorm", "attn_norm", h, eps)),
        query: names.linear("self_attn.q_proj", "attn_q", [q, h], qkv_bias),
        key: names.linear("self_attn.k_proj", "attn_k", [kv, h], qkv_bias),
        value: names.linear("self_attn.v_proj", "attn_v", [kv, h], qkv_bias),
        head_norms: head_norms.then(|| {
            let (query, key) = ("self_attn.q_norm", "self_attn.k_norm");
            [head_norm(query, "attn_q_norm"), head_norm(key, "attn_k_norm")]
        }),
        rotary: Some(Rotary { rope: 0, neighbours: false }),
        attention: AttentionSpec::new(heads, kv_heads, head_dim, true),
        distance: None,
        output: names.linear("self_attn.o_proj", "attn_output", [h, q], output_bias),
        added: None,
        after: None,
    }
}

fn feed_forward(
    config: &ModelConfig,
    names: &Names,
    variant: &Variant,
    activation: Activation,
    eps: f32,
) -> FeedForwardSpec {
    let (h, f, bias) = (config.hidden, config.intermediate, variant.feed_forward_bias);
    FeedForwardSpec {
        before: Some(names.rms_norm("post_attention_layernorm", "ffn_norm", h, eps)),
        gate: Some(names.linear("mlp.gate_proj", "ffn_gate", [f, h], bias)),
        up: names.linear("mlp.up_proj", "ffn_up", [f, h], bias),
        activation,
        down: names.linear("mlp.down_proj", "ffn_down", [h, f], bias),
        added: None,
        after: None,
    }
}

/// A tied head stored a second time, or the language-model head of a converted classifier.
pub(super) fn is_unused(name: &str) -> bool {
    name == "lm_head.weight"
}
