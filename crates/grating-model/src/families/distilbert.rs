//! DistilBERT (`modeling_distilbert.py`): BERT's equations under other names, without token types, with a head whose dense
//! layer goes through ReLU.

use grating_backend::Activation;

use super::bert_layers::{self, Head, Line, Parts, Positions};
use super::{Definition, Input};
use crate::config::Form;
use crate::template::PairTemplate;
use crate::tokenize::TokenizerClass;

pub(super) const FAMILY: Definition = Definition {
    name: "DistilBERT",
    architectures: &[("DistilBertForSequenceClassification", Form::SequenceClassification)],
    input: Input::Pair(PairTemplate::Bert),
    tokenizer: TokenizerClass::Bert,
    always_that_tokenizer: false,
    free_heads: false,
    tied: false,
    size_names: &[
        ("num_hidden_layers", "n_layers"),
        ("hidden_size", "dim"),
        ("num_attention_heads", "n_heads"),
        ("intermediate_size", "hidden_dim"),
    ],
    neighbours_in_llama_cpp: false,
    spec: |raw, config| {
        let line = Line {
            prefix: "distilbert.",
            parts: &PARTS,
            width: config.hidden,
            positions: Some(Positions { first: 0, padding: None }),
            types: 0,
            // Fixed in its code.
            eps: 1e-12,
            activation: raw.activation_of("activation", "gelu")?,
            head: Head {
                dense: "pre_classifier",
                activation: Activation::Relu,
                label: "classifier",
            },
        };
        bert_layers::spec(raw, config, &line)
    },
    is_unused: |name| name.starts_with("vocab_"),
};

const PARTS: Parts = Parts {
    layers: "transformer.layer.",
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    up: "ffn.lin1",
    down: "ffn.lin2",
    norm: "output_layer_norm",
};
