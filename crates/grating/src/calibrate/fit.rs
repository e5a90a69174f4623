//! From traces to a profile.

use grating_prune::{
    Calibration, Family, Grid, Mode, Policy, PolicyRun, Procedure, PruneError, ScoreTrace, Sweep,
    Target, Test, calibrate, metrics, replay,
};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{CalibrateError, Dataset, Query, Traces};
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
}

/// How the halves are told apart.
const SPLIT: &str = "queries ordered by the SHA-256 of text and pool; the 1st, 3rd, 5th ... calibrate, the 2nd, 4th ... test";
/// Why the promise holds for the policy that was picked among many.
const THEOREM: &str = "Learn then Test, Theorem 1 (Angelopoulos, Bates, Candes, Jordan, Lei, arXiv 2110.01052), with \
    fixed-sequence testing in an order found on separate queries (Laufer-Goldshtein, Fisch, Barzilay, Jaakkola, \
    ICLR 2023); p-values: Clopper-Pearson for K = 1, testing by betting (Waudby-Smith, Ramdas, arXiv 2010.09686) for K > 1";
/// One explores, one tests, and the test half has one.
const FEWEST: usize = 3;

/// A query with its trace.
#[derive(Clone, Copy)]
struct Case<'a> {
    query: &'a Query,
    trace: &'a ScoreTrace,
}

/// Finds the cheapest policy that keeps the promise on the calibration half and measures it on the test half.
///
/// The policies are those of [`Grid::standard`] and [`Grid::paper`]; traces of queries that `data` does not hold are
/// left alone, as are queries with K candidates or fewer.
///
/// # Errors
/// [`CalibrateError::NoTrace`], [`CalibrateError::TooFewQueries`], and a target out of range.
pub fn fit(data: &Dataset, traces: &Traces, options: &Options) -> Result<Profile> {
    let Options { k, mode, target } = *options;
    if k == 0 {
        return Err(PruneError::ZeroK.into());
    }
    let cases = ordered(data, traces, k)?;
    let half = |rest| cases.iter().skip(rest).step_by(2).copied().collect::<Vec<_>>();
    let (calibrating, testing) = (half(0), half(1));
    let sample: Vec<ScoreTrace> = calibrating.iter().map(|case| case.trace.clone()).collect();
    let test = Test::for_k(k);
    let run = |family: Family, procedure| -> Result<Calibration> {
        let policies: Vec<&Policy> = family.policies().collect();
        let runs = policies.into_par_iter().map(|policy| PolicyRun::measure(policy, &sample, k));
        let sweep = Sweep::from_runs(&family, runs.collect::<Result<_, _>>()?, k)?;
        Ok(calibrate(&sweep, target, procedure, test)?)
    };
    let paper_family = Grid::paper(mode).family()?;
    let explore = (sample.len() / 3).max(1);
    let calibration =
        run(family(traces.model.layers, mode, &paper_family)?, Procedure::Split { explore })?;
    let paper = run(paper_family, Procedure::FixedSequence)?;
    let policy = calibration.chosen.map(|tested| tested.policy);
    let on_test = |policy: Option<Policy>| policy.map(|p| measure(&p, &testing, k)).transpose();
    Ok(Profile {
        version: Profile::VERSION,
        model: traces.model.clone(),
        k,
        mode,
        promise: target,
        policy,
        theorem: THEOREM.into(),
        data: summary(data, &cases, testing.len()),
        measured: on_test(policy)?,
        paper_measured: on_test(paper.chosen.map(|tested| tested.policy))?,
        calibration,
        paper,
    })
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
        let trace = traces.get(&key);
        let trace = trace.ok_or_else(|| CalibrateError::NoTrace { query: query.id.clone() })?;
        cases.push((key, Case { query, trace }));
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

/// A policy on queries.
fn measure(policy: &Policy, cases: &[Case<'_>], k: usize) -> Result<Measured> {
    let (mut agreement, mut ran, mut all) = (0.0, 0, 0);
    let (mut judged, mut full_quality, mut pruned_quality) =
        (0_u32, Quality::default(), Quality::default());
    for Case { query, trace } in cases {
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
