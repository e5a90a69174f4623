//! The pruner: scores in, layer by layer; verdicts out.

use crate::dispersion::moments;
use crate::error::PruneError;
use crate::policy::{Mode, Policy};
use crate::replay::Outcome;
use crate::routing::{Route, route};
use crate::verdict::{Cluster, Reason, Verdicts};

/// What is selected from what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pool {
    /// N, at least 1. Candidates are numbered from 0.
    pub candidates: usize,
    /// Layers of the model, at least 1.
    pub layers: usize,
    /// K, at least 1.
    pub k: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Live,
    /// `None`: before any layer, because N ≤ K.
    Accepted(Option<usize>),
    Dropped(usize),
}

/// Decides the candidates of one query as their scores come in.
///
/// A candidate is known by its number, `0..candidates`, which the caller gives and which stays the
/// same throughout. Verdicts depend on scores and numbers only, not on the order in which they come:
/// scores are sorted before anything is summed, equal scores share a cluster, and where rank alone must
/// part equal scores (after the last layer) the lower number comes first.
///
/// With N ≤ K everybody is accepted before the first layer.
#[derive(Debug, Clone)]
pub struct Pruner {
    policy: Policy,
    pool: Pool,
    statuses: Vec<Status>,
    /// In order of acceptance.
    accepted: Vec<usize>,
    live: usize,
    /// The first layer not observed yet.
    next: usize,
}

impl Pruner {
    /// A pruner for one query.
    ///
    /// # Errors
    /// [`PruneError::NoCandidates`], [`NoLayers`](PruneError::NoLayers),
    /// [`ZeroK`](PruneError::ZeroK), [`InvalidPolicy`](PruneError::InvalidPolicy), or
    /// [`GapLayers`](PruneError::GapLayers).
    pub fn new(policy: Policy, pool: Pool) -> Result<Self, PruneError> {
        match pool {
            Pool { candidates: 0, .. } => return Err(PruneError::NoCandidates),
            Pool { layers: 0, .. } => return Err(PruneError::NoLayers),
            Pool { k: 0, .. } => return Err(PruneError::ZeroK),
            _ => {}
        }
        policy.validate_for(pool.layers)?;
        let n = pool.candidates;
        let mut pruner = Self {
            policy,
            pool,
            statuses: vec![Status::Live; n],
            accepted: vec![],
            live: n,
            next: 0,
        };
        if n <= pool.k {
            pruner.statuses.fill(Status::Accepted(None));
            pruner.accepted = (0..n).collect();
            pruner.live = 0;
        }
        Ok(pruner)
    }

    /// The next layer whose scores must be given to [`observe`](Self::observe), so that the head need
    /// not run after the others; `None` when every candidate is decided.
    pub fn next_due(&self) -> Option<usize> {
        (!self.is_finished()).then(|| self.policy.next_due(self.next, self.pool.layers))
    }

    /// Takes the raw scores after `layer` of all live candidates, in any order, and decides.
    ///
    /// Layers come in ascending order. Those that are not [due](Self::next_due) may be left out; when
    /// given, all is deferred. In [`Mode::Rank`] accepted candidates go on running, but are
    /// not live: their scores are not given.
    ///
    /// # Errors
    /// Names the candidate and layer: a score that is not finite, a candidate that is unknown, comes
    /// twice, is missing or decided; a layer out of order. The pruner is then unchanged.
    pub fn observe(
        &mut self,
        layer: usize,
        candidates: &[usize],
        scores: &[f32],
    ) -> Result<Verdicts, PruneError> {
        let ranked = self.checked(layer, candidates, scores)?;
        let sorted: Vec<f32> = ranked.iter().map(|&(_, score)| score).collect();
        let verdict = self.decide(layer, &sorted)?;
        let ids = |range: std::ops::Range<usize>| ranked[range].iter().map(|&(id, _)| id).collect();
        let Route { accept, drop } = verdict.route;
        let verdicts = Verdicts {
            layer,
            accepted: ids(0..accept),
            dropped: ids(drop..ranked.len()),
            deferred: ids(accept..drop),
            dispersion: verdict.dispersion,
            clusters: verdict.clusters,
            reason: verdict.reason,
        };
        self.apply(&verdicts);
        Ok(verdicts)
    }

    /// True when every candidate is accepted or dropped.
    pub fn is_finished(&self) -> bool {
        self.live == 0
    }

    /// The undecided candidates, ascending.
    pub fn live(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.pool.candidates).filter(|&c| self.statuses[c] == Status::Live)
    }

    /// The candidates that the next layer computes, ascending: the live ones and, in [`Mode::Rank`],
    /// the accepted ones (up to the model's last layer, also when all is decided).
    pub fn running(&self) -> impl Iterator<Item = usize> + '_ {
        let keeps_accepted = self.policy.mode == Mode::Rank && self.next < self.pool.layers;
        (0..self.pool.candidates).filter(move |&c| match self.statuses[c] {
            Status::Live => true,
            Status::Accepted(_) => keeps_accepted,
            Status::Dropped(_) => false,
        })
    }

    /// The accepted candidates: by layer of acceptance, within a layer best first.
    pub fn accepted(&self) -> &[usize] {
        &self.accepted
    }

    /// Free places in the top-K, K' = K - accepted.
    pub fn open_places(&self) -> usize {
        self.pool.k.min(self.pool.candidates) - self.accepted.len()
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What is selected from what.
    pub fn pool(&self) -> Pool {
        self.pool
    }

    /// The result; final when [`is_finished`](Self::is_finished). Before that, live candidates have no
    /// layer of decision and count with the layers up to the one observed last.
    pub fn outcome(&self) -> Outcome {
        let layers = self.pool.layers;
        let last_seen = self.next.checked_sub(1);
        let mut outcome = Outcome {
            selected: self.accepted.clone(),
            decided_after_layer: Vec::with_capacity(self.statuses.len()),
            candidate_layers: 0,
            layers_run: 0,
        };
        for &status in &self.statuses {
            let (decided, ran_to) = match status {
                Status::Live => (None, last_seen),
                Status::Dropped(layer) => (Some(layer), Some(layer)),
                Status::Accepted(layer) if self.policy.mode == Mode::Select => (layer, layer),
                Status::Accepted(layer) => (layer, Some(layers - 1)),
            };
            let ran = ran_to.map_or(0, |layer| layer + 1);
            outcome.decided_after_layer.push(decided);
            outcome.candidate_layers += ran as u64;
            outcome.layers_run = outcome.layers_run.max(ran);
        }
        outcome
    }

    /// Checks the input and sorts it: best score first, equal scores by candidate number.
    fn checked(
        &self,
        layer: usize,
        candidates: &[usize],
        scores: &[f32],
    ) -> Result<Vec<(usize, f32)>, PruneError> {
        let expected = self.next_due().ok_or(PruneError::AlreadyFinished { layer })?;
        if !(self.next..=expected).contains(&layer) {
            return Err(PruneError::LayerOutOfOrder { expected, found: layer });
        }
        if candidates.len() != scores.len() {
            let (candidates, scores) = (candidates.len(), scores.len());
            return Err(PruneError::LengthMismatch { layer, candidates, scores });
        }
        let mut seen = vec![false; self.pool.candidates];
        for (&candidate, &score) in candidates.iter().zip(scores) {
            match self.statuses.get(candidate) {
                None => {
                    let last = self.pool.candidates - 1;
                    return Err(PruneError::UnknownCandidate { candidate, layer, last });
                }
                Some(Status::Live) => {}
                Some(_) => return Err(PruneError::NotLive { candidate, layer }),
            }
            if std::mem::replace(&mut seen[candidate], true) {
                return Err(PruneError::DuplicateCandidate { candidate, layer });
            }
            if !score.is_finite() {
                return Err(PruneError::NonFiniteScore { candidate, layer, score });
            }
        }
        if let Some(candidate) = self.live().find(|&c| !seen[c]) {
            return Err(PruneError::MissingCandidate { candidate, layer });
        }
        Ok(best_first(candidates.iter().copied().zip(scores.iter().copied())))
    }

    fn decide(&self, layer: usize, sorted: &[f32]) -> Result<Decision, PruneError> {
        let n = sorted.len();
        let values = self.policy.scale.map(sorted);
        let dispersion = self.policy.dispersion.of(&values);
        let undecided = |reason| {
            let route = Route { accept: 0, drop: n };
            Ok(Decision { route, dispersion, clusters: vec![], reason })
        };
        if layer + 1 == self.pool.layers {
            let route = Route { accept: self.open_places(), drop: self.open_places() };
            return Ok(Decision { route, dispersion, clusters: vec![], reason: Reason::LastLayer });
        }
        if !self.policy.on_stride(layer) {
            return undecided(Reason::NotDue);
        }
        if dispersion < self.policy.threshold {
            return undecided(Reason::BelowThreshold);
        }
        let clusters = self.policy.clusters.group(&values)?;
        let (_, std) = moments(&values);
        let route =
            route(&values, &clusters.ends, self.open_places(), self.policy.gap.width(layer, std));
        let reason = match route {
            Route { accept, drop } if accept == drop => Reason::EdgeOnBoundary,
            Route { accept: 0, drop } if drop == n => Reason::NothingClear,
            _ => Reason::ClearOfBoundary,
        };
        let shown = |(range, &center): (std::ops::Range<usize>, &f64)| Cluster {
            size: range.len(),
            center,
            best: sorted[range.start],
            worst: sorted[range.end - 1],
        };
        let clusters = clusters.ranges().zip(&clusters.centers).map(shown).collect();
        Ok(Decision { route, dispersion, clusters, reason })
    }

    fn apply(&mut self, verdicts: &Verdicts) {
        for &c in &verdicts.accepted {
            self.statuses[c] = Status::Accepted(Some(verdicts.layer));
        }
        for &c in &verdicts.dropped {
            self.statuses[c] = Status::Dropped(verdicts.layer);
        }
        self.accepted.extend(&verdicts.accepted);
        self.live = verdicts.deferred.len();
        self.next = verdicts.layer + 1;
        debug_assert!(self.accepted.len() <= self.pool.k);
        debug_assert!(self.is_finished() == (self.open_places() == 0));
    }
}

struct Decision {
    route: Route,
    dispersion: f64,
    clusters: Vec<Cluster>,
    reason: Reason,
}

/// Candidates with their scores, higher scores first, equal ones by candidate number. Scores must be finite; -0 is 0.
///
/// Whole numbers are sorted in a third of the time that comparing pairs takes, and replays do little else.
pub(crate) fn best_first(scored: impl Iterator<Item = (usize, f32)>) -> Vec<(usize, f32)> {
    // No pool has as many as 2^32 candidates: their scores alone would fill a machine's memory.
    let key = |(c, score): (usize, f32)| u64::from(falling(score)) << 32 | u64::from(c as u32);
    let mut keys: Vec<u64> = scored.map(key).collect();
    keys.sort_unstable();
    keys.into_iter().map(|key| (key as u32 as usize, score_of((key >> 32) as u32))).collect()
}

/// A number that falls where finite scores rise.
fn falling(score: f32) -> u32 {
    // -0 becomes 0.
    let score = score + 0.0;
    match score.is_sign_negative() {
        true => score.to_bits(),
        false => !(score.to_bits() | SIGN),
    }
}

/// The score of which this is the number.
fn score_of(falling: u32) -> f32 {
    f32::from_bits(if falling & SIGN == 0 { !falling & !SIGN } else { falling })
}

const SIGN: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn best_first_is_the_order_of_the_scores(
            scores in proptest::collection::vec(
                prop_oneof![proptest::num::f32::NORMAL | proptest::num::f32::SUBNORMAL, Just(0.0), Just(-0.0), Just(1.0)],
                0..40,
            ),
        ) {
            let mut expected: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
            expected.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
            prop_assert_eq!(best_first(scores.into_iter().enumerate()), expected);
        }
    }
}
