//! Gemma (`modeling_gemma.py`): as Llama, but rows of the embedding are multiplied by the square root of their width, norms
//! multiply by one more than their weight, and GELU is in the place of SiLU.

use super::llama_layers::{self, Variant};
use super::{Definition, Input, Known, Unnamed};
use crate::config::{Form, ModelConfig, Raw};
use crate::error::Result;
use crate::spec::{ModelSpec, NormKind, NormSpec};
use crate::tokenize::TokenizerClass;
use grating_backend::Activation;

const BGE_GEMMA: Known = Known {
    template: "bge-reranker-v2-gemma",
    title: "bge-reranker-v2-gemma",
    // Most models of this architecture are for chats.
    unnamed: Unnamed::Unknown,
};

pub(super) const FAMILY: Definition = Definition {
    name: "Gemma",
    architectures: &[
        ("GemmaForCausalLM", Form::YesNo),
        ("GemmaForSequenceClassification", Form::SequenceClassification),
    ],
    input: Input::Prompt { known: Some(BGE_GEMMA) },
    tokenizer: TokenizerClass::Gemma,
    always_that_tokenizer: false,
    free_heads: true,
    size_names: &[],
    tied: true,
    neighbours_in_llama_cpp: false,
    spec,
    is_unused: llama_layers::is_unused,
};

fn spec(raw: &Raw, config: &ModelConfig) -> Result<ModelSpec> {
    let bias = raw.attention_bias.unwrap_or(false);
    let variant =
        Variant { head_norms: false, qkv_bias: bias, output_bias: bias, feed_forward_bias: false };
    let mut spec = llama_layers::spec(raw, config, variant)?;
    spec.embedding.factor = Some((config.hidden as f64).sqrt() as f32);
    // `hidden_act: gelu` of the first releases meant its approximation (`GemmaConfig`).
    let activation = match raw.activation("gelu_pytorch_tanh")? {
        Activation::GeluErf => Activation::GeluTanh,
        other => other,
    };
    for layer in &mut spec.layers {
        layer.attention.before.iter_mut().for_each(from_one);
        layer.feed_forward.before.iter_mut().for_each(from_one);
        layer.feed_forward.activation = activation;
    }
    spec.head.norm.iter_mut().for_each(from_one);
    Ok(spec)
}

pub(super) fn from_one(norm: &mut NormSpec) {
    norm.kind = NormKind::RmsFromOne;
}
