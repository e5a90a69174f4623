//! What can go wrong between a checkpoint's files and a score.

use grating_io::{Dtype, IoError};

use crate::tokenize::TokenizeError;

/// The result of everything in this crate that can fail.
pub type Result<T, E = ModelError> = std::result::Result<T, E>;

/// Why a model cannot be loaded or run.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// `config.json` or `grating.json` is no JSON, or a field has the wrong type.
    #[error("{file} cannot be read: {reason}; download the file again")]
    Json {
        /// Which file.
        file: &'static str,
        /// The parser's words.
        reason: String,
    },
    /// `config.json` has no usable value for a field.
    #[error("config.json: `{field}` is {found}, expected {expected}")]
    Config {
        /// The field's name.
        field: &'static str,
        /// What this crate can work with.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// The model cannot be cut to so many layers.
    #[error(
        "a model cannot end after {layers} layers: there is no head to score with; expected {expected}"
    )]
    Cutoff {
        /// As asked for.
        layers: usize,
        /// Layers after which there is a head.
        expected: String,
    },
    /// The model was not trained to read compressed passages.
    #[error(
        "passages cannot be compressed: models of the family {family} were not trained to read them so, and would score \
         them wrongly; bge-reranker-v2.5-gemma2-lightweight was. Leave out compress_ratio and compress_layers"
    )]
    NotCompressible {
        /// The model's family.
        family: String,
    },
    /// Passages cannot be compressed by so much, or there.
    #[error("passages cannot be compressed so: {setting} is {found}, expected {expected}")]
    Compression {
        /// `compress_ratio` or `compress_layers`.
        setting: &'static str,
        /// What can be.
        expected: String,
        /// As asked for.
        found: String,
    },
    /// The architecture is none of the families here.
    #[error(
        "architecture `{found}` is not supported; supported are {supported}. \
         A reranker's scoring head must be known, so nothing is guessed"
    )]
    UnknownArchitecture {
        /// As in `config.json`.
        found: String,
        /// The architectures that are.
        supported: String,
    },
    /// The architecture is that of another kind of model, which scores no pairs.
    #[error(
        "`{found}` is {what}: nothing in it scores a text for a query. Take a reranker instead, for example {instead}"
    )]
    NoReranker {
        /// As in `config.json`.
        found: String,
        /// What it is, in words.
        what: &'static str,
        /// A reranker in its line, as a hub id.
        instead: &'static str,
    },
    /// `config.json` names no architecture.
    #[error(
        "config.json does not say which model this is: `architectures` is missing or empty. Take config.json from the \
         model's own repository, or add the class that the model was saved as, for example \
         \"architectures\": [\"Qwen3ForCausalLM\"]; supported are {supported}"
    )]
    NoArchitecture {
        /// The architectures that are.
        supported: String,
    },
    /// A plain decoder without a `grating.json`.
    #[error(
        "`{architecture}` is a plain language model: which prompt makes it a reranker is not known; \
         put a grating.json beside the weights with the template and the two answer tokens"
    )]
    NoTemplate {
        /// As in `config.json`.
        architecture: String,
    },
    /// The checkpoint has no scoring head.
    #[error(
        "no scoring head: the checkpoint has no tensor `{tensor}`, so this is not a reranker \
         (an encoder or embedding model?); use the sequence-classification checkpoint"
    )]
    NoHead {
        /// The tensor that was looked for.
        tensor: String,
    },
    /// A BERT whose pooler is gone.
    #[error(
        "no pooler: the GGUF file has the classification layer but not the dense layer before it \
         (`cls.weight`), which llama.cpp's conversion of BERT drops; scores without it would be wrong, use the \
         model's safetensors"
    )]
    NoPooler,
    /// A GGUF file does not say what its model needs, or says what cannot be used.
    #[error(
        "the GGUF file's `{key}` {problem}; the model's own config.json and tokenizer.json beside the file take the \
         place of what it says"
    )]
    Gguf {
        /// The key of its metadata, or a tensor.
        key: String,
        /// What is wrong, in words that follow the key.
        problem: String,
    },
    /// A language model whose head is nowhere.
    #[error(
        "no scoring head: config.json says that the head is not tied to the embeddings \
         (`tie_word_embeddings` is false or absent), and the checkpoint has no tensor `lm_head.weight`. If the model \
         was trained with a tied head, set `tie_word_embeddings` to true in config.json; an embedding model has none"
    )]
    NoLanguageModelHead,
    /// The model's own files describe something that is not run here, or not run so.
    #[error("{file} {says}; {remedy}")]
    OtherModel {
        /// The file, or what else says it.
        file: String,
        /// What it says, in words that follow the file's name.
        says: String,
        /// What to do.
        remedy: String,
    },
    /// A tensor that the configuration calls for is not in the checkpoint.
    #[error(
        "the checkpoint lacks tensor `{tensor}`, which config.json calls for (shape {expected:?})"
    )]
    MissingTensor {
        /// Its name.
        tensor: String,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// A tensor that the configuration does not call for.
    #[error(
        "the checkpoint has tensor `{tensor}`, which config.json does not call for; \
         config.json and the weights do not belong together, or this is another kind of model"
    )]
    ExtraTensor {
        /// Its name.
        tensor: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor `{tensor}` has shape {found:?}, config.json calls for {expected:?}")]
    Shape {
        /// Its name.
        tensor: String,
        /// From `config.json`.
        expected: Vec<usize>,
        /// From the checkpoint.
        found: Vec<usize>,
    },
    /// A tensor is stored in a type that this crate cannot compute on.
    #[error(
        "tensor `{tensor}` is stored as {found}; supported are F32, F16, BF16, and of GGUF Q8_0, Q4_0, Q4_1, Q5_0, \
         Q5_1, Q4_K, Q5_K and Q6_K"
    )]
    UnsupportedDtype {
        /// Its name.
        tensor: String,
        /// From the checkpoint.
        found: Dtype,
    },
    /// The scoring head holds NaN or an infinity.
    #[error(
        "tensor `{tensor}` of the scoring head holds {value} at element {element}; the file is damaged"
    )]
    HeadNotFinite {
        /// Its name.
        tensor: String,
        /// Row-major index.
        element: usize,
        /// `NaN` or `inf`.
        value: f32,
    },
    /// A token id has no row in the embedding table.
    #[error(
        "token id {id} is outside of the embedding table ({rows} rows); \
         tokenizer.json and the weights do not belong together"
    )]
    TokenOutOfRange {
        /// The id.
        id: u32,
        /// Rows of the table.
        rows: usize,
    },
    /// A text holds the padding token, whose position the file has no row for.
    #[error(
        "a text holds the padding token {id}, for whose position this GGUF file has no row; use the original \
         safetensors, or leave control tokens in texts plain"
    )]
    PaddingWithoutPosition {
        /// Its id.
        id: u32,
    },
    /// A candidate ends with the padding token, and the model scores the last token that is none.
    #[error(
        "a candidate ends with token {id}, which is `pad_token_id` in config.json: the model's head would score \
         an earlier token; let the template end with another one"
    )]
    EndsWithPadding {
        /// Its id.
        id: u32,
    },
    /// A limit of tokens is more than the model has positions.
    #[error(
        "a limit of {tokens} tokens is more than this model's {positions} positions; take {positions} or less"
    )]
    LimitTooHigh {
        /// The limit.
        tokens: usize,
        /// Of the model.
        positions: usize,
    },
    /// A candidate has more tokens than the model has positions.
    #[error(
        "a candidate has {tokens} tokens, the model has {positions} positions; lower the maximum length"
    )]
    TooManyTokens {
        /// Of the candidate.
        tokens: usize,
        /// Of the model.
        positions: usize,
    },
    /// Bytes and shape of a weight do not fit each other.
    #[error("weight of shape {shape:?} and type {dtype} needs {expected:?} bytes, got {found}")]
    WeightBytes {
        /// Shape of the weight.
        shape: Vec<usize>,
        /// Its type.
        dtype: Dtype,
        /// Bytes that it needs; `None` if its rows end within a block.
        expected: Option<usize>,
        /// Bytes that came.
        found: usize,
    },
    /// A text, the tokenizer or the template is not in order.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
    /// Reading the checkpoint failed.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The device or its tensor library failed.
    #[error("tensor operation failed: {0}")]
    Backend(#[from] grating_backend::BackendError),
}
