//! Ten thousand random traces, no violated invariant.

use grating_prune::metrics::agreement_at_k;
use grating_prune::{ClusterRule, Dispersion, Gap, Mode, Policy, ScoreScale};

use crate::support::{Numbers, run_checked};

fn policy(numbers: &mut Numbers, layers: usize) -> Policy {
    let readings = [
        (ScoreScale::Probability, Dispersion::Variation),
        (ScoreScale::Logit, Dispersion::Spread),
        (ScoreScale::Odds, Dispersion::Variation),
    ];
    let clusters = [
        ClusterRule::Fixed(2 + numbers.below(4)),
        ClusterRule::Silhouette { min: 2, max: 6 },
        ClusterRule::Each,
    ];
    let widths: Vec<f64> = (1..layers).map(|_| 2.0 * numbers.uniform()).collect();
    let gaps = [
        Gap::Edge,
        Gap::Deviations(numbers.uniform()),
        Gap::Score(numbers.uniform()),
        Gap::Layers(widths.into()),
    ];
    let (scale, dispersion) = readings[numbers.below(3)];
    Policy::paper(2.0 * numbers.uniform())
        .with_scale(scale, dispersion)
        .with_clusters(clusters[numbers.below(3)])
        .with_gap(gaps[numbers.below(4)].clone())
        .with_first_layer(numbers.below(12))
        .with_stride(1 + numbers.below(3))
        .with_mode([Mode::Select, Mode::Rank][numbers.below(2)])
}

#[test]
fn ten_thousand_traces() {
    let mut numbers = Numbers(5);
    let (mut work, mut full, mut agreement) = (0, 0, 0.0);
    for _ in 0..10_000 {
        let (layers, candidates) = (1 + numbers.below(24), 1 + numbers.below(40));
        let trace = numbers.trace(layers, candidates);
        let k = 1 + numbers.below(12);
        let (outcome, _) = run_checked(&policy(&mut numbers, layers), &trace, k);
        work += outcome.candidate_layers;
        full += (layers * candidates) as u64;
        agreement += agreement_at_k(&outcome.selected, &trace.final_ranking(), k);
    }
    // The runs were worth checking: much was pruned, and not blindly.
    let (cost, agreement) = (work as f64 / full as f64, agreement / 10_000.0);
    assert!(cost < 0.8, "cost {cost}");
    assert!((0.7..1.0).contains(&agreement), "agreement {agreement}");
}
