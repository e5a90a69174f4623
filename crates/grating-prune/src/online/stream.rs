//! What is learned for one K.

use crate::calibrate::{Grid, PolicyFamily, Sweep, learned};
use crate::error::PruneError;
use crate::policy::{Mode, Policy};
use crate::trace::ScoreTrace;

use super::contender::{Contender, Outcome};
use super::detector::Detector;
use super::learner::LearnerOptions;

/// Most policies that are tested at once: each is replayed on every request that is run in full.
const CONTENDERS: usize = 12;

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
    /// How often the traffic was found to have shifted.
    pub alarms: u64,
}

/// The learning for one K.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Stream {
    pub(super) k: usize,
    mode: Mode,
    explored: Vec<ScoreTrace>,
    /// From careful to bold; none while exploring.
    contenders: Vec<Contender>,
    /// Of the cheapest certified one.
    used: Option<usize>,
    detector: Detector,
    requests: u64,
    full: u64,
    /// Requests since the first policy was certified.
    since: u64,
    alarms: u64,
}

impl Stream {
    pub(super) fn new(k: usize, mode: Mode) -> Self {
        Stream {
            k,
            mode,
            explored: Vec::new(),
            contenders: Vec::new(),
            used: None,
            detector: Detector::new(),
            requests: 0,
            full: 0,
            since: 0,
            alarms: 0,
        }
    }

    /// The policy that is proved to keep the promise.
    pub(super) fn policy(&self) -> Option<&Policy> {
        self.used.map(|at| &self.contenders[at].policy)
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

    /// A request that was run in full. Pools without a choice teach nothing.
    pub(super) fn observe(
        &mut self,
        trace: &ScoreTrace,
        options: &LearnerOptions,
    ) -> Result<(), PruneError> {
        if trace.candidates() <= self.k {
            return Ok(());
        }
        self.full += 1;
        if self.contenders.is_empty() {
            self.explored.push(trace.clone());
            if self.explored.len() >= options.explore {
                self.choose(options)?;
            }
            return Ok(());
        }
        let allowed = 1.0 - options.target.agreement;
        let mut shifted = false;
        for at in 0..self.contenders.len() {
            let outcome = Outcome::of(&self.contenders[at].policy, trace, self.k)?;
            self.contenders[at].test(&outcome, allowed);
            if self.used == Some(at) {
                let between = options.audits_between_false_alarms;
                shifted = self.detector.observe(outcome.loss, allowed, between);
            }
        }
        match shifted {
            true => self.begin_anew(),
            false => self.certify(1.0 - options.target.confidence),
        }
        Ok(())
    }

    /// Forgets what another traffic has taught.
    fn begin_anew(&mut self) {
        let alarms = self.alarms + 1;
        *self = Stream { alarms, ..Stream::new(self.k, self.mode) };
    }

    /// Certifies policies in their sequence, and takes the cheapest of them.
    fn certify(&mut self, error: f64) {
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
            // Another policy is watched from its own beginning.
            (self.used, self.detector) = (cheapest, Detector::new());
        }
    }

    /// From the exploring requests to the sequence that is tested.
    fn choose(&mut self, options: &LearnerOptions) -> Result<(), PruneError> {
        let traces = std::mem::take(&mut self.explored);
        let family = family(&traces, self.k, self.mode)?;
        let sweep = Sweep::run(&family, &traces, self.k)?;
        // Dearest first: agreement falls along the frontier.
        let frontier = sweep.frontier();
        let hopeful = frontier.iter().filter(|p| p.agreement >= options.target.agreement);
        let hopeful: Vec<_> = hopeful.filter(|point| point.cost < 1.0).collect();
        for point in spread(&hopeful, CONTENDERS) {
            let losses = sweep.runs().iter().find(|run| run.policy == point.policy);
            let losses =
                losses.map(|run| run.agreement.iter().map(|a| 1.0 - a).collect::<Vec<_>>());
            self.contenders.push(Contender::new(point.policy.clone(), &losses.unwrap_or_default()));
        }
        // Nothing that is cheaper than the full model looks good enough: look again, with more of the traffic.
        if self.contenders.is_empty() {
            self.explored = traces[traces.len() / 2..].to_vec();
        }
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
            certified: self.contenders.iter().filter(|c| c.certified).count(),
            policy: self.policy().cloned(),
            agreement: used.and_then(Contender::agreement),
            cost: used.map(Contender::cost),
            audit_share: self.audit_share(options),
            alarms: self.alarms,
        }
    }
}

/// The policies that are explored: gaps learned from these traces, and a thin grid of others.
fn family(traces: &[ScoreTrace], k: usize, mode: Mode) -> Result<PolicyFamily, PruneError> {
    let mut chains = learned(traces, k, mode)?.chains().to_vec();
    chains.extend(Grid::paper(mode).family()?.chains().iter().cloned());
    PolicyFamily::new(chains)
}

/// At most `most` of them, the first and the last among them.
fn spread<T>(points: &[T], most: usize) -> impl Iterator<Item = &T> {
    let count = points.len().min(most);
    let step = (points.len().max(1) - 1) as f64 / (count.max(2) - 1) as f64;
    (0..count).map(move |i| &points[(i as f64 * step).round() as usize])
}

/// A number in [0, 1) that depends on these two alone (SplitMix64).
fn uniform(seed: u64, number: u64) -> f64 {
    let mut x =
        seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}
