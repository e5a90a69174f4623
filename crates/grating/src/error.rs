//! Everything that a user of the facade can be told went wrong.

use std::path::PathBuf;
use std::time::Duration;

use grating_engine::EngineError;
use grating_io::IoError;
use grating_model::{ModelError, TokenizeError};
use grating_sched::mebibytes;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a model cannot be had, or a request not be answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `k` is 0.
    #[error("k is 0: ask for at least one result")]
    ZeroK,
    /// There is no text to rank.
    #[error("there are no texts to rank")]
    NoTexts,
    /// A setting of the builder cannot be used.
    #[error("{setting} is {found}, expected {expected}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// What can be used.
        expected: String,
        /// What was given.
        found: String,
    },
    /// The memory budget has no room to tokenize a text that cannot be cut: its tokenizer may read all of it as one word.
    #[error(
        "a budget of {} is too small for a text that its tokenizer cannot read piece by piece: {} KiB of it have to be read \
         at once, for which about {} are needed; put spaces or line ends into the text, shorten it, or raise the budget",
        mebibytes(*budget),
        bytes >> 10,
        mebibytes(*about)
    )]
    TextOverBudget {
        /// The budget, bytes.
        budget: u64,
        /// Of the text, bytes.
        bytes: usize,
        /// What reading it and the rest of the process take, bytes.
        about: u64,
    },
    /// The memory budget has no room for the request's texts and their tokens, before any is computed.
    #[error(
        "a budget of {} is too small: {texts} different texts with their tokens and the process take about {} before any is \
         computed; raise the budget, or rank fewer texts at a time",
        mebibytes(*budget),
        mebibytes(*about)
    )]
    TextsOverBudget {
        /// The budget, bytes.
        budget: u64,
        /// Different texts.
        texts: usize,
        /// What they and the rest of the process take, bytes.
        about: u64,
    },
    /// Texts or queries are not as a file of them should be.
    #[error(transparent)]
    Input(#[from] crate::input::InputError),
    /// The model is neither a folder nor a hub id.
    #[error(
        "no model at `{model}`: it is neither a folder or file of weights that is there, nor a hub id of the form owner/name or \
         owner/name:Q4_K_M, nor a short name such as {} (`grating models` lists all)",
        crate::catalog::SOME.join(", ")
    )]
    NoSuchModel {
        /// As given.
        model: String,
    },
    /// A file of the model cannot be read.
    #[error(
        "cannot read {path}: {reason}; a model folder needs config.json, tokenizer.json and safetensors weights, or a GGUF file"
    )]
    ModelFile {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// A file of the model is of another kind than its name says.
    #[error("{}: {problem}", .path.display())]
    OtherContent {
        /// The file.
        path: PathBuf,
        /// What it is, and what to do.
        problem: String,
    },
    /// The folder has no `tokenizer.json`.
    #[error(
        "{} has no tokenizer.json{}; make it with transformers (pip install transformers sentencepiece protobuf): \
         python -c \"from transformers import AutoTokenizer; d = '{}'; \
         AutoTokenizer.from_pretrained(d).save_pretrained(d)\"",
        .folder.display(),
        match .found.is_empty() {
            true => String::new(),
            false => format!(", only {}", .found.join(", ")),
        },
        .folder.display()
    )]
    NoTokenizerJson {
        /// The model's folder.
        folder: PathBuf,
        /// Tokenizer files of other kinds that it has.
        found: Vec<&'static str>,
    },
    /// No model was given and none is embedded.
    #[error(
        "no model was given, and this build embeds none (feature `default-model` is off, or it was built from a registry's package, which \
         is too small for the weights); name a folder, hub id or short name such as minilm"
    )]
    NoDefaultModel,
    /// Hub ids cannot be resolved by this build.
    #[error(
        "`{model}` is a hub id, but this build cannot fetch (feature `hub` is off); give a local folder"
    )]
    NoHub {
        /// As given.
        model: String,
    },
    /// The request cannot be run within the settings, a memory budget for instance.
    #[error(transparent)]
    Plan(#[from] grating_sched::PlanError),
    /// The pruning policy cannot be used, or met scores that it cannot.
    #[error(transparent)]
    Prune(#[from] grating_prune::PruneError),
    /// A pruning profile cannot be used here.
    #[error(transparent)]
    Profile(#[from] crate::profile::ProfileError),
    /// What pruning has learned cannot be read, written or used here.
    #[error(transparent)]
    Learning(#[from] crate::learning::LearningError),
    /// The sample queries or their traces are not in order.
    #[error(transparent)]
    Calibrate(#[from] crate::calibrate::CalibrateError),
    /// The model cannot be written in fewer bits.
    #[error(transparent)]
    Quantize(#[from] crate::quantize::QuantizeError),
    /// The processor lacks the instructions that were asked for.
    #[error(transparent)]
    Isa(#[from] grating_cpu::IsaError),
    /// The checkpoint's files are not in order.
    #[error(transparent)]
    Checkpoint(IoError),
    /// Hidden states cannot be written to disk, or read again.
    #[error(
        "hidden states cannot be kept on disk: {0} (--spill-folder, `RerankerBuilder::spill_folder`), or allow more \
         memory"
    )]
    Spill(IoError),
    /// The operating system gave no thread or memory for reading.
    #[error(transparent)]
    Resources(IoError),
    /// The model cannot be loaded or run.
    #[error("{model}: {reason}")]
    Model {
        /// Which model.
        model: String,
        /// What is wrong with it.
        reason: Box<ModelError>,
    },
    /// A text cannot be encoded, or the tokenizer not be used.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
    /// Fetching from the hub failed.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(#[from] crate::hub::HubError),
    /// A score is NaN or infinite.
    #[error(
        "candidate {candidate} has the score {score} after layer {layer}; \
         the weights are damaged or overflow, run `grating doctor` on the model"
    )]
    NotFinite {
        /// Index of the text.
        candidate: usize,
        /// Counted from 0.
        layer: usize,
        /// NaN or an infinity.
        score: f32,
    },
    /// The request's token was cancelled.
    #[error("the request was cancelled")]
    Cancelled,
    /// The request's deadline passed, while it waited or while it ran.
    #[error(
        "the request was not done within {allowed:?}; allow it more time, or ask for less at a time"
    )]
    DeadlineExceeded {
        /// How long it was given.
        allowed: Duration,
    },
    /// The device that was asked for cannot be used.
    #[error(transparent)]
    Device(#[from] crate::device::DeviceError),
    /// The operating system gave no thread.
    #[error("cannot start the compute threads: {reason}; lower the number of threads")]
    Threads {
        /// The system's words.
        reason: String,
    },
    /// The compute thread panicked on this request; it serves the next one.
    #[error("internal error, please report it: the compute thread panicked: {message}")]
    WorkerPanicked {
        /// Of the panic.
        message: String,
    },
    /// The compute thread is gone.
    #[error("internal error, please report it: the compute thread has ended")]
    WorkerGone,
}

/// By whose fault: a full disk of hidden states says nothing of the checkpoint.
impl From<IoError> for Error {
    fn from(error: IoError) -> Self {
        match error {
            IoError::SpillFolder { .. }
            | IoError::NoSpace { .. }
            | IoError::SpillWrite { .. }
            | IoError::SpillRead { .. }
            | IoError::UnknownKey { .. } => Error::Spill(error),
            IoError::Thread { .. } | IoError::OutOfMemory { .. } => Error::Resources(error),
            other => Error::Checkpoint(other),
        }
    }
}

impl Error {
    /// The method of [`RerankerBuilder`](crate::RerankerBuilder) that sets what cannot be used, where it is one of `threads`,
    /// `max_length`, `compress_ratio` and `compress_layers`.
    pub fn setting(&self) -> Option<&'static str> {
        let length = |error: &TokenizeError| matches!(error, TokenizeError::LimitTooSmall { .. });
        match self {
            Error::Setting { setting, .. } => Some(setting),
            Error::Tokenize(error) if length(error) => Some("max_length"),
            Error::Model { reason, .. } => match &**reason {
                ModelError::TooManyTokens { .. } | ModelError::LimitTooHigh { .. } => {
                    Some("max_length")
                }
                ModelError::Tokenize(error) if length(error) => Some("max_length"),
                ModelError::NotCompressible { .. } => Some("compress_ratio"),
                ModelError::Compression { setting, .. } => Some(setting),
                _ => None,
            },
            _ => None,
        }
    }

    /// Names the model that an error is about.
    pub(crate) fn of_model(model: &str, reason: ModelError) -> Self {
        Error::Model { model: model.to_string(), reason: Box::new(reason) }
    }
}

/// The engine's errors, in the facade's terms.
impl From<EngineError> for Error {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Plan(error) => Error::Plan(error),
            EngineError::Prune(error) => Error::Prune(error),
            EngineError::Io(error) => Error::from(error),
            EngineError::Model { model, reason } => Error::Model { model, reason },
            EngineError::NotFinite { candidate, layer, score } => {
                Error::NotFinite { candidate, layer, score }
            }
            EngineError::Cancelled => Error::Cancelled,
            EngineError::DeadlineExceeded { allowed } => Error::DeadlineExceeded { allowed },
            EngineError::Threads { reason } => Error::Threads { reason },
            EngineError::WorkerPanicked { message } => Error::WorkerPanicked { message },
            EngineError::WorkerGone => Error::WorkerGone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_of_hidden_states_says_nothing_of_the_checkpoint() {
        let full = IoError::NoSpace { folder: "/tmp".into(), needed: 2, free: 1 };
        let error = Error::from(full);
        assert!(matches!(error, Error::Spill(_)));
        let words = error.to_string();
        assert!(words.contains("/tmp: no space") && words.contains("--spill-folder"), "{words}");
        let missing = IoError::NotFound { path: "model".into() };
        assert!(matches!(Error::from(missing), Error::Checkpoint(_)));
    }
}
