//! What holds for every policy, trace and K.

use grating_prune::{
    ClusterRule, Dispersion, Gap, Mode, Policy, Pool, Pruner, Reason, ScoreScale, ScoreTrace,
    replay,
};
use proptest::prelude::*;

use crate::support::{cases, run_checked};

proptest! {
    #[test]
    fn at_every_step((policy, trace) in cases(), k in 1..20_usize) {
        run_checked(&policy, &trace, k);
    }

    /// The mode says who goes on computing, not who is selected.
    #[test]
    fn modes_give_the_same_verdicts((policy, trace) in cases(), k in 1..20_usize) {
        let select = run_checked(&policy.clone().with_mode(Mode::Select), &trace, k);
        let rank = run_checked(&policy.with_mode(Mode::Rank), &trace, k);
        prop_assert_eq!(select.1, rank.1);
        prop_assert_eq!(select.0.selected, rank.0.selected);
        prop_assert_eq!(select.0.decided_after_layer, rank.0.decided_after_layer);
        prop_assert!(select.0.candidate_layers <= rank.0.candidate_layers);
    }

    /// Scores that never change are never misjudged, however bold the policy.
    #[test]
    fn settled_scores_give_the_exact_top((policy, trace) in cases(), k in 1..20_usize) {
        let row = trace.layer(trace.layers() - 1).to_vec();
        let settled = ScoreTrace::from_vec(trace.layers(), row.len(), row.repeat(trace.layers())).unwrap();
        let (outcome, _) = run_checked(&policy, &settled, k);
        let mut selected = outcome.selected;
        selected.sort_unstable();
        let mut top = settled.final_ranking();
        top.truncate(k);
        top.sort_unstable();
        prop_assert_eq!(selected, top);
    }

    #[test]
    fn never_is_the_full_model((_, trace) in cases(), k in 1..20_usize) {
        let outcome = replay(&Policy::never().with_mode(Mode::Rank), &trace, k).unwrap();
        let mut top = trace.final_ranking();
        top.truncate(k);
        if trace.candidates() > k {
            prop_assert_eq!(outcome.selected, top);
        }
        prop_assert_eq!(outcome.candidate_layers, (trace.candidates() * trace.layers()) as u64);
        prop_assert_eq!(outcome.layers_run, trace.layers());
    }

    /// Each scale keeps the order, so no score is passed over by a lower one.
    #[test]
    fn scales_are_monotone(mut raw in prop::collection::vec(-200.0..200.0_f32, 1..40)) {
        raw.sort_by(|a, b| b.total_cmp(a));
        for scale in [ScoreScale::Probability, ScoreScale::Logit, ScoreScale::Odds] {
            let mapped = scale.map(&raw);
            prop_assert!(mapped.windows(2).all(|w| w[0] >= w[1]));
            prop_assert!(mapped.iter().all(|v| v.is_finite()));
        }
    }

    /// A shift of all logits changes neither the spread of logits nor the variation of odds.
    #[test]
    fn shifts_do_not_matter(ticks in prop::collection::vec(-40..40_i8, 2..20), shift in -64..64_i8) {
        // Quarters: the shifted sums are exact.
        let mut raw: Vec<f32> = ticks.iter().map(|&t| f32::from(t) / 4.0).collect();
        raw.sort_by(|a, b| b.total_cmp(a));
        let shifted: Vec<f32> = raw.iter().map(|x| x + f32::from(shift)).collect();
        for (scale, measure) in [
            (ScoreScale::Logit, Dispersion::Spread),
            (ScoreScale::Odds, Dispersion::Variation),
        ] {
            prop_assert_eq!(measure.of(&scale.map(&raw)), measure.of(&scale.map(&shifted)));
        }
    }
}

fn pruner(policy: Policy, candidates: usize, layers: usize, k: usize) -> Pruner {
    Pruner::new(policy, Pool { candidates, layers, k }).unwrap()
}

#[test]
fn as_many_as_wanted_or_fewer_return_at_once() {
    for (n, k) in [(1, 1), (3, 3), (3, 7)] {
        let select = pruner(Policy::paper(0.0), n, 5, k);
        assert!(select.is_finished() && select.next_due().is_none());
        assert_eq!(select.accepted(), (0..n).collect::<Vec<_>>());
        assert_eq!(select.running().count(), 0);
        assert_eq!(select.outcome().candidate_layers, 0);
        assert_eq!(select.outcome().decided_after_layer, vec![None; n]);
        let rank = pruner(Policy::paper(0.0).with_mode(Mode::Rank), n, 5, k);
        assert!(rank.is_finished());
        assert_eq!(rank.running().count(), n);
        assert_eq!(rank.outcome().candidate_layers, 5 * n as u64);
    }
}

#[test]
fn a_cluster_edge_on_the_boundary_ends_the_request() {
    let mut pruner = pruner(Policy::paper(0.1).with_clusters(ClusterRule::Fixed(2)), 5, 9, 2);
    let verdicts = pruner.observe(0, &[0, 1, 2, 3, 4], &[-2.0, 3.0, -2.1, 2.9, -2.2]).unwrap();
    assert_eq!(verdicts.reason, Reason::EdgeOnBoundary);
    assert_eq!((verdicts.accepted, verdicts.dropped), (vec![1, 3], vec![0, 2, 4]));
    assert!(verdicts.deferred.is_empty() && pruner.is_finished());
    assert_eq!(pruner.outcome().candidate_layers, 5);
}

/// The paper's condition for the end, selected + deferred = K, is the same: those deferred are within
/// the boundary, so the edge below them lies on it and they are accepted.
#[test]
fn the_rest_that_fits_is_accepted() {
    let policy = Policy::paper(0.0).with_scale(ScoreScale::Logit, Dispersion::Spread);
    let mut pruner = pruner(policy, 6, 9, 3);
    let verdicts = pruner.observe(0, &[0, 1, 2, 3, 4, 5], &[9.0, 5.0, 4.9, 0.2, 0.1, 0.0]).unwrap();
    assert_eq!((verdicts.accepted, verdicts.reason), (vec![0, 1, 2], Reason::EdgeOnBoundary));
}

#[test]
fn equal_scores_go_to_the_last_layer_and_are_parted_by_number() {
    let trace = ScoreTrace::from_vec(3, 4, vec![0.5; 12]).unwrap();
    for policy in [Policy::paper(0.0), Policy::paper(0.0).with_clusters(ClusterRule::Each)] {
        let (outcome, seen) = run_checked(&policy, &trace, 2);
        assert_eq!(outcome.selected, [0, 1]);
        assert_eq!(outcome.decided_after_layer, [Some(2); 4]);
        assert_eq!(seen[0].reason, Reason::NothingClear);
    }
}

#[test]
fn a_threshold_not_reached_defers_all() {
    let trace = ScoreTrace::from_vec(2, 3, vec![3.0, 0.0, -3.0, 3.0, 0.0, -3.0]).unwrap();
    let (_, seen) = run_checked(&Policy::paper(100.0), &trace, 1);
    assert_eq!(seen[0].reason, Reason::BelowThreshold);
    assert!(seen[0].clusters.is_empty());
    // At the threshold itself candidates are decided.
    let exactly = Policy::paper(seen[0].dispersion);
    assert_eq!(run_checked(&exactly, &trace, 1).1[0].reason, Reason::EdgeOnBoundary);
}

#[test]
fn a_wider_gap_defers_more() {
    let trace = ScoreTrace::from_vec(2, 6, [5.0, 4.0, 1.0, 0.9, 0.8, -3.0].repeat(2)).unwrap();
    let logits = Policy::paper(0.0).with_scale(ScoreScale::Logit, Dispersion::Spread);
    let deferred = |gap| {
        let policy = logits.clone().with_clusters(ClusterRule::Each).with_gap(gap);
        run_checked(&policy, &trace, 3).1[0].deferred.clone()
    };
    assert!(deferred(Gap::Edge).is_empty());
    assert_eq!(deferred(Gap::Score(0.15)), [2, 3]);
    assert_eq!(deferred(Gap::Score(1.0)), [2, 3, 4]);
    assert_eq!(deferred(Gap::Score(3.5)), [1, 2, 3, 4]);
    assert_eq!(deferred(Gap::Score(9.0)), [0, 1, 2, 3, 4, 5]);
}
