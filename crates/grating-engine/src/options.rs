//! How an engine is to run.

use std::path::PathBuf;

use grating_io::IoMode;
use grating_sched::{Machine, Settings};

use crate::savings::Savings;

/// Jobs that wait where nobody says: tokens of a few pools, and work for a while.
const QUEUE_LENGTH: usize = 8;

/// How the engine is to run, for as long as it lives.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EngineOptions {
    /// What the planner may choose.
    pub settings: Settings,
    /// The memories with their budgets, and what links and computing are taken for before the first run.
    pub machine: Machine,
    /// Where hidden states go that memory has no room for.
    pub spill_folder: PathBuf,
    /// How weights are read.
    pub io: IoMode,
    /// Work that is left out without changing a bit of any score.
    pub savings: Savings,
    /// Whether jobs that wait may share a pass with the one that is next, where that does not delay it. No bit of any
    /// score depends on it.
    pub joint_passes: bool,
    /// Most jobs that wait, at least 1; callers past that wait for a place, which is the back-pressure.
    pub queue_length: usize,
    /// What of the process is resident now that the model has been opened, bytes: code, other parts of the program. The
    /// budget counts it, what the process has grown by later, and what other engines of the process hold.
    pub resident_bytes: u64,
    /// What of that is this model's, bytes: it goes with the engine.
    pub model_bytes: u64,
    /// What the backend's threads will take that is not resident yet, bytes.
    pub thread_bytes: u64,
}

impl EngineOptions {
    /// Everything else is left to the planner, and there is no budget; what computes shares the host's memory.
    pub fn new(spill_folder: impl Into<PathBuf>) -> Self {
        EngineOptions {
            settings: Settings::default(),
            machine: Machine::default(),
            spill_folder: spill_folder.into(),
            io: IoMode::default(),
            savings: Savings::default(),
            joint_passes: true,
            queue_length: QUEUE_LENGTH,
            resident_bytes: 0,
            model_bytes: 0,
            thread_bytes: 0,
        }
    }
}
