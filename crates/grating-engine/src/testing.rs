//! What several modules' tests need.

use std::sync::Arc;

use grating_backend::Precision;
use grating_cpu::{CpuOps, Isa};
use grating_io::Checkpoint;
use grating_model::{Encoding, LoadedModel, Model};

use crate::account::Account;
use crate::error::Result;
use crate::job::{Job, JobOutput};
use crate::options::EngineOptions;
use crate::prefix;
use crate::tokens::RowRules;
use crate::worker::{Running, Worker};

#[allow(dead_code, unreachable_pub)] // It has what the conformance suite needs, too.
#[path = "../../grating-conformance/src/golden.rs"]
mod files;

/// A golden checkpoint of `grating-model` and its model.
pub(crate) fn golden(case: &str) -> (Model, Checkpoint) {
    let (LoadedModel { model, .. }, checkpoint) = files::load(&files::folder(case), None, false);
    (model, checkpoint)
}

/// A worker without its thread, on an account of its own.
pub(crate) fn worker(set: impl FnOnce(&mut EngineOptions)) -> Worker<CpuOps> {
    worker_on(&Arc::default(), set)
}

pub(crate) fn worker_on(
    account: &Arc<Account>,
    set: impl FnOnce(&mut EngineOptions),
) -> Worker<CpuOps> {
    let (model, checkpoint) = golden("qwen3-tied-f32");
    let ops = CpuOps::new(Isa::Portable, Precision::Full);
    let mut options = EngineOptions::new(std::env::temp_dir());
    set(&mut options);
    let ask = Arc::new(|| ());
    Worker::new("qwen3".into(), model, checkpoint, ops, options, account, ask).unwrap()
}

/// Two candidates, of which one is selected; `seed` tells jobs apart.
pub(crate) fn job(seed: u32) -> Job {
    let encoding = |ids: [u32; 4]| Encoding { ids: ids.to_vec(), ..Encoding::default() };
    Job::new(vec![encoding([5, 6, seed, 8]), encoding([5, 6, 9, seed])], 1)
}

/// Jobs in one pass.
pub(crate) fn run(worker: &mut Worker<CpuOps>, mut jobs: Vec<Job>) -> Vec<Result<JobOutput>> {
    let row_rules = RowRules::of(&worker.model);
    let mut jobs: Vec<Running<'_>> = jobs
        .iter_mut()
        .map(|job| {
            let pool = Arc::new(prefix::pool(job, true, &row_rules));
            Running { job, pool, progress: &|_| () }
        })
        .collect();
    worker.run(&mut jobs)
}

/// The scores' bits.
pub(crate) fn bits(scored: &JobOutput) -> Vec<u32> {
    scored.logits.iter().map(|logit| logit.0.to_bits()).collect()
}
