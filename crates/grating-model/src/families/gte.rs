//! GTE multilingual (`modeling_gte.py`, and before that the `NewModel` that its checkpoints bring as code): layers with
//! rotary positions, normalised after each block, with a gated feed-forward block, and BERT's pooler. Queries, keys and
//! values are stored as one matrix, input and gate as another.

use grating_backend::{Activation, AttentionSpec, Scored};

use super::{Definition, Input};
use crate::config::{Form, ModelConfig, Raw, RopeReading, field};
use crate::error::Result;
use crate::spec::{
    AttentionBlockSpec, DenseSpec, EmbeddingSpec, FeedForwardSpec, HeadSpec, LayerSpec, ModelSpec,
    Names, OutputSpec, Rotary,
};
use crate::template::PairTemplate;
use crate::tokenize::TokenizerClass;

/// The architecture of checkpoints that bring their code.
const NEW: &str = "NewForSequenceClassification";

pub(super) const FAMILY: Definition = Definition {
    name: "GTE",
    architectures: &[
        (NEW, Form::SequenceClassification),
        ("GteForSequenceClassification", Form::SequenceClassification),
    ],
    input: Input::Pair(PairTemplate::XlmRoberta),
    tokenizer: TokenizerClass::XlmRoberta,
    always_that_tokenizer: false,
    free_heads: false,
    tied: false,
    size_names: &[],
    neighbours_in_llama_cpp: false,
    spec,
    is_unused: |name| name.starts_with("lm_head."),
};

/// Variants of `NewConfig` that no published checkpoint has: field, and the one value that is read.
const FIXED: [(&str, &str); 3] =
    [("layer_norm_type", "layer_norm"), ("pack_qkv", "true"), ("logn_attention_scale", "false")];

fn refuse_variants(raw: &Raw) -> Result<()> {
    for (name, value) in FIXED {
        let found: Option<serde_json::Value> = raw.own(name)?;
        let found = found.map(|found| match found {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        });
        if let Some(found) = found.filter(|found| found != value) {
            return Err(field(name, value, found));
        }
    }
    match &raw.position_embedding_type {
        Some(kind) if kind != "rope" => Err(field("position_embedding_type", "rope", kind)),
        _ => Ok(()),
    }
}

fn spec(raw: &Raw, config: &ModelConfig) -> Result<ModelSpec> {
    refuse_variants(raw)?;
    let is_new = config.architecture == NEW;
    let reading = RopeReading { theta: if is_new { 10_000.0 } else { 160_000.0 }, ntk: is_new };
    let rope = raw.rope_as(config.head_dim, reading)?;
    let (eps, activation) = (raw.layer_norm_eps()?, raw.activation("gelu")?);
    let ModelConfig { hidden: h, vocab, .. } = *config;
    let prefix = if is_new { "new." } else { "gte." };
    let (names, bare) = (Names::of_model(prefix), Names::of_model(""));
    let types = raw.type_vocab_or_none(1)?;
    let table = |name: &str, rows| {
        names.tensor(&format!("embeddings.{name}_embeddings.weight"), "", [rows, h])
    };
    let layer = |layer| {
        let names = Names::of_layer(&format!("{prefix}encoder.layer."), layer);
        self::layer(config, &names, activation, eps)
    };
    Ok(ModelSpec {
        embedding: EmbeddingSpec {
            tokens: table("word", vocab),
            positions: None,
            factor: None,
            types: types.map(|rows| table("token_type", rows)),
            norm: Some(names.layer_norm("embeddings.LayerNorm", "", h, eps)),
            project: None,
            after: None,
            distances: None,
        },
        ropes: vec![rope],
        layers: (0..config.layers).map(layer).collect(),
        head: HeadSpec {
            norm: None,
            dense: Some(DenseSpec {
                linear: names.linear("pooler.dense", "", [h, h], true),
                activation: Activation::Tanh,
                norm: None,
            }),
            output: OutputSpec::Label(bare.linear("classifier", "", [1, h], true)),
            softcap: None,
        },
        scored: Scored::First,
        never_last: None,
        compressible: false,
    })
}

fn layer(config: &ModelConfig, names: &Names, activation: Activation, eps: f32) -> LayerSpec {
    let ModelConfig { hidden: h, intermediate: f, heads, head_dim, .. } = *config;
    let qkv = names.linear("attention.qkv_proj", "", [3 * h, h], true);
    let wide = names.linear("mlp.up_gate_proj", "", [2 * f, h], false);
    LayerSpec {
        attention: AttentionBlockSpec {
            before: None,
            query: qkv.rows(0..h),
            key: qkv.rows(h..2 * h),
            value: qkv.rows(2 * h..3 * h),
            head_norms: None,
            rotary: Some(Rotary { rope: 0, neighbours: false }),
            attention: AttentionSpec::new(heads, heads, head_dim, false),
            distance: None,
            output: names.linear("attention.o_proj", "", [h, h], true),
            added: None,
            after: Some(names.layer_norm("attn_ln", "", h, eps)),
        },
        feed_forward: FeedForwardSpec {
            before: None,
            gate: Some(wide.rows(f..2 * f)),
            up: wide.rows(0..f),
            activation,
            down: names.linear("mlp.down_proj", "", [h, f], true),
            added: None,
            after: Some(names.layer_norm("mlp_ln", "", h, eps)),
        },
    }
}
