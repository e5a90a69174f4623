//! Qwen2 (`modeling_qwen2.py`): queries, keys and values always have a bias, the other matrices never.

use super::llama_layers::{self, Variant};
use super::{Definition, Input};
use crate::config::Form;
use crate::tokenize::TokenizerClass;

pub(super) const FAMILY: Definition = Definition {
    name: "Qwen2",
    architectures: &[
        ("Qwen2ForCausalLM", Form::YesNo),
        ("Qwen2ForSequenceClassification", Form::SequenceClassification),
    ],
    input: Input::Prompt { known: None },
    tokenizer: TokenizerClass::Qwen2,
    always_that_tokenizer: true,
    free_heads: true,
    size_names: &[],
    tied: false,
    neighbours_in_llama_cpp: false,
    spec: |raw, config| {
        let variant = Variant {
            head_norms: false,
            qkv_bias: true,
            output_bias: false,
            feed_forward_bias: false,
        };
        llama_layers::spec(raw, config, variant)
    },
    is_unused: llama_layers::is_unused,
};
