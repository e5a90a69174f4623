//! What is learned for one K.

use crate::calibrate::{Sweep, learned};
use crate::error::PruneError;
use crate::policy::{Mode, Policy};
use crate::ranked::Ranked;
use crate::trace::ScoreTrace;

use super::contender::{Contender, Outcome, PATIENCE};
use super::detector::Detector;
use super::learner::LearnerOptions;
use super::sequence::{Estimate, careful_to_bold};
use super::signals::{Signals, Watch};

/// Most requests that a sequence is chosen by: every policy is replayed on each.
const EXPLORED: usize = 128;
/// Share of the allowed error that the first sequence may spend.
const FIRST: f64 = 0.8;

/// Where the learning for one K is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Phase {
    /// Everything is computed; policies are looked for.
    Exploring,
    /// Everything is computed; policies are tested.
    Testing,
    /// A policy is used; audits prove bolder ones and watch it.
    Pruning,
}

/// What is known for one K.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Status {
    /// K.
    pub k: usize,
    /// Where the learning is.
    pub phase: Phase,
    /// Requests for this K that it has been told of since it began or was last begun anew.
    pub requests: u64,
    /// Of these, those that were run in full.
    pub full: u64,
    /// Policies that are tested, and those of them that are certified.
    pub policies: usize,
    /// See `policies`.
    pub certified: usize,
    /// The policy in use.
    pub policy: Option<Policy>,
    /// Its mean agreement@K on the requests that tested it.
    pub agreement: Option<f64>,
    /// Share of the candidate-layers that it computes there.
    pub cost: Option<f64>,
    /// Share of the next requests that are run in full, 0 to 1.
    pub audit_share: f64,
    /// Sequences of policies that were tested on this traffic.
    pub sequences: u64,
    /// How often requests looked so different that nothing was taken as proved any more.
    pub suspicions: u64,
    /// How often the promise was found to be broken.
    pub alarms: u64,
}

/// The learning for one K.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Stream {
    pub(super) k: usize,
    mode: Mode,
    /// From careful to bold; none while exploring.
    contenders: Vec<Contender>,
    /// Of the cheapest certified one.
    used: Option<usize>,
    /// Audited losses of the one in use.
    detector: Detector,
    /// Signals of the one in use.
    watch: Watch,
    requests: u64,
    full: u64,
    /// Requests run in full since a sequence was looked for.
    since_choice: u64,
    /// Requests since pruning began.
    since: u64,
    sequences: u64,
    suspicions: u64,
    alarms: u64,
}

impl Stream {
    pub(super) fn new(k: usize, mode: Mode) -> Self {
        Stream {
            k,
            mode,
            contenders: Vec::new(),
            used: None,
            detector: Detector::new(),
            watch: Watch::new([]),
            requests: 0,
            full: 0,
            since_choice: 0,
            since: 0,
            sequences: 0,
            suspicions: 0,
            alarms: 0,
        }
    }

    /// The policy that is proved to keep the promise.
    pub(super) fn policy(&self) -> Option<&Policy> {
        self.used.map(|at| &self.contenders[at].policy)
    }

    /// How many policies are.
    pub(super) fn certified(&self) -> usize {
        self.contenders.iter().filter(|contender| contender.certified).count()
    }

    /// How often the traffic seemed to have shifted.
    pub(super) fn shifts(&self) -> u64 {
        self.alarms + self.suspicions
    }

    /// Whether the next request is run in full; by its number alone.
    pub(super) fn next_is_full(&mut self, options: &LearnerOptions) -> bool {
        let share = self.audit_share(options);
        self.requests += 1;
        if self.used.is_none() {
            return true;
        }
        self.since += 1;
        uniform(self.k as u64, self.requests) < share
    }

    /// Share of the next requests that are run in full: all until a policy is certified, and then fewer and fewer.
    fn audit_share(&self, options: &LearnerOptions) -> f64 {
        match self.used {
            None => 1.0,
            Some(_) => (options.thin / (self.since as f64 + 1.0)).clamp(options.audit, 1.0),
        }
    }

    /// What was seen of a request that `policy` has pruned.
    pub(super) fn observe_pruned(
        &mut self,
        policy: &Policy,
        signals: &Signals,
        options: &LearnerOptions,
    ) {
        // Another one's signals are of another kind.
        if self.policy() == Some(policy)
            && self.watch.observe(signals, options.requests_between_false_suspicions)
        {
            self.suspect();
        }
    }

    /// A request that was run in full, and those before it that are known. Pools without a choice teach nothing.
    pub(super) fn observe<'t>(
        &mut self,
        before: impl DoubleEndedIterator<Item = &'t ScoreTrace> + Clone,
        trace: &'t ScoreTrace,
        options: &LearnerOptions,
    ) -> Result<(), PruneError> {
        let k = self.k;
        if trace.candidates() <= k {
            return Ok(());
        }
        self.full += 1;
        self.since_choice += 1;
        let contested = before.filter(move |trace| trace.candidates() > k);
        if self.contenders.is_empty() {
            return match self.since_choice >= options.explore as u64 {
                true => self.choose(contested, trace, options),
                false => Ok(()),
            };
        }
        match self.test(trace, options)? {
            Shift::None => {}
            Shift::Suspected => {
                self.suspect();
                return Ok(());
            }
            Shift::Proved => {
                self.begin_anew();
                return Ok(());
            }
        }
        self.certify(options, contested.clone().chain([trace]))?;
        match self.is_stuck() {
            true => self.choose(contested, trace, options),
            false => Ok(()),
        }
    }

    /// Tests all policies by a request; what it says of the traffic.
    fn test(&mut self, trace: &ScoreTrace, options: &LearnerOptions) -> Result<Shift, PruneError> {
        let allowed = 1.0 - options.target.agreement;
        let mut shift = Shift::None;
        let ranked = Ranked::new(trace, self.k);
        if let Some(policy) = self.policy().cloned() {
            let signals = ranked.signals(&policy)?;
            if self.watch.observe(&signals, options.requests_between_false_suspicions) {
                shift = Shift::Suspected;
            }
        }
        for (at, contender) in self.contenders.iter_mut().enumerate() {
            let outcome = Outcome::of(&contender.policy, &ranked)?;
            contender.test(&outcome, allowed);
            let between = options.audits_between_false_alarms;
            if self.used == Some(at) && self.detector.observe(outcome.loss, allowed, between) {
                shift = Shift::Proved;
            }
        }
        Ok(shift)
    }

    /// Forgets what another traffic has taught.
    fn begin_anew(&mut self) {
        let (alarms, suspicions) = (self.alarms + 1, self.suspicions);
        *self = Stream { alarms, suspicions, ..Stream::new(self.k, self.mode) };
    }

    /// Takes nothing as proved any more, and tests the same policies again.
    fn suspect(&mut self) {
        self.suspicions += 1;
        self.sequences += 1;
        (self.used, self.since, self.since_choice) = (None, 0, 0);
        self.contenders = self.contenders.drain(..).map(Contender::anew).collect();
    }

    /// Certifies policies in their sequence, and takes the cheapest of them.
    fn certify<'t>(
        &mut self,
        options: &LearnerOptions,
        known: impl DoubleEndedIterator<Item = &'t ScoreTrace>,
    ) -> Result<(), PruneError> {
        let error = (1.0 - options.target.confidence) * share_of_error(self.sequences);
        for contender in &mut self.contenders {
            contender.certified |= contender.has_won(error);
            if !contender.certified {
                break;
            }
        }
        let certified = self.contenders.iter().enumerate().filter(|(_, c)| c.certified);
        let cheapest = certified.min_by(|(_, a), (_, b)| a.cost().total_cmp(&b.cost()));
        let cheapest = cheapest.map(|(at, _)| at);
        if cheapest != self.used {
            // Another policy is watched from its own beginning, beside what it would have shown before.
            (self.used, self.detector) = (cheapest, Detector::new());
            if let Some(policy) = self.policy() {
                let signals =
                    known.rev().take(EXPLORED).map(|t| Ranked::new(t, self.k).signals(policy));
                self.watch = Watch::new(signals.collect::<Result<Vec<_>, _>>()?);
            }
        }
        Ok(())
    }

    /// Whether the sequence leads no further: its next policy wins nothing, or there is none.
    fn is_stuck(&self) -> bool {
        let next = self.contenders.iter().find(|contender| !contender.certified);
        self.since_choice >= PATIENCE && next.is_none_or(Contender::is_given_up)
    }

    /// From requests that are known to the next sequence, which what comes after them tests.
    fn choose<'t>(
        &mut self,
        before: impl DoubleEndedIterator<Item = &'t ScoreTrace>,
        trace: &ScoreTrace,
        options: &LearnerOptions,
    ) -> Result<(), PruneError> {
        self.since_choice = 0;
        let mut traces: Vec<ScoreTrace> = before.rev().take(EXPLORED - 1).cloned().collect();
        traces.push(trace.clone());
        let sweep = Sweep::run(&learned(&traces, self.k, self.mode)?, &traces, self.k)?;
        let used = self.used.map(|at| self.contenders.swap_remove(at));
        let dearest = match &used {
            Some(used) => Estimate::of(&used.policy, &traces, self.k)?.cost,
            None => 1.0,
        };
        let sequence = careful_to_bold(&sweep, options.target.agreement, dearest);
        if !sequence.is_empty() {
            self.sequences += 1;
        }
        self.used = used.as_ref().map(|_| 0);
        let tested = sequence
            .into_iter()
            .map(|estimate| Contender::new(estimate.policy, self.k, &estimate.losses));
        self.contenders = used.into_iter().chain(tested).collect();
        Ok(())
    }

    pub(super) fn status(&self, options: &LearnerOptions) -> Status {
        let used = self.used.map(|at| &self.contenders[at]);
        Status {
            k: self.k,
            phase: match (used, self.contenders.is_empty()) {
                (Some(_), _) => Phase::Pruning,
                (None, true) => Phase::Exploring,
                (None, false) => Phase::Testing,
            },
            requests: self.requests,
            full: self.full,
            policies: self.contenders.len(),
            certified: self.certified(),
            policy: self.policy().cloned(),
            agreement: used.and_then(Contender::agreement),
            cost: used.map(Contender::cost),
            audit_share: self.audit_share(options),
            sequences: self.sequences,
            suspicions: self.suspicions,
            alarms: self.alarms,
        }
    }
}

/// What a request says of the traffic.
enum Shift {
    None,
    /// It looks different.
    Suspected,
    /// The promise is broken.
    Proved,
}

/// The share of the allowed error that the n-th sequence of one traffic may spend, n from 1. All together make 1.
fn share_of_error(sequence: u64) -> f64 {
    match sequence {
        0 | 1 => FIRST,
        n => (1.0 - FIRST) / (n as f64 * (n as f64 - 1.0)),
    }
}

/// A number in [0, 1) that depends on these two alone (SplitMix64).
pub(super) fn uniform(seed: u64, number: u64) -> f64 {
    let mut x =
        seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_spend_no_more_than_there_is() {
        let spent: f64 = (1..1_000_000).map(share_of_error).sum();
        assert!(spent <= 1.0 && spent > 0.999_99, "{spent}");
    }
}
