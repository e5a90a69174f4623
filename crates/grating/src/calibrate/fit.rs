//! From traces to a profile.

use grating_prune::{
    Family, Grid, Mode, Policy, PolicyRun, Procedure, PruneError, ScoreTrace, Sweep, Target, Test,
    calibrate, metrics, replay,
};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::states::States;
use super::traces::Recorded;
use super::{CalibrateError, Dataset, Query, Traces, readout};
use crate::error::Result;
use crate::fingerprint::hex;
use crate::profile::{DataSummary, Judged, Measured, Profile, Quality};

/// What is to be promised.
#[derive(Debug, Clone, Copy, PartialEq)]
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

/// How scores after intermediate layers are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reading {
    /// Whichever lets the exploring queries be pruned more; the model's own head where no hidden states are recorded.
    #[default]
    Best,
    /// By the model's own head.
    Head,
    /// By readouts fitted to the exploring queries.
    Fitted,
}

/// How the halves are told apart.
const SPLIT: &str = "queries ordered by the SHA-256 of text and pool; the 1st, 3rd, 5th ... calibrate, the 2nd, 4th ... test";
/// Why the promise holds for the policy that was picked among many.
const THEOREM: &str = "Learn then Test, Theorem 1 (Angelopoulos, Bates, Candes, Jordan, Lei, arXiv 2110.01052), with \
    fixed-sequence testing in an order found on separate queries (Laufer-Goldshtein, Fisch, Barzilay, Jaakkola, \
    ICLR 2023); p-values: Clopper-Pearson for K = 1, testing by betting (Waudby-Smith, Ramdas, arXiv 2010.09686) for K > 1";
/// One explores, one tests, and the test half has one.
const FEWEST: usize = 3;
/// Calibrating queries that leave two to explore with, one to fit readouts to and one to check them.
const FEWEST_TO_READ: usize = 6;

/// A query with its trace.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    query: &'a Query,
    pub(super) trace: &'a ScoreTrace,
    pub(super) states: Option<&'a States>,
}

/// Finds the cheapest policy that keeps the promise on the calibration half and measures it on the test half.
///
/// The policies are those of [`Grid::standard`] and [`Grid::paper`]; traces of queries that `data` does not hold are
/// left alone, as are queries with K candidates or fewer.
///
/// # Errors
/// [`CalibrateError::NoTrace`], [`CalibrateError::TooFewQueries`], and a target out of range.
pub fn fit(data: &Dataset, traces: &Traces, options: &Options) -> Result<Profile> {
    let Options { k, mode, target, reading } = *options;
    if k == 0 {
        return Err(PruneError::ZeroK.into());
    }
    let cases = ordered(data, traces, k)?;
    let half = |rest| cases.iter().skip(rest).step_by(2).copied().collect::<Vec<_>>();
    let (calibrating, testing) = (half(0), half(1));
    let sample: Vec<ScoreTrace> = calibrating.iter().map(|case| case.trace.clone()).collect();
    let test = Test::for_k(k);
    let explore = (sample.len() / 3).max(1);
    let fitted = match reading {
        Reading::Head => None,
        Reading::Best => readout::fit(&calibrating, &testing, explore)?,
        Reading::Fitted => {
            let fitted = readout::fit(&calibrating, &testing, explore)?;
            Some(fitted.ok_or(CalibrateError::NoStates { needed: FEWEST_TO_READ })?)
        }
    };
    let paper_family = Grid::paper(mode).family()?;
    let all = family(traces.model.layers, mode, &paper_family)?;
    let paper = sweep(&paper_family, &sample, k)?;
    let paper = calibrate(&paper, target, Procedure::FixedSequence, test)?;
    let by_head = sweep(&all, &sample, k)?;
    let by_fitted = fitted.as_ref().map(|f| sweep(&all, &f.calibrating, k)).transpose()?;
    // Only exploring queries have a say, so the choice costs nothing of the confidence.
    let cost = |sweep: &Sweep| sweep.cheapest_cost(target.agreement, 0..explore).unwrap_or(1.0);
    let better = |by_fitted: &Sweep| cost(by_fitted) < cost(&by_head);
    let readings = fitted.as_ref().map_or_else(Vec::new, |f| f.compare(&testing, k));
    let (chosen, fitted) = match (by_fitted, fitted) {
        (Some(sweep), Some(fitted)) if reading == Reading::Fitted || better(&sweep) => {
            (sweep, Some(fitted))
        }
        _ => (by_head, None),
    };
    let calibration = calibrate(&chosen, target, Procedure::Split { explore }, test)?;
    let policy = calibration.chosen.map(|tested| tested.policy);
    let measured = policy.map(|policy| match &fitted {
        Some(fitted) => measure(&policy, &testing, &fitted.testing, k),
        None => measure(&policy, &testing, &own(&testing), k),
    });
    let paper_policy = paper.chosen.map(|tested| tested.policy);
    let paper_measured = paper_policy.map(|policy| measure(&policy, &testing, &own(&testing), k));
    Ok(Profile {
        version: Profile::VERSION,
        model: traces.model.clone(),
        k,
        mode,
        promise: target,
        readouts: fitted.map(|fitted| fitted.readouts),
        readings,
        policy,
        theorem: THEOREM.into(),
        data: summary(data, &cases, testing.len()),
        measured: measured.transpose()?,
        paper_measured: paper_measured.transpose()?,
        calibration,
        paper,
    })
}

/// The traces as the model's own head reads them.
fn own(cases: &[Case<'_>]) -> Vec<ScoreTrace> {
    cases.iter().map(|case| case.trace.clone()).collect()
}

/// Every policy on every trace, in parallel.
fn sweep(family: &Family, traces: &[ScoreTrace], k: usize) -> Result<Sweep, PruneError> {
    let policies: Vec<&Policy> = family.policies().collect();
    let runs = policies.into_par_iter().map(|policy| PolicyRun::measure(policy, traces, k));
    Sweep::from_runs(family, runs.collect::<Result<_, _>>()?, k)
}

/// The standard grid and the paper's finer chain.
fn family(layers: usize, mode: Mode, paper: &Family) -> Result<Family, PruneError> {
    let standard = Grid::standard(layers, mode).family()?;
    Family::new(standard.chains().iter().chain(paper.chains()).cloned().collect())
}

/// The queries that have something to decide, in the order of the split.
fn ordered<'a>(data: &'a Dataset, traces: &'a Traces, k: usize) -> Result<Vec<Case<'a>>> {
    let mut cases = Vec::new();
    for query in data.queries.iter().filter(|query| query.texts.len() > k) {
        let key = query.key();
        let recorded = traces.recorded(&key);
        let Recorded { trace, states } =
            recorded.ok_or_else(|| CalibrateError::NoTrace { query: query.id.clone() })?;
        cases.push((key, Case { query, trace, states: states.as_ref() }));
    }
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    cases.dedup_by(|a, b| a.0 == b.0);
    if cases.len() < FEWEST {
        return Err(CalibrateError::TooFewQueries { found: cases.len(), needed: FEWEST, k }.into());
    }
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

/// A policy on queries, whose scores are read as in `traces`.
fn measure(
    policy: &Policy,
    cases: &[Case<'_>],
    traces: &[ScoreTrace],
    k: usize,
) -> Result<Measured> {
    let (mut agreement, mut ran, mut all) = (0.0, 0, 0);
    let (mut judged, mut full_quality, mut pruned_quality) =
        (0_u32, Quality::default(), Quality::default());
    for (Case { query, .. }, trace) in cases.iter().zip(traces) {
        let outcome = replay(policy, trace, k)?;
        let full = trace.final_ranking();
        agreement += metrics::overlap_at_k(&outcome.selected, &full, k);
        ran += outcome.candidate_layers;
        all += (trace.candidates() * trace.layers()) as u64;
        let mut selected = outcome.selected;
        if policy.mode == Mode::Rank {
            let rank = |c: usize| full.iter().position(|&f| f == c);
            selected.sort_by_key(|&c| rank(c));
        }
        if let (Some(f), Some(p)) = (quality(query, &full, k), quality(query, &selected, k)) {
            judged += 1;
            add(&mut full_quality, f);
            add(&mut pruned_quality, p);
        }
    }
    let mean = |sum: Quality| Quality {
        precision: sum.precision / f64::from(judged),
        ndcg: sum.ndcg / f64::from(judged),
    };
    Ok(Measured {
        queries: cases.len(),
        agreement: agreement / cases.len() as f64,
        saved: 1.0 - ran as f64 / all as f64,
        judged: (judged > 0).then(|| Judged {
            queries: judged as usize,
            full: mean(full_quality),
            pruned: mean(pruned_quality),
        }),
    })
}

/// Of the candidates in this order; nothing where no judged text is relevant.
fn quality(query: &Query, ranked: &[usize], k: usize) -> Option<Quality> {
    let judgments = query.judgments.as_ref()?;
    let grades: Vec<u32> = ranked.iter().map(|&c| judgments.pool[c]).collect();
    let precision = metrics::capped_precision_at_k(&grades, &judgments.all, k)?;
    let ndcg = metrics::ndcg_at_k(&grades, &judgments.all, k)?;
    Some(Quality { precision, ndcg })
}

fn add(sum: &mut Quality, one: Quality) {
    sum.precision += one.precision;
    sum.ndcg += one.ndcg;
}
