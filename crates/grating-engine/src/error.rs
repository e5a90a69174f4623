//! What can end a job.

use std::time::Duration;

use grating_io::IoError;
use grating_model::ModelError;
use grating_prune::PruneError;
use grating_sched::PlanError;

use crate::job::Job;

/// The result of everything in this crate that can fail.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// Why an engine does not start, or a job has no result. Exhaustive: the facade says each in its own terms.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The job cannot be run within the settings, a memory budget for instance.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The pruning policy cannot be used, or met scores that it cannot.
    #[error(transparent)]
    Prune(#[from] PruneError),
    /// Weights cannot be read, or hidden states not be written and read back.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The model cannot be run.
    #[error("{model}: {reason}")]
    Model {
        /// Which model.
        model: String,
        /// What is wrong with it.
        reason: Box<ModelError>,
    },
    /// A score is NaN or infinite.
    #[error("candidate {candidate} has the score {score} after layer {layer}")]
    NotFinite {
        /// Its number in the job.
        candidate: usize,
        /// Counted from 0.
        layer: usize,
        /// NaN or an infinity.
        score: f32,
    },
    /// The job's token was cancelled.
    #[error("the job was cancelled")]
    Cancelled,
    /// The job's deadline passed, while it waited or while it ran.
    #[error("the job was not done within {allowed:?}")]
    DeadlineExceeded {
        /// How long it was given.
        allowed: Duration,
    },
    /// The operating system gave no thread.
    #[error("cannot start the compute thread: {reason}; lower the number of threads")]
    Threads {
        /// The system's words.
        reason: String,
    },
    /// The compute thread panicked on this job; it serves the next one.
    #[error("the compute thread panicked: {message}")]
    WorkerPanicked {
        /// Of the panic.
        message: String,
    },
    /// The compute thread is gone.
    #[error("the compute thread has ended")]
    WorkerGone,
}

/// Why a job was not taken into the queue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrySubmitError {
    /// As many jobs wait as may; here is the job.
    #[error("the queue is full: {} jobs may wait; try again later", .length)]
    Full {
        /// As it was given.
        job: Box<Job>,
        /// Most jobs that wait.
        length: usize,
    },
    /// The engine takes no jobs any more.
    #[error(transparent)]
    Engine(#[from] EngineError),
}
