//! Traffic that changes, at once or slowly, under what was learned on another and under a profile.

use grating::prune::online::{Learner, Monitor, MonitorOptions, Signals};
use grating::prune::{Policy, ScoreTrace};

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

/// Two traffics, the first one's requests first.
pub(crate) struct Pair {
    requests: Vec<ScoreTrace>,
    first: usize,
}

impl Pair {
    pub(crate) fn new(first: &[ScoreTrace], second: &[ScoreTrace]) -> Self {
        Pair { requests: [first, second].concat(), first: first.len() }
    }

    /// The request of this number after the change began.
    fn request(&self, change: Change, number: usize, draw: &mut Draw) -> usize {
        let still_first = match change {
            Change::AtOnce => false,
            Change::Slowly => draw.below(DRIFT) >= number,
        };
        match still_first {
            true => draw.below(self.first),
            false => self.first + draw.below(self.requests.len() - self.first),
        }
    }

    fn of_the_first(&self, draw: &mut Draw) -> usize {
        draw.below(self.first)
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
pub(crate) fn learning(stream: &Stream, pair: &Pair, change: Change, k: usize) -> Outcome<After> {
    let (mut learner, mut draw) = (stream.learner.clone(), stream.draw.clone());
    let (before, mut sums) = (shifts(&learner), Sums::default());
    let mut known = Known::new(&pair.requests, k);
    for number in 0..REQUESTS {
        let request = pair.request(change, number, &mut draw);
        let step = step(&mut learner, &mut known, request)?;
        sums.add(step.loss, step.computed, step.full, shifts(&learner) > before);
    }
    Ok(sums.after())
}

/// A profile that is used on so many requests of the first traffic, and then on the second one's; with how often it was put out
/// of use on the first. `known`: what the requests of the sample looked like is compared with.
pub(crate) fn given(
    policy: &Policy,
    pair: &Pair,
    first: usize,
    k: usize,
    seed: u64,
    known: bool,
) -> Outcome<(After, u64)> {
    let sample = pair.requests[..pair.first].iter().map(|trace| Signals::of(policy, trace, k));
    let sample = sample.collect::<Result<Vec<Signals>, _>>()?;
    let monitor = Monitor::new(policy.clone(), k, MonitorOptions::new(TARGET))?;
    let mut monitor = match known {
        true => monitor.with_sample(sample),
        false => monitor,
    };
    let (mut draw, mut sums) = (Draw::new(seed), Sums::default());
    let mut known = Known::new(&pair.requests, k);
    let (mut asked, mut before) = (0, 0);
    for number in 0..first + REQUESTS {
        let request = match number < first {
            true => pair.of_the_first(&mut draw),
            false => pair.request(Change::AtOnce, number - first, &mut draw),
        };
        let in_full = !monitor.in_use() || {
            asked += 1;
            is_audited(asked)
        };
        let (loss, computed) = match in_full {
            true => {
                monitor.observe(&known.traffic[request])?;
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
