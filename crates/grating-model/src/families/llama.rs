//! Llama (`modeling_llama.py`): `attention_bias` is for all four matrices of attention, `mlp_bias` for the feed-forward
//! block.

use super::llama_layers::{self, Variant};
use super::{Definition, Input};
use crate::config::Form;
use crate::tokenize::TokenizerClass;

pub(super) const FAMILY: Definition = Definition {
    name: "Llama",
    architectures: &[
        ("LlamaForCausalLM", Form::YesNo),
        ("LlamaForSequenceClassification", Form::SequenceClassification),
    ],
    input: Input::Prompt { known: None },
    tokenizer: TokenizerClass::AsWritten,
    always_that_tokenizer: false,
    free_heads: true,
    size_names: &[],
    tied: false,
    neighbours_in_llama_cpp: true,
    spec: |raw, config| {
        let attention = raw.attention_bias.unwrap_or(false);
        let variant = Variant {
            head_norms: false,
            qkv_bias: attention,
            output_bias: attention,
            feed_forward_bias: raw.mlp_bias.unwrap_or(false),
        };
        llama_layers::spec(raw, config, variant)
    },
    is_unused: llama_layers::is_unused,
};
