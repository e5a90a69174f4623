//! BERT (`modeling_bert.py`): the first token has position 0, and the head reads the pooler's output.

use super::bert_layers::{self, Line};
use super::{Definition, Input};
use crate::config::Form;
use crate::template::PairTemplate;
use crate::tokenize::TokenizerClass;

pub(super) const FAMILY: Definition = Definition {
    name: "BERT",
    architectures: &[("BertForSequenceClassification", Form::SequenceClassification)],
    input: Input::Pair(PairTemplate::Bert),
    tokenizer: TokenizerClass::Bert,
    always_that_tokenizer: false,
    free_heads: false,
    size_names: &[],
    tied: false,
    neighbours_in_llama_cpp: false,
    spec: |raw, config| bert_layers::spec(raw, config, &Line::bert(raw, config)?),
    is_unused: bert_layers::is_unused,
};
