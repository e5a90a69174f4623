//! What encoders in the line of BERT share: layers that see the whole text, normalised after each block, with learned
//! positions and biases everywhere; a head of a dense layer with `tanh` on the first token.

use grating_backend::{Activation, AttentionSpec, Scored};

use crate::config::{ModelConfig, Raw, field};
use crate::error::Result;
use crate::spec::{
    AttentionBlockSpec, DenseSpec, EmbeddingSpec, FeedForwardSpec, HeadSpec, LayerSpec, ModelSpec,
    Names, OutputSpec, PositionSpec,
};

/// In what the families differ.
pub(super) struct Line {
    /// Before all names but the head's.
    pub(super) prefix: &'static str,
    /// Row of the position table that is the first token's.
    pub(super) first_position: usize,
    /// A token that has the row before the first, wherever it stands.
    pub(super) padding: Option<u32>,
    /// The head's dense layer.
    pub(super) dense: &'static str,
    /// The head's last row.
    pub(super) label: &'static str,
}

pub(super) fn spec(raw: &Raw, config: &ModelConfig, line: Line) -> Result<ModelSpec> {
    if let Some(kind) = &raw.position_embedding_type
        && kind != "absolute"
    {
        return Err(field("position_embedding_type", "absolute", kind));
    }
    let positions = config.max_positions.saturating_sub(line.first_position);
    if positions == 0 {
        return Err(field("max_position_embeddings", "room for one token", config.max_positions));
    }
    let eps = raw.layer_norm_eps()?;
    let activation = raw.activation("gelu")?;
    let layer = |layer| {
        let names = Names::of_layer(&format!("{}encoder.layer.", line.prefix), layer);
        LayerSpec {
            attention: attention(config, &names, eps),
            feed_forward: feed_forward(config, &names, activation, eps),
        }
    };
    let h = config.hidden;
    let names = Names::of_model(line.prefix);
    let table = |name: &str, llama_cpp, rows| {
        names.tensor(&format!("embeddings.{name}_embeddings.weight"), llama_cpp, [rows, h])
    };
    let head = Names::of_model("");
    Ok(ModelSpec {
        embedding: EmbeddingSpec {
            tokens: table("word", "token_embd.weight", config.vocab),
            positions: Some(PositionSpec {
                table: table("position", "position_embd.weight", config.max_positions),
                first: line.first_position,
                padding: line.padding,
            }),
            types: Some(table("token_type", "token_types.weight", raw.type_vocab(2)?)),
            norm: Some(names.layer_norm("embeddings.LayerNorm", "token_embd_norm", h, eps)),
        },
        ropes: Vec::new(),
        layers: (0..config.layers).map(layer).collect(),
        head: HeadSpec {
            norm: None,
            dense: Some(DenseSpec {
                linear: head.linear(line.dense, "cls", [h, h], true),
                activation: Activation::Tanh,
                norm: None,
            }),
            output: OutputSpec::Label(head.linear(line.label, "cls.output", [1, h], true)),
        },
        scored: Scored::First,
        never_last: None,
    })
}

fn attention(config: &ModelConfig, names: &Names, eps: f32) -> AttentionBlockSpec {
    let ModelConfig { hidden: h, heads, head_dim, .. } = *config;
    AttentionBlockSpec {
        before: None,
        query: names.linear("attention.self.query", "attn_q", [h, h], true),
        key: names.linear("attention.self.key", "attn_k", [h, h], true),
        value: names.linear("attention.self.value", "attn_v", [h, h], true),
        head_norms: None,
        rotary: None,
        attention: AttentionSpec::new(heads, heads, head_dim, false),
        output: names.linear("attention.output.dense", "attn_output", [h, h], true),
        after: Some(names.layer_norm("attention.output.LayerNorm", "attn_output_norm", h, eps)),
    }
}

fn feed_forward(
    config: &ModelConfig,
    names: &Names,
    activation: Activation,
    eps: f32,
) -> FeedForwardSpec {
    let (h, f) = (config.hidden, config.intermediate);
    FeedForwardSpec {
        before: None,
        gate: None,
        up: names.linear("intermediate.dense", "ffn_up", [f, h], true),
        activation,
        down: names.linear("output.dense", "ffn_down", [h, f], true),
        after: Some(names.layer_norm("output.LayerNorm", "layer_output_norm", h, eps)),
    }
}

/// Heads of the pre-training, and a pooler beside a head that does not read it.
pub(super) fn is_unused(name: &str) -> bool {
    ["cls.", "lm_head.", "roberta.pooler."].iter().any(|prefix| name.starts_with(prefix))
}
