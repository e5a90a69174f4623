//! A policy that came with its promise, watched where it is used.

use crate::bound::probability;
use crate::calibrate::Target;
use crate::error::PruneError;
use crate::policy::Policy;
use crate::ranked::Ranked;
use crate::trace::ScoreTrace;

use super::contender::{Contender, Outcome};
use super::detector::Detector;
use super::signals::{Signals, Watch};

/// As so many requests without a loss the promise counts for who bets that it is kept, beside what is seen.
const PROMISED: usize = 12;
/// Most requests in full that those after a return are compared with.
const COMPARED: usize = 128;

/// How a [`Monitor`] watches.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct MonitorOptions {
    /// The promise.
    pub target: Target,
    /// Audits that pass on average between two false alarms, at least.
    pub audits_between_false_alarms: f64,
    /// Requests that pass on average between two false suspicions of a shift, at least.
    pub requests_between_false_suspicions: f64,
}

impl MonitorOptions {
    /// As a [`Learner`](super::Learner) watches: a false alarm in 2000 audits, a false suspicion in 5000 requests.
    pub fn new(target: Target) -> Self {
        MonitorOptions {
            target,
            audits_between_false_alarms: 2000.0,
            requests_between_false_suspicions: 5000.0,
        }
    }
}

/// What is known of a policy that is watched.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct MonitorStatus {
    /// K.
    pub k: usize,
    /// Whether the policy is used; everything is computed otherwise.
    pub in_use: bool,
    /// Requests with a choice that the monitor was told of.
    pub requests: u64,
    /// Of these, those that were run in full.
    pub full: u64,
    /// Mean agreement@K with the full model on those since the policy was last put to use or out of it.
    pub agreement: Option<f64>,
    /// How often requests looked so different from those before that the policy was put out of use.
    pub suspicions: u64,
    /// How often audits showed the promise broken.
    pub alarms: u64,
    /// How often the policy was proved on what came then, and put to use again.
    pub returns: u64,
}

/// Watches a policy that is used because of a promise made elsewhere; see [the module](mod@crate::online#given-policies).
///
/// ```
/// use grating_prune::online::{Monitor, MonitorOptions};
/// use grating_prune::{Policy, ScoreTrace, Target};
///
/// let target = Target { agreement: 0.95, confidence: 0.95 };
/// let mut monitor = Monitor::new(Policy::paper(0.0), 1, MonitorOptions::new(target))?;
/// // After the first layer somebody else is ahead: what the policy selects is wrong.
/// let trace = ScoreTrace::from_vec(2, 3, vec![5.0, 0.0, -5.0, 0.0, 1.0, 2.0])?;
/// let audits = (1..20).find(|_| {
///     monitor.observe(&trace).is_ok() && !monitor.in_use()
/// });
/// assert!(audits.is_some_and(|audits| audits < 6));
/// # Ok::<(), grating_prune::PruneError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Monitor {
    options: MonitorOptions,
    policy: Policy,
    k: usize,
    state: State,
    requests: u64,
    full: u64,
    /// Requests in full since the state began, and the sum of their losses.
    since: (u64, f64),
    /// Tests that were begun.
    tests: u64,
    suspicions: u64,
    alarms: u64,
    returns: u64,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    Used {
        detector: Detector,
        /// One for each kind of traffic that is known, at least one.
        watches: Vec<Watch>,
    },
    /// Everything is computed and tests the policy.
    Tested { contender: Box<Contender>, signals: Vec<Signals> },
}

impl Monitor {
    /// Nothing speaks against the policy yet.
    ///
    /// # Errors
    /// [`PruneError::InvalidProbability`], [`PruneError::ZeroK`], or what is wrong with the policy.
    pub fn new(policy: Policy, k: usize, options: MonitorOptions) -> Result<Self, PruneError> {
        probability("the agreement", options.target.agreement)?;
        probability("the confidence", options.target.confidence)?;
        policy.validate()?;
        if k == 0 {
            return Err(PruneError::ZeroK);
        }
        Ok(Monitor {
            options,
            policy,
            k,
            state: State::Used { detector: Detector::new(), watches: vec![Watch::new([])] },
            requests: 0,
            full: 0,
            since: (0, 0.0),
            tests: 0,
            suspicions: 0,
            alarms: 0,
            returns: 0,
        })
    }

    /// Compares requests with those of the sample that the promise was made on, as the policy shows them, from the first one on;
    /// without it with those before alone. To be called before anything is observed.
    #[must_use]
    pub fn with_sample(self, signals: impl IntoIterator<Item = Signals>) -> Self {
        self.with_kinds([signals])
    }

    /// As [`with_sample`](Self::with_sample), where the sample was put together from several kinds of traffic. Requests are suspicious where
    /// they are like no kind, and not like all of the sample together either. Kinds without a request count for nothing.
    #[must_use]
    pub fn with_kinds(
        mut self,
        kinds: impl IntoIterator<Item = impl IntoIterator<Item = Signals>>,
    ) -> Self {
        let mut kinds: Vec<Vec<Signals>> =
            kinds.into_iter().map(|kind| kind.into_iter().collect()).collect();
        // What is like nothing that is known would never be unlike it.
        kinds.retain(|kind| !kind.is_empty());
        if kinds.len() > 1 {
            kinds.push(kinds.concat());
        }
        if let State::Used { watches, .. } = &mut self.state
            && !kinds.is_empty()
        {
            *watches = kinds.into_iter().map(Watch::new).collect();
        }
        self
    }

    /// Whether the policy may prune the next request; otherwise that is to be run in full.
    pub fn in_use(&self) -> bool {
        matches!(self.state, State::Used { .. })
    }

    /// What was seen of a request that the policy has pruned.
    pub fn observe_pruned(&mut self, signals: &Signals) {
        self.requests += 1;
        let between = self.options.requests_between_false_suspicions;
        // One that was pruned before the policy was put out of use says nothing any more.
        if let State::Used { watches, .. } = &mut self.state
            && Watch::observe_kinds(watches, signals, between)
        {
            self.suspicions += 1;
            self.test();
        }
    }

    /// A request that was run in full: an audit, or because the policy is not used. Pools without a choice say nothing.
    ///
    /// # Errors
    /// Where scores cannot be replayed.
    pub fn observe(&mut self, trace: &ScoreTrace) -> Result<(), PruneError> {
        if trace.candidates() <= self.k {
            return Ok(());
        }
        let ranked = Ranked::new(trace, self.k);
        let signals = ranked.signals(&self.policy)?;
        let outcome = Outcome::of(&self.policy, &ranked)?;
        (self.requests, self.full) = (self.requests + 1, self.full + 1);
        self.since = (self.since.0 + 1, self.since.1 + outcome.loss);
        let MonitorOptions { target, .. } = self.options;
        let allowed = 1.0 - target.agreement;
        match &mut self.state {
            State::Used { detector, watches } => {
                let between = self.options.requests_between_false_suspicions;
                let suspected = Watch::observe_kinds(watches, &signals, between);
                let between = self.options.audits_between_false_alarms;
                let broken = detector.observe(outcome.loss, allowed, between);
                if broken || suspected {
                    self.alarms += u64::from(broken);
                    self.suspicions += u64::from(suspected && !broken);
                    self.test();
                }
            }
            State::Tested { contender, signals: seen } => {
                contender.test(&outcome, allowed);
                seen.push(signals);
                let error = (1.0 - target.confidence) * share_of_error(self.tests);
                if contender.has_won(error) {
                    let known = seen.iter().rev().take(COMPARED).copied();
                    let (detector, watches) = (Detector::new(), vec![Watch::new(known)]);
                    self.state = State::Used { detector, watches };
                    (self.returns, self.since) = (self.returns + 1, (0, 0.0));
                } else if contender.is_given_up() {
                    // What the traffic was like during a test that is lost may be over.
                    **contender = contender.as_ref().clone().anew();
                    seen.clear();
                    self.tests += 1;
                }
            }
        }
        Ok(())
    }

    /// What is known.
    pub fn status(&self) -> MonitorStatus {
        let (audited, lost) = self.since;
        MonitorStatus {
            k: self.k,
            in_use: self.in_use(),
            requests: self.requests,
            full: self.full,
            agreement: (audited > 0).then(|| 1.0 - lost / audited as f64),
            suspicions: self.suspicions,
            alarms: self.alarms,
            returns: self.returns,
        }
    }

    /// Puts the policy out of use.
    fn test(&mut self) {
        (self.tests, self.since) = (self.tests + 1, (0, 0.0));
        let contender = Contender::new(self.policy.clone(), self.k, &[0.0; PROMISED]);
        self.state = State::Tested { contender: Box::new(contender), signals: Vec::new() };
    }
}

/// The share of the allowed error that the n-th test may spend, n from 1. All together make 1.
fn share_of_error(test: u64) -> f64 {
    1.0 / (test as f64 * (test as f64 + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_random::Random;

    const K: usize = 4;
    const TARGET: Target = Target { agreement: 0.9, confidence: 0.9 };

    /// Pools whose best four stand apart after the first layer already, but in this share of the requests for one of them
    /// that another one takes the place of. Nothing of it shows in the signals.
    struct Traffic {
        random: Random,
        wrong: f64,
        candidates: usize,
    }

    impl Traffic {
        fn new(seed: u64, wrong: f64) -> Self {
            Traffic { random: Random(seed), wrong, candidates: 12 }
        }

        fn trace(&mut self) -> ScoreTrace {
            let early: Vec<f32> = (0..self.candidates)
                .map(|c| if c < K { 5.0 } else { -5.0 } + self.random.uniform() as f32)
                .collect();
            let mut last = early.clone();
            if self.random.uniform() < self.wrong {
                last.swap(0, K);
            }
            ScoreTrace::from_vec(2, self.candidates, [early, last].concat()).unwrap()
        }
    }

    fn monitor() -> Monitor {
        Monitor::new(Policy::paper(0.0), K, MonitorOptions::new(TARGET)).unwrap()
    }

    /// One request, of which every fifth is audited; whether it was run in full.
    fn step(monitor: &mut Monitor, traffic: &mut Traffic, number: usize) -> bool {
        let trace = traffic.trace();
        let full = !monitor.in_use() || number.is_multiple_of(5);
        match full {
            true => monitor.observe(&trace).unwrap(),
            false => {
                monitor.observe_pruned(&Signals::of(&monitor.policy, &trace, K).unwrap());
            }
        }
        full
    }

    /// Requests until it is or is not in use, at most so many.
    fn until(monitor: &mut Monitor, traffic: &mut Traffic, used: bool, most: usize) -> usize {
        (0..most)
            .find(|&n| {
                step(monitor, traffic, n);
                monitor.in_use() == used
            })
            .map_or(most, |n| n + 1)
    }

    #[test]
    fn what_keeps_its_promise_is_left_in_use() {
        // A quarter is lost in one of ten requests: 0.975 where 0.9 is promised.
        let (mut monitor, mut traffic) = (monitor(), Traffic::new(7, 0.1));
        let full = (0..3000).filter(|&n| step(&mut monitor, &mut traffic, n)).count();
        let status = monitor.status();
        assert_eq!((status.requests, status.full, full), (3000, 600, 600));
        assert_eq!((status.in_use, status.suspicions, status.alarms), (true, 0, 0));
        assert!(status.agreement.is_some_and(|agreement| agreement > 0.96), "{status:?}");
    }

    #[test]
    fn a_broken_promise_is_noticed_by_audits_and_what_keeps_it_again_comes_back() {
        let mut monitor = monitor();
        let (mut good, mut bad) = (Traffic::new(7, 0.1), Traffic::new(9, 0.9));
        assert_eq!(until(&mut monitor, &mut good, false, 1000), 1000);
        let noticed = until(&mut monitor, &mut bad, false, 1000);
        assert!(noticed < 200, "{noticed}");
        assert_eq!((monitor.status().alarms, monitor.status().suspicions), (1, 0));
        assert_eq!(monitor.status().agreement, None, "of what came since");
        // It stays away while the promise is broken, and everything is computed.
        assert_eq!(until(&mut monitor, &mut bad, true, 2000), 2000);
        assert!(monitor.status().agreement.unwrap() < 0.8);
        let back = until(&mut monitor, &mut good, true, 1000);
        assert!((20..300).contains(&back), "{back}");
        assert_eq!(monitor.status().returns, 1);
    }

    #[test]
    fn requests_that_look_different_put_it_to_a_test() {
        let (mut monitor, mut traffic) = (monitor(), Traffic::new(7, 0.05));
        until(&mut monitor, &mut traffic, false, 300);
        traffic.candidates = 40;
        let noticed = until(&mut monitor, &mut traffic, false, 300);
        assert!(noticed < 30, "{noticed}");
        assert_eq!((monitor.status().alarms, monitor.status().suspicions), (0, 1));
        // The promise is kept there as well: pools of that size are known from the test then.
        assert!(until(&mut monitor, &mut traffic, true, 300) < 100);
        assert_eq!(until(&mut monitor, &mut traffic, false, 500), 500);
    }

    #[test]
    fn requests_unlike_the_sample_are_noticed_from_the_first_one_on() {
        let mut sample = Traffic::new(3, 0.05);
        let signals = |traffic: &mut Traffic| -> Vec<Signals> {
            let policy = Policy::paper(0.0);
            (0..60).map(|_| Signals::of(&policy, &traffic.trace(), K).unwrap()).collect()
        };
        let known = signals(&mut sample);
        let (mut same, mut other) = (Traffic::new(7, 0.05), Traffic::new(7, 0.05));
        let mut alike = monitor().with_sample(known.clone());
        assert_eq!(until(&mut alike, &mut same, false, 500), 500);
        other.candidates = 40;
        let noticed = until(&mut monitor().with_sample(known), &mut other, false, 500);
        assert!(noticed < 20, "{noticed}");
        assert_eq!(
            until(&mut monitor(), &mut other, false, 500),
            500,
            "there is nothing to compare with"
        );
    }

    #[test]
    fn requests_like_one_kind_of_the_sample_are_no_shift_and_those_like_none_are() {
        let signals = |candidates: usize| -> Vec<Signals> {
            let mut traffic = Traffic { candidates, ..Traffic::new(3, 0.05) };
            let policy = Policy::paper(0.0);
            (0..60).map(|_| Signals::of(&policy, &traffic.trace(), K).unwrap()).collect()
        };
        let kinds = [signals(12), signals(40), signals(100)];
        let by_kind = || monitor().with_kinds(kinds.iter().cloned());
        let noticed = |mut monitor: Monitor, candidates| {
            let mut traffic = Traffic { candidates, ..Traffic::new(7, 0.05) };
            until(&mut monitor, &mut traffic, false, 500)
        };
        for candidates in [12, 40, 100] {
            assert_eq!(noticed(by_kind(), candidates), 500);
        }
        for candidates in [12, 100] {
            let as_one = noticed(monitor().with_sample(kinds.concat()), candidates);
            assert!(as_one < 100, "{as_one}: one kind alone is unlike all of them together");
        }
        let (between, beyond) = (noticed(by_kind(), 25), noticed(by_kind(), 300));
        assert!(between < 100 && beyond < 20, "{between}, {beyond}");
        // As the sample was, all kinds by turns.
        let (mut monitor, mut traffic) = (by_kind(), Traffic::new(9, 0.05));
        for number in 0..500 {
            traffic.candidates = [12, 40, 100][(3.0 * traffic.random.uniform()) as usize];
            step(&mut monitor, &mut traffic, number);
        }
        assert_eq!(monitor.status().suspicions, 0);
        let with_empty = self::monitor().with_kinds([kinds[0].clone(), Vec::new()]);
        assert_eq!(with_empty, self::monitor().with_sample(kinds[0].clone()));
        assert_eq!(self::monitor().with_kinds([Vec::new(), Vec::new()]), self::monitor());
    }

    /// On the very edge of the promise, which is the worst that is allowed.
    #[test]
    fn it_is_put_out_of_use_by_mistake_no_more_often_than_stated() {
        let options = MonitorOptions {
            audits_between_false_alarms: 100.0,
            requests_between_false_suspicions: 1000.0,
            ..MonitorOptions::new(TARGET)
        };
        let (mut audits, mut requests, mut alarms, mut suspicions) = (0.0, 0.0, 0.0, 0.0);
        for seed in 1..=100 {
            let mut monitor = Monitor::new(Policy::paper(0.0), K, options).unwrap();
            let mut traffic = Traffic::new(seed * 0x9e37_79b9, 0.4);
            until(&mut monitor, &mut traffic, false, 5000);
            let status = monitor.status();
            audits += status.full as f64;
            requests += status.requests as f64;
            alarms += status.alarms as f64;
            suspicions += status.suspicions as f64;
        }
        assert!(audits / alarms >= 100.0, "{}", audits / alarms);
        assert!(requests / suspicions >= 1000.0, "{}", requests / suspicions);
        assert!(alarms > 30.0, "one that never speaks would pass");
    }

    /// What breaks its promise a little comes back in no more than one process of ten, however long it is tested.
    #[test]
    fn what_breaks_the_promise_seldom_comes_back() {
        let mut returned = 0;
        for seed in 1..=100 {
            let mut monitor = monitor();
            monitor.test();
            let mut traffic = Traffic::new(seed * 0x9e37_79b9, 0.42);
            returned += usize::from(until(&mut monitor, &mut traffic, true, 2000) < 2000);
        }
        assert!(returned <= 16, "{returned}");
    }

    #[test]
    fn tests_spend_no_more_than_there_is() {
        let spent: f64 = (1..1_000_000).map(share_of_error).sum();
        assert!(spent <= 1.0 && spent > 0.999_99, "{spent}");
    }

    #[test]
    fn refusals() {
        let new = |policy, k, agreement| {
            let target = Target { agreement, confidence: 0.9 };
            Monitor::new(policy, k, MonitorOptions::new(target)).map(|_| ())
        };
        assert_eq!(new(Policy::paper(0.0), 0, 0.9), Err(PruneError::ZeroK));
        assert!(new(Policy::paper(-1.0), 1, 0.9).is_err());
        assert!(new(Policy::paper(0.0), 1, 1.5).is_err());
    }
}
