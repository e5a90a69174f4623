//! The worker without its thread: what becomes of jobs whose pass cannot begin, and of the window between passes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use grating_backend::Precision;
use grating_cpu::{CpuOps, Isa};
use grating_model::Encoding;

use super::*;
use crate::cancel::CancelToken;
use crate::prefix;
use crate::testing::golden;

/// More than any machine has: a plan beside so much is none.
const ALL: u64 = 1 << 50;

fn worker(set: impl FnOnce(&mut EngineOptions)) -> Worker<CpuOps> {
    let (model, checkpoint) = golden("qwen3-tied-f32");
    let ops = CpuOps::new(Isa::Portable, Precision::Full);
    let mut options = EngineOptions::new(std::env::temp_dir());
    set(&mut options);
    Worker::new("qwen3".into(), model, checkpoint, ops, options, Arc::new(|| ())).unwrap()
}

/// Two candidates, of which one is selected; `seed` tells jobs apart.
fn job(seed: u32) -> Job {
    let encoding = |ids: [u32; 4]| Encoding { ids: ids.to_vec(), ..Encoding::default() };
    Job::new(vec![encoding([5, 6, seed, 8]), encoding([5, 6, 9, seed])], 1)
}

/// Jobs in one pass.
fn run(worker: &mut Worker<CpuOps>, mut jobs: Vec<Job>) -> Vec<Result<Scored>> {
    let mut jobs: Vec<Running<'_>> = jobs
        .iter_mut()
        .map(|job| {
            let pool = Arc::new(prefix::pool(&job.encodings, true));
            Running { job, pool, progress: &|_| () }
        })
        .collect();
    worker.run(&mut jobs)
}

fn logits(scored: &Scored) -> Vec<u32> {
    scored.logits.iter().map(|logit| logit.0.to_bits()).collect()
}

#[test]
fn jobs_whose_joint_pass_cannot_begin_each_run_on_their_own() {
    let expected: Vec<_> =
        (1..3).map(|seed| run(&mut worker(|_| ()), vec![job(seed)]).remove(0).unwrap()).collect();
    let mut worker = worker(|options| {
        options.machine.host.budget = Some(1 << 36);
        options.settings.window = grating_sched::WindowSize::Slots(1);
    });
    // Another engine keeps all memory, until it is asked a third time: for the joint pass, for the first job on its own,
    // for the second one.
    let other: Arc<OnceLock<Share>> = Arc::default();
    let (keeps, asked) = (Arc::clone(&other), AtomicUsize::new(0));
    let ask = move || {
        let times = asked.fetch_add(1, Ordering::Relaxed) + 1;
        keeps.get().expect("it has joined").rest(if times < 3 { ALL } else { 0 });
    };
    let (resident, model, threads, floor, gives_back) = (0, 0, 0, 0, true);
    let registration =
        Registration { resident, model, threads, floor, gives_back, ask: Arc::new(ask) };
    other.get_or_init(|| Account::of_process().register(registration)).rest(ALL);
    // What it waits for is memory, and it is cancelled meanwhile.
    let cancelled = CancelToken::new();
    cancelled.cancel();
    let first = Job { cancel: cancelled, ..job(3) };
    let results = run(&mut worker, vec![first, job(1), job(2)]);
    let [first, others @ ..] = results.as_slice() else { panic!("an answer for each job") };
    assert!(matches!(first, Err(EngineError::Cancelled)), "{first:?}");
    for (found, expected) in others.iter().zip(&expected) {
        let found = found.as_ref().unwrap();
        assert_eq!((logits(found), found.costs.jobs), (logits(expected), 1));
    }
    assert_eq!(others.len(), 2);
}

#[test]
fn a_pass_after_a_joint_one_finds_the_window_at_its_beginning() {
    let mut worker =
        worker(|options| options.settings.window = grating_sched::WindowSize::Slots(1));
    let alone: Vec<_> =
        (1..4).map(|seed| logits(run(&mut worker, vec![job(seed)])[0].as_ref().unwrap())).collect();
    for _ in 0..2 {
        let joint = run(&mut worker, (1..4).map(job).collect());
        for (joint, alone) in joint.into_iter().zip(&alone) {
            let joint = joint.unwrap();
            assert_eq!((&logits(&joint), joint.costs.jobs), (alone, 3));
        }
    }
}

#[test]
fn a_policy_that_cannot_be_used_ends_its_own_job() {
    let mut worker = worker(|_| ());
    let policy = grating_prune::Policy::paper(0.1).with_stride(0);
    let refused = Job { policy: Some(policy), ..job(1) };
    let results = run(&mut worker, vec![refused, job(2)]);
    assert!(matches!(results[0], Err(EngineError::Prune(_))), "{:?}", results[0]);
    assert_eq!(results[1].as_ref().unwrap().costs.jobs, 2);
}
