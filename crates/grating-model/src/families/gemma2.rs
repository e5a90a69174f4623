//! Gemma 2 (`modeling_gemma2.py`): as Gemma, but what each block adds is normalised before it is added, products of queries
//! and keys are capped, every second layer sees a window, and logits are capped.
//!
//! bge-reranker-v2.5-gemma2-lightweight (`CostWiseGemmaForCausalLM` of FlagEmbedding's `gemma_model.py`) has a row for every
//! `layer_sep`-th layer from `start_layer` on in place of a language-model head. Row `i` is that of layer
//! `start_layer + i * layer_sep`, as the reference has it when it is asked for all of these layers at once; asked for fewer
//! it takes the first rows for them. It was trained to read compressed passages, too ([`crate::TokenCompression`]).

use serde::Deserialize;

use super::gemma::{self, from_one};
use super::llama_layers::{self, Variant};
use super::{Definition, Input, Known, Unnamed};
use crate::config::{Form, ModelConfig, Raw, field};
use crate::error::Result;
use crate::spec::{LayerSpec, ModelSpec, Names, OutputSpec};

pub(super) const FAMILY: Definition = Definition {
    name: "Gemma 2",
    architectures: &[
        ("Gemma2ForCausalLM", Form::YesNo),
        ("Gemma2ForSequenceClassification", Form::SequenceClassification),
    ],
    input: Input::Prompt { known: None },
    spec,
    ..gemma::FAMILY
};

const BGE_LIGHTWEIGHT: Known = Known {
    template: "bge-reranker-v2.5-gemma2-lightweight",
    title: "bge-reranker-v2.5-gemma2-lightweight",
    unnamed: Unnamed::Certain,
};

pub(super) const LAYERWISE: Definition = Definition {
    name: "Gemma 2 layerwise",
    architectures: &[("CostWiseGemmaForCausalLM", Form::LayerHeads)],
    input: Input::Prompt { known: Some(BGE_LIGHTWEIGHT) },
    tied: false,
    spec: layerwise,
    is_unused: |_| false,
    ..FAMILY
};

/// What a layer attends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reach {
    FullAttention,
    SlidingAttention,
}

/// Fields of the family's own, with the defaults of `Gemma2Config`.
struct Own {
    scale: f32,
    attention_cap: Option<f32>,
    logit_cap: Option<f32>,
    /// Rows behind a token's own that a layer with a window sees.
    window: Option<usize>,
    layers: Vec<Reach>,
}

impl Own {
    fn read(raw: &Raw, config: &ModelConfig) -> Result<Self> {
        if raw.own("use_bidirectional_attention")? == Some(true) {
            return Err(field("use_bidirectional_attention", "false", true));
        }
        let cap = |name, default| match raw.own_or_null::<f32>(name, default)? {
            Some(cap) if !(cap.is_finite() && cap > 0.0) => {
                Err(field(name, "a number above 0", cap))
            }
            cap => Ok(cap),
        };
        let window = match raw.own_or_null::<usize>("sliding_window", 4096)? {
            Some(0) => return Err(field("sliding_window", "at least 1", 0)),
            // The token itself counts.
            window => window.map(|window| window - 1),
        };
        let usual = |layer: usize| match layer % 2 {
            0 => Reach::SlidingAttention,
            _ => Reach::FullAttention,
        };
        let all = config.layers;
        let layers = match raw.own::<Vec<Reach>>("layer_types")? {
            Some(layers) if layers.len() == all => layers,
            Some(layers) => {
                return Err(field("layer_types", format!("{all} layers"), layers.len()));
            }
            None => (0..all).map(usual).collect(),
        };
        Ok(Own {
            scale: raw.positive("query_pre_attn_scalar", 256.0)?.powf(-0.5) as f32,
            attention_cap: cap("attn_logit_softcapping", 50.0)?,
            logit_cap: cap("final_logit_softcapping", 30.0)?,
            window,
            layers,
        })
    }
}

fn spec(raw: &Raw, config: &ModelConfig) -> Result<ModelSpec> {
    let own = Own::read(raw, config)?;
    let bias = raw.attention_bias.unwrap_or(false);
    let variant =
        Variant { head_norms: false, qkv_bias: bias, output_bias: bias, feed_forward_bias: false };
    let mut spec = llama_layers::spec(raw, config, variant)?;
    spec.embedding.factor = Some((config.hidden as f64).sqrt() as f32);
    let activation = raw.activation_of("hidden_activation", "gelu_pytorch_tanh")?;
    let eps = raw.rms_norm_eps()?;
    for (layer, LayerSpec { attention, feed_forward }) in spec.layers.iter_mut().enumerate() {
        let names = Names::of_layer("model.layers.", layer);
        let norm = |name, llama_cpp| Some(names.rms_norm(name, llama_cpp, config.hidden, eps));
        attention.added = norm("post_attention_layernorm", "post_attention_norm");
        feed_forward.before = norm("pre_feedforward_layernorm", "ffn_norm");
        feed_forward.added = norm("post_feedforward_layernorm", "post_ffw_norm");
        let norms = attention.before.iter_mut().chain(&mut attention.added);
        let norms = norms.chain(&mut feed_forward.before).chain(&mut feed_forward.added);
        norms.for_each(from_one);
        attention.attention.scale = own.scale;
        attention.attention.softcap = own.attention_cap;
        if own.layers[layer] == Reach::SlidingAttention {
            attention.attention.window = own.window;
        }
        feed_forward.activation = activation;
    }
    spec.head.norm.iter_mut().for_each(from_one);
    // Classification heads are not capped.
    spec.head.softcap = own.logit_cap.filter(|_| config.form != Form::SequenceClassification);
    Ok(spec)
}

/// With a row for each of the layers that have one.
fn layerwise(raw: &Raw, config: &ModelConfig) -> Result<ModelSpec> {
    if raw.own("layer_wise")? != Some(true) {
        return Err(field("layer_wise", "true (a head for each of the later layers)", false));
    }
    let all = config.layers;
    let number = |name| raw.own::<usize>(name).map(|number| number.unwrap_or(28));
    let (start, step) = (number("start_layer")?, number("layer_sep")?);
    if !(1..=all).contains(&start) {
        return Err(field("start_layer", format!("1 to {all} layers"), start));
    }
    if step == 0 || !(all - start).is_multiple_of(step) {
        let expected = format!("a divisor of the {} layers after start_layer", all - start);
        return Err(field("layer_sep", expected, step));
    }
    let names = Names::of_model("");
    let label = |layer: usize| {
        let after = (layer + 1).checked_sub(start).filter(|after| after.is_multiple_of(step))?;
        let name = format!("lm_head.{}.linear_head", after / step);
        Some(names.linear(&name, "", [1, config.hidden], false))
    };
    let mut spec = spec(raw, config)?;
    spec.compressible = true;
    spec.head.output = OutputSpec::LayerLabels((0..all).map(label).collect());
    Ok(spec)
}
