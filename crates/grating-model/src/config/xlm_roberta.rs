//! XLM-RoBERTa: as BERT, but positions begin after the padding token's, which the family always has.

use super::family::FamilyConfig;
use super::raw::{Raw, field};
use super::{Family, Form, Positions};
use crate::error::Result;

pub(super) const CONFIG: FamilyConfig = FamilyConfig {
    family: Family::XlmRoberta,
    name: "XLM-RoBERTa",
    decoder: false,
    architectures: &[("XLMRobertaForSequenceClassification", Form::SequenceClassification)],
    activation: "gelu",
    norm_eps: Raw::layer_norm_eps,
    positions,
    padding: Some(PADDING),
    type_vocab: Some(2),
    qkv_bias: |_| true,
    output_bias: |_| true,
    mlp_bias: |_| true,
};

/// `XLMRobertaConfig`'s default.
const PADDING: i64 = 1;

/// The first token's row follows that of the padding token.
fn positions(raw: &Raw) -> Result<Positions> {
    let padding = raw.pad_token_id.unwrap_or(PADDING);
    match usize::try_from(padding.saturating_add(1)) {
        Ok(offset) => Ok(Positions::Absolute { offset }),
        Err(_) => Err(field("pad_token_id", "a token id", padding)),
    }
}
