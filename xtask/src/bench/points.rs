//! Operating points: which dispersion threshold keeps how much agreement, by replaying the policy on
//! score traces of queries that the tables do not measure.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use grating_prune::metrics::overlap_at_k;
use grating_prune::{Policy, ScoreTrace, replay};
use serde_json::json;

use super::Bench;
use super::binary::built;
use super::cells::digest;
use super::child;
use super::model::Model;
use super::workload::{Workload, made};
use crate::models::planted::{self, PlantedArgs};

/// Mean agreement that each point keeps on the traces.
const PRECISION_FIRST: f64 = 0.99;
const LATENCY_FIRST: f64 = 0.95;
/// Pool of the traced queries.
const POOL: usize = 60;
/// Traced queries of each data set at most.
const QUERIES: usize = 12;
/// Seeds of made queries for tracing begin here, far from those that are measured.
const SEEDS: u64 = 1_000_000;
const LIMIT: Duration = Duration::from_secs(3 * 3600);

/// Thresholds for one model and K.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Points {
    pub(super) precision_first: f64,
    pub(super) latency_first: f64,
    /// Thresholds from bold to cautious, spread evenly over the work that they leave.
    pub(super) sweep: Vec<f64>,
}

/// What a threshold did on the traces.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Replayed {
    threshold: f64,
    /// Mean overlap with the full top-K.
    agreement: f64,
    /// Share of the full pass's candidate-layers.
    work: f64,
}

impl Bench {
    /// Chooses the thresholds for top-`k` selections. Where the build cannot prune, any will do.
    pub(super) fn points(&self, model: &Model, k: usize) -> Result<Points> {
        if !self.binary.has("--threshold") {
            return Ok(Points { precision_first: 0.0, latency_first: 0.0, sweep: vec![0.0] });
        }
        let traces = self.traces(model)?;
        Ok(choose(&replayed(&traces, k)?, if self.args.quick { 3 } else { 8 }))
    }

    /// Score traces of queries that are not measured; of a planted model from a twin of the same depth and
    /// profile that is small.
    fn traces(&self, model: &Model) -> Result<Vec<ScoreTrace>> {
        let program = match &self.args.traces {
            Some(program) => program.clone(),
            None => built("grating-examples", "traces")?,
        };
        let works = self.calibration(model);
        let names: Vec<&str> = works.iter().map(|work| work.name.as_str()).collect();
        let key = json!({
            "program": digest(&std::fs::read(&program)?), "model": model, "texts": names,
            "planted": model.planted.as_ref().map(|p| &p.profile), "twin": TWIN,
        });
        self.cells.get_or("traces", key, || {
            self.progress.set_message(format!("{}: score traces", model.name));
            let twin = tempfile::tempdir().context("cannot make a temporary folder")?;
            let mut command = Command::new(&program);
            command.args(["--threads", &self.args.threads().to_string()]);
            match (&model.planted, &model.argument) {
                (Some(_), _) => {
                    command.arg("--model").arg(plant_twin(model, twin.path())?);
                }
                (None, Some(argument)) => {
                    command.args(["--model", argument]);
                }
                (None, None) => {}
            }
            let pools = works
                .iter()
                .map(|work| json!({"query": work.query, "texts": work.texts}).to_string() + "\n");
            let finished = child::run(command, pools.collect::<String>().as_bytes(), LIMIT)?;
            ensure!(finished.status.success(), "{}", finished.stderr.trim());
            serde_json::from_slice(&finished.stdout).context("the traces are not as expected")
        })
    }

    fn calibration(&self, model: &Model) -> Vec<Workload> {
        let count = self.args.queries().min(QUERIES);
        if model.planted.is_some() || self.data.is_empty() {
            let seeds = (0..count as u64).map(|i| SEEDS + self.args.seed + i);
            return seeds.map(|seed| made(model, POOL, self.args.tokens(), seed)).collect();
        }
        let held_out = |set: &super::data::DataSet| -> Vec<Workload> {
            let queries = set.between(self.args.queries()).into_iter().take(count);
            queries.map(|query| query.workload(&set.name, POOL)).collect()
        };
        self.data.iter().flat_map(held_out).collect()
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

/// A fine grid of thresholds on all traces, in rising order.
fn replayed(traces: &[ScoreTrace], k: usize) -> Result<Vec<Replayed>> {
    let grid = (0..=120).map(|i| 1e-4 * 10_f64.powf(f64::from(i) / 24.0));
    grid.map(|threshold| {
        // Short and exact: it is passed on as text.
        let threshold = format!("{threshold:.2e}").parse().unwrap_or(threshold);
        let policy = Policy::paper(threshold);
        let (mut agreement, mut work) = (0.0, 0.0);
        for trace in traces {
            let outcome = replay(&policy, trace, k)?;
            agreement += overlap_at_k(&outcome.selected, &trace.final_ranking(), k);
            let all = (trace.layers() * trace.candidates()) as f64;
            work += outcome.candidate_layers as f64 / all;
        }
        let n = traces.len().max(1) as f64;
        Ok(Replayed { threshold, agreement: agreement / n, work: work / n })
    })
    .collect()
}

/// The cheapest threshold that keeps each point's agreement, and `count` of them for a sweep.
fn choose(replayed: &[Replayed], count: usize) -> Points {
    // With a threshold that nothing reaches the pass is the full one: there is always a last resort.
    let cautious = replayed.last().map_or(f64::MAX, |last| last.threshold);
    let keeping = |agreement: f64| {
        let good = replayed.iter().filter(|point| point.agreement >= agreement);
        good.min_by(|a, b| a.work.total_cmp(&b.work)).map_or(cautious, |point| point.threshold)
    };
    let (least, most) = replayed.iter().fold((1.0_f64, 0.0_f64), |(least, most), point| {
        (least.min(point.work), most.max(point.work))
    });
    let mut sweep: Vec<f64> = (0..count)
        .filter_map(|i| {
            let wanted = least + (most - least) * i as f64 / (count - 1).max(1) as f64;
            let off = |point: &&Replayed| (point.work - wanted).abs();
            Some(replayed.iter().min_by(|a, b| off(a).total_cmp(&off(b)))?.threshold)
        })
        .collect();
    sweep.sort_unstable_by(f64::total_cmp);
    sweep.dedup();
    Points {
        precision_first: keeping(PRECISION_FIRST),
        latency_first: keeping(LATENCY_FIRST),
        sweep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_threshold_that_agrees_is_chosen() {
        let point = |threshold, agreement, work| Replayed { threshold, agreement, work };
        let replayed = [
            point(0.1, 0.5, 0.2),
            point(0.2, 0.96, 0.4),
            point(0.3, 0.94, 0.5),
            point(0.4, 0.99, 0.6),
            point(0.5, 1.0, 1.0),
        ];
        let points = choose(&replayed, 3);
        assert_eq!((points.latency_first, points.precision_first), (0.2, 0.4));
        assert_eq!(points.sweep, [0.1, 0.4, 0.5]);
        let hopeless = choose(&replayed[..1], 1);
        assert_eq!(hopeless.precision_first, 0.1, "the most cautious that there is");
    }

    #[test]
    fn a_higher_threshold_leaves_more_work() {
        // Ten candidates that come apart over four layers.
        let scores = (0..40).map(|i| (i / 10) as f32 * (i % 10) as f32 * 0.3 - 2.0).collect();
        let trace = ScoreTrace::from_vec(4, 10, scores).unwrap();
        let replayed = replayed(&[trace], 5).unwrap();
        assert!(replayed.is_sorted_by(|a, b| a.work <= b.work));
        assert!(replayed[0].work < 1.0 && replayed.last().unwrap().work == 1.0);
        assert_eq!(replayed.last().unwrap().agreement, 1.0);
    }
}
