//! Qwen3 (`modeling_qwen3.py`): heads of queries and keys are normalised; `attention_bias` is for all four matrices of
//! attention, and the feed-forward block has none.

use super::llama_layers::{self, Variant};
use super::{Definition, Input, Known, Unnamed};
use crate::config::Form;
use crate::tokenize::TokenizerClass;

const QWEN3_RERANKER: Known = Known {
    template: "qwen3-reranker",
    title: "Qwen3-Reranker",
    // Of bare weights the published ones are its.
    unnamed: Unnamed::Assumed,
};

pub(super) const FAMILY: Definition = Definition {
    name: "Qwen3",
    architectures: &[
        ("Qwen3ForCausalLM", Form::YesNo),
        ("Qwen3ForSequenceClassification", Form::SequenceClassification),
    ],
    input: Input::Prompt { known: Some(QWEN3_RERANKER) },
    tokenizer: TokenizerClass::Qwen2,
    always_that_tokenizer: false,
    free_heads: true,
    size_names: &[],
    tied: false,
    neighbours_in_llama_cpp: false,
    spec: |raw, config| {
        let bias = raw.attention_bias.unwrap_or(false);
        let variant = Variant {
            head_norms: true,
            qkv_bias: bias,
            output_bias: bias,
            feed_forward_bias: false,
        };
        llama_layers::spec(raw, config, variant)
    },
    is_unused: llama_layers::is_unused,
};
