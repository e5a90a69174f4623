//! Verdicts do not depend on the order in which candidates come, nor on how they are numbered.

use grating_prune::{Policy, Pool, Pruner, ScoreTrace, Verdicts};
use proptest::prelude::*;

use crate::support::{cases, cases_without_ties, run_checked};

/// Runs the trace with the live candidates in the order in which `order` has them.
fn verdicts(policy: Policy, trace: &ScoreTrace, k: usize, order: &[usize]) -> Vec<Verdicts> {
    let pool = Pool { candidates: trace.candidates(), layers: trace.layers(), k };
    let mut pruner = Pruner::new(policy, pool).unwrap();
    let mut all = Vec::new();
    while let Some(layer) = pruner.next_due() {
        let mut live: Vec<usize> = pruner.live().collect();
        live.sort_by_key(|&c| order[c]);
        let scores: Vec<f32> = live.iter().map(|&c| trace.layer(layer)[c]).collect();
        all.push(pruner.observe(layer, &live, &scores).unwrap());
    }
    all
}

fn orders() -> impl Strategy<Value = Vec<usize>> {
    Just((0..16).collect::<Vec<_>>()).prop_shuffle()
}

proptest! {
    /// To the bit, dispersion and cluster centres included, ties or not.
    #[test]
    fn of_arrival((policy, trace) in cases(), k in 1..20_usize, order in orders()) {
        let (_, in_order) = run_checked(&policy, &trace, k);
        prop_assert_eq!(verdicts(policy, &trace, k, &order), in_order);
    }

    /// Numbers matter only where rank alone parts equal scores.
    #[test]
    fn of_numbers(
        (policy, trace) in cases_without_ties(),
        k in 1..20_usize,
        order in orders(),
    ) {
        let n = trace.candidates();
        let mut renumbered: Vec<usize> = (0..n).collect();
        renumbered.sort_by_key(|&c| order[c]);
        let rows: Vec<f32> = (0..trace.layers())
            .flat_map(|layer| renumbered.iter().map(move |&c| (layer, c)))
            .map(|(layer, c)| trace.layer(layer)[c])
            .collect();
        let other = ScoreTrace::from_vec(trace.layers(), n, rows).unwrap();
        let (outcome, _) = run_checked(&policy, &trace, k);
        let (others, _) = run_checked(&policy, &other, k);
        if n > k {
            let back: Vec<usize> = others.selected.iter().map(|&c| renumbered[c]).collect();
            prop_assert_eq!(back, outcome.selected);
        }
        for (new, &old) in renumbered.iter().enumerate() {
            prop_assert_eq!(others.decided_after_layer[new], outcome.decided_after_layer[old]);
        }
        prop_assert_eq!(others.candidate_layers, outcome.candidate_layers);
    }
}
