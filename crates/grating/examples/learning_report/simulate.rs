//! Streams of requests, and what learning makes of them.

use grating::prune::calibrate::learned;
use grating::prune::metrics::agreement_at_k;
use grating::prune::online::{Learner, LearnerOptions, Signals};
use grating::prune::{Mode, Policy, Procedure, ScoreTrace, Sweep, Test, calibrate, replay};

use crate::{Outcome, TARGET};

/// Requests of a stream.
pub(crate) const REQUESTS: usize = 1000;
/// Requests that an offline calibration takes first.
pub(crate) const SAMPLE: usize = 300;

/// A reproducible choice of requests (SplitMix64).
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Draw(seed)
    }

    pub(crate) fn of<'t>(&mut self, traces: &'t [ScoreTrace]) -> &'t ScoreTrace {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        &traces[((x ^ (x >> 31)) % traces.len() as u64) as usize]
    }
}

/// A policy on the whole traffic: mean agreement, and share of the candidate-layers computed.
pub(crate) fn truth(policy: &Policy, traces: &[ScoreTrace], k: usize) -> Outcome<(f64, f64)> {
    let (mut agreement, mut computed, mut full) = (0.0, 0, 0);
    for trace in traces {
        let (loss, layers) = on(policy, trace, k)?;
        agreement += 1.0 - loss;
        computed += layers;
        full += all(trace);
    }
    Ok((agreement / traces.len() as f64, computed as f64 / full as f64))
}

/// Loss and candidate-layers of a policy on one request.
fn on(policy: &Policy, trace: &ScoreTrace, k: usize) -> Outcome<(f64, u64)> {
    let outcome = replay(policy, trace, k)?;
    let agreement = agreement_at_k(&outcome.selected, &trace.final_ranking(), k);
    Ok((1.0 - agreement, outcome.candidate_layers))
}

fn all(trace: &ScoreTrace) -> u64 {
    (trace.candidates() * trace.layers()) as u64
}

/// One stream of requests from one traffic, and maybe from another after it.
pub(crate) struct Stream {
    /// The request from which on pruning was used.
    pub(crate) began: Option<usize>,
    /// Share of the candidate-layers saved.
    pub(crate) saved: f64,
    /// Every policy that was used.
    pub(crate) used: Vec<Policy>,
    /// How often a shift was suspected, or found, where there was none.
    pub(crate) false_shifts: u64,
    pub(crate) shifted: Option<Shifted>,
}

/// What came after the shift.
pub(crate) struct Shifted {
    /// Requests until it was noticed.
    pub(crate) noticed: Option<usize>,
    /// Mean agreement of what was answered until then, or to the end.
    pub(crate) until: f64,
    /// Mean agreement of all answers after the shift.
    pub(crate) after: f64,
    /// Share of the candidate-layers saved after it.
    pub(crate) saved: f64,
    /// The policy that was in use at the shift.
    pub(crate) policy: Option<Policy>,
}

pub(crate) fn stream(
    traffic: &[ScoreTrace],
    then: Option<&[ScoreTrace]>,
    k: usize,
    seed: u64,
) -> Outcome<Stream> {
    let mut learner = Learner::new(LearnerOptions::new(TARGET))?;
    let mut draw = Draw::new(seed);
    let (mut began, mut used) = (None, Vec::<Policy>::new());
    let (mut computed, mut full) = (0, 0);
    for request in 0..REQUESTS {
        let step = step(&mut learner, draw.of(traffic), k)?;
        if let Some(policy) = step.policy {
            began = began.or(Some(request));
            if !used.contains(&policy) {
                used.push(policy);
            }
        }
        computed += step.computed;
        full += step.full;
    }
    let saved = 1.0 - computed as f64 / full as f64;
    let false_shifts = shifts(&learner);
    let shifted = match then {
        None => None,
        Some(other) => Some(shifted(&mut learner, other, k, &mut draw)?),
    };
    Ok(Stream { began, saved, used, false_shifts, shifted })
}

fn shifted(
    learner: &mut Learner,
    other: &[ScoreTrace],
    k: usize,
    draw: &mut Draw,
) -> Outcome<Shifted> {
    let before = shifts(learner);
    let policy = learner.status().into_iter().find_map(|status| status.policy);
    let (mut noticed, mut until, mut after) = (None, (0.0, 0), 0.0);
    let (mut computed, mut full) = (0, 0);
    for request in 0..REQUESTS {
        let step = step(learner, draw.of(other), k)?;
        after += 1.0 - step.loss;
        (computed, full) = (computed + step.computed, full + step.full);
        if noticed.is_none() {
            until = (until.0 + 1.0 - step.loss, until.1 + 1);
            noticed = (shifts(learner) > before).then_some(request + 1);
        }
    }
    let until = until.0 / f64::from(until.1);
    let saved = 1.0 - computed as f64 / full as f64;
    Ok(Shifted { noticed, until, after: after / REQUESTS as f64, saved, policy })
}

/// How often the traffic seemed to have shifted.
fn shifts(learner: &Learner) -> u64 {
    learner.status().iter().map(|status| status.suspicions + status.alarms).sum()
}

struct Step {
    policy: Option<Policy>,
    loss: f64,
    computed: u64,
    full: u64,
}

fn step(learner: &mut Learner, trace: &ScoreTrace, k: usize) -> Outcome<Step> {
    let decision = learner.decide(k);
    let full = all(trace);
    let (loss, computed) = match &decision.policy {
        Some(policy) if !decision.full => {
            learner.observe_pruned(k, policy, &Signals::of(policy, trace, k)?);
            on(policy, trace, k)?
        }
        _ => (0.0, full),
    };
    if decision.full {
        learner.observe(trace)?;
    }
    Ok(Step { policy: decision.policy, loss, computed, full })
}

/// The most that a policy could save which keeps the promise on this traffic, were all known beforehand.
pub(crate) fn oracle(traces: &[ScoreTrace], k: usize) -> Outcome<f64> {
    let family = learned(traces, k, Mode::Select)?;
    let sweep = Sweep::run(&family, traces, k)?;
    Ok(1.0 - sweep.cheapest_cost(TARGET.agreement, 0..traces.len()).unwrap_or(1.0))
}

/// Calibration on a sample that was run in full first: share saved over as many requests, and the policy.
pub(crate) fn offline(
    traffic: &[ScoreTrace],
    k: usize,
    seed: u64,
) -> Outcome<(f64, Option<Policy>)> {
    let mut draw = Draw::new(seed);
    let sample: Vec<ScoreTrace> = (0..SAMPLE).map(|_| draw.of(traffic).clone()).collect();
    let explore = SAMPLE / 3;
    let family = learned(&sample[..explore], k, Mode::Select)?;
    let sweep = Sweep::run(&family, &sample, k)?;
    let found = calibrate(&sweep, TARGET, Procedure::Split { explore }, Test::for_k(k))?;
    let policy = found.chosen.map(|chosen| chosen.policy);
    let saved = match &policy {
        Some(policy) => 1.0 - truth(policy, traffic, k)?.1,
        None => 0.0,
    };
    Ok((saved * (REQUESTS - SAMPLE) as f64 / REQUESTS as f64, policy))
}
