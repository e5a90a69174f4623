//! Traffic that changes, at once or slowly, under what was learned on another and under a profile.

use std::ops::Range;

use grating::prune::Policy;
use grating::prune::online::{Learner, Monitor, MonitorOptions, Signals};

use crate::simulate::{Draw, Known, REQUESTS, Stream, shifts, step};
use crate::{Outcome, TARGET};

/// Requests over which slow traffic moves.
pub(crate) const DRIFT: usize = 300;

/// How one traffic becomes another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    AtOnce,
    /// The share of the other grows from none to all over [`DRIFT`] requests.
    Slowly,
}

/// Two traffics, by the requests that are theirs.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) first: Range<usize>,
    pub(crate) second: Range<usize>,
}

impl Pair {
    /// The request of this number after the change began.
    fn request(&self, change: Change, number: usize, draw: &mut Draw) -> usize {
        let still_first = match change {
            Change::AtOnce => false,
            Change::Slowly => draw.below(DRIFT) >= number,
        };
        draw.within(if still_first { &self.first } else { &self.second })
    }
}

/// What came after a change.
pub(crate) struct After {
    /// Requests until it was noticed.
    pub(crate) noticed: Option<usize>,
    /// Mean agreement of what was answered until then, or to the end.
    pub(crate) until: f64,
    /// Mean agreement of all answers after the change began.
    pub(crate) all: f64,
    /// Share of the candidate-layers saved after it.
    pub(crate) saved: f64,
}

/// Sums over the answers after a change.
#[derive(Default)]
struct Sums {
    agreement: f64,
    answers: usize,
    until: f64,
    noticed: Option<usize>,
    computed: u64,
    full: u64,
}

impl Sums {
    fn add(&mut self, loss: f64, computed: u64, full: u64, noticed: bool) {
        self.agreement += 1.0 - loss;
        self.answers += 1;
        (self.computed, self.full) = (self.computed + computed, self.full + full);
        if self.noticed.is_none() {
            self.until += 1.0 - loss;
            self.noticed = noticed.then_some(self.answers);
        }
    }

    fn after(&self) -> After {
        After {
            noticed: self.noticed,
            until: self.until / self.noticed.unwrap_or(self.answers) as f64,
            all: self.agreement / self.answers as f64,
            saved: 1.0 - self.computed as f64 / self.full as f64,
        }
    }
}

/// The policy that a learner uses.
pub(crate) fn policy_of(learner: &Learner) -> Option<Policy> {
    learner.status().into_iter().find_map(|status| status.policy)
}

/// Goes on with a stream as its traffic changes.
pub(crate) fn learning(
    stream: &Stream,
    known: &mut Known<'_>,
    pair: &Pair,
    change: Change,
) -> Outcome<After> {
    let (mut learner, mut draw) = (stream.learner.clone(), stream.draw.clone());
    let (before, mut sums) = (shifts(&learner), Sums::default());
    for number in 0..REQUESTS {
        let request = pair.request(change, number, &mut draw);
        let step = step(&mut learner, known, request)?;
        sums.add(step.loss, step.computed, step.full, shifts(&learner) > before);
    }
    Ok(sums.after())
}

/// A profile in use: its policy, and what requests are compared with.
#[derive(Clone)]
pub(crate) struct Given {
    pub(crate) policy: Policy,
    /// Signals of its sample, kind by kind; none where requests are compared with those before alone.
    pub(crate) kinds: Vec<Vec<Signals>>,
}

impl Given {
    /// That knows nothing of its sample.
    pub(crate) fn without_sample(policy: &Policy) -> Self {
        Given { policy: policy.clone(), kinds: Vec::new() }
    }

    /// That knows these requests.
    pub(crate) fn with_sample(
        policy: &Policy,
        known: &mut Known<'_>,
        sample: &Range<usize>,
    ) -> Outcome<Self> {
        let signals = sample.clone().map(|request| Ok(known.of(policy, request)?.signals));
        Ok(Given { policy: policy.clone(), kinds: vec![signals.collect::<Outcome<_>>()?] })
    }
}

/// A profile that is used on so many requests of the first traffic, and then on the second one's; with how often it was put out
/// of use on the first.
pub(crate) fn given(
    profile: &Given,
    known: &mut Known<'_>,
    pair: &Pair,
    first: usize,
    seed: u64,
) -> Outcome<(After, u64)> {
    let policy = &profile.policy;
    let monitor = Monitor::new(policy.clone(), known.k, MonitorOptions::new(TARGET))?;
    let mut monitor = monitor.with_kinds(profile.kinds.iter().cloned());
    let (mut draw, mut sums) = (Draw::new(seed), Sums::default());
    let (mut asked, mut before) = (0, 0);
    for number in 0..first + REQUESTS {
        let request = match number < first {
            true => draw.within(&pair.first),
            false => pair.request(Change::AtOnce, number - first, &mut draw),
        };
        let in_full = !monitor.in_use() || {
            asked += 1;
            is_audited(asked)
        };
        let (loss, computed) = match in_full {
            true => {
                monitor.observe(&known.requests[request])?;
                (0.0, known.all(request))
            }
            false => {
                let pruned = known.of(policy, request)?;
                monitor.observe_pruned(&pruned.signals);
                (pruned.loss, pruned.computed)
            }
        };
        let status = monitor.status();
        let changes = status.suspicions + status.alarms;
        match number < first {
            true => before = changes,
            false => sums.add(loss, computed, known.all(request), changes > before),
        }
    }
    Ok((sums.after(), before))
}

/// Whether the n-th request that a profile would prune is audited, as a reranker does it: a fifth of the first 100, then
/// fewer and fewer, two in a hundred from the 1000th on.
fn is_audited(number: usize) -> bool {
    let audits = |requests: usize| {
        let requests = requests as f64;
        let thinning = 20.0 * (requests.clamp(100.0, 1000.0) / 100.0).ln();
        (requests.min(100.0) / 5.0 + thinning + 0.02 * (requests - 1000.0).max(0.0)).floor()
    };
    audits(number) > audits(number - 1)
}
