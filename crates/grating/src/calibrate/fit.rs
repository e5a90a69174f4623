//! From traces to a profile.

use std::collections::HashSet;

use grating_prune::online::Signals;
use grating_prune::{
    Grid, Mode, Policy, PolicyFamily, PolicyRun, Procedure, PruneError, ScoreTrace, Sweep, Target,
    Test, TokenPolicy, calibrate, calibrate::TraceBeside, calibrate::learned,
};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::leaving::Leaving;
use super::measure::{Read, measure};
use super::readout::Fitted;
use super::states::States;
use super::traces::Recorded;
use super::{CalibrateError, Dataset, Query, Traces, readout};
use crate::error::Result;
use crate::fingerprint::hex;
use crate::profile::{DataSummary, Measured, ModelStamp, Profile};

/// What is to be promised.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// How many texts requests will ask for.
    pub k: usize,
    /// What is to become of accepted candidates.
    pub mode: Mode,
    /// Agreement P and confidence C.
    pub target: Target,
    /// How scores after intermediate layers are to be read.
    pub reading: Reading,
}

impl Options {
    /// For `k` texts and a promise, without exact scores ([`Mode::Select`]), read in the [best](Reading::Best) way.
    pub fn new(k: usize, target: Target) -> Self {
        Options { k, mode: Mode::Select, target, reading: Reading::default() }
    }

    /// Replaces [`Options::mode`].
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Replaces [`Options::reading`].
    #[must_use]
    pub fn reading(mut self, reading: Reading) -> Self {
        self.reading = reading;
        self
    }
}

/// How scores after intermediate layers are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Reading {
    /// By readouts where they save at least a tenth of the candidate-layers more on the exploring queries, else by the model's
    /// own head, which other traffic upsets less; the head where no hidden states are recorded.
    #[default]
    Best,
    /// By the model's own head.
    Head,
    /// By readouts fitted to the exploring queries.
    Fitted,
}

impl Reading {
    /// Whether readouts are taken, where policies compute these shares of the candidate-layers by the head and by readouts.
    fn takes_readouts(self, head: f64, fitted: f64) -> bool {
        match self {
            Reading::Head => false,
            Reading::Fitted => true,
            Reading::Best => fitted <= head - WORTH,
        }
    }
}

/// How the halves are told apart.
const SPLIT: &str = "queries ordered by the SHA-256 of text and pool; the 1st, 3rd, 5th ... calibrate, the 2nd, 4th ... test";
/// Why the promise holds for the policy that was picked among many.
const THEOREM: &str = "Learn then Test, Theorem 1 (Angelopoulos, Bates, Candes, Jordan, Lei, arXiv 2110.01052), with \
    fixed-sequence testing in an order found on separate queries (Laufer-Goldshtein, Fisch, Barzilay, Jaakkola, \
    ICLR 2023); p-values: Clopper-Pearson for K = 1, testing by betting (Waudby-Smith, Ramdas, arXiv 2010.09686) for K > 1";
/// One explores, one tests, and the test half has one.
const FEWEST: usize = 3;
/// Of the candidate-layers, what readouts must save more than the head to be worth that they are fitted to one kind of traffic.
const WORTH: f64 = 0.1;
/// Most requests whose signals a profile keeps.
const SIGNALS: usize = 256;
/// Calibrating queries that leave two to explore with, one to fit readouts to and one to check them.
const FEWEST_TO_READ: usize = 6;

/// Whether a sample is large enough for a promise, which can be known before anything is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SampleSize {
    /// Different queries with more than K texts; the others have nothing to decide.
    pub usable: usize,
    /// Those of them that policies are tested on.
    pub testing: usize,
    /// The fewest of these with which any policy can be certified, without a single miss; `None` for more than ten
    /// million.
    pub needed: Option<usize>,
}

impl SampleSize {
    /// Counts the queries of `data`.
    ///
    /// # Errors
    /// [`CalibrateError::TooFewQueries`] and [`CalibrateError::NoStates`] where [`fit`] would end with them, K = 0, and a
    /// target out of range.
    pub fn of(data: &Dataset, k: usize, target: Target, reading: Reading) -> Result<Self> {
        if k == 0 {
            return Err(PruneError::ZeroK.into());
        }
        let keys = data.queries.iter().filter(|query| query.texts.len() > k).map(Query::key);
        let usable = keys.collect::<HashSet<_>>().len();
        enough(usable, k)?;
        let calibrating = usable.div_ceil(2);
        if reading == Reading::Fitted && calibrating < FEWEST_TO_READ {
            return Err(CalibrateError::NoStates { needed: FEWEST_TO_READ }.into());
        }
        let (allowed, level) = (1.0 - target.agreement, 1.0 - target.confidence);
        Ok(SampleSize {
            usable,
            testing: calibrating - exploring(calibrating),
            needed: Test::for_k(k).fewest_queries(allowed, level)?,
        })
    }

    /// Whether a policy can be certified at all.
    pub fn is_enough(&self) -> bool {
        self.needed.is_some_and(|needed| needed <= self.testing)
    }

    /// The fewest usable queries with which one can.
    pub fn usable_needed(&self) -> Option<usize> {
        // Of every six, three calibrate, and one of those explores.
        let needed = self.needed?;
        let leaves = |usable: &usize| {
            let calibrating = usable.div_ceil(2);
            calibrating - exploring(calibrating) >= needed
        };
        (needed..=3 * needed + 3).find(leaves)
    }
}

/// Of the calibrating queries, those that explore.
fn exploring(calibrating: usize) -> usize {
    (calibrating / 3).max(1)
}

fn enough(usable: usize, k: usize) -> Result<()> {
    match usable < FEWEST {
        true => Err(CalibrateError::TooFewQueries { found: usable, needed: FEWEST, k }.into()),
        false => Ok(()),
    }
}

/// A query with its trace.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) query: &'a Query,
    pub(super) trace: &'a ScoreTrace,
    pub(super) states: Option<&'a States>,
}

/// Finds the cheapest policy that keeps the promise on the calibration half and measures it on the test half.
///
/// Traces of queries that `data` does not hold are left alone, as are queries with K candidates or fewer. See
/// [`Calibrator`] for several promises on the same sample.
///
/// # Errors
/// [`CalibrateError::NoTrace`], [`CalibrateError::TooFewQueries`], and a target out of range.
pub fn fit(data: &Dataset, traces: &Traces, options: &Options) -> Result<Profile> {
    let Options { k, mode, target, reading } = *options;
    Calibrator::new(data, traces, k, mode, reading)?.profile(target, reading)
}

/// A sample on which every policy has been replayed, so that promises can be tried on it.
///
/// The policies are those of [`Grid::standard`] and [`Grid::paper`], and those that
/// [`learned`](grating_prune::calibrate::learned()) finds on the exploring queries; where the traces hold runs in which tokens
/// left ([`Traces::tokens`]), each of them once more with each token policy, whose scores the model's own head reads. What one promise's confidence says holds for
/// one promise: who tries several and takes the best must share the error among them.
pub struct Calibrator<'a> {
    data: &'a Dataset,
    model: &'a ModelStamp,
    k: usize,
    mode: Mode,
    /// All queries that have something to decide, in the order of the split.
    cases: Vec<Case<'a>>,
    /// Of the calibrating queries, those that explore.
    explore: usize,
    paper: Sweep,
    head: Sweep,
    fitted: Option<(Fitted, Sweep)>,
    /// Runs in which tokens left.
    leaving: Vec<Leaving<'a>>,
}

impl<'a> Calibrator<'a> {
    /// Fits readouts, unless `reading` is by the head alone, and replays all policies.
    ///
    /// # Errors
    /// [`CalibrateError::NoTrace`], [`CalibrateError::TooFewQueries`], [`CalibrateError::ReadoutsOfTokens`], K = 0.
    pub fn new(
        data: &'a Dataset,
        traces: &'a Traces,
        k: usize,
        mode: Mode,
        reading: Reading,
    ) -> Result<Self> {
        if k == 0 {
            return Err(PruneError::ZeroK.into());
        }
        let cases = ordered(data, traces, k)?;
        let (calibrating, testing) = halves(&cases);
        let explore = exploring(calibrating.len());
        let leaving = traces.tokens.iter().map(|tokens| Leaving::of(tokens, traces, &cases));
        let leaving: Vec<Leaving<'_>> = leaving.collect::<Result<_>>()?;
        let fitted = match reading {
            Reading::Fitted if !leaving.is_empty() => {
                return Err(CalibrateError::ReadoutsOfTokens.into());
            }
            Reading::Best if !leaving.is_empty() => None,
            Reading::Head => None,
            _ => readout::fit(&calibrating, &testing, explore)?,
        };
        let sample = own(&calibrating);
        let paper = Grid::paper(mode).family()?;
        let layers = traces.model.layers;
        let sweep_of = |traces: &[ScoreTrace]| -> Result<Sweep> {
            let learned = learned(&traces[..explore], k, mode)?;
            Ok(sweep(&family(layers, mode, &paper, &learned)?, traces, k)?)
        };
        let beside = leaving.iter().map(|leaving| -> Result<Sweep> {
            let (own, beside) = leaving.sample(&halves(&leaving.runs).0, &sample);
            let learned = learned(&own[..explore], k, mode)?;
            let family = leaving_family(&family(layers, mode, &paper, &learned)?, mode)?;
            Ok(sweep_beside(&family, leaving.tokens, &beside, k)?)
        });
        let beside: Vec<Sweep> = beside.collect::<Result<_>>()?;
        let head = Sweep::joined(std::iter::once(sweep_of(&sample)?).chain(beside).collect())?;
        let with_sweep = |fitted: Fitted| -> Result<_> {
            let sweep = sweep_of(&fitted.calibrating)?;
            Ok((fitted, sweep))
        };
        Ok(Calibrator {
            data,
            model: &traces.model,
            k,
            mode,
            explore,
            paper: sweep(&paper, &sample, k)?,
            head,
            fitted: fitted.map(with_sweep).transpose()?,
            leaving,
            cases,
        })
    }

    /// Queries that a promise is tested on.
    pub fn test_queries(&self) -> usize {
        self.head.queries() - self.explore
    }

    /// The cheapest policy that keeps the promise, measured on the test half.
    ///
    /// # Errors
    /// [`CalibrateError::NoStates`] where readouts are asked for and there are none, and a target out of range.
    pub fn profile(&self, target: Target, reading: Reading) -> Result<Profile> {
        let (k, test, explore) = (self.k, Test::for_k(self.k), self.explore);
        let (calibrating, testing) = halves(&self.cases);
        if reading == Reading::Fitted && self.fitted.is_none() {
            return Err(CalibrateError::NoStates { needed: FEWEST_TO_READ }.into());
        }
        // Only exploring queries have a say, so the choice costs nothing of the confidence.
        let cost = |sweep: &Sweep| sweep.cheapest_cost(target.agreement, 0..explore).unwrap_or(1.0);
        let by_fitted = self
            .fitted
            .as_ref()
            .filter(|(_, sweep)| reading.takes_readouts(cost(&self.head), cost(sweep)));
        let sweep = by_fitted.map_or(&self.head, |(_, sweep)| sweep);
        let calibration = calibrate(sweep, target, Procedure::Split { explore }, test)?;
        let paper = calibrate(&self.paper, target, Procedure::FixedSequence, test)?;
        let chosen = calibration.chosen.as_ref();
        let policy = chosen.map(|tested| tested.policy.clone());
        let tokens = chosen.and_then(|tested| tested.tokens.clone());
        let whole = own(&testing);
        let read = by_fitted.map_or(&whole, |(fitted, _)| &fitted.testing);
        let read: Vec<Read<'_>> = match self.with(tokens.as_ref()) {
            Some(leaving) => halves(&leaving.runs).1,
            None => read.iter().map(Read::whole).collect(),
        };
        let measured = policy.as_ref().map(|policy| measure(policy, &testing, &read, k));
        let paper_measured = paper.chosen.as_ref().map(|tested| {
            let whole: Vec<Read<'_>> = whole.iter().map(Read::whole).collect();
            measure(&tested.policy, &testing, &whole, k)
        });
        let signals = match &policy {
            // Nobody watches what tokens that leave do.
            Some(policy) if tokens.is_none() => {
                let own = own(&calibrating);
                let sample = by_fitted.map_or(&own, |(fitted, _)| &fitted.calibrating);
                let read = read.iter().map(|read| read.trace);
                signals(policy, sample.iter().chain(read), k)?
            }
            _ => Vec::new(),
        };
        let readings = match (&self.fitted, reading) {
            (Some((fitted, _)), Reading::Best | Reading::Fitted) => fitted.compare(&testing, k),
            _ => Vec::new(),
        };
        Ok(Profile {
            version: Profile::VERSION,
            model: self.model.clone(),
            k,
            mode: self.mode,
            promise: target,
            readouts: by_fitted.map(|(fitted, _)| fitted.readouts.clone()),
            readings,
            policy,
            tokens,
            signals,
            kinds: Vec::new(),
            theorem: THEOREM.into(),
            data: summary(self.data, &self.cases, testing.len()),
            measured: measured.transpose()?,
            paper_measured: paper_measured.transpose()?,
            calibration,
            paper,
        })
    }

    /// A policy on the test half, its scores read by the model's own head or by the fitted readouts.
    ///
    /// # Errors
    /// [`CalibrateError::NoStates`] where readouts are asked for and there are none, and a policy of another model.
    pub fn measure(&self, policy: &Policy, fitted: bool) -> Result<Measured> {
        let (_, testing) = halves(&self.cases);
        let whole = own(&testing);
        let read = match (&self.fitted, fitted) {
            (_, false) => &whole,
            (Some((fitted, _)), true) => &fitted.testing,
            (None, true) => {
                return Err(CalibrateError::NoStates { needed: FEWEST_TO_READ }.into());
            }
        };
        let read: Vec<Read<'_>> = read.iter().map(Read::whole).collect();
        measure(policy, &testing, &read, self.k)
    }
}

impl Calibrator<'_> {
    /// Runs in which tokens left by this policy.
    fn with(&self, tokens: Option<&TokenPolicy>) -> Option<&Leaving<'_>> {
        self.leaving.iter().find(|leaving| Some(leaving.tokens) == tokens)
    }
}

/// The calibrating queries and the test half, or what belongs to each.
fn halves<T: Copy>(of_queries: &[T]) -> (Vec<T>, Vec<T>) {
    let half = |rest| of_queries.iter().skip(rest).step_by(2).copied().collect();
    (half(0), half(1))
}

/// What a policy shows of a sample, evenly thinned out.
fn signals<'t>(
    policy: &Policy,
    sample: impl Iterator<Item = &'t ScoreTrace>,
    k: usize,
) -> Result<Vec<Signals>> {
    let sample: Vec<&ScoreTrace> = sample.collect();
    let step = sample.len().div_ceil(SIGNALS).max(1);
    let kept = sample.into_iter().step_by(step);
    Ok(kept.map(|trace| Signals::of(policy, trace, k)).collect::<Result<_, PruneError>>()?)
}

/// The traces as the model's own head reads them.
fn own(cases: &[Case<'_>]) -> Vec<ScoreTrace> {
    cases.iter().map(|case| case.trace.clone()).collect()
}

/// Every policy on every trace, in parallel.
fn sweep(family: &PolicyFamily, traces: &[ScoreTrace], k: usize) -> Result<Sweep, PruneError> {
    let policies: Vec<&Policy> = family.policies().collect();
    let runs = policies.into_par_iter().map(|policy| PolicyRun::measure(policy, traces, k));
    Sweep::from_runs(family, runs.collect::<Result<_, _>>()?, k)
}

/// As [`sweep`], on runs in which tokens left.
fn sweep_beside(
    family: &PolicyFamily,
    tokens: &TokenPolicy,
    traces: &[TraceBeside<'_>],
    k: usize,
) -> Result<Sweep, PruneError> {
    let policies: Vec<&Policy> = family.policies().collect();
    let runs = policies.into_par_iter().map(|policy| PolicyRun::beside(policy, tokens, traces, k));
    Sweep::from_runs(family, runs.collect::<Result<_, _>>()?, k)
}

/// With one that decides nobody: that tokens leave is a saving by itself.
fn leaving_family(family: &PolicyFamily, mode: Mode) -> Result<PolicyFamily, PruneError> {
    let never = vec![Policy::never().with_mode(mode)];
    PolicyFamily::new(std::iter::once(never).chain(family.chains().iter().cloned()).collect())
}

/// The standard grid, the paper's finer chain and what was learned.
fn family(
    layers: usize,
    mode: Mode,
    paper: &PolicyFamily,
    learned: &PolicyFamily,
) -> Result<PolicyFamily, PruneError> {
    let standard = Grid::standard(layers, mode).family()?;
    let chains = standard.chains().iter().chain(paper.chains()).chain(learned.chains());
    PolicyFamily::new(chains.cloned().collect())
}

/// The queries that have something to decide, in the order of the split.
fn ordered<'a>(data: &'a Dataset, traces: &'a Traces, k: usize) -> Result<Vec<Case<'a>>> {
    let mut cases = Vec::new();
    // As wide as those of the first query that has some.
    let mut hidden = None;
    for query in data.queries.iter().filter(|query| query.texts.len() > k) {
        let key = query.key();
        let recorded = traces.recorded(&key);
        let recorded =
            recorded.ok_or_else(|| CalibrateError::NoTrace { query: query.id.clone() })?;
        let width = recorded.states.as_ref().map(States::hidden);
        recorded.check(query, traces.model.layers, hidden.or(width))?;
        hidden = hidden.or(width);
        let Recorded { trace, states, .. } = recorded;
        cases.push((key, Case { query, trace, states: states.as_ref() }));
    }
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    cases.dedup_by(|a, b| a.0 == b.0);
    enough(cases.len(), k)?;
    Ok(cases.into_iter().map(|(_, case)| case).collect())
}

fn summary(data: &Dataset, cases: &[Case<'_>], test_queries: usize) -> DataSummary {
    let sizes = || cases.iter().map(|case| case.query.texts.len());
    let mut hash = Sha256::new();
    cases.iter().for_each(|case| hash.update(case.query.key()));
    DataSummary {
        name: data.name.clone(),
        queries: cases.len(),
        left_out: data.queries.len() - cases.len(),
        calibration_queries: cases.len() - test_queries,
        test_queries,
        candidates_min: sizes().min().unwrap_or(0),
        candidates_mean: sizes().sum::<usize>() as f64 / cases.len() as f64,
        candidates_max: sizes().max().unwrap_or(0),
        split: SPLIT.into(),
        hash: hex(&hash.finalize()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readouts_are_taken_where_they_save_enough() {
        for (head, fitted, taken) in [(0.9, 0.79, true), (0.9, 0.81, false), (0.6, 0.7, false)] {
            assert_eq!(Reading::Best.takes_readouts(head, fitted), taken, "{head} {fitted}");
            assert!(Reading::Fitted.takes_readouts(head, fitted));
            assert!(!Reading::Head.takes_readouts(head, fitted));
        }
    }
}
