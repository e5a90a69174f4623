//! A trace that is sorted once for many policies.
//!
//! Policies that decide by a gap alone, as all [learned](crate::calibrate::learned()) ones do, need no more of a layer than its
//! order: what they would have done is read off it some twenty times sooner than by a [replay](crate::replay()), which sorts,
//! clusters and measures the dispersion for each policy anew.

use crate::calibrate::beside::{candidate_layers, work};
use crate::clusters::ClusterRule;
use crate::error::PruneError;
use crate::metrics::agreement_at_k;
use crate::online::Signals;
use crate::policy::{Mode, Policy};
use crate::replay::replay;
use crate::scale::ScoreScale;
use crate::trace::ScoreTrace;

/// What a policy does with one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Effect {
    /// Agreement@K with the full model's top K.
    pub(crate) agreement: f64,
    pub(crate) candidate_layers: u64,
}

/// A trace, and the order of its candidates after each layer.
#[derive(Debug)]
pub(crate) struct Ranked<'t> {
    trace: &'t ScoreTrace,
    k: usize,
    /// `[layer][rank]`.
    orders: Vec<Vec<usize>>,
    /// Whether a candidate is of the full model's top K.
    within: Vec<bool>,
    /// The full model's ranking.
    full: Vec<usize>,
    /// Of all tokens those that enter each layer; empty where all do.
    shares: &'t [f64],
    /// What a candidate has cost after so many layers.
    work: Vec<f64>,
}

impl<'t> Ranked<'t> {
    pub(crate) fn new(trace: &'t ScoreTrace, k: usize) -> Self {
        let orders: Vec<Vec<usize>> = (0..trace.layers()).map(|l| trace.ranking(l)).collect();
        let full = orders.last().cloned().unwrap_or_default();
        let (within, work) = (among(&full, k), work(&vec![1.0; trace.layers()]));
        Ranked { trace, k, orders, within, full, shares: &[], work }
    }

    /// Held against another run, the full model's, where these shares of the tokens entered each layer of this one.
    pub(crate) fn beside(self, full: &ScoreTrace, shares: &'t [f64]) -> Self {
        let full = full.final_ranking();
        Ranked { within: among(&full, self.k), full, shares, work: work(shares), ..self }
    }

    /// Candidate-layers without pruning.
    pub(crate) fn full(&self) -> u64 {
        self.trace.candidates() as u64 * self.trace.layers() as u64
    }

    /// What `policy` would have done.
    ///
    /// # Errors
    /// An invalid policy or K = 0.
    pub(crate) fn effect(&self, policy: &Policy) -> Result<Effect, PruneError> {
        let (layers, contested) = (self.trace.layers(), self.trace.candidates() > self.k);
        if self.k > 0 && contested && decides_by_gap(policy) {
            policy.validate_for(layers)?;
            return Ok(self.by_gap(policy, |_, _, _| ()));
        }
        let outcome = replay(policy, self.trace, self.k)?;
        let agreement = agreement_at_k(&outcome.selected, &self.full, self.k);
        let candidate_layers = candidate_layers(&outcome, policy.mode, self.shares);
        Ok(Effect { agreement, candidate_layers })
    }

    /// What `policy` would have shown of the request.
    ///
    /// # Errors
    /// As [`effect`](Self::effect).
    pub(crate) fn signals(&self, policy: &Policy) -> Result<Signals, PruneError> {
        let (candidates, layers) = (self.trace.candidates(), self.trace.layers());
        if self.k == 0 || candidates <= self.k || !decides_by_gap(policy) {
            return Signals::of(policy, self.trace, self.k);
        }
        policy.validate_for(layers)?;
        let mut looks = Vec::with_capacity(layers);
        self.by_gap(policy, |layer, sorted, deferred| {
            // No more than the first two are wanted.
            let dispersion = match looks.len() < 2 {
                true => {
                    let row = self.trace.layer(layer);
                    let scores: Vec<f64> = sorted.iter().map(|&c| f64::from(row[c])).collect();
                    policy.dispersion.of(&scores)
                }
                false => 0.0,
            };
            looks.push((deferred, dispersion));
        });
        Ok(Signals::new(candidates, layers, looks))
    }

    /// `each` sees of every layer that is looked at who is undecided, best first, and how many are left of them.
    fn by_gap(&self, policy: &Policy, mut each: impl FnMut(usize, &[usize], usize)) -> Effect {
        let last = self.trace.layers() - 1;
        let mut live = vec![true; self.trace.candidates()];
        let mut undecided = live.len();
        let mut kept = vec![0; live.len()];
        let (mut places, mut common, mut computed) = (self.k, 0_usize, 0.0);
        for layer in (0..=last).filter(|&layer| policy.is_due(layer, last + 1)) {
            let order = &self.orders[layer];
            let sorted: &[usize] = match undecided == live.len() {
                true => order,
                false => {
                    // Without a branch, which nobody could foresee.
                    let mut count = 0;
                    for &c in order {
                        kept[count] = c;
                        count += usize::from(live[c]);
                    }
                    &kept[..undecided]
                }
            };
            let (accept, drop) = match layer == last {
                true => (places, places),
                false => self.cut(layer, sorted, places, policy.gap.width(layer, 0.0)),
            };
            undecided = drop - accept;
            each(layer, sorted, undecided);
            let layers_of_accepted = match policy.mode {
                Mode::Select => layer + 1,
                Mode::Rank => last + 1,
            };
            let dropped = (sorted.len() - drop) as f64;
            computed +=
                accept as f64 * self.work[layers_of_accepted] + dropped * self.work[layer + 1];
            common += sorted[..accept].iter().filter(|&&c| self.within[c]).count();
            sorted[..accept].iter().chain(&sorted[drop..]).for_each(|&c| live[c] = false);
            places -= accept;
            if accept == drop {
                break;
            }
        }
        let agreement = common as f64 / self.k as f64;
        Effect { agreement, candidate_layers: computed.round() as u64 }
    }

    /// How many of the `sorted` are accepted, and the first rank that is dropped: as [`route`](crate::route) with each score
    /// a cluster, for a gap above 0, which parts no equal ones.
    fn cut(&self, layer: usize, sorted: &[usize], places: usize, gap: f64) -> (usize, usize) {
        let n = sorted.len();
        if places == n {
            return (n, n);
        }
        let row = self.trace.layer(layer).to_slice().expect("the rows of a trace are contiguous");
        let score = |rank: usize| f64::from(row[sorted[rank]]);
        let (worst_within, best_beyond) = (score(places - 1), score(places));
        let accept = (0..places).take_while(|&rank| score(rank) - best_beyond >= gap).count();
        let undecided = (places..n).take_while(|&rank| worst_within - score(rank) < gap).count();
        (accept, places + undecided)
    }
}

/// For each candidate whether it is of the `k` best.
fn among(ranking: &[usize], k: usize) -> Vec<bool> {
    let mut within = vec![false; ranking.len()];
    ranking.iter().take(k).for_each(|&candidate| within[candidate] = true);
    within
}

/// Whether a policy looks at nothing but distances of raw scores across the boundary.
fn decides_by_gap(policy: &Policy) -> bool {
    let widths = policy.gap.fixed_widths();
    policy.scale == ScoreScale::Logit
        && policy.clusters == ClusterRule::Each
        && policy.threshold == 0.0
        && widths.is_some_and(|widths| widths.iter().all(|&width| width > 0.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dispersion::Dispersion;
    use crate::routing::Gap;

    /// Of few different scores, so that many are equal.
    fn traces() -> impl Strategy<Value = ScoreTrace> {
        (2_usize..5, 1_usize..14).prop_flat_map(|(layers, candidates)| {
            let score = (-6_i8..6).prop_map(|score| f32::from(score) * 0.5);
            proptest::collection::vec(score, layers * candidates)
                .prop_map(move |s| ScoreTrace::from_vec(layers, candidates, s).unwrap())
        })
    }

    proptest! {
        #[test]
        fn the_same_as_a_replay(
            trace in traces(),
            k in 1_usize..8,
            widths in proptest::collection::vec(0_u8..6, 4),
            rank in any::<bool>(),
            (first, stride) in (0_usize..3, 1_usize..3),
            (shares, other) in (proptest::collection::vec(0.25..1.0_f64, 4), 0_usize..14),
        ) {
            let widths = widths[..trace.layers() - 1].iter().map(|&w| 0.5 * f64::from(w));
            let policy = Policy::paper(0.0)
                .with_scale(ScoreScale::Logit, Dispersion::Spread)
                .with_clusters(ClusterRule::Each)
                .with_gap(Gap::Layers(widths.collect::<Vec<f64>>().into()))
                .with_first_layer(first)
                .with_stride(stride)
                .with_mode(if rank { Mode::Rank } else { Mode::Select });
            let outcome = replay(&policy, &trace, k).unwrap();
            let agreement = agreement_at_k(&outcome.selected, &trace.final_ranking(), k);
            let effect = Ranked::new(&trace, k).effect(&policy).unwrap();
            prop_assert_eq!(effect, Effect { agreement, candidate_layers: outcome.candidate_layers });
            let signals = Ranked::new(&trace, k).signals(&policy).unwrap();
            prop_assert_eq!(signals, Signals::of(&policy, &trace, k).unwrap());
            // Beside a run that ends in another order.
            let candidates = trace.candidates();
            let order = (0..candidates).map(|c| ((c + other) % candidates) as f32).collect();
            let full = ScoreTrace::from_vec(1, candidates, order).unwrap();
            let shares = &shares[..trace.layers()];
            let beside = Ranked::new(&trace, k).beside(&full, shares).effect(&policy).unwrap();
            let agreement = agreement_at_k(&outcome.selected, &full.final_ranking(), k);
            let computed = candidate_layers(&outcome, policy.mode, shares);
            prop_assert_eq!(beside.agreement, agreement);
            // Sums in another order may round to the other side.
            prop_assert!(beside.candidate_layers.abs_diff(computed) <= 1);
        }
    }

    #[test]
    fn refusals_are_those_of_a_replay() {
        let trace = ScoreTrace::from_vec(2, 3, vec![1.0; 6]).unwrap();
        let policy = Policy::paper(0.0)
            .with_scale(ScoreScale::Logit, Dispersion::Spread)
            .with_clusters(ClusterRule::Each)
            .with_gap(Gap::Layers(vec![1.0, 1.0].into()));
        for (policy, k) in [(policy.clone(), 1), (policy, 0), (Policy::paper(-1.0), 1)] {
            let refused = Ranked::new(&trace, k).effect(&policy).map(|_| ());
            assert!(refused.is_err());
            assert_eq!(refused, replay(&policy, &trace, k).map(|_| ()));
            assert_eq!(refused, Ranked::new(&trace, k).signals(&policy).map(|_| ()));
        }
    }
}
