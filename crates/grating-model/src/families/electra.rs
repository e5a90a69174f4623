//! ELECTRA (`modeling_electra.py`): BERT with embeddings of a width of their own, and a head whose dense layer goes through
//! GELU.

use grating_backend::Activation;

use super::bert_layers::{self, Head, Line};
use super::{Definition, Input};
use crate::config::Form;
use crate::spec::Names;
use crate::template::PairTemplate;
use crate::tokenize::TokenizerClass;

pub(super) const FAMILY: Definition = Definition {
    name: "ELECTRA",
    architectures: &[("ElectraForSequenceClassification", Form::SequenceClassification)],
    input: Input::Pair(PairTemplate::Bert),
    tokenizer: TokenizerClass::Bert,
    always_that_tokenizer: false,
    free_heads: false,
    tied: false,
    size_names: &[],
    neighbours_in_llama_cpp: false,
    spec: |raw, config| {
        // `ElectraConfig`'s defaults.
        let width = raw.width("embedding_size", 128)?;
        let line = Line {
            prefix: "electra.",
            width,
            head: Head {
                dense: "classifier.dense",
                activation: Activation::GeluErf,
                label: "classifier.out_proj",
            },
            ..Line::bert(raw, config)?
        };
        let mut spec = bert_layers::spec(raw, config, &line)?;
        if width != config.hidden {
            let names = Names::of_model(line.prefix);
            let project = names.linear("embeddings_project", "", [config.hidden, width], true);
            spec.embedding.project = Some(project);
        }
        Ok(spec)
    },
    is_unused: |name| name.starts_with("discriminator_predictions."),
};
