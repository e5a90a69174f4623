//! Llama: `attention_bias` is for all four matrices of attention, `mlp_bias` for the feed-forward block.

use super::family::FamilyConfig;
use super::raw::Raw;
use super::{Family, Form, rope};

pub(super) const CONFIG: FamilyConfig = FamilyConfig {
    family: Family::Llama,
    name: "Llama",
    decoder: true,
    architectures: &[
        ("LlamaForCausalLM", Form::YesNo),
        ("LlamaForSequenceClassification", Form::SequenceClassification),
    ],
    activation: "silu",
    norm_eps: Raw::rms_norm_eps,
    positions: rope::positions,
    padding: None,
    type_vocab: None,
    qkv_bias: |raw| raw.attention_bias.unwrap_or(false),
    output_bias: |raw| raw.attention_bias.unwrap_or(false),
    mlp_bias: |raw| raw.mlp_bias.unwrap_or(false),
};
