//! How an engine is to run.

use std::path::PathBuf;

use grating_io::IoMode;
use grating_sched::Settings;

use crate::savings::Savings;

/// How the engine is to run, for as long as it lives.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EngineOptions {
    /// What the planner may choose, within which budget.
    pub settings: Settings,
    /// Where hidden states go that memory has no room for.
    pub spill_folder: PathBuf,
    /// How weights are read.
    pub io: IoMode,
    /// Work that is left out without changing a bit of any score.
    pub savings: Savings,
    /// Threads of the pool that computes; each has scratch memory of its own.
    pub threads: usize,
}

impl EngineOptions {
    /// Everything else is left to the planner, and there is no budget.
    pub fn new(threads: usize, spill_folder: impl Into<PathBuf>) -> Self {
        EngineOptions {
            settings: Settings::default(),
            spill_folder: spill_folder.into(),
            io: IoMode::default(),
            savings: Savings::default(),
            threads,
        }
    }
}
