//! Traces and policies to test with, and a run that checks every invariant at every step.

use grating_prune::{
    ClusterRule, Dispersion, Gap, Mode, Outcome, Policy, Pool, Pruner, Reason, ScoreScale,
    ScoreTrace, Verdicts,
};
use proptest::prelude::*;

/// Any policy with sensible settings, and a trace to run it on.
pub(crate) fn cases() -> impl Strategy<Value = (Policy, ScoreTrace)> {
    (policies(), traces()).prop_map(|(policy, trace)| (of_layers(policy, trace.layers()), trace))
}

/// The policy, its gaps cut to a model of so many layers.
fn of_layers(policy: Policy, layers: usize) -> Policy {
    match &policy.gap {
        Gap::Layers(gaps) => {
            let widths = gaps.widths()[..layers - 1].to_vec();
            policy.with_gap(Gap::Layers(widths.into()))
        }
        _ => policy,
    }
}

/// Any policy with sensible settings; see [`of_layers`].
fn policies() -> impl Strategy<Value = Policy> {
    let readings = prop_oneof![
        Just((ScoreScale::Probability, Dispersion::Variation)),
        Just((ScoreScale::Logit, Dispersion::Variation)),
        Just((ScoreScale::Logit, Dispersion::Spread)),
        Just((ScoreScale::Odds, Dispersion::Variation)),
    ];
    let clusters = prop_oneof![
        (1..6_usize).prop_map(ClusterRule::Fixed),
        (2..4_usize, 0..3_usize)
            .prop_map(|(min, more)| ClusterRule::Silhouette { min, max: min + more }),
        Just(ClusterRule::Each),
    ];
    let gaps = prop_oneof![
        Just(Gap::Edge),
        (0.0..2.0).prop_map(Gap::Deviations),
        (0.0..1.0).prop_map(Gap::Score),
        prop::collection::vec(0.0..3.0, 5).prop_map(|widths| Gap::Layers(widths.into())),
    ];
    let modes = prop_oneof![Just(Mode::Select), Just(Mode::Rank)];
    let thresholds = prop_oneof![Just(0.0), 0.0..1.5];
    (thresholds, readings, clusters, gaps, 0..4_usize, 1..4_usize, modes).prop_map(
        |(threshold, (scale, dispersion), clusters, gap, first_layer, stride, mode)| {
            Policy::paper(threshold)
                .with_scale(scale, dispersion)
                .with_clusters(clusters)
                .with_gap(gap)
                .with_first_layer(first_layer)
                .with_stride(stride)
                .with_mode(mode)
        },
    )
}

/// Any trace of up to 6 layers and 16 candidates: rounded scores tie often, extreme ones saturate.
fn traces() -> impl Strategy<Value = ScoreTrace> {
    let score = prop_oneof![
        4 => (-6.0..6.0_f32).boxed(),
        4 => (-3..3_i8).prop_map(f32::from).boxed(),
        1 => prop_oneof![Just(0.0), Just(-0.0), Just(f32::MAX), Just(f32::MIN), Just(90.0)].boxed(),
    ];
    (1..=6_usize, 1..=16_usize).prop_flat_map(move |(layers, candidates)| {
        prop::collection::vec(score.clone(), layers * candidates)
            .prop_map(move |scores| ScoreTrace::from_vec(layers, candidates, scores).unwrap())
    })
}

/// As [`cases`], but the final scores are all different, so that numbers never decide.
pub(crate) fn cases_without_ties() -> impl Strategy<Value = (Policy, ScoreTrace)> {
    let traces = (1..=6_usize, 1..=16_usize).prop_flat_map(|(layers, candidates)| {
        let row = Just((0..candidates).map(|c| c as f32 * 0.37 - 2.0).collect::<Vec<_>>());
        prop::collection::vec(row.prop_shuffle(), layers)
            .prop_map(move |rows| ScoreTrace::from_vec(layers, candidates, rows.concat()).unwrap())
    });
    (policies(), traces).prop_map(|(policy, trace)| (of_layers(policy, trace.layers()), trace))
}

/// Steps a pruner through the trace, checks what must hold at every step, and returns the end.
pub(crate) fn run_checked(
    policy: &Policy,
    trace: &ScoreTrace,
    k: usize,
) -> (Outcome, Vec<Verdicts>) {
    let (n, layers) = (trace.candidates(), trace.layers());
    let mut pruner = Pruner::new(policy.clone(), Pool { candidates: n, layers, k }).unwrap();
    let mut seen = Vec::new();
    let (mut accepted, mut dropped) = (0, 0);
    while let Some(layer) = pruner.next_due() {
        assert!(policy.is_due(layer, layers));
        let live: Vec<usize> = pruner.live().collect();
        let scores: Vec<f32> = live.iter().map(|&c| trace.layer(layer)[c]).collect();
        let verdicts = pruner.observe(layer, &live, &scores).unwrap();
        accepted += verdicts.accepted.len();
        dropped += verdicts.dropped.len();
        assert_eq!(accepted + dropped + pruner.live().count(), n, "a partition at all times");
        assert!(accepted <= k, "{accepted} accepted of {k}");
        assert_eq!(pruner.accepted().len(), accepted);
        assert_eq!(pruner.open_places(), k.min(n) - accepted);
        check_verdicts(&verdicts, &live, trace, policy);
        seen.push(verdicts);
    }
    assert!(pruner.is_finished());
    assert_eq!(accepted + dropped, if n <= k { 0 } else { n });
    let outcome = pruner.outcome();
    check_outcome(&outcome, policy, trace, k);
    (outcome, seen)
}

fn check_verdicts(verdicts: &Verdicts, live: &[usize], trace: &ScoreTrace, policy: &Policy) {
    let row = trace.layer(verdicts.layer);
    let lists = [&verdicts.accepted, &verdicts.deferred, &verdicts.dropped];
    // Together they are the live candidates, ranked: nobody is passed over by a worse one.
    let together: Vec<usize> = lists.into_iter().flatten().copied().collect();
    let better = |a: usize, b: usize| row[a] > row[b] || (row[a] == row[b] && a < b);
    assert!(together.windows(2).all(|w| better(w[0], w[1])), "ranked");
    let mut sorted = together.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, live);
    let last = verdicts.layer + 1 == trace.layers();
    assert_eq!(verdicts.reason == Reason::LastLayer, last);
    assert_eq!(verdicts.reason == Reason::EdgeOnBoundary, !last && verdicts.deferred.is_empty());
    if last {
        assert!(verdicts.deferred.is_empty(), "the last layer decides all");
    } else {
        // Equal scores get equal verdicts.
        for pair in lists.windows(2).chain([&[lists[0], lists[2]][..]]) {
            let tied = |&a: &usize| pair[1].iter().any(|&b| row[a] == row[b]);
            assert!(!pair[0].iter().any(tied), "ties split: {verdicts:?}");
        }
        let decided = verdicts.deferred.len() < live.len();
        assert!(!decided || verdicts.dispersion >= policy.threshold);
    }
    let in_clusters: usize = verdicts.clusters.iter().map(|cluster| cluster.size).sum();
    assert!(verdicts.clusters.is_empty() || in_clusters == live.len());
    assert!(verdicts.clusters.windows(2).all(|w| w[0].worst > w[1].best));
}

fn check_outcome(outcome: &Outcome, policy: &Policy, trace: &ScoreTrace, k: usize) {
    let (n, layers) = (trace.candidates(), trace.layers());
    let mut selected = outcome.selected.clone();
    selected.sort_unstable();
    selected.dedup();
    assert_eq!(selected.len(), k.min(n), "accepted = min(K, N)");
    let mut work = 0;
    for (candidate, decided) in outcome.decided_after_layer.iter().enumerate() {
        let kept = policy.mode == Mode::Rank && selected.binary_search(&candidate).is_ok();
        work += if kept { layers } else { decided.map_or(0, |layer| layer + 1) };
        assert_eq!(decided.is_none(), n <= k);
    }
    assert_eq!(outcome.candidate_layers, work as u64);
    assert!(outcome.layers_run <= layers);
}

/// A small generator of test numbers (SplitMix64), so that long runs are the same every time.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in 0..n.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Roughly normal, mean 0 and variance 1.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    /// Like a reranker: noise that fades from layer to layer over scores that stay.
    pub(crate) fn trace(&mut self, layers: usize, candidates: usize) -> ScoreTrace {
        let quantum = [0.0, 0.0, 0.5][self.below(3)];
        let truth: Vec<f64> = (0..candidates).map(|_| 3.0 * self.normal()).collect();
        let mut scores = Vec::with_capacity(layers * candidates);
        for layer in 0..layers {
            let settled = (layer + 1) as f64 / layers as f64;
            for value in &truth {
                let score = settled * value + (1.0 - settled) * self.normal();
                let rounded =
                    if quantum > 0.0 { (score / quantum).round() * quantum } else { score };
                scores.push(rounded as f32);
            }
        }
        ScoreTrace::from_vec(layers, candidates, scores).unwrap()
    }
}
