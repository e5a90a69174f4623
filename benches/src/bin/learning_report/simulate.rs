//! Streams of requests, and what learning makes of them.

use std::ops::Range;

use grating::prune::calibrate::learned;
use grating::prune::metrics::agreement_at_k;
use grating::prune::online::{Learner, LearnerOptions, Signals};
use grating::prune::{
    Mode, Policy, PolicyFamily, Procedure, ScoreTrace, Sweep, Test, calibrate, replay_with,
};

use crate::{Outcome, TARGET};

/// Requests of a stream.
pub(crate) const REQUESTS: usize = 1000;
/// Requests that an offline calibration takes first.
pub(crate) const SAMPLE: usize = 300;

/// A reproducible choice of requests (SplitMix64).
#[derive(Clone)]
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Draw(seed)
    }

    /// A number below `count`.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % count as u64) as usize
    }

    /// A number of this range.
    pub(crate) fn within(&mut self, range: &Range<usize>) -> usize {
        range.start + self.below(range.len())
    }
}

/// Policies on the whole traffic, each: mean agreement, and share of the candidate-layers computed.
pub(crate) fn truths(
    policies: &[Policy],
    traces: &[ScoreTrace],
    k: usize,
) -> Outcome<Vec<(f64, f64)>> {
    if policies.is_empty() {
        return Ok(Vec::new());
    }
    let sweep = Sweep::run(&PolicyFamily::new(vec![policies.to_vec()])?, traces, k)?;
    let truth = |at: usize| {
        let run = &sweep.runs()[at];
        let agreement = run.agreement.iter().sum::<f64>() / traces.len() as f64;
        let sum = |layers: &[u64]| layers.iter().sum::<u64>() as f64;
        (agreement, sum(&run.candidate_layers) / sum(&run.full))
    };
    Ok((0..policies.len()).map(truth).collect())
}

/// One of them.
pub(crate) fn truth(policy: &Policy, traces: &[ScoreTrace], k: usize) -> Outcome<(f64, f64)> {
    let truths = truths(std::slice::from_ref(policy), traces, k)?;
    truths.first().copied().ok_or_else(|| "there is no policy".into())
}

/// What a policy does with one request, and what is seen of it.
#[derive(Clone, Copy)]
pub(crate) struct Pruned {
    pub(crate) loss: f64,
    pub(crate) computed: u64,
    pub(crate) signals: Signals,
}

impl Pruned {
    fn of(policy: &Policy, trace: &ScoreTrace, k: usize) -> Outcome<Self> {
        let mut looks = Vec::new();
        let outcome = replay_with(policy, trace, k, |verdicts| {
            looks.push((verdicts.deferred.len(), verdicts.dispersion));
        })?;
        let agreement = agreement_at_k(&outcome.selected, &trace.final_ranking(), k);
        let signals = Signals::new(trace.candidates(), trace.layers(), looks);
        Ok(Pruned { loss: 1.0 - agreement, computed: outcome.candidate_layers, signals })
    }
}

/// What policies do with requests, each found out once.
pub(crate) struct Known<'t> {
    pub(crate) requests: &'t [ScoreTrace],
    pub(crate) k: usize,
    policies: Vec<(Policy, Vec<Option<Pruned>>)>,
}

impl<'t> Known<'t> {
    pub(crate) fn new(requests: &'t [ScoreTrace], k: usize) -> Self {
        Known { requests, k, policies: Vec::new() }
    }

    pub(crate) fn of(&mut self, policy: &Policy, request: usize) -> Outcome<Pruned> {
        // Mostly the one that was met last.
        let at = match self.policies.iter().rposition(|(known, _)| known == policy) {
            Some(at) => at,
            None => {
                self.policies.push((policy.clone(), vec![None; self.requests.len()]));
                self.policies.len() - 1
            }
        };
        let place = &mut self.policies[at].1[request];
        match place {
            Some(pruned) => Ok(*pruned),
            None => Ok(*place.insert(Pruned::of(policy, &self.requests[request], self.k)?)),
        }
    }

    /// Candidate-layers of a request in full.
    pub(crate) fn all(&self, request: usize) -> u64 {
        let trace = &self.requests[request];
        (trace.candidates() * trace.layers()) as u64
    }
}

/// One stream of requests from one traffic.
pub(crate) struct Stream {
    /// The request from which on pruning was used.
    pub(crate) began: Option<usize>,
    /// Share of the candidate-layers saved.
    pub(crate) saved: f64,
    /// Every policy that was used.
    pub(crate) used: Vec<Policy>,
    /// How often a shift was suspected, or found, where there was none.
    pub(crate) false_shifts: u64,
    /// How it stands at the end.
    pub(crate) learner: Learner,
    pub(crate) draw: Draw,
}

/// The requests of one traffic, those of this range, in an order that the seed draws.
pub(crate) fn stream(known: &mut Known<'_>, traffic: &Range<usize>, seed: u64) -> Outcome<Stream> {
    let mut learner = Learner::new(LearnerOptions::new(TARGET))?;
    let mut draw = Draw::new(seed);
    let (mut began, mut used) = (None, Vec::<Policy>::new());
    let (mut computed, mut full) = (0, 0);
    for number in 0..REQUESTS {
        let request = draw.within(traffic);
        let step = step(&mut learner, known, request)?;
        if let Some(policy) = step.policy {
            began = began.or(Some(number));
            if !used.contains(&policy) {
                used.push(policy);
            }
        }
        computed += step.computed;
        full += step.full;
    }
    let saved = 1.0 - computed as f64 / full as f64;
    Ok(Stream { began, saved, used, false_shifts: shifts(&learner), learner, draw })
}

/// How often the traffic seemed to have shifted.
pub(crate) fn shifts(learner: &Learner) -> u64 {
    learner.status().iter().map(|status| status.suspicions + status.alarms).sum()
}

pub(crate) struct Step {
    pub(crate) policy: Option<Policy>,
    pub(crate) loss: f64,
    pub(crate) computed: u64,
    pub(crate) full: u64,
}

/// A request of a traffic to one who learns.
pub(crate) fn step(learner: &mut Learner, known: &mut Known<'_>, request: usize) -> Outcome<Step> {
    let decision = learner.decide(known.k);
    let full = known.all(request);
    let (loss, computed) = match &decision.policy {
        Some(policy) if !decision.full => {
            let pruned = known.of(policy, request)?;
            learner.observe_pruned(known.k, policy, &pruned.signals);
            (pruned.loss, pruned.computed)
        }
        _ => (0.0, full),
    };
    if decision.full {
        learner.observe(&known.requests[request])?;
    }
    Ok(Step { policy: decision.policy, loss, computed, full })
}

/// The most that a policy could save which keeps the promise on this traffic, were all known beforehand.
pub(crate) fn oracle(traces: &[ScoreTrace], k: usize) -> Outcome<f64> {
    let family = learned(traces, k, Mode::Select)?;
    let sweep = Sweep::run(&family, traces, k)?;
    Ok(1.0 - sweep.cheapest_cost(TARGET.agreement, 0..traces.len()).unwrap_or(1.0))
}

/// Calibration on a sample that was run in full first: the policy that it certifies.
pub(crate) fn offline(traffic: &[ScoreTrace], k: usize, seed: u64) -> Outcome<Option<Policy>> {
    let mut draw = Draw::new(seed);
    let sample: Vec<ScoreTrace> =
        (0..SAMPLE).map(|_| traffic[draw.below(traffic.len())].clone()).collect();
    let explore = SAMPLE / 3;
    let family = learned(&sample[..explore], k, Mode::Select)?;
    let sweep = Sweep::run(&family, &sample, k)?;
    let found = calibrate(&sweep, TARGET, Procedure::Split { explore }, Test::for_k(k))?;
    Ok(found.chosen.map(|chosen| chosen.policy))
}
