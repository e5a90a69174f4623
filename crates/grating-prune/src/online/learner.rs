//! The learning for all K of the traffic, from the same traces.

use std::collections::VecDeque;

use crate::bound::probability;
use crate::calibrate::Target;
use crate::error::PruneError;
use crate::policy::{Mode, Policy};
use crate::trace::ScoreTrace;

use super::signals::Signals;
use super::stream::{Status, Stream};

/// Most K that are learned for; the one that was asked for the longest ago gives way.
const MOST_K: usize = 8;

/// How a [`Learner`] learns.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LearnerOptions {
    /// The promise.
    pub target: Target,
    /// What becomes of accepted candidates.
    pub mode: Mode,
    /// Requests that explore, at least 2.
    pub explore: usize,
    /// Least share of the requests that are audited, 0 to 1.
    pub audit: f64,
    /// How slowly the share of audits falls from 1: after n requests with a policy it is this divided by n.
    pub thin: f64,
    /// Audits that pass on average between two false alarms, at least.
    pub audits_between_false_alarms: f64,
    /// Pruned requests that pass on average between two false suspicions of a shift, at least.
    pub requests_between_false_suspicions: f64,
    /// Most bytes of traces that are kept for K that come later.
    pub trace_bytes: usize,
}

impl LearnerOptions {
    /// A promise with the usual settings: 24 requests explore, 2 % are audited, a false alarm in 2000 audits, a
    /// false suspicion in 5000 requests, 4 MiB of traces.
    pub fn new(target: Target) -> Self {
        LearnerOptions {
            target,
            mode: Mode::Select,
            explore: 24,
            audit: 0.02,
            thin: 20.0,
            audits_between_false_alarms: 2000.0,
            requests_between_false_suspicions: 5000.0,
            trace_bytes: 4 << 20,
        }
    }

    /// Replaces [`LearnerOptions::mode`].
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Replaces [`LearnerOptions::audit`].
    #[must_use]
    pub fn audit(mut self, share: f64) -> Self {
        self.audit = share;
        self
    }

    /// Replaces [`LearnerOptions::explore`].
    #[must_use]
    pub fn explore(mut self, requests: usize) -> Self {
        self.explore = requests;
        self
    }
}

/// What is to be done with a request.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Decision {
    /// The policy that is proved to keep the promise; none before that.
    pub policy: Option<Policy>,
    /// Whether to run it in full and to tell the learner of its trace.
    pub full: bool,
}

/// Learns pruning from the traffic; see [the module](mod@crate::online).
///
/// ```
/// use grating_prune::online::{Learner, LearnerOptions, Signals};
/// use grating_prune::{ScoreTrace, Target};
///
/// let mut learner = Learner::new(LearnerOptions::new(Target { agreement: 0.9, confidence: 0.9 }))?;
/// let mut pruned = 0;
/// for request in 0..200 {
///     // What the model would say, layer by layer: scores that are settled after the first.
///     let last = [3.0, 2.0, -1.0, -2.0, -3.0 - (request % 7) as f32];
///     let trace = ScoreTrace::from_vec(2, 5, [last, last].concat())?;
///     let decision = learner.decide(2);
///     match decision.policy {
///         // What a pruned request showed of itself: here as its scores would have.
///         Some(policy) if !decision.full => {
///             learner.observe_pruned(2, &policy, &Signals::of(&policy, &trace, 2)?);
///             pruned += 1;
///         }
///         _ => learner.observe(&trace)?,
///     }
/// }
/// assert!(pruned > 50);
/// # Ok::<(), grating_prune::PruneError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Learner {
    options: LearnerOptions,
    /// The one that was asked for the longest ago first.
    streams: Vec<Stream>,
    /// Of requests that were run in full, the oldest first.
    traces: VecDeque<ScoreTrace>,
}

impl Learner {
    /// Knows nothing yet.
    ///
    /// # Errors
    /// [`PruneError::InvalidProbability`].
    pub fn new(options: LearnerOptions) -> Result<Self, PruneError> {
        probability("the agreement", options.target.agreement)?;
        probability("the confidence", options.target.confidence)?;
        Ok(Learner { options, streams: Vec::new(), traces: VecDeque::new() })
    }

    /// The settings.
    pub fn options(&self) -> &LearnerOptions {
        &self.options
    }

    /// What to do with the next request for `k`.
    pub fn decide(&mut self, k: usize) -> Decision {
        let options = self.options.clone();
        let stream = self.stream(k);
        let full = stream.next_is_full(&options);
        Decision { policy: stream.policy().cloned(), full }
    }

    /// A request that was run in full, for whatever K: it teaches all of them.
    ///
    /// # Errors
    /// Where scores cannot be replayed.
    pub fn observe(&mut self, trace: &ScoreTrace) -> Result<(), PruneError> {
        let before = self.shifts();
        for stream in &mut self.streams {
            stream.observe(self.traces.iter(), trace, &self.options)?;
        }
        self.forget_since(before);
        self.traces.push_back(trace.clone());
        let bytes = |trace: &ScoreTrace| size_of::<f32>() * trace.layers() * trace.candidates();
        let mut held: usize = self.traces.iter().map(bytes).sum();
        while held > self.options.trace_bytes {
            held -= self.traces.pop_front().as_ref().map_or(held, bytes);
        }
        Ok(())
    }

    /// What was seen of a request for `k` that `policy`, which was [decided](Self::decide) for it, has pruned.
    pub fn observe_pruned(&mut self, k: usize, policy: &Policy, signals: &Signals) {
        let before = self.shifts();
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.k == k) {
            stream.observe_pruned(policy, signals, &self.options);
        }
        self.forget_since(before);
    }

    fn shifts(&self) -> u64 {
        self.streams.iter().map(Stream::shifts).sum()
    }

    /// Traces are of another traffic where there were no more shifts than so many.
    fn forget_since(&mut self, shifts: u64) {
        if self.shifts() > shifts {
            self.traces.clear();
        }
    }

    /// What is known for each K, the one asked for last at the end.
    pub fn status(&self) -> Vec<Status> {
        self.streams.iter().map(|stream| stream.status(&self.options)).collect()
    }

    /// What is known for one of them.
    pub fn status_of(&self, k: usize) -> Option<Status> {
        let stream = self.streams.iter().find(|stream| stream.k == k)?;
        Some(stream.status(&self.options))
    }

    /// What users notice when it changes, for each K: how many policies are certified, and how often the traffic seemed
    /// to have shifted.
    pub fn landmarks(&self) -> Vec<(usize, usize, u64)> {
        self.streams.iter().map(|s| (s.k, s.certified(), s.shifts())).collect()
    }

    /// The learning for a K, which becomes the one that was asked for last. A new one learns from the traces that are there.
    fn stream(&mut self, k: usize) -> &mut Stream {
        let known = self.streams.iter().position(|stream| stream.k == k);
        let stream = match known {
            Some(at) => self.streams.remove(at),
            None => {
                let mut stream = Stream::new(k, self.options.mode);
                for (at, trace) in self.traces.iter().enumerate() {
                    // They were replayed before, for another K.
                    let replayed =
                        stream.observe(self.traces.iter().take(at), trace, &self.options);
                    debug_assert!(replayed.is_ok(), "{replayed:?}");
                }
                if self.streams.len() == MOST_K {
                    self.streams.remove(0);
                }
                stream
            }
        };
        self.streams.push(stream);
        self.streams.last_mut().expect("it was just pushed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::agreement_at_k;
    use crate::replay::replay;
    use crate::test_random::Random;

    const LAYERS: usize = 4;
    const CANDIDATES: usize = 12;
    const K: usize = 3;

    /// Pools whose scores come near the last ones layer by layer.
    struct Traffic {
        random: Random,
        /// Standard deviation of what scores still change by after layer 0; halved by each layer.
        noise: f64,
    }

    impl Traffic {
        /// About normal.
        fn normal(&mut self) -> f64 {
            (0..6).map(|_| self.random.uniform()).sum::<f64>() * 2.0_f64.sqrt()
                - 3.0 * 2.0_f64.sqrt()
        }

        fn trace(&mut self) -> ScoreTrace {
            let last: Vec<f64> = (0..CANDIDATES).map(|_| 3.0 * self.normal()).collect();
            let mut scores = Vec::new();
            for layer in 0..LAYERS {
                let left =
                    if layer + 1 == LAYERS { 0.0 } else { self.noise * 0.5_f64.powi(layer as i32) };
                scores.extend(last.iter().map(|s| (s + left * self.normal()) as f32));
            }
            ScoreTrace::from_vec(LAYERS, CANDIDATES, scores).unwrap()
        }

        /// Mean agreement of a policy with the full model.
        fn agreement(&mut self, policy: &Policy) -> f64 {
            let requests = 400;
            let one = |trace: ScoreTrace| {
                let outcome = replay(policy, &trace, K).unwrap();
                agreement_at_k(&outcome.selected, &trace.final_ranking(), K)
            };
            (0..requests).map(|_| one(self.trace())).sum::<f64>() / f64::from(requests)
        }
    }

    fn learner(agreement: f64) -> Learner {
        Learner::new(LearnerOptions::new(Target { agreement, confidence: 0.9 })).unwrap()
    }

    /// Runs so many requests; those that were run in full.
    fn run(learner: &mut Learner, traffic: &mut Traffic, requests: usize) -> usize {
        let mut full = 0;
        for _ in 0..requests {
            let trace = traffic.trace();
            full += usize::from(step(learner, &trace).is_none());
        }
        full
    }

    /// One request; the policy that has pruned it.
    fn step(learner: &mut Learner, trace: &ScoreTrace) -> Option<Policy> {
        let decision = learner.decide(K);
        match decision.policy.filter(|_| !decision.full) {
            Some(policy) => {
                let signals = Signals::of(&policy, trace, K).unwrap();
                learner.observe_pruned(K, &policy, &signals);
                Some(policy)
            }
            None => {
                learner.observe(trace).unwrap();
                None
            }
        }
    }

    #[test]
    fn it_explores_proves_and_then_audits() {
        let (mut learner, mut traffic) = (learner(0.9), Traffic { random: Random(7), noise: 1.0 });
        assert_eq!(run(&mut learner, &mut traffic, 24), 24);
        assert_eq!(learner.status()[0].phase, crate::online::Phase::Testing);
        assert_eq!(run(&mut learner, &mut traffic, 10), 10);
        let full = run(&mut learner, &mut traffic, 1500);
        assert!((30..300).contains(&full), "{full}");
        let status = &learner.status()[0];
        assert_eq!(status.phase, crate::online::Phase::Pruning);
        assert!(status.cost.unwrap() < 0.8 && status.agreement.unwrap() > 0.9, "{status:?}");
        assert_eq!(status.alarms, 0);
    }

    #[test]
    fn another_k_learns_from_the_same_traces() {
        let (mut learner, mut traffic) = (learner(0.9), Traffic { random: Random(9), noise: 1.0 });
        run(&mut learner, &mut traffic, 300);
        let decision = learner.decide(2);
        assert!(decision.policy.is_some());
        assert!(learner.decide(CANDIDATES + 5).full, "nothing is known of a K that has no pools");
        assert_eq!(learner.status().len(), 3);
        (20..40).for_each(|k| _ = learner.decide(k));
        assert_eq!(learner.status().len(), MOST_K);
    }

    #[test]
    fn a_shift_is_noticed_and_learned_anew() {
        let (mut learner, mut calm) = (learner(0.95), Traffic { random: Random(3), noise: 0.5 });
        run(&mut learner, &mut calm, 800);
        assert_eq!(learner.status()[0].phase, crate::online::Phase::Pruning);
        let mut wild = Traffic { random: Random(5), noise: 12.0 };
        let mut noticed = 0;
        while learner.status()[0].suspicions + learner.status()[0].alarms == 0 {
            run(&mut learner, &mut wild, 10);
            noticed += 10;
            assert!(noticed < 100, "{:?}", learner.status());
        }
        assert_eq!(learner.decide(K).policy, None);
        // What the other traffic has taught does not count here.
        run(&mut learner, &mut wild, 400);
        let status = &learner.status()[0];
        assert!(status.agreement.is_none_or(|agreement| agreement > 0.95), "{status:?}");
    }

    /// Where everything that is seen of pruned requests stays as it was, audits notice it.
    #[test]
    fn a_shift_without_signs_is_noticed_by_audits() {
        let (mut learner, mut calm) = (learner(0.95), Traffic { random: Random(3), noise: 0.5 });
        learner.options.requests_between_false_suspicions = f64::INFINITY;
        run(&mut learner, &mut calm, 800);
        let mut wild = Traffic { random: Random(5), noise: 12.0 };
        let mut noticed = 0;
        while learner.status()[0].alarms == 0 {
            run(&mut learner, &mut wild, 10);
            noticed += 10;
            assert!(noticed < 2000, "{:?}", learner.status());
        }
        assert_eq!(learner.status()[0].suspicions, 0);
    }

    /// The first sequence is learned on easier traffic than what comes: what loses is left, and
    /// another one is learned on all that is known.
    #[test]
    fn a_sequence_that_leads_nowhere_is_left() {
        let mut learner = learner(0.95);
        run(&mut learner, &mut Traffic { random: Random(3), noise: 0.05 }, 24);
        let mut wild = Traffic { random: Random(5), noise: 3.0 };
        run(&mut learner, &mut wild, 600);
        let status = &learner.status()[0];
        assert!(status.sequences > 1, "{status:?}");
        assert_eq!(status.phase, crate::online::Phase::Pruning);
        assert!(wild.agreement(status.policy.as_ref().unwrap()) > 0.94);
    }

    /// The promise itself, over many beginnings: whatever policy is used, it agrees enough, but for one beginning in ten.
    #[test]
    fn the_promise_is_broken_no_more_often_than_it_may() {
        let (mut broken, mut used) = (0, 0);
        for seed in 1..=60 {
            let mut traffic = Traffic { random: Random(seed * 0x9e37_79b9), noise: 2.0 };
            let mut learner = learner(0.9);
            let mut policies: Vec<Policy> = Vec::new();
            for _ in 0..400 {
                let used = step(&mut learner, &traffic.trace());
                policies.extend(used.filter(|policy| !policies.contains(policy)));
            }
            used += usize::from(!policies.is_empty());
            // One hundredth is what 400 requests cannot tell.
            broken += usize::from(policies.iter().any(|policy| traffic.agreement(policy) < 0.89));
        }
        assert!(used > 50, "{used}");
        assert!(broken <= 9, "{broken} of {used}");
    }
}
