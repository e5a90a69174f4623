//! Operating points: which policy keeps how much agreement, by replaying families of them on score
//! traces of queries that the tables do not measure.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use grating_prune::calibrate::{FrontierPoint, Grid, PolicyFamily, PolicyRun, Sweep, learned};
use grating_prune::{Mode, Policy, ScoreTrace};
use serde_json::json;

use super::Bench;
use super::cells::digest;
use super::child;
use super::model::Model;
use super::settings::Weights;
use super::workload::{Workload, made};
use crate::models::planted::{self, PlantedArgs};

/// Mean agreement that each point keeps on the traces.
const PRECISION_FIRST: f64 = 0.99;
const LATENCY_FIRST: f64 = 0.95;
/// Pool of the traced queries where the measured ones have many sizes.
pub(super) const POOL: usize = 60;
/// Traced queries of each data set at most.
const QUERIES: usize = 36;
/// Traced queries of a planted model's quantized copy, which has no small twin.
const QUANTIZED_QUERIES: usize = 12;
/// Every third trace teaches gaps; policies are chosen by the others.
const TEACHES: usize = 3;
/// Seeds of made queries for tracing begin here, far from those that are measured.
const SEEDS: u64 = 1_000_000;
const LIMIT: Duration = Duration::from_secs(3 * 3600);

/// Policies for one model, K and pool.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Points {
    pub(super) precision_first: FrontierPoint,
    pub(super) latency_first: FrontierPoint,
    /// Of each family the policies that no other of it beats, from bold to cautious.
    pub(super) sweep: Vec<(&'static str, Policy)>,
    /// Queries whose traces they were chosen by.
    queries: usize,
}

impl Points {
    /// The two points in words.
    pub(super) fn shown(&self) -> String {
        let point = |name: &str, point: &FrontierPoint| {
            format!(
                "{name} is {} (agreement {:.3}, {:.0} % of the candidate-layers)",
                point.policy,
                point.agreement,
                100.0 * point.cost
            )
        };
        format!(
            "chosen on {} other queries, {}; {}",
            self.queries,
            point("precision-first", &self.precision_first),
            point("latency-first", &self.latency_first)
        )
    }
}

/// Names of the families in the sweep.
const FAMILIES: [&str; 2] = ["paper's policy", "GRATING's policies"];

/// Points by the model's argument, weights, K and pool: replaying the families takes longer than some cells that they are for.
pub(super) type Chosen = RefCell<HashMap<(Option<String>, Weights, usize, usize), Points>>;

impl Bench {
    /// Chooses the policies for top-`k` selections out of `pool` candidates.
    pub(super) fn points(&self, model: &Model, k: usize, pool: usize) -> Result<Points> {
        self.points_with(model, Weights::Own, k, pool)
    }

    /// As [`Self::points`], for a model's own weights or its quantized copy, whose scores settle otherwise.
    pub(super) fn points_with(
        &self,
        model: &Model,
        weights: Weights,
        k: usize,
        pool: usize,
    ) -> Result<Points> {
        let key = (model.argument.clone(), weights, k, pool);
        if let Some(points) = self.chosen.borrow().get(&key) {
            return Ok(points.clone());
        }
        let traces = self.traces(model, weights, pool)?;
        let points = choose(&traces, k, if self.args.quick { 2 } else { 6 })?;
        self.chosen.borrow_mut().insert(key, points.clone());
        Ok(points)
    }

    /// Score traces of queries that are not measured; of a planted model's own weights from a twin of the same depth
    /// and profile that is small.
    fn traces(&self, model: &Model, weights: Weights, pool: usize) -> Result<Vec<ScoreTrace>> {
        let program = self.program("traces")?;
        let mut works = self.calibration(model, pool);
        if weights == Weights::Quantized && model.planted.is_some() {
            works.truncate(QUANTIZED_QUERIES);
        }
        let names: Vec<&str> = works.iter().map(|work| work.name.as_str()).collect();
        let key = json!({
            "program": digest(&std::fs::read(&program)?), "model": model, "weights": weights, "texts": names,
            "planted": model.planted_as(), "twin": TWIN,
        });
        self.cells.get_or("traces", key, || {
            self.progress.set_message(format!("{}: score traces", model.name));
            let twin = tempfile::tempdir().context("cannot make a temporary folder")?;
            let mut command = Command::new(&program);
            command.args(["--threads", &self.args.threads().to_string()]);
            match (weights, &model.planted) {
                (Weights::Own, Some(_)) => {
                    command.arg("--model").arg(plant_twin(model, twin.path())?);
                }
                _ => drop(command.args(self.opening(model, weights)?)),
            }
            let pools = works
                .iter()
                .map(|work| json!({"query": work.query, "texts": work.texts}).to_string() + "\n");
            let finished = child::run(command, pools.collect::<String>().as_bytes(), LIMIT)?;
            ensure!(finished.status.success(), "{}", finished.stderr.trim());
            serde_json::from_slice(&finished.stdout).context("the traces are not as expected")
        })
    }

    /// Queries of the data that no table measures; made ones for planted models and where there are none.
    fn calibration(&self, model: &Model, pool: usize) -> Vec<Workload> {
        let count = if self.args.quick { 4 } else { QUERIES };
        let held_out = |set: &super::data::DataSet| -> Vec<Workload> {
            let queries = set.between(self.args.queries()).into_iter().take(count);
            queries.map(|query| query.workload(&set.name, pool)).collect()
        };
        let works: Vec<Workload> = match model.planted {
            Some(_) => Vec::new(),
            None => self.data.iter().flat_map(held_out).collect(),
        };
        if !works.is_empty() {
            return works;
        }
        let seeds = (0..count as u64).map(|i| SEEDS + self.args.seed + i);
        seeds.map(|seed| made(model, pool, self.args.tokens(), seed)).collect()
    }
}

/// Changes when the twin does, so that older traces are not taken for its own.
const TWIN: u32 = 1;

/// Writes the small model with the depth and profile of a planted one.
fn plant_twin(model: &Model, folder: &std::path::Path) -> Result<PathBuf> {
    let planted = model.planted.as_ref().context("only planted models have twins")?;
    let profile = folder.join("profile.json");
    std::fs::write(&profile, serde_json::to_string(&planted.profile)?)?;
    let out = folder.join("twin");
    let layers = model.info["layers"].as_u64().and_then(|layers| u16::try_from(layers).ok());
    let shape = if model.is_decoder() { "qwen3-tiny" } else { "bert-tiny" };
    let args = PlantedArgs {
        shape: shape.to_owned(),
        profile: Some(profile),
        dtype: None,
        seed: planted.seed,
        layers,
        force: false,
        out: out.clone(),
    };
    planted::run(&args, &AtomicBool::new(false))?;
    Ok(out)
}

/// The paper's policies on a fine grid of thresholds.
fn papers() -> Result<PolicyFamily> {
    let grid = (0..=120).rev().map(|i| {
        // Short and exact: it is passed on as text.
        let threshold = 1e-4 * 10_f64.powf(f64::from(i) / 24.0);
        Policy::paper(format!("{threshold:.2e}").parse().unwrap_or(threshold))
    });
    Ok(PolicyFamily::new(vec![grid.collect()])?)
}

/// The standard grid, and policies whose gaps are learned from `teaching`.
fn ours(teaching: &[ScoreTrace], k: usize) -> Result<PolicyFamily> {
    let layers = teaching.first().context("there is no trace to choose by")?.layers();
    let standard = Grid::standard(layers, Mode::Select).family()?;
    let teaching: Vec<ScoreTrace> =
        teaching.iter().filter(|trace| trace.candidates() > k).cloned().collect();
    let mut chains = standard.chains().to_vec();
    if !teaching.is_empty() {
        chains.extend_from_slice(learned(&teaching, k, Mode::Select)?.chains());
    }
    Ok(PolicyFamily::new(chains)?)
}

/// Traces that teach, and those to choose by: others, unless there is but one.
fn split(traces: &[ScoreTrace]) -> (Vec<ScoreTrace>, Vec<ScoreTrace>) {
    let (teaching, judging): (Vec<_>, Vec<_>) =
        traces.iter().cloned().enumerate().partition(|(i, _)| i % TEACHES == 0);
    let traces_of = |part: Vec<(usize, ScoreTrace)>| part.into_iter().map(|(_, t)| t).collect();
    let judging: Vec<ScoreTrace> = traces_of(judging);
    (traces_of(teaching), if judging.is_empty() { traces.to_vec() } else { judging })
}

/// The cheapest policies of our family that keep each point's agreement, and `count` of each family's
/// frontier for a sweep.
fn choose(traces: &[ScoreTrace], k: usize, count: usize) -> Result<Points> {
    let (teaching, judging) = split(traces);
    let ours = frontier(&ours(&teaching, k)?, &judging, k)?;
    let papers = frontier(&papers()?, &judging, k)?;
    // The frontier is dearest first, and what costs less agrees less.
    let keeping = |agreement: f64| {
        let good = ours.iter().rfind(|point| point.agreement >= agreement);
        let all = FrontierPoint::new(Policy::never(), 1.0, 1.0);
        good.cloned().unwrap_or(all)
    };
    let [first, second] = FAMILIES;
    let sweep = spread(&papers, count).map(|policy| (first, policy));
    Ok(Points {
        precision_first: keeping(PRECISION_FIRST),
        latency_first: keeping(LATENCY_FIRST),
        sweep: sweep.chain(spread(&ours, count).map(|policy| (second, policy))).collect(),
        queries: judging.len(),
    })
}

/// The frontier of a family, its policies replayed on all cores.
fn frontier(family: &PolicyFamily, traces: &[ScoreTrace], k: usize) -> Result<Vec<FrontierPoint>> {
    let policies: Vec<Policy> = family.policies().cloned().collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = policies.len().div_ceil(threads).max(1);
    let runs = std::thread::scope(|scope| {
        let measure = |part: &[Policy]| -> Result<Vec<PolicyRun>, _> {
            part.iter().map(|policy| PolicyRun::measure(policy, traces, k)).collect()
        };
        let parts: Vec<_> =
            policies.chunks(share).map(|part| scope.spawn(move || measure(part))).collect();
        parts.into_iter().map(|part| part.join().expect("replaying does not panic")).collect()
    });
    let runs: Result<Vec<Vec<PolicyRun>>, _> = runs;
    Ok(Sweep::from_runs(family, runs?.concat(), k)?.frontier())
}

/// `count` policies, spread evenly over the work that they leave, the boldest first.
fn spread(frontier: &[FrontierPoint], count: usize) -> impl Iterator<Item = Policy> + use<> {
    let cost = |point: Option<&FrontierPoint>| point.map_or(1.0, |point| point.cost);
    let (least, most) = (cost(frontier.last()), cost(frontier.first()));
    let mut chosen: Vec<&FrontierPoint> = (0..count)
        .filter_map(|i| {
            let wanted = least + (most - least) * i as f64 / (count - 1).max(1) as f64;
            let off = |point: &&FrontierPoint| (point.cost - wanted).abs();
            frontier.iter().min_by(|a, b| off(a).total_cmp(&off(b)))
        })
        .collect();
    chosen.dedup();
    chosen.into_iter().map(|point| point.policy.clone()).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten candidates that come apart over six layers, their order shuffled by layer in part.
    fn traces() -> Vec<ScoreTrace> {
        let trace = |query: usize| {
            let score = |i: usize| {
                let (layer, candidate) = (i / 10, i % 10);
                let noise = (candidate * 7 + layer * 5 + query * 3) % 10;
                (layer * candidate) as f32 * 0.3 + noise as f32 * 0.4 - 2.0
            };
            ScoreTrace::from_vec(6, 10, (0..60).map(score).collect()).unwrap()
        };
        (0..8).map(trace).collect()
    }

    #[test]
    fn points_keep_their_agreement_and_the_bolder_costs_less() {
        let traces = traces();
        let points = choose(&traces, 5, 4).unwrap();
        let (teaching, judging) = split(&traces);
        assert_eq!((teaching.len(), judging.len()), (3, 5));
        let run = |policy: &Policy| {
            let run = PolicyRun::measure(policy, &judging, 5).unwrap();
            let agreement = run.agreement.iter().sum::<f64>() / 5.0;
            (agreement, run.candidate_layers.iter().sum::<u64>())
        };
        let (precise, careful) = run(&points.precision_first.policy);
        let (rough, bold) = run(&points.latency_first.policy);
        assert!(precise >= PRECISION_FIRST && rough >= LATENCY_FIRST);
        assert!(bold <= careful && careful < 5 * 60);
        assert!(points.shown().starts_with("chosen on 5 other queries, precision-first is "));
    }

    #[test]
    fn the_sweep_goes_from_bold_to_cautious_in_each_family() {
        let traces = traces();
        let points = choose(&traces, 5, 4).unwrap();
        for family in FAMILIES {
            let of_it = points.sweep.iter().filter(|(name, _)| *name == family);
            let work: Vec<u64> = of_it
                .map(|(_, policy)| {
                    let run = PolicyRun::measure(policy, &split(&traces).1, 5).unwrap();
                    run.candidate_layers.iter().sum()
                })
                .collect();
            assert!(work.len() > 1 && work.is_sorted(), "{family}: {work:?}");
        }
        let paper = points.sweep.iter().filter(|(name, _)| *name == FAMILIES[0]);
        paper.for_each(|(_, policy)| assert_eq!(*policy, Policy::paper(policy.threshold)));
    }

    #[test]
    fn where_no_policy_agrees_nothing_is_pruned() {
        // The last layer turns everything round.
        let scores = (0..20).map(|i| if i < 10 { i as f32 } else { (20 - i) as f32 });
        let trace = ScoreTrace::from_vec(2, 10, scores.collect()).unwrap();
        let points = choose(std::slice::from_ref(&trace), 5, 2).unwrap();
        let run = PolicyRun::measure(&points.latency_first.policy, &[trace], 5).unwrap();
        assert_eq!(run.agreement, [1.0]);
    }
}
