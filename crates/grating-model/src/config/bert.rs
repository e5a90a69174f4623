//! BERT: the first token has position 0, every matrix a bias.

use super::family::FamilyConfig;
use super::raw::Raw;
use super::{Family, Form, Positions};
use crate::error::Result;

pub(super) const CONFIG: FamilyConfig = FamilyConfig {
    family: Family::Bert,
    name: "BERT",
    decoder: false,
    architectures: &[("BertForSequenceClassification", Form::SequenceClassification)],
    activation: "gelu",
    norm_eps: Raw::layer_norm_eps,
    positions,
    padding: None,
    type_vocab: Some(2),
    qkv_bias: |_| true,
    output_bias: |_| true,
    mlp_bias: |_| true,
};

fn positions(_: &Raw) -> Result<Positions> {
    Ok(Positions::Absolute { offset: 0 })
}
