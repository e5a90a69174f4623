//! ModernBERT (`modeling_modernbert.py`): layers that see the whole text or only a window around each token, each kind
//! with rotary positions of its own, normalised before each block, with a gated feed-forward block. Queries, keys and
//! values are stored as one matrix, gate and input as another.

use grating_backend::{Activation, AttentionSpec, Scored};
use serde::Deserialize;

use super::{Definition, Input};
use crate::config::{Form, ModelConfig, Raw, field};
use crate::error::Result;
use crate::rope::{RopeScaling, RopeSpec};
use crate::spec::{
    AttentionBlockSpec, DenseSpec, EmbeddingSpec, FeedForwardSpec, HeadSpec, LayerSpec, ModelSpec,
    Names, NormKind, NormSpec, OutputSpec, Rotary,
};
use crate::template::PairTemplate;
use crate::tokenize::TokenizerClass;

pub(super) const FAMILY: Definition = Definition {
    name: "ModernBERT",
    architectures: &[("ModernBertForSequenceClassification", Form::SequenceClassification)],
    input: Input::Pair(PairTemplate::Bert),
    tokenizer: TokenizerClass::AsWritten,
    always_that_tokenizer: false,
    free_heads: false,
    size_names: &[],
    tied: false,
    neighbours_in_llama_cpp: false,
    spec,
    is_unused: |name| name.starts_with("decoder."),
};

/// What a layer attends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reach {
    FullAttention,
    SlidingAttention,
}

/// Fields of the family's own, with the defaults of `ModernBertConfig`.
struct Own {
    eps: f32,
    /// Whether norms have a bias.
    norm_bias: bool,
    attention_bias: bool,
    feed_forward_bias: bool,
    classifier_bias: bool,
    activation: Activation,
    classifier_activation: Activation,
    layers: Vec<Reach>,
    /// What the head reads.
    pooling: Scored,
    /// Tokens to either side that a layer with a window sees.
    window: usize,
    /// Bases of the rotary frequencies: of layers that see the whole text, and of those with a window.
    thetas: [f64; 2],
}

impl Own {
    fn read(raw: &Raw, config: &ModelConfig) -> Result<Self> {
        let flag = |name| raw.own(name).map(|flag| flag.unwrap_or(false));
        let activation = |name| raw.activation_of(name, "gelu");
        let pooling: Option<String> = raw.own("classifier_pooling")?;
        let pooling = match pooling.as_deref() {
            None | Some("cls") => Scored::First,
            // Of all tokens: what a tokenizer pads with is no token of a text.
            Some("mean") => Scored::Mean,
            Some(other) => return Err(field("classifier_pooling", "cls or mean", other)),
        };
        let every = raw.own::<usize>("global_attn_every_n_layers")?.unwrap_or(3).max(1);
        let usual = |layer| match layer % every {
            0 => Reach::FullAttention,
            _ => Reach::SlidingAttention,
        };
        let layers = match raw.own::<Vec<Reach>>("layer_types")? {
            Some(layers) if layers.len() == config.layers => layers,
            Some(layers) => {
                return Err(field(
                    "layer_types",
                    format!("{} layers", config.layers),
                    layers.len(),
                ));
            }
            None => (0..config.layers).map(usual).collect(),
        };
        Ok(Own {
            eps: raw.epsilon("norm_eps", 1e-5)?,
            norm_bias: flag("norm_bias")?,
            attention_bias: raw.attention_bias.unwrap_or(false),
            feed_forward_bias: raw.mlp_bias.unwrap_or(false),
            classifier_bias: flag("classifier_bias")?,
            activation: activation("hidden_activation")?,
            classifier_activation: activation("classifier_activation")?,
            layers,
            pooling,
            window: raw.own::<usize>("local_attention")?.unwrap_or(128) / 2,
            thetas: thetas(raw)?,
        })
    }
}

/// One kind of layer's part of `rope_parameters`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Parameters {
    rope_theta: Option<f64>,
    rope_type: Option<String>,
}

/// In both spellings: `rope_parameters` by kind of layer, and before it `global_rope_theta` and `local_rope_theta`.
fn thetas(raw: &Raw) -> Result<[f64; 2]> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct ByKind {
        full_attention: Option<Parameters>,
        sliding_attention: Option<Parameters>,
    }
    if raw.has_rope_scaling() {
        return Err(field("rope_scaling", "none", "there"));
    }
    let ByKind { full_attention, sliding_attention } = raw.rope_parameters_as()?;
    let theta = |parameters: Option<Parameters>, old: &'static str, default: f64| {
        let Parameters { rope_theta, rope_type } = parameters.unwrap_or_default();
        if let Some(kind) = rope_type.filter(|kind| kind != "default") {
            return Err(field("rope_parameters.rope_type", "default", kind));
        }
        match rope_theta.or(raw.own(old)?).unwrap_or(default) {
            theta if theta.is_finite() && theta > 1.0 => Ok(theta),
            theta => Err(field("rope_theta", "a number above 1", theta)),
        }
    };
    Ok([
        theta(full_attention, "global_rope_theta", 160_000.0)?,
        theta(sliding_attention, "local_rope_theta", 10_000.0)?,
    ])
}

fn spec(raw: &Raw, config: &ModelConfig) -> Result<ModelSpec> {
    let own = Own::read(raw, config)?;
    let ModelConfig { hidden: h, head_dim, vocab, .. } = *config;
    if !head_dim.is_multiple_of(2) {
        return Err(field("num_attention_heads", "heads of an even width", config.heads));
    }
    let names = Names::of_model("");
    let norm = |name: &str, llama_cpp: &str| own.norm(&names, name, llama_cpp, h);
    let rope = |theta| RopeSpec { theta, scaling: RopeScaling::None, width: head_dim };
    Ok(ModelSpec {
        embedding: EmbeddingSpec {
            tokens: names.tensor(
                "model.embeddings.tok_embeddings.weight",
                "token_embd.weight",
                [vocab, h],
            ),
            positions: None,
            types: None,
            factor: None,
            norm: Some(norm("model.embeddings.norm", "token_embd_norm")),
            project: None,
            after: None,
            distances: None,
        },
        ropes: own.thetas.map(rope).to_vec(),
        layers: (0..config.layers).map(|layer| own.layer(config, layer)).collect(),
        head: HeadSpec {
            norm: Some(norm("model.final_norm", "output_norm")),
            dense: Some(DenseSpec {
                linear: names.linear("head.dense", "cls", [h, h], own.classifier_bias),
                activation: own.classifier_activation,
                norm: Some(norm("head.norm", "cls.norm")),
            }),
            output: OutputSpec::Label(names.linear("classifier", "cls.output", [1, h], true)),
            softcap: None,
        },
        scored: own.pooling,
        never_last: None,
        compressible: false,
    })
}

impl Own {
    fn norm(&self, names: &Names, name: &str, llama_cpp: &str, width: usize) -> NormSpec {
        let NormSpec { kind, weight, eps } = names.layer_norm(name, llama_cpp, width, self.eps);
        match self.norm_bias {
            true => NormSpec { kind, weight, eps },
            false => NormSpec { kind: NormKind::Layer { bias: None }, weight, eps },
        }
    }

    fn layer(&self, config: &ModelConfig, layer: usize) -> LayerSpec {
        let ModelConfig { hidden: h, heads, head_dim, intermediate: f, .. } = *config;
        let names = Names::of_layer("model.layers.", layer);
        let attention = AttentionSpec::new(heads, heads, head_dim, false);
        let (rope, attention) = match self.layers[layer] {
            Reach::FullAttention => (0, attention),
            Reach::SlidingAttention => (1, attention.with_window(self.window)),
        };
        let qkv = names.linear("attn.Wqkv", "attn_qkv", [3 * h, h], self.attention_bias);
        let wide = names.linear("mlp.Wi", "ffn_up", [2 * f, h], self.feed_forward_bias);
        LayerSpec {
            attention: AttentionBlockSpec {
                // The embedding's norm is the first layer's.
                before: (layer > 0).then(|| self.norm(&names, "attn_norm", "attn_norm", h)),
                query: qkv.rows(0..h),
                key: qkv.rows(h..2 * h),
                value: qkv.rows(2 * h..3 * h),
                head_norms: None,
                rotary: Some(Rotary { rope, neighbours: false }),
                attention,
                distance: None,
                output: names.linear("attn.Wo", "attn_output", [h, h], self.attention_bias),
                added: None,
                after: None,
            },
            feed_forward: FeedForwardSpec {
                before: Some(self.norm(&names, "mlp_norm", "ffn_norm", h)),
                gate: Some(wide.rows(0..f)),
                up: wide.rows(f..2 * f),
                activation: self.activation,
                down: names.linear("mlp.Wo", "ffn_down", [h, f], self.feed_forward_bias),
                added: None,
                after: None,
            },
        }
    }
}
