//! CamemBERT (`modeling_camembert.py`): RoBERTa with a vocabulary of sentencepiece's, and tensors under RoBERTa's names.

use super::bert_layers;
use super::{Definition, Input};
use crate::config::Form;
use crate::template::PairTemplate;
use crate::tokenize::TokenizerClass;

pub(super) const FAMILY: Definition = Definition {
    name: "CamemBERT",
    architectures: &[("CamembertForSequenceClassification", Form::SequenceClassification)],
    input: Input::Pair(PairTemplate::XlmRoberta),
    tokenizer: TokenizerClass::Camembert,
    always_that_tokenizer: false,
    free_heads: false,
    tied: false,
    size_names: &[],
    neighbours_in_llama_cpp: false,
    spec: bert_layers::roberta,
    is_unused: bert_layers::is_unused,
};
