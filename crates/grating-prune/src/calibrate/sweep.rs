//! Every policy of a family replayed on every trace: agreement and cost, and their frontier.

use crate::calibrate::{PolicyFamily, TraceBeside};
use crate::error::PruneError;
use crate::policy::Policy;
use crate::ranked::Ranked;
use crate::tokens::TokenPolicy;
use crate::trace::ScoreTrace;

/// One policy on all queries.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PolicyRun {
    /// The policy.
    pub policy: Policy,
    /// Which tokens left meanwhile; none where all were computed.
    pub tokens: Option<TokenPolicy>,
    /// Agreement@K with the full model's top-K, per query.
    pub agreement: Vec<f64>,
    /// Candidate-layers computed, per query; one of which tokens had left counts as the share that was left.
    pub candidate_layers: Vec<u64>,
    /// Candidate-layers without pruning, per query.
    pub full: Vec<u64>,
}

impl PolicyRun {
    /// A policy with its agreement, the candidate-layers that it computes and those without pruning, each per query.
    pub fn new(
        policy: Policy,
        agreement: Vec<f64>,
        candidate_layers: Vec<u64>,
        full: Vec<u64>,
    ) -> Self {
        PolicyRun { policy, tokens: None, agreement, candidate_layers, full }
    }

    /// Replays `policy` on every trace. Policies do not depend on each other, so a caller with many
    /// may measure them in parallel and put them together with [`Sweep::from_runs`].
    ///
    /// # Errors
    /// An invalid policy, or K = 0.
    pub fn measure(policy: &Policy, traces: &[ScoreTrace], k: usize) -> Result<Self, PruneError> {
        let ranked: Vec<Ranked<'_>> = traces.iter().map(|trace| Ranked::new(trace, k)).collect();
        Self::on(policy, &ranked)
    }

    /// Replays `policy` on every trace of runs in which tokens left by `tokens`, and holds it against the full model.
    ///
    /// # Errors
    /// As [`Self::measure`].
    pub fn beside(
        policy: &Policy,
        tokens: &TokenPolicy,
        traces: &[TraceBeside<'_>],
        k: usize,
    ) -> Result<Self, PruneError> {
        let ranked: Vec<Ranked<'_>> = traces.iter().map(|trace| trace.ranked(k)).collect();
        Ok(PolicyRun { tokens: Some(tokens.clone()), ..Self::on(policy, &ranked)? })
    }

    /// As [`Self::measure`], on traces that are sorted already.
    pub(crate) fn on(policy: &Policy, traces: &[Ranked<'_>]) -> Result<Self, PruneError> {
        let mut run = Self::new(policy.clone(), vec![], vec![], vec![]);
        for trace in traces {
            let effect = trace.effect(policy)?;
            run.agreement.push(effect.agreement);
            run.candidate_layers.push(effect.candidate_layers);
            run.full.push(trace.full());
        }
        Ok(run)
    }

    /// Mean agreement over these queries.
    pub(crate) fn mean_agreement(&self, queries: std::ops::Range<usize>) -> f64 {
        let n = queries.len() as f64;
        self.agreement[queries].iter().sum::<f64>() / n
    }

    /// Share of the candidate-layers that is computed, 0 to 1, over these queries together.
    pub(crate) fn cost(&self, queries: std::ops::Range<usize>) -> f64 {
        let ran: u64 = self.candidate_layers[queries.clone()].iter().sum();
        let full: u64 = self.full[queries].iter().sum();
        ran as f64 / full as f64
    }
}

/// A point of the frontier of cost against agreement.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct FrontierPoint {
    /// The policy.
    pub policy: Policy,
    /// Which tokens leave with it; none where all are computed.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub tokens: Option<TokenPolicy>,
    /// Mean agreement@K with the full model on the sample: an estimate, not a promise.
    pub agreement: f64,
    /// Share of all candidate-layers that is computed.
    pub cost: f64,
}

impl FrontierPoint {
    /// A policy with its mean agreement and its share of the candidate-layers, both 0 to 1.
    pub fn new(policy: Policy, agreement: f64, cost: f64) -> Self {
        FrontierPoint { policy, tokens: None, agreement, cost }
    }
}

/// The runs of all policies of a family.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    runs: Vec<PolicyRun>,
    /// Number of policies in each chain.
    chains: Vec<usize>,
    k: usize,
}

impl Sweep {
    /// Replays every policy of `family` on every trace.
    ///
    /// # Errors
    /// [`PruneError::NoQueries`], [`PruneError::ZeroK`].
    pub fn run(family: &PolicyFamily, traces: &[ScoreTrace], k: usize) -> Result<Self, PruneError> {
        let ranked: Vec<Ranked<'_>> = traces.iter().map(|trace| Ranked::new(trace, k)).collect();
        let measured = family.policies().map(|policy| PolicyRun::on(policy, &ranked));
        Self::from_runs(family, measured.collect::<Result<_, _>>()?, k)
    }

    /// Puts together what [`PolicyRun::measure`] gave for each of `family.policies()`, in that order.
    ///
    /// # Errors
    /// [`PruneError::NoQueries`]; [`PruneError::UnevenSweep`] when a run is missing, is another
    /// policy's or has another number of queries.
    pub fn from_runs(
        family: &PolicyFamily,
        runs: Vec<PolicyRun>,
        k: usize,
    ) -> Result<Self, PruneError> {
        let expected = runs.first().map_or(0, |run| run.agreement.len());
        for (policy, wanted) in family.policies().enumerate() {
            let found = runs.get(policy).filter(|run| run.policy == *wanted);
            let found = found.map_or(0, |run| run.agreement.len());
            if found != expected {
                return Err(PruneError::UnevenSweep { policy, expected, found });
            }
        }
        if expected == 0 {
            return Err(PruneError::NoQueries);
        }
        Ok(Self { runs, chains: family.chains().iter().map(Vec::len).collect(), k })
    }

    /// All of several sweeps over the same queries, as one family.
    ///
    /// # Errors
    /// [`PruneError::NoPolicies`] of no sweep; [`PruneError::UnevenSweep`] where they differ in their queries or K.
    pub fn joined(sweeps: Vec<Sweep>) -> Result<Self, PruneError> {
        let mut sweeps = sweeps.into_iter();
        let mut joined = sweeps.next().ok_or(PruneError::NoPolicies)?;
        for sweep in sweeps {
            let (policy, expected, found) = (joined.runs.len(), joined.queries(), sweep.queries());
            if found != expected || sweep.k != joined.k {
                return Err(PruneError::UnevenSweep { policy, expected, found });
            }
            joined.runs.extend(sweep.runs);
            joined.chains.extend(sweep.chains);
        }
        Ok(joined)
    }

    /// The runs, chain by chain.
    pub fn runs(&self) -> &[PolicyRun] {
        &self.runs
    }

    /// Number of queries, at least 1.
    pub fn queries(&self) -> usize {
        self.runs[0].agreement.len()
    }

    /// K.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Cost over these queries of the cheapest policy whose mean agreement on them is at least `agreement`.
    ///
    /// An estimate for choosing what to test on *other* queries; it certifies nothing.
    ///
    /// # Panics
    /// When the range goes past the queries.
    pub fn cheapest_cost(&self, agreement: f64, queries: std::ops::Range<usize>) -> Option<f64> {
        let enough = |run: &&PolicyRun| run.mean_agreement(queries.clone()) >= agreement;
        let costs = self.runs.iter().filter(enough).map(|run| run.cost(queries.clone()));
        costs.min_by(f64::total_cmp)
    }

    /// The policies that no other one beats in both cost and agreement on the sample, the dearest
    /// first. Of equals, the first of the family.
    pub fn frontier(&self) -> Vec<FrontierPoint> {
        let all = 0..self.queries();
        let mut order: Vec<usize> = (0..self.runs.len()).collect();
        let at = |i: usize| {
            let run = &self.runs[i];
            (run.cost(all.clone()), run.mean_agreement(all.clone()))
        };
        let points: Vec<(f64, f64)> = order.iter().map(|&i| at(i)).collect();
        // Cheapest first; of the equally cheap the one that agrees most.
        order.sort_by(|&a, &b| {
            points[a].0.total_cmp(&points[b].0).then(points[b].1.total_cmp(&points[a].1))
        });
        let mut frontier = Vec::<FrontierPoint>::new();
        for i in order {
            let (cost, agreement) = points[i];
            if frontier.last().is_none_or(|cheaper| agreement > cheaper.agreement) {
                let (policy, tokens) = (self.runs[i].policy.clone(), self.runs[i].tokens.clone());
                frontier.push(FrontierPoint { policy, tokens, agreement, cost });
            }
        }
        frontier.reverse();
        frontier
    }

    /// The chains as indices of runs.
    pub(crate) fn chains(&self) -> Vec<Vec<usize>> {
        let mut start = 0;
        let mut chains = Vec::with_capacity(self.chains.len());
        for &len in &self.chains {
            chains.push((start..start + len).collect());
            start += len;
        }
        chains
    }
}
