//! Which policies are tested, and in which order.

use crate::calibrate::{PolicyRun, Sweep};
use crate::error::PruneError;
use crate::policy::Policy;
use crate::trace::ScoreTrace;

/// Most policies that are tested at once: each is replayed on every request that is run in full.
const POLICIES: usize = 12;
/// Of these, those with gaps that misjudge nobody of the requests that are known, or wider ones.
const CAREFUL: usize = 5;
/// A policy that saves so little more than the one before it is not worth a test, as a share of the candidate-layers.
const STEP: f64 = 0.01;

/// What exploring shows of a policy.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Estimate {
    pub(super) policy: Policy,
    /// Share of the candidate-layers that it computes.
    pub(super) cost: f64,
    /// Request by request.
    pub(super) losses: Vec<f64>,
}

impl Estimate {
    pub(super) fn of(policy: &Policy, traces: &[ScoreTrace], k: usize) -> Result<Self, PruneError> {
        Ok(Self::from_run(&PolicyRun::measure(policy, traces, k)?))
    }

    fn from_run(run: &PolicyRun) -> Self {
        let losses = run.agreement.iter().map(|agreement| 1.0 - agreement).collect();
        Estimate { policy: run.policy.clone(), cost: run.cost(0..run.agreement.len()), losses }
    }

    fn agreement(&self) -> f64 {
        1.0 - self.losses.iter().sum::<f64>() / self.losses.len().max(1) as f64
    }
}

/// Policies that cost less than `dearest` and that seem to agree enough, the dearest first.
///
/// A frontier of cost and agreement holds the cheapest of all policies that lost nothing yet, and that one has the best
/// prospects to lose next. So the sequence begins with gaps that are far wider than what was ever needed.
pub(super) fn careful_to_bold(sweep: &Sweep, agreement: f64, dearest: f64) -> Vec<Estimate> {
    // The first policy of each chain covers what all requests needed; chains go from wide to narrow.
    let careful =
        sweep.chains().into_iter().take(CAREFUL).filter_map(|chain| chain.first().copied());
    let careful: Vec<Estimate> =
        careful.map(|run| Estimate::from_run(&sweep.runs()[run])).collect();
    let frontier = sweep.frontier();
    let bold: Vec<_> = frontier.iter().filter(|point| point.agreement >= agreement).collect();
    let bold = spread(&bold, POLICIES - careful.len()).filter_map(|point| {
        sweep.runs().iter().find(|run| run.policy == point.policy).map(Estimate::from_run)
    });
    let mut sequence: Vec<Estimate> = careful.iter().cloned().chain(bold).collect();
    sequence.retain(|estimate| estimate.agreement() >= agreement);
    sequence.sort_by(|a, b| b.cost.total_cmp(&a.cost));
    let mut before = dearest;
    sequence.retain(|estimate| {
        let cheaper = estimate.cost <= before - STEP;
        if cheaper {
            before = estimate.cost;
        }
        cheaper
    });
    sequence
}

/// At most `most` of them, the first and the last among them.
fn spread<T>(points: &[T], most: usize) -> impl Iterator<Item = &T> {
    let count = points.len().min(most);
    let step = (points.len().max(1) - 1) as f64 / (count.max(2) - 1) as f64;
    (0..count).map(move |i| &points[(i as f64 * step).round() as usize])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::learned;
    use crate::policy::Mode;

    /// Pools of eight for K = 1 whose best candidate is behind by `need` after the first layer.
    fn trace(need: f32) -> ScoreTrace {
        let tail = |best: f32, rival: f32| {
            let rest = (2..8).map(|c| -(c as f32));
            [best, rival].into_iter().chain(rest).collect::<Vec<f32>>()
        };
        let layers = [tail(0.0, need), tail(2.0, 1.0), tail(3.0, 1.0), tail(3.0, 1.0)];
        ScoreTrace::from_vec(4, 8, layers.concat()).unwrap()
    }

    #[test]
    fn the_sequence_begins_wider_than_what_was_needed_and_grows_cheaper() {
        let traces: Vec<ScoreTrace> = (0..24).map(|i| trace(0.1 * i as f32)).collect();
        let sweep = Sweep::run(&learned(&traces, 1, Mode::Select).unwrap(), &traces, 1).unwrap();
        let sequence = careful_to_bold(&sweep, 0.9, 1.0);
        assert!(sequence.len() >= 2, "{sequence:?}");
        assert!(sequence.windows(2).all(|pair| pair[1].cost <= pair[0].cost - STEP));
        assert!(sequence.iter().all(|estimate| estimate.agreement() >= 0.9));
        assert_eq!(sequence[0].agreement(), 1.0);
        let frontier = sweep.frontier();
        assert!(sequence[0].cost > frontier[0].cost, "wider than the cheapest that lost nothing");
        let cheaper = careful_to_bold(&sweep, 0.9, sequence[0].cost);
        assert_eq!(cheaper, sequence[1..]);
    }

    #[test]
    fn where_nothing_agrees_enough_nothing_is_tested() {
        let traces: Vec<ScoreTrace> = (0..24).map(|i| trace(0.1 * i as f32)).collect();
        let sweep = Sweep::run(&learned(&traces, 1, Mode::Select).unwrap(), &traces, 1).unwrap();
        assert!(careful_to_bold(&sweep, 1.1, 1.0).is_empty());
    }
}
