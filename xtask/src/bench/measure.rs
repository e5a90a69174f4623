//! One cell: a setting on a workload, several runs, each a process of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Bench;
use super::child::{self, Finished};
use super::model::Model;
use super::settings::{Setting, Weights};
use super::stats::Summary;
use super::workload::Workload;

/// A cell whose runs took this long together, in seconds, is not run again.
pub(super) const ENOUGH_S: f64 = 30.0;
/// A run that takes longer has hung.
pub(super) const LIMIT: Duration = Duration::from_secs(3 * 3600);

/// One run of one system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Run {
    /// The request, without starting and loading.
    pub(super) request_s: f64,
    /// The whole process.
    pub(super) process_s: f64,
    pub(super) cpu_s: f64,
    pub(super) peak_rss_bytes: u64,
    pub(super) mean_rss_bytes: Option<u64>,
    /// The selected candidates, best first, with their logits.
    pub(super) selected: Vec<(usize, f64)>,
    /// What the program says of the request.
    pub(super) stats: Value,
}

/// A measured cell, or why there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Measured {
    Runs(Vec<Run>),
    /// This build or this machine cannot do it, in words.
    NotAvailable(String),
}

impl Measured {
    pub(super) fn runs(&self) -> &[Run] {
        match self {
            Self::Runs(runs) => runs,
            Self::NotAvailable(_) => &[],
        }
    }

    pub(super) fn summary(&self, value: impl Fn(&Run) -> Option<f64>) -> Option<Summary> {
        Summary::of(self.runs().iter().filter_map(value))
    }

    pub(super) fn request(&self) -> Option<Summary> {
        self.summary(|run| Some(run.request_s))
    }

    pub(super) fn process(&self) -> Option<Summary> {
        self.summary(|run| Some(run.process_s))
    }

    pub(super) fn peak(&self) -> Option<Summary> {
        self.summary(|run| Some(run.peak_rss_bytes as f64))
    }

    pub(super) fn mean_memory(&self) -> Option<Summary> {
        self.summary(|run| run.mean_rss_bytes.map(|bytes| bytes as f64))
    }

    /// A number of the program's own statistics.
    pub(super) fn stat(&self, name: &str) -> Option<Summary> {
        self.summary(|run| run.stats[name].as_f64())
    }

    /// Why there are no runs.
    pub(super) fn reason(&self) -> Option<String> {
        match self {
            Self::Runs(_) => None,
            Self::NotAvailable(reason) => Some(reason.clone()),
        }
    }

    /// The candidates that the first run selected, best first.
    pub(super) fn selected(&self) -> Option<Vec<usize>> {
        Some(self.runs().first()?.selected.iter().map(|&(index, _)| index).collect())
    }
}

/// What `grating rerank --json` prints, as far as it is used.
#[derive(Deserialize)]
struct Output {
    results: Vec<OutputResult>,
    stats: Value,
}

#[derive(Deserialize)]
struct OutputResult {
    index: usize,
    raw_score: f64,
}

impl Bench {
    /// Measures `setting` on `work`, selecting `k` or all where there are fewer, or finds the cell among the finished ones.
    pub(super) fn measure(
        &self,
        model: &Model,
        setting: &Setting,
        work: &Workload,
        k: usize,
        runs: usize,
    ) -> Result<Measured> {
        let k = k.min(work.texts.len());
        let label = format!("{}: {}, {} texts", model.name, setting.name, work.texts.len());
        self.progress.set_message(label.clone());
        let measured = self.measure_quietly(model, setting, work, k, runs).context(label)?;
        self.progress.inc(1);
        Ok(measured)
    }

    fn measure_quietly(
        &self,
        model: &Model,
        setting: &Setting,
        work: &Workload,
        k: usize,
        runs: usize,
    ) -> Result<Measured> {
        if let Some(option) = self.binary.lacks(&setting.flags) {
            return Ok(Measured::NotAvailable(format!("this build has no {option}")));
        }
        let threads = self.args.threads();
        let key = json!({
            "binary": self.binary.digest, "machine": self.machine.shown(), "model": model,
            "planted": model.planted_as(), "setting": setting,
            "texts": work.name, "k": k, "runs": runs, "threads": threads,
            "warm": self.args.warm_page_cache,
        });
        self.cells.get_or("grating", key, || {
            let copy = match setting.weights {
                Weights::Own => None,
                Weights::Quantized => Some(self.quantized(model)?),
            };
            let mut done: Vec<Run> = Vec::with_capacity(runs);
            while done.len() < runs && done.iter().map(|run| run.process_s).sum::<f64>() < ENOUGH_S
            {
                match self.run_once(model, copy.as_deref(), setting, work, k)? {
                    Ok(run) => done.push(run),
                    Err(reason) => return Ok(Measured::NotAvailable(reason)),
                }
            }
            Ok(Measured::Runs(done))
        })
    }

    /// One process, on the model or its copy. The inner error is the program's own refusal, which is a
    /// result.
    fn run_once(
        &self,
        model: &Model,
        copy: Option<&Path>,
        setting: &Setting,
        work: &Workload,
        k: usize,
    ) -> Result<Result<Run, String>> {
        let folder = copy.or(model.folder.as_deref());
        if let (Some(folder), false) = (folder, self.args.warm_page_cache) {
            drop_pages(folder);
        }
        let (k, threads) = (k.to_string(), self.args.threads().to_string());
        let mut command = self.binary.command(&["rerank", "--json", "--format", "jsonl"]);
        command.args(["--query", &work.query, "--top-k", &k, "--threads", &threads]);
        match (copy, &model.argument) {
            (Some(copy), _) => command.arg("--model").arg(copy),
            (None, Some(model)) => command.args(["--model", model]),
            (None, None) => &mut command,
        };
        command.args(&setting.flags).arg("-");
        let finished = child::run(command, lines(&work.texts).as_bytes(), LIMIT)?;
        if finished.timed_out {
            bail!("the run took more than {} s and was ended", LIMIT.as_secs());
        }
        if !finished.status.success() {
            let said = finished.stderr.trim();
            return Ok(Err(said.lines().last().unwrap_or("no message").to_owned()));
        }
        parsed(&finished).map(Ok)
    }
}

fn parsed(finished: &Finished) -> Result<Run> {
    let output: Output = serde_json::from_slice(&finished.stdout)
        .context("`grating rerank --json` prints other JSON than expected")?;
    let total = output.stats["total_ms"].as_f64().context("the statistics lack total_ms")?;
    Ok(Run {
        request_s: total / 1e3,
        process_s: finished.wall.as_secs_f64(),
        cpu_s: finished.cpu.as_secs_f64(),
        peak_rss_bytes: finished.peak_rss_bytes,
        mean_rss_bytes: finished.mean_rss_bytes,
        selected: output.results.iter().map(|r| (r.index, r.raw_score)).collect(),
        stats: output.stats,
    })
}

/// Texts as JSON lines.
fn lines(texts: &[String]) -> String {
    texts.iter().map(|text| json!({"text": text}).to_string() + "\n").collect()
}

/// Asks the system to forget the pages of a folder's files, so that streaming reads from the disk.
#[cfg(target_os = "linux")]
fn drop_pages(folder: &Path) {
    use rustix::fs::{Advice, fadvise};
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        // Advice only: a file that cannot be opened here is the measured program's matter.
        if let Ok(file) = std::fs::File::open(entry.path()) {
            let _ = fadvise(&file, 0, None, Advice::DontNeed);
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn drop_pages(_: &Path) {}
