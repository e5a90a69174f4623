//! A replay is the run that the model would have made.

use grating_prune::{Mode, Policy, Pool, Pruner, Reason, ScoreTrace, replay, replay_with};
use proptest::prelude::*;

use crate::support::{cases, run_checked};

proptest! {
    #[test]
    fn equals_stepping((policy, trace) in cases(), k in 1..20_usize) {
        let (outcome, seen) = run_checked(&policy, &trace, k);
        let mut shown = Vec::new();
        let replayed = replay_with(&policy, &trace, k, |v| shown.push(v.clone())).unwrap();
        prop_assert_eq!(&replayed, &outcome);
        prop_assert_eq!(shown, seen);
        prop_assert_eq!(replay(&policy, &trace, k).unwrap(), outcome);
    }

    /// Scores of layers that the policy does not look at change nothing.
    #[test]
    fn scores_not_asked_for_are_harmless(
        (policy, trace) in cases(),
        k in 1..20_usize,
    ) {
        let (outcome, _) = run_checked(&policy, &trace, k);
        let pool = Pool { candidates: trace.candidates(), layers: trace.layers(), k };
        let mut pruner = Pruner::new(policy.clone(), pool).unwrap();
        for layer in 0..trace.layers() {
            if pruner.is_finished() {
                break;
            }
            let live: Vec<usize> = pruner.live().collect();
            let scores: Vec<f32> = live.iter().map(|&c| trace.layer(layer)[c]).collect();
            let verdicts = pruner.observe(layer, &live, &scores).unwrap();
            let due = policy.is_due(layer, trace.layers());
            prop_assert_eq!(verdicts.reason == Reason::NotDue, !due);
        }
        prop_assert_eq!(pruner.outcome(), outcome);
    }
}

/// An engine asks who goes on; summed over layers that is the outcome's work.
#[test]
fn running_candidates_are_the_work() {
    let rows = [
        [0.1, 0.0, 0.2, 0.1, 0.0, 0.1],
        [4.0, 0.3, 0.5, 0.4, -3.0, -3.1],
        [4.0, 2.0, -2.0, -2.1, -3.0, -3.1],
        [4.0, 2.0, -2.0, -2.1, -3.0, -3.1],
    ];
    let trace = ScoreTrace::from_vec(4, 6, rows.concat()).unwrap();
    for mode in [Mode::Select, Mode::Rank] {
        let policy = Policy::paper(0.3).with_mode(mode);
        let mut pruner =
            Pruner::new(policy.clone(), Pool { candidates: 6, layers: 4, k: 2 }).unwrap();
        let mut work = 0;
        for (layer, row) in rows.iter().enumerate() {
            work += pruner.running().count() as u64;
            if !pruner.is_finished() {
                let live: Vec<usize> = pruner.live().collect();
                let scores: Vec<f32> = live.iter().map(|&c| row[c]).collect();
                pruner.observe(layer, &live, &scores).unwrap();
            }
        }
        let outcome = replay(&policy, &trace, 2).unwrap();
        assert_eq!(outcome.selected, [0, 1]);
        assert_eq!(outcome.decided_after_layer[0], Some(1));
        assert_eq!(outcome.candidate_layers, work);
        assert!(work < 24, "something is saved");
        assert_eq!(outcome.layers_run, if mode == Mode::Select { 3 } else { 4 });
    }
}
