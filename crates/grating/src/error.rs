//! Everything that a user of the facade can be told went wrong.

use std::path::PathBuf;

use grating_io::IoError;
use grating_model::{ModelError, TokenizeError};

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
    /// The model is neither a folder nor a hub id.
    #[error(
        "no model at `{model}`: it is neither a folder with config.json nor a hub id of the form owner/name"
    )]
    NoSuchModel {
        /// As given.
        model: String,
    },
    /// A file of the model cannot be read.
    #[error(
        "cannot read {path}: {reason}; a model folder needs config.json, tokenizer.json and safetensors or GGUF weights"
    )]
    ModelFile {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// No model was given and none is embedded.
    #[error(
        "no model was given, and this build embeds none (feature `default-model` is off); name a folder or hub id"
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
    /// The sample queries or their traces are not in order.
    #[error(transparent)]
    Calibrate(#[from] crate::calibrate::CalibrateError),
    /// The model cannot be written in fewer bits.
    #[error(transparent)]
    Quantize(#[from] crate::quantize::QuantizeError),
    /// `GRATING_ISA` asks for what cannot be given.
    #[error(transparent)]
    Isa(#[from] grating_model::IsaError),
    /// The checkpoint's files are not in order.
    #[error(transparent)]
    Checkpoint(#[from] IoError),
    /// The model cannot be loaded or run.
    #[error("{model}: {source}")]
    Model {
        /// Which model.
        model: String,
        /// What is wrong with it.
        source: Box<ModelError>,
    },
    /// A text cannot be encoded, or the tokenizer not be used.
    #[error("{source}")]
    Tokenize {
        /// What is wrong.
        #[from]
        source: TokenizeError,
    },
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

impl Error {
    /// Names the model that an error is about.
    pub(crate) fn of_model(model: &str, source: ModelError) -> Self {
        Error::Model { model: model.to_string(), source: Box::new(source) }
    }
}
