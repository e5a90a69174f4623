//! The worker without its thread: what becomes of jobs whose pass cannot begin, and of the window between passes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use grating_sched::WindowSize;

use super::*;
use crate::cancel::CancelToken;
use crate::testing::{bits, job, run, worker, worker_on};

/// More than any machine has: a plan beside so much is none.
const ALL: u64 = 1 << 50;

#[test]
fn jobs_whose_joint_pass_cannot_begin_each_run_on_their_own() {
    let expected: Vec<_> =
        (1..3).map(|seed| run(&mut worker(|_| ()), vec![job(seed)]).remove(0).unwrap()).collect();
    let account = Arc::default();
    let mut worker = worker_on(&account, |options| {
        options.machine.host.budget = Some(1 << 36);
        options.settings.window = WindowSize::Slots(1);
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
    other.get_or_init(|| account.register(registration)).rest(ALL);
    // What it waits for is memory, and it is cancelled meanwhile.
    let cancelled = CancelToken::new();
    cancelled.cancel();
    let first = Job { cancel: cancelled, ..job(3) };
    let results = run(&mut worker, vec![first, job(1), job(2)]);
    let [first, others @ ..] = results.as_slice() else { panic!("an answer for each job") };
    assert!(matches!(first, Err(EngineError::Cancelled)), "{first:?}");
    for (found, expected) in others.iter().zip(&expected) {
        let found = found.as_ref().unwrap();
        assert_eq!((bits(found), found.costs.jobs), (bits(expected), 1));
    }
    assert_eq!(others.len(), 2);
}

#[test]
fn a_pass_after_a_joint_one_finds_the_window_at_its_beginning() {
    let mut worker = worker(|options| options.settings.window = WindowSize::Slots(1));
    let alone: Vec<_> =
        (1..4).map(|seed| bits(run(&mut worker, vec![job(seed)])[0].as_ref().unwrap())).collect();
    for _ in 0..2 {
        let joint = run(&mut worker, (1..4).map(job).collect());
        for (joint, alone) in joint.into_iter().zip(&alone) {
            let joint = joint.unwrap();
            assert_eq!((&bits(&joint), joint.costs.jobs), (alone, 3));
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

#[test]
fn a_recovered_worker_has_nothing_of_the_pass_that_panicked() {
    let mut worker = worker(|options| options.settings.window = WindowSize::Slots(1));
    let expected = bits(run(&mut worker, vec![job(1)])[0].as_ref().unwrap());
    // In the middle of a pass.
    let window = worker.window.as_mut().unwrap();
    (0..2).for_each(|block| drop(window.block(block).unwrap()));
    worker.recover();
    assert!(worker.window.is_none());
    assert_eq!(bits(run(&mut worker, vec![job(1)])[0].as_ref().unwrap()), expected);
}
