//! What is seen of a request whether or not it was run in full, and whether it still looks as before.

use crate::error::PruneError;
use crate::policy::Policy;
use crate::replay::replay_with;
use crate::trace::ScoreTrace;

/// Kinds of signals.
const KINDS: usize = 4;
/// Requests that new ones are compared with.
const COMPARED: usize = 1000;

/// What a policy shows of a request, in either mode: the size of its pool, the share of its candidate-layers before a
/// decision, and how far the scores spread after the first two layers that the policy looks at.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Signals([f64; KINDS]);

impl Signals {
    /// From what was seen of a run: candidates (more than none), the model's layers, and after each layer that was looked at
    /// how many were left undecided and the dispersion of the undecided ones' scores before.
    pub fn new(
        candidates: usize,
        layers: usize,
        looks: impl IntoIterator<Item = (usize, f64)>,
    ) -> Self {
        let (mut undecided, mut spreads) = (candidates, [0.0; 2]);
        for (look, (left, spread)) in looks.into_iter().enumerate() {
            undecided += left;
            if let Some(place) = spreads.get_mut(look) {
                *place = if spread.is_finite() { spread } else { f64::MAX };
            }
        }
        let share = undecided as f64 / (candidates * layers).max(1) as f64;
        Signals([candidates as f64, share, spreads[0], spreads[1]])
    }

    /// What `policy` would have shown of a request that was run in full.
    ///
    /// # Errors
    /// An invalid policy or K = 0.
    pub fn of(policy: &Policy, trace: &ScoreTrace, k: usize) -> Result<Self, PruneError> {
        let mut looks = Vec::new();
        replay_with(policy, trace, k, |verdicts| {
            looks.push((verdicts.deferred.len(), verdicts.dispersion));
        })?;
        Ok(Signals::new(trace.candidates(), trace.layers(), looks))
    }
}

/// Bets on the ranks of new requests among those before, one Shiryaev-Roberts process for each signal and kind of change.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Watch {
    /// Of each signal, in ascending order.
    before: [Vec<f64>; KINDS],
    processes: [[f64; BETS]; KINDS],
    requests: u64,
}

/// Kinds of changes.
const BETS: usize = 5;

/// Densities on [0, 1]: lower or higher than before, much or a little, and both at once.
fn densities(rank: f64) -> [f64; BETS] {
    let from_middle = rank - 0.5;
    [
        0.5 / rank.max(1e-6).sqrt(),
        0.5 / (1.0 - rank).max(1e-6).sqrt(),
        1.0 - 1.8 * from_middle,
        1.0 + 1.8 * from_middle,
        1.0 + 0.9 * (12.0 * from_middle * from_middle - 1.0),
    ]
}

impl Watch {
    /// That compares with requests whose signals are known already.
    pub(super) fn new(known: impl IntoIterator<Item = Signals>) -> Self {
        let mut before: [Vec<f64>; KINDS] = Default::default();
        for Signals(signals) in known {
            before.iter_mut().zip(signals).for_each(|(before, signal)| before.push(signal));
        }
        before.iter_mut().for_each(|before| before.sort_by(f64::total_cmp));
        Watch { before, processes: [[0.0; BETS]; KINDS], requests: 0 }
    }

    /// The next request's signals; whether they raise a suspicion, where so many requests should pass between false
    /// ones on average.
    pub(super) fn observe(&mut self, signals: &Signals, requests_between: f64) -> bool {
        for kind in 0..KINDS {
            let number = self.requests * KINDS as u64 + kind as u64;
            let before = &mut self.before[kind];
            let rank = rank(before, signals.0[kind], super::stream::uniform(0, 2 * number));
            for (process, density) in self.processes[kind].iter_mut().zip(densities(rank)) {
                *process = (*process + 1.0) * density;
            }
            if before.len() >= COMPARED {
                let at = super::stream::uniform(0, 2 * number + 1) * before.len() as f64;
                before.remove(at as usize);
            }
            let at = before.partition_point(|&other| other < signals.0[kind]);
            before.insert(at, signals.0[kind]);
        }
        self.requests += 1;
        self.level() >= requests_between
    }

    /// As [`observe`](Self::observe), where traffic may be of several kinds, each with a watch of its own: requests are suspicious where
    /// they are like none of them.
    pub(super) fn observe_kinds(
        kinds: &mut [Watch],
        signals: &Signals,
        requests_between: f64,
    ) -> bool {
        // Each of them is told.
        let unlike = kinds
            .iter_mut()
            .filter_map(|kind| kind.observe(signals, requests_between).then_some(()));
        unlike.count() == kinds.len()
    }

    fn level(&self) -> f64 {
        self.processes.iter().flatten().sum::<f64>() / (KINDS * BETS) as f64
    }
}

/// Share of the values, this one among them, that are below it; `tie` in [0, 1) says where it stands among equal ones.
fn rank(sorted: &[f64], value: f64, tie: f64) -> f64 {
    let below = sorted.partition_point(|&other| other < value);
    let equal = sorted[below..].partition_point(|&other| other <= value);
    (below as f64 + tie * (equal as f64 + 1.0)) / (sorted.len() as f64 + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_random::Random;

    /// Of pools of one size, shares around this mean.
    fn signals(random: &mut Random, mean: f64) -> Signals {
        let share = mean + 0.2 * (random.uniform() + random.uniform() + random.uniform() - 1.5);
        Signals([60.0, share, random.uniform(), 3.0 * random.uniform()])
    }

    #[test]
    fn signals_by_hand() {
        // Ten candidates of four layers: six are left after the first, two after the second, none after the third.
        let signals = Signals::new(10, 4, [(6, 0.5), (2, f64::INFINITY), (0, 3.0)]);
        assert_eq!(signals.0, [10.0, 18.0 / 40.0, 0.5, f64::MAX]);
        assert_eq!(Signals::new(3, 1, []).0, [3.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn densities_are_densities() {
        let steps = 20_000;
        for bet in 0..BETS {
            let at = |i: i32| densities((f64::from(i) + 0.5) / f64::from(steps))[bet];
            let mean = (0..steps).map(at).sum::<f64>() / f64::from(steps);
            assert!((mean - 1.0).abs() < 0.01, "{bet}: {mean}");
            assert!((0..steps).all(|i| at(i) > 0.0));
        }
    }

    #[test]
    fn ranks_by_hand() {
        let sorted = [1.0, 2.0, 2.0, 4.0];
        assert_eq!(rank(&sorted, 3.0, 0.5), 3.5 / 5.0);
        assert_eq!(rank(&sorted, 2.0, 0.0), 1.0 / 5.0);
        assert!(rank(&sorted, 2.0, 0.999) < 4.0 / 5.0);
        assert_eq!(rank(&[], 2.0, 0.3), 0.3);
    }

    #[test]
    fn another_kind_of_requests_is_suspected_soon() {
        let mut random = Random(11);
        let known: Vec<Signals> = (0..80).map(|_| signals(&mut random, 0.5)).collect();
        let mut watch = Watch::new(known);
        assert!((0..300).all(|_| !watch.observe(&signals(&mut random, 0.5), 5000.0)));
        // By one standard deviation.
        let noticed = (1..200).find(|_| watch.observe(&signals(&mut random, 0.6), 5000.0));
        assert!(noticed.is_some_and(|requests| requests < 80), "{noticed:?}");
    }

    /// Suspicions of requests that are like those before come less often than once in so many.
    #[test]
    fn false_suspicions_are_as_rare_as_promised() {
        let (mut requests, mut suspicions) = (0.0, 0.0);
        for seed in 1..=100 {
            let mut random = Random(seed * 0x9e37_79b9);
            let known: Vec<Signals> = (0..80).map(|_| signals(&mut random, 0.5)).collect();
            let mut watch = Watch::new(known);
            for _ in 0..2000 {
                requests += 1.0;
                if watch.observe(&signals(&mut random, 0.5), 100.0) {
                    suspicions += 1.0;
                    break;
                }
            }
        }
        assert!(requests / suspicions >= 100.0, "{}", requests / suspicions);
        assert!(suspicions > 30.0, "one that never suspects would pass");
    }
}
