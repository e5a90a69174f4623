//! Qwen2: queries, keys and values always have a bias, the other matrices never.

use super::family::FamilyConfig;
use super::raw::Raw;
use super::{Family, Form, rope};

pub(super) const CONFIG: FamilyConfig = FamilyConfig {
    family: Family::Qwen2,
    name: "Qwen2",
    decoder: true,
    architectures: &[
        ("Qwen2ForCausalLM", Form::YesNo),
        ("Qwen2ForSequenceClassification", Form::SequenceClassification),
    ],
    activation: "silu",
    norm_eps: Raw::rms_norm_eps,
    positions: rope::positions,
    padding: None,
    type_vocab: None,
    qkv_bias: |_| true,
    output_bias: |_| false,
    mlp_bias: |_| false,
};
