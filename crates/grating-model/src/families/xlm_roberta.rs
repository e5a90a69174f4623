//! XLM-RoBERTa (`modeling_xlm_roberta.py`): as RoBERTa, with a vocabulary of sentencepiece's.

use super::bert_layers;
use super::{Definition, Input};
use crate::config::Form;
use crate::template::PairTemplate;
use crate::tokenize::TokenizerClass;

pub(super) const FAMILY: Definition = Definition {
    name: "XLM-RoBERTa",
    architectures: &[("XLMRobertaForSequenceClassification", Form::SequenceClassification)],
    input: Input::Pair(PairTemplate::XlmRoberta),
    tokenizer: TokenizerClass::XlmRoberta,
    always_that_tokenizer: false,
    free_heads: false,
    size_names: &[],
    tied: false,
    neighbours_in_llama_cpp: false,
    spec: bert_layers::roberta,
    is_unused: bert_layers::is_unused,
};
