//! What a family reads of `config.json` in its own way: one value of [`FamilyConfig`], in the family's own file.

use super::raw::Raw;
use super::{Family, Form, Positions, bert, llama, qwen2, qwen3, xlm_roberta};
use crate::error::Result;

/// Every family, in the order in which messages list their architectures.
pub(super) const FAMILIES: [&FamilyConfig; 5] =
    [&qwen3::CONFIG, &xlm_roberta::CONFIG, &bert::CONFIG, &qwen2::CONFIG, &llama::CONFIG];

/// A family's names and the defaults of its configuration class in transformers.
pub(super) struct FamilyConfig {
    pub(super) family: Family,
    /// As people write it.
    pub(super) name: &'static str,
    /// Causal layers with RMSNorm and a gated feed-forward block; else an encoder's.
    pub(super) decoder: bool,
    /// `architectures` that are read, and what becomes of the last hidden state.
    pub(super) architectures: &'static [(&'static str, Form)],
    /// Default of `hidden_act`.
    pub(super) activation: &'static str,
    pub(super) norm_eps: fn(&Raw) -> Result<f32>,
    pub(super) positions: fn(&Raw) -> Result<Positions>,
    /// Default of `pad_token_id`.
    pub(super) padding: Option<i64>,
    /// Default of `type_vocab_size`, where there are token types.
    pub(super) type_vocab: Option<usize>,
    pub(super) qkv_bias: fn(&Raw) -> bool,
    pub(super) output_bias: fn(&Raw) -> bool,
    pub(super) mlp_bias: fn(&Raw) -> bool,
}

impl FamilyConfig {
    pub(super) const fn of(family: Family) -> &'static Self {
        match family {
            Family::Qwen3 => &qwen3::CONFIG,
            Family::Qwen2 => &qwen2::CONFIG,
            Family::Llama => &llama::CONFIG,
            Family::XlmRoberta => &xlm_roberta::CONFIG,
            Family::Bert => &bert::CONFIG,
        }
    }
}
