//! Qwen3: `attention_bias` is for all four matrices of attention, and the feed-forward block has none.

use super::family::FamilyConfig;
use super::raw::Raw;
use super::{Family, Form, rope};

pub(super) const CONFIG: FamilyConfig = FamilyConfig {
    family: Family::Qwen3,
    name: "Qwen3",
    decoder: true,
    architectures: &[
        ("Qwen3ForCausalLM", Form::YesNo),
        ("Qwen3ForSequenceClassification", Form::SequenceClassification),
    ],
    activation: "silu",
    norm_eps: Raw::rms_norm_eps,
    positions: rope::positions,
    padding: None,
    type_vocab: None,
    qkv_bias: |raw| raw.attention_bias.unwrap_or(false),
    output_bias: |raw| raw.attention_bias.unwrap_or(false),
    mlp_bias: |_| false,
};
