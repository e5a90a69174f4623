//! RoBERTa (`modeling_roberta.py`): as BERT, but positions begin after the padding token's, which the family always has,
//! and the head brings its own dense layer. The vocabulary is byte-level BPE's.

use super::bert_layers;
use super::{Definition, Input};
use crate::config::Form;
use crate::template::PairTemplate;
use crate::tokenize::TokenizerClass;

pub(super) const FAMILY: Definition = Definition {
    name: "RoBERTa",
    architectures: &[("RobertaForSequenceClassification", Form::SequenceClassification)],
    input: Input::Pair(PairTemplate::XlmRoberta),
    tokenizer: TokenizerClass::Roberta,
    always_that_tokenizer: false,
    free_heads: false,
    tied: false,
    size_names: &[],
    neighbours_in_llama_cpp: false,
    spec: bert_layers::roberta,
    is_unused: bert_layers::is_unused,
};
