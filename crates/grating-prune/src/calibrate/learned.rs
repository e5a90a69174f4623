//! Policies whose gaps are learned from traces: after each layer as wide as that layer's scores err.

use crate::calibrate::PolicyFamily;
use crate::clusters::ClusterRule;
use crate::dispersion::Dispersion;
use crate::error::PruneError;
use crate::policy::{Mode, Policy};
use crate::routing::Gap;
use crate::scale::ScoreScale;
use crate::trace::ScoreTrace;

/// Shares of the queries whose needs a layer's gap covers, careful first.
const SHARES: [f64; 11] = [1.0, 0.98, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3];
/// The covering gap times these.
const FACTORS: [f64; 9] = [2.8, 2.0, 1.4, 1.2, 1.0, 0.85, 0.7, 0.6, 0.5];

/// The gap on raw scores that would have misjudged nobody of this query after `layer`: how far the best candidate outside of
/// the final top `k` stands above the worst one inside it, at least 0.
///
/// A policy whose gap is wider than that after every layer selects what the full model selects: where somebody is misjudged for
/// the first time, he and a rival who belongs on his side of the boundary are live and stand on each other's side.
///
/// # Panics
/// When there is no such layer, or no candidate beyond the top `k`.
pub fn needed_gap(trace: &ScoreTrace, layer: usize, k: usize) -> f64 {
    needed_after(trace, layer, trace.final_ranking().split_at(k))
}

/// The same, where it is known who is within the final top K and who beyond.
fn needed_after(trace: &ScoreTrace, layer: usize, (within, beyond): (&[usize], &[usize])) -> f64 {
    let scores = trace.layer(layer);
    let worst = within.iter().map(|&c| scores[c]).fold(f32::INFINITY, f32::min);
    let best = beyond.iter().map(|&c| scores[c]).fold(f32::NEG_INFINITY, f32::max);
    (f64::from(best) - f64::from(worst)).max(0.0)
}

/// Policies with a gap of its own for each layer, on raw scores and without clusters: for each factor a chain over
/// the shares of `traces` whose [`needed_gap`] is covered.
///
/// The family depends on `traces`, so these must not be among the queries that test it: those that
/// [`Procedure::Split`](super::Procedure::Split) explores with are right. Traces of `k` candidates or fewer need nothing.
///
/// # Errors
/// [`PruneError::ZeroK`]; [`PruneError::NoQueries`] where no trace has more than `k` candidates.
pub fn learned(traces: &[ScoreTrace], k: usize, mode: Mode) -> Result<PolicyFamily, PruneError> {
    if k == 0 {
        return Err(PruneError::ZeroK);
    }
    let contested: Vec<&ScoreTrace> = traces.iter().filter(|t| t.candidates() > k).collect();
    let layers = contested.first().ok_or(PruneError::NoQueries)?.layers();
    let finals: Vec<Vec<usize>> = contested.iter().map(|trace| trace.final_ranking()).collect();
    let sorted_needs = |layer: usize| {
        let each = contested.iter().zip(&finals);
        let need = |(trace, ranked): (&&ScoreTrace, &Vec<usize>)| {
            needed_after(trace, layer, ranked.split_at(k))
        };
        let mut needs: Vec<f64> = each.map(need).collect();
        needs.sort_by(f64::total_cmp);
        needs
    };
    let needs: Vec<Vec<f64>> = (0..layers.saturating_sub(1)).map(sorted_needs).collect();
    let policy = |factor: f64, share: f64| {
        let gaps: Vec<f64> = needs.iter().map(|needs| cover(needs, share) * factor).collect();
        Policy::paper(0.0)
            .with_scale(ScoreScale::Logit, Dispersion::Spread)
            .with_clusters(ClusterRule::Each)
            // Wider than what is needed, not as wide.
            .with_gap(Gap::Layers(gaps.iter().map(|gap| gap.next_up()).collect::<Vec<_>>().into()))
            .with_mode(mode)
    };
    let chain = |&factor: &f64| SHARES.iter().map(|&share| policy(factor, share)).collect();
    PolicyFamily::new(FACTORS.iter().map(chain).collect())
}

/// The least of `sorted` that this share of them does not exceed.
fn cover(sorted: &[f64], share: f64) -> f64 {
    let covered = (share * sorted.len() as f64).ceil() as usize;
    sorted[covered.clamp(1, sorted.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(rows: [[f32; 4]; 3]) -> ScoreTrace {
        ScoreTrace::from_vec(3, 4, rows.concat()).unwrap()
    }

    #[test]
    fn needs_by_hand() {
        // Final order 0, 1, 2, 3.
        let trace = trace([[1.0, 4.0, 2.5, 0.0], [3.0, 1.0, 2.0, 0.0], [4.0, 3.0, 2.0, 1.0]]);
        let needs = |k| [0, 1, 2].map(|layer| needed_gap(&trace, layer, k));
        assert_eq!(needs(1), [3.0, 0.0, 0.0]);
        assert_eq!(needs(2), [1.5, 1.0, 0.0]);
        assert_eq!(needs(3), [0.0, 0.0, 0.0]);
    }

    #[test]
    fn gaps_cover_a_share_of_the_queries() {
        let traces: Vec<ScoreTrace> = (0..10)
            .map(|need| {
                let early = [0.0, need as f32, -9.0, -9.0];
                trace([early, [1.0, 0.0, -1.0, -2.0], [1.0, 0.0, -1.0, -2.0]])
            })
            .collect();
        let family = learned(&traces, 1, Mode::Select).unwrap();
        assert_eq!(family.len(), SHARES.len() * FACTORS.len());
        let widths = |policy: &Policy| match &policy.gap {
            Gap::Layers(gaps) => gaps.widths().to_vec(),
            other => panic!("{other:?}"),
        };
        let plain = &family.chains()[FACTORS.iter().position(|f| *f == 1.0).unwrap()];
        let first: Vec<f64> = plain.iter().map(|policy| widths(policy)[0].round()).collect();
        assert_eq!(first, [9.0, 9.0, 9.0, 8.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0]);
        assert!(plain.iter().all(|policy| widths(policy).len() == 2 && widths(policy)[0] > 1.0));
        let twice = widths(&family.chains()[1][0])[0];
        assert!((twice - 18.0).abs() < 1e-9);
    }

    #[test]
    fn refusals() {
        let few = ScoreTrace::from_vec(2, 2, vec![0.0; 4]).unwrap();
        assert_eq!(learned(&[few], 2, Mode::Select), Err(PruneError::NoQueries));
        assert_eq!(learned(&[], 2, Mode::Select), Err(PruneError::NoQueries));
        assert_eq!(learned(&[], 0, Mode::Select), Err(PruneError::ZeroK));
    }
}
