//! Auditing in service: some of the pruned requests run in full, and say what pruning would have done.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use grating_prune::metrics::agreement_at_k;
use grating_prune::{Policy, ScoreTrace, replay};
use serde::Serialize;

use crate::error::Result;

/// What the policy would have done with an audited request, which got the full model's result.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Audit {
    /// Share of the full model's top K that the policy would have selected, 0 to 1.
    pub agreement: f64,
    /// Candidate-layers that it would have computed.
    pub candidate_layers: u64,
}

/// All audits of a reranker so far.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct AuditTotals {
    /// Requests with a policy that were answered, audited or not.
    pub requests: u64,
    /// Audited ones.
    pub audited: u64,
    /// Mean agreement@K with the full model over the audited ones; compare it with the profile's promise. Nothing where
    /// none was audited.
    pub mean_agreement: Option<f64>,
}

/// Which requests are audited, and what came of it.
#[derive(Debug)]
pub(crate) struct Auditor {
    fraction: f64,
    /// Requests that came, and those that were answered.
    requests: AtomicU64,
    answered: AtomicU64,
    /// Audits, and the sum of their agreements.
    sums: Mutex<(u64, f64)>,
}

impl Auditor {
    /// Audits this fraction of the requests, between 0 and 1.
    pub(crate) fn new(fraction: f64) -> Self {
        let (requests, answered) = (AtomicU64::new(0), AtomicU64::new(0));
        Auditor { fraction, requests, answered, sums: Mutex::default() }
    }

    /// Counts a request; whether it is one to audit. By its number alone, as evenly as can be: of the first n requests
    /// `floor(n * fraction)`.
    pub(crate) fn is_due(&self) -> bool {
        let before = self.requests.fetch_add(1, Ordering::Relaxed) as f64;
        ((before + 1.0) * self.fraction).floor() > (before * self.fraction).floor()
    }

    /// Counts an answer to a request that was counted.
    pub(crate) fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Replays `policy` on the scores of a full run, `[layer][candidate]`.
    pub(crate) fn audit(&self, policy: &Policy, scores: &[Vec<f32>], k: usize) -> Result<Audit> {
        let candidates = scores.first().map_or(0, Vec::len);
        let trace = ScoreTrace::from_vec(scores.len(), candidates, scores.concat())?;
        let outcome = replay(policy, &trace, k)?;
        let agreement = agreement_at_k(&outcome.selected, &trace.final_ranking(), k);
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        *sums = (sums.0 + 1, sums.1 + agreement);
        Ok(Audit { agreement, candidate_layers: outcome.candidate_layers })
    }

    pub(crate) fn totals(&self) -> AuditTotals {
        let (audited, sum) = *self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        AuditTotals {
            requests: self.answered.load(Ordering::Relaxed),
            audited,
            mean_agreement: (audited > 0).then(|| sum / audited as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_sampled_evenly_and_by_number_alone() {
        for (fraction, expected) in [(0.0, 0), (0.05, 5), (0.25, 25), (1.0, 100)] {
            let due = |auditor: &Auditor| (0..100).map(|_| auditor.is_due()).collect::<Vec<_>>();
            let (a, b) = (due(&Auditor::new(fraction)), due(&Auditor::new(fraction)));
            assert_eq!(a, b);
            assert_eq!(a.iter().filter(|&&d| d).count(), expected, "{fraction}");
        }
    }
}
