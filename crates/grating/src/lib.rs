//! Semantic top-K selection: a query and N texts go in, the K most relevant come out, scored by a cross-encoder
//! reranker on one device.
//!
//! # Brief overview
//!
//! [`Reranker`] owns a model and a compute thread; [`Reranker::builder`] makes one from a folder, a hub id or the
//! model that is embedded in the library. [`Reranker::rerank`] answers a request with a [`Selection`]: the best
//! texts with their index, their score as [`Probability`] and [`Logit`], and the layer after which their place was
//! decided. [`Request`] carries the options of one call: an instruction, a [`CancelToken`], a deadline, a progress callback;
//! [`Reranker::submit`] puts one in the queue and gives a [`Ticket`] to wait on, [`Reranker::rerank_many`] answers several.
//! [`inspect`] reads a model's shape without loading it, [`doctor`] says what is wrong with one, [`quantize`] writes one
//! with its matrices in fewer bits. [`mod@input`] reads texts and queries from lines, JSON and request bodies, [`wire`] is
//! what rerank servers and their clients say to each other.
//!
//! All candidates go through the model together, layer by layer; weights come from the checkpoint one layer at a
//! time, so memory holds one layer and the candidates' hidden states, not the model.
//!
//! # Example
//!
//! ```
//! # #[cfg(feature = "default-model")] {
//! use grating::Reranker;
//!
//! let reranker = Reranker::builder().build()?; // the embedded default model
//! let texts = ["Paris is the capital of France.", "The cat sat on the mat.", "France borders Spain."];
//! let selection = reranker.rerank("What is the capital of France?", &texts, 1)?;
//! assert_eq!(selection.results[0].index, 0);
//! # }
//! # Ok::<(), grating::Error>(())
//! ```
#![deny(unsafe_code)]

mod audit;
mod builder;
pub mod calibrate;
mod catalog;
mod compression;
mod default_model;
mod default_pruning;
mod device;
mod distinct;
mod doctor;
mod error;
mod files;
mod fingerprint;
#[cfg(feature = "hub")]
pub mod hub;
pub mod input;
mod inspect;
mod learning;
mod long;
mod many;
mod monitor;
mod notices;
mod parallel;
mod planning;
mod profile;
mod quantize;
mod reading;
mod regular;
mod request;
mod reranker;
mod scores;
mod selection;
mod side_files;
mod source;
mod stats;
mod texts;
mod ticket;
mod token_room;
pub mod wire;

pub use audit::{Audit, AuditTotals};
pub use builder::{MAX_THREADS, RerankerBuilder};
pub use catalog::{PublishedModel, published_models};
pub use device::{Device, DeviceError, PlannedDevice, UnknownDevice};
pub use doctor::{Check, CheckStatus, DoctorReport, doctor};
pub use error::{Error, Result};
pub use grating_backend::{OperationTimes, Precision};
pub use grating_cpu::{Isa, IsaError};
pub use grating_cuda::DriverError;
pub use grating_engine::{
    CancelToken, LayerStats, LinkStats, MemoryStats, Progress, Readouts, Savings, Timeline,
    Waiting, WaitingJob, current_rss_bytes, peak_rss_bytes,
};
pub use grating_io::{Faults, FaultyStorage, IoError, IoMode, Storage, shown};
pub use grating_model::{Logit, Probability};
pub use grating_prune as prune;
pub use grating_prune::{Mode, Policy, TokenPolicy};
pub use grating_sched::{
    Ledger, Plan, PlanError, PlannedLink, PlannedMemory, RowCacheSize, Spill, WindowSize,
};
pub use inspect::{ModelInfo, ModelReport, TensorReport, inspect};
pub use learning::{LearnedPruning, LearningError};
pub use long::{BestPassage, Long, Passages, ScoredPassage, token_policy};
pub use many::Selections;
pub use notices::{PruningNotice, PruningNotices};
pub use profile::{
    DataSummary, Judged, LayerAgreement, Measured, ModelStamp, Profile, ProfileError, Quality,
};
pub use quantize::{
    QuantizeError, QuantizeReport, StoredAs, UnknownWeightFormat, WeightFormat, quantize,
    quantize_cancellable,
};
pub use request::{Pruning, Request};
pub use reranker::Reranker;
pub use scores::LastScore;
pub use selection::{Ranked, Selection};
pub use source::ModelSource;
pub use stats::Stats;
pub use texts::Texts;
pub use ticket::{Ticket, TrySubmitError};

/// The README's example, which is the repository's too, is run as a test.
#[cfg(all(doctest, feature = "default-model"))]
#[doc = include_str!("../README.md")]
struct Readme;
