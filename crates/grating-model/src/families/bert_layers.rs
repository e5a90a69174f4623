//! What encoders in the line of BERT share: layers that see the whole text, normalised after each block, with learned
//! positions and biases everywhere; a head of a dense layer on the first token.

use grating_backend::{Activation, AttentionSpec, Scored};

use crate::config::{ModelConfig, Raw, field};
use crate::error::Result;
use crate::spec::{
    AttentionBlockSpec, DenseSpec, EmbeddingSpec, FeedForwardSpec, HeadSpec, LayerSpec, LinearSpec,
    ModelSpec, Names, OutputSpec, PositionSpec,
};

/// In what the families differ.
pub(super) struct Line {
    /// Before all names but the head's.
    pub(super) prefix: &'static str,
    pub(super) parts: &'static Parts,
    /// Columns of the embedding tables.
    pub(super) width: usize,
    /// None: tokens have no position but that of the layers.
    pub(super) positions: Option<Positions>,
    /// Rows of the table of token types; 0 where there is none.
    pub(super) types: usize,
    pub(super) eps: f32,
    pub(super) activation: Activation,
    pub(super) head: Head,
}

/// What the layers' tensors are called.
pub(super) struct Parts {
    /// Before a layer's number.
    pub(super) layers: &'static str,
    pub(super) query: &'static str,
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    pub(super) output: &'static str,
    pub(super) attention_norm: &'static str,
    pub(super) up: &'static str,
    pub(super) down: &'static str,
    pub(super) norm: &'static str,
}

/// BERT's own.
pub(super) const PARTS: Parts = Parts {
    layers: "encoder.layer.",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    norm: "output.LayerNorm",
};

/// Learned positions.
pub(super) struct Positions {
    /// Row of the table that is the first token's.
    pub(super) first: usize,
    /// A token that has the row before the first, wherever it stands.
    pub(super) padding: Option<u32>,
}

/// Names of the head's two layers, and what is between them.
pub(super) struct Head {
    pub(super) dense: &'static str,
    pub(super) activation: Activation,
    pub(super) label: &'static str,
}

impl Positions {
    /// RoBERTa's: from the row after the padding token's, which is 1 where the file does not say.
    pub(super) fn after_padding(raw: &Raw) -> Result<Self> {
        let padding = raw.pad_token_id.unwrap_or(1);
        let first = usize::try_from(padding.saturating_add(1))
            .map_err(|_| field("pad_token_id", "a token id", padding))?;
        Ok(Positions { first, padding: u32::try_from(padding).ok() })
    }
}

/// RoBERTa's line: the head brings its own dense layer.
pub(super) fn roberta(raw: &Raw, config: &ModelConfig) -> Result<ModelSpec> {
    let line = Line {
        prefix: "roberta.",
        positions: Some(Positions::after_padding(raw)?),
        head: Head {
            dense: "classifier.dense",
            activation: Activation::Tanh,
            label: "classifier.out_proj",
        },
        ..Line::bert(raw, config)?
    };
    spec(raw, config, &line)
}

impl Line {
    /// BERT's.
    pub(super) fn bert(raw: &Raw, config: &ModelConfig) -> Result<Self> {
        Ok(Line {
            prefix: "bert.",
            parts: &PARTS,
            width: config.hidden,
            positions: Some(Positions { first: 0, padding: None }),
            types: raw.type_vocab(2)?,
            eps: raw.layer_norm_eps()?,
            activation: raw.activation("gelu")?,
            head: Head {
                dense: "bert.pooler.dense",
                activation: Activation::Tanh,
                label: "classifier",
            },
        })
    }

    fn embedding(&self, config: &ModelConfig) -> EmbeddingSpec {
        let names = Names::of_model(self.prefix);
        let table = |name: &str, llama_cpp, rows| {
            let name = format!("embeddings.{name}_embeddings.weight");
            names.tensor(&name, llama_cpp, [rows, self.width])
        };
        let positions = self.positions.as_ref().map(|positions| PositionSpec {
            table: table("position", "position_embd.weight", config.max_positions),
            first: positions.first,
            padding: positions.padding,
        });
        let norm =
            names.layer_norm("embeddings.LayerNorm", "token_embd_norm", self.width, self.eps);
        EmbeddingSpec {
            tokens: table("word", "token_embd.weight", config.vocab),
            positions,
            factor: None,
            types: (self.types > 0).then(|| table("token_type", "token_types.weight", self.types)),
            norm: Some(norm),
            project: None,
            after: None,
            distances: None,
        }
    }

    fn layer(&self, config: &ModelConfig, layer: usize) -> LayerSpec {
        let names = Names::of_layer(&format!("{}{}", self.prefix, self.parts.layers), layer);
        let ModelConfig { hidden: h, intermediate: f, heads, head_dim, .. } = *config;
        let Parts { query, key, value, output, attention_norm, up, down, norm, .. } = *self.parts;
        let after = |name: &str, llama_cpp| Some(names.layer_norm(name, llama_cpp, h, self.eps));
        let linear = |name: &str, llama_cpp, shape| -> LinearSpec {
            names.linear(name, llama_cpp, shape, true)
        };
        LayerSpec {
            attention: AttentionBlockSpec {
                before: None,
                query: linear(query, "attn_q", [h, h]),
                key: linear(key, "attn_k", [h, h]),
                value: linear(value, "attn_v", [h, h]),
                head_norms: None,
                rotary: None,
                attention: AttentionSpec::new(heads, heads, head_dim, false),
                distance: None,
                output: linear(output, "attn_output", [h, h]),
                added: None,
                after: after(attention_norm, "attn_output_norm"),
            },
            feed_forward: FeedForwardSpec {
                before: None,
                gate: None,
                up: linear(up, "ffn_up", [f, h]),
                activation: self.activation,
                down: linear(down, "ffn_down", [h, f]),
                added: None,
                after: after(norm, "layer_output_norm"),
            },
        }
    }
}

pub(super) fn spec(raw: &Raw, config: &ModelConfig, line: &Line) -> Result<ModelSpec> {
    if let Some(kind) = &raw.position_embedding_type
        && kind != "absolute"
    {
        return Err(field("position_embedding_type", "absolute", kind));
    }
    let first = line.positions.as_ref().map_or(0, |positions| positions.first);
    if config.max_positions <= first {
        return Err(field("max_position_embeddings", "room for one token", config.max_positions));
    }
    let (h, names) = (config.hidden, Names::of_model(""));
    Ok(ModelSpec {
        embedding: line.embedding(config),
        ropes: Vec::new(),
        layers: (0..config.layers).map(|layer| line.layer(config, layer)).collect(),
        head: HeadSpec {
            norm: None,
            dense: Some(DenseSpec {
                linear: names.linear(line.head.dense, "cls", [h, h], true),
                activation: line.head.activation,
                norm: None,
            }),
            output: OutputSpec::Label(names.linear(line.head.label, "cls.output", [1, h], true)),
            softcap: None,
        },
        scored: Scored::First,
        never_last: None,
        compressible: false,
    })
}

/// Heads of the pre-training, and a pooler beside a head that does not read it.
pub(super) fn is_unused(name: &str) -> bool {
    ["cls.", "lm_head.", "roberta.pooler."].iter().any(|prefix| name.starts_with(prefix))
}
