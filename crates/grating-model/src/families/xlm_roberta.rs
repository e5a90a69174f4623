//! XLM-RoBERTa (`modeling_xlm_roberta.py`): as BERT, but positions begin after the padding token's, which the family
//! always has, and the head brings its own dense layer.

use super::bert_layers::{self, Line};
use super::{Definition, Input};
use crate::config::{Form, field};
use crate::template::PairTemplate;
use crate::tokenize::TokenizerClass;

/// `XLMRobertaConfig`'s `pad_token_id`.
const PADDING: i64 = 1;

pub(super) const FAMILY: Definition = Definition {
    name: "XLM-RoBERTa",
    architectures: &[("XLMRobertaForSequenceClassification", Form::SequenceClassification)],
    input: Input::Pair(PairTemplate::XlmRoberta),
    tokenizer: TokenizerClass::XlmRoberta,
    always_that_tokenizer: false,
    free_heads: false,
    neighbours_in_llama_cpp: false,
    spec: |raw, config| {
        let padding = raw.pad_token_id.unwrap_or(PADDING);
        // The first token's row follows that of the padding token.
        let first_position = usize::try_from(padding.saturating_add(1))
            .map_err(|_| field("pad_token_id", "a token id", padding))?;
        let line = Line {
            prefix: "roberta.",
            first_position,
            padding: u32::try_from(padding).ok(),
            dense: "classifier.dense",
            label: "classifier.out_proj",
        };
        bert_layers::spec(raw, config, line)
    },
    is_unused: bert_layers::is_unused,
};
