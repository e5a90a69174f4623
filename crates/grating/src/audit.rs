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

/// How many of the first n requests are audited.
#[derive(Debug, Clone, Copy)]
enum Schedule {
    /// Always the same share.
    Share(f64),
    /// A fifth of the first requests, when nothing is known yet, then fewer and fewer down to two in a hundred.
    Thinning,
}

impl Schedule {
    /// Up to here a fifth; from there on so many are audited that the share falls as 1 / n.
    const FIRST: f64 = 100.0;
    /// From here on [`Self::LEAST`].
    const THEN: f64 = 1000.0;
    const LEAST: f64 = 0.02;

    fn audits(self, requests: f64) -> f64 {
        let thinning = requests.clamp(Self::FIRST, Self::THEN);
        match self {
            Schedule::Share(share) => requests * share,
            // Its derivative, the share, has no jump: 1/5 at 100, 20 / n between, 0.02 at 1000.
            Schedule::Thinning => {
                requests.min(Self::FIRST) / 5.0
                    + Self::FIRST / 5.0 * (thinning / Self::FIRST).ln()
                    + Self::LEAST * (requests - Self::THEN).max(0.0)
            }
        }
    }
}

/// Which requests are audited, and what came of it.
#[derive(Debug)]
pub(crate) struct Auditor {
    schedule: Schedule,
    /// Requests that came, and those that were answered.
    requests: AtomicU64,
    answered: AtomicU64,
    /// Audits, and the sum of their agreements.
    sums: Mutex<(u64, f64)>,
}

impl Auditor {
    /// Audits this fraction of the requests, between 0 and 1.
    pub(crate) fn new(fraction: f64) -> Self {
        Self::by(Schedule::Share(fraction))
    }

    /// Audits a fifth of the first 100 requests, then fewer and fewer, two in a hundred from the 1000th on.
    pub(crate) fn thinning() -> Self {
        Self::by(Schedule::Thinning)
    }

    fn by(schedule: Schedule) -> Self {
        let (requests, answered) = (AtomicU64::new(0), AtomicU64::new(0));
        Auditor { schedule, requests, answered, sums: Mutex::default() }
    }

    /// Counts a request; whether it is one to audit. By its number alone, as evenly as can be.
    pub(crate) fn is_due(&self) -> bool {
        let before = self.requests.fetch_add(1, Ordering::Relaxed) as f64;
        let audits = |requests: f64| self.schedule.audits(requests).floor();
        audits(before + 1.0) > audits(before)
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

    #[test]
    fn audits_thin_out_as_evidence_grows() {
        let auditor = Auditor::thinning();
        let due: Vec<bool> = (0..10_000).map(|_| auditor.is_due()).collect();
        let audits = |range: std::ops::Range<usize>| due[range].iter().filter(|&&d| d).count();
        assert_eq!(audits(0..4), 0, "a process with a request or two is not slowed down");
        assert_eq!((audits(0..100), audits(0..200), audits(0..1000)), (20, 33, 66));
        assert_eq!(audits(1000..10_000), 180);
    }
}
