//! Architectures that are no rerankers: what they are, and which model to take instead.

use grating_io::shown;

use crate::error::ModelError;

/// What a head makes of a text, by how the architecture's name ends.
static HEADS: [(&str, &str); 8] = [
    ("Model", "a model without a head, as embedding models are"),
    (
        "ForMaskedLM",
        "a pre-trained model that fills in words, as embedding models may be saved, too",
    ),
    ("ForPreTraining", "a model in the form in which it was pre-trained"),
    ("ForNextSentencePrediction", "a model that tells whether a sentence follows another"),
    ("ForTokenClassification", "a model that labels words"),
    ("ForQuestionAnswering", "a model that marks answers within a text"),
    ("ForMultipleChoice", "a model that chooses among answers"),
    ("ForConditionalGeneration", "a model that writes text"),
];

/// A reranker in the line of the architectures whose names begin so.
static INSTEAD: [(&str, &str); 6] = [
    ("XLMRoberta", "BAAI/bge-reranker-v2-m3"),
    ("New", "Alibaba-NLP/gte-multilingual-reranker-base"),
    ("Gte", "Alibaba-NLP/gte-multilingual-reranker-base"),
    ("ModernBert", "Alibaba-NLP/gte-reranker-modernbert-base"),
    ("DebertaV2", "mixedbread-ai/mxbai-rerank-base-v1"),
    ("Qwen", "Qwen/Qwen3-Reranker-0.6B"),
];

/// A reranker to take instead of an architecture that is none.
pub(crate) fn instead(architecture: &str) -> &'static str {
    let begins = |(name, _): &&(&str, &str)| architecture.starts_with(*name);
    INSTEAD.iter().find(begins).map_or("cross-encoder/ms-marco-MiniLM-L6-v2", |&(_, id)| id)
}

/// The refusal of an architecture whose name says that it does not score pairs.
pub(super) fn refusal(architecture: &str) -> Option<ModelError> {
    let &(_, what) = HEADS.iter().find(|(end, _)| architecture.ends_with(*end))?;
    Some(ModelError::NoReranker {
        found: shown(architecture),
        what,
        instead: instead(architecture),
    })
}
