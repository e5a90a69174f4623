//! E2.1 to E2.3: the example programs, end to end.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use grating_prune::Policy;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::against;
use crate::bench::Bench;
use crate::bench::cells::digest;
use crate::bench::child;
use crate::bench::data::DataSet;
use crate::bench::model::Model;
use crate::bench::peers::{PeerMeasured, PeerRequest};
use crate::bench::settings::{Weights, policy_json};
use crate::bench::stats::{Summary, change_percent, mean};
use crate::bench::table::{Row, Table, Unit};
use crate::bench::workload::Workload;

const COLUMNS: [(&str, &str, Unit); 15] = [
    ("application", "application", Unit::Text),
    ("model", "model", Unit::Text),
    ("set", "data", Unit::Text),
    ("queries", "queries", Unit::Count),
    ("setting", "reranker", Unit::Text),
    ("total", "end to end s", Unit::Seconds),
    ("change", "vs our full pass", Unit::Change),
    ("latency_change", "vs transformers, bf16", Unit::Change),
    ("reranker", "of it reranker", Unit::Share),
    ("before", "found by first stage", Unit::Share),
    ("quality", "found after reranking", Unit::Share),
    ("kept", "of the full pass's", Unit::Share),
    ("peak", "peak MiB", Unit::Mib),
    ("peak_change", "peak vs transformers, bf16", Unit::Change),
    ("note", "note", Unit::Text),
];

const ABOUT: &str = "The programs in examples/, each on a data set: retrieval by BM25 over all texts, the \
    reranker, then the selected context. \"Found\" is the mean share of a question's relevant texts among \
    those that are handed on, without and with the reranker. No language model answers: what follows the \
    selection is not part of the times. \"Of it reranker\" is the share of the time that the reranker takes. \
    \"Of the full pass's\" is what a row found by what our full pass found: more than 1 found more by \
    chance. Times are medians over queries. Rows of other systems are the same program with that system in \
    the reranker's place: the time that the program takes beside its reranker, and the time in which the \
    other system, loaded and warm, ranks the same texts of the same question. Their memory is that of the \
    other system alone, without the program's index and texts.";

const LIMIT: Duration = Duration::from_secs(3 * 3600);
/// What changes are against, where it was measured.
const BASELINE: [&str; 1] = ["transformers, bf16"];

/// A program with the data that it is measured on.
struct Application {
    name: &'static str,
    binary: &'static str,
    options: &'static [&'static str],
    /// How many texts its options make it rerank, about, and how many it selects of them.
    pool: usize,
    top_k: usize,
    /// Whether a data set has its layout.
    fits: fn(&DataSet) -> bool,
}

const APPLICATIONS: [Application; 3] = [
    Application {
        name: "RAG (E2.1)",
        binary: "rag",
        options: &["--retrieve", "20", "--top-k", "5"],
        pool: 20,
        top_k: 5,
        fits: |set| !is_memory(set),
    },
    Application {
        name: "agent memory (E2.2)",
        binary: "agent_memory",
        options: &["--retrieve", "60", "--top-k", "10"],
        pool: 60,
        top_k: 10,
        fits: is_memory,
    },
    Application {
        name: "long context (E2.3)",
        binary: "long_context",
        options: &["--budget", "600", "--segment", "120"],
        pool: 60,
        top_k: 5,
        fits: |set| !is_memory(set),
    },
];

/// A way to rerank in a program.
struct Reranking {
    name: &'static str,
    weights: Weights,
    policy: Option<Policy>,
}

/// Conversations: ids are `conversation/turn`.
fn is_memory(set: &DataSet) -> bool {
    set.queries.iter().all(|query| query.id.contains('/'))
}

/// What an example prints with `--json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Report {
    queries: Vec<ReportQuery>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ReportQuery {
    total_ms: f64,
    rerank_ms: f64,
    /// Share of the relevant texts among those handed on.
    found: Option<f64>,
    /// The same where the first stage alone chooses.
    found_by_first_stage: Option<f64>,
}

/// A question with the texts that a program reranked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pool {
    query: String,
    texts: Vec<String>,
}

/// One program's run over a set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Ran {
    report: Report,
    peak_rss_bytes: u64,
    /// What it reranked; only where other systems are to rank the same.
    pools: Vec<Pool>,
}

pub(super) fn measure(bench: &Bench) -> Result<Table> {
    let title = "Applications (E2.1 to E2.3)";
    let mut table = Table::new(bench, "applications", title, ABOUT).columns(&COLUMNS);
    if bench.data.is_empty() {
        table.note("No --data was given: the applications need texts with judgments.");
        return Ok(table);
    }
    let peers = bench.peers.as_ref().map_or(0, |peers| peers.all().len());
    for application in &APPLICATIONS {
        let sets: Vec<_> = bench.args.data.iter().zip(&bench.data).collect();
        let sets: Vec<_> = sets.into_iter().filter(|(_, set)| (application.fits)(set)).collect();
        if sets.is_empty() {
            table.note(format!("{}: no data set of its kind was given.", application.name));
            continue;
        }
        let program = bench.program(application.binary)?;
        bench.expect(sets.len() * bench.models.len() * (3 + peers));
        for (folder, set) in sets {
            for model in &bench.models {
                let asked = Asked { bench, application, program: &program, folder, set, model };
                table.rows.extend(asked.rows()?);
            }
        }
    }
    Ok(table)
}

/// A program on a set with a model.
struct Asked<'a> {
    bench: &'a Bench,
    application: &'a Application,
    program: &'a Path,
    folder: &'a PathBuf,
    set: &'a DataSet,
    model: &'a Model,
}

impl Asked<'_> {
    /// The full pass, the pruned ones, and the other systems.
    fn rows(&self) -> Result<Vec<Row>> {
        let Application { pool, top_k, .. } = *self.application;
        let pruned = |name, weights| -> Result<Reranking> {
            let points = self.bench.points_with(self.model, weights, top_k, pool)?;
            Ok(Reranking { name, weights, policy: Some(points.precision_first.policy) })
        };
        let full = Reranking { name: "full", weights: Weights::Own, policy: None };
        let full_ran = self.run(&full)?;
        let mut rows = vec![self.row(full.name, &full_ran)];
        let quantized = pruned("pruned, quantized", Weights::Quantized)?;
        for reranking in [pruned("pruned", Weights::Own)?, quantized] {
            rows.push(self.row(reranking.name, &self.run(&reranking)?));
        }
        let change = |row: &Row, key: &str| Some((row.value(key)?, rows[0].value(key)?));
        let changes = |row: &Row| {
            let total = change(row, "total").map(|(own, full)| change_percent(own, full));
            let kept = change(row, "quality").map(|(own, full)| own / full);
            row.clone().number("change", total).number("kept", kept)
        };
        let mut rows: Vec<Row> = rows.iter().map(changes).collect();
        rows.extend(self.peer_rows(&full_ran)?);
        Ok(against(&BASELINE, "total", rows))
    }

    fn start(&self, setting: &str, queries: usize) -> Row {
        Row::default()
            .text("application", self.application.name)
            .text("model", self.model.shown())
            .text("set", &self.set.name)
            .number("queries", queries as f64)
            .text("setting", setting)
    }

    fn row(&self, setting: &str, ran: &Ran) -> Row {
        let queries = &ran.report.queries;
        let share = Summary::of(queries.iter().map(|q| q.rerank_ms / q.total_ms));
        let mean_of = |of: fn(&ReportQuery) -> Option<f64>| mean(queries.iter().filter_map(of));
        self.start(setting, queries.len())
            .summary("total", Summary::of(queries.iter().map(|q| q.total_ms / 1e3)))
            .number("reranker", share.map(|share| share.median))
            .number("before", mean_of(|q| q.found_by_first_stage))
            .number("quality", mean_of(|q| q.found))
            .number("peak", ran.peak_rss_bytes as f64)
    }

    /// The other systems in the place of our full pass.
    fn peer_rows(&self, full: &Ran) -> Result<Vec<Row>> {
        let Some(peers) = &self.bench.peers else { return Ok(Vec::new()) };
        // What the program spends beside its reranker, where there was something to rerank.
        let queries = full.report.queries.iter().filter(|query| query.rerank_ms > 0.0);
        let beside: Vec<f64> = queries.map(|q| (q.total_ms - q.rerank_ms) / 1e3).collect();
        ensure!(beside.len() == full.pools.len(), "the example wrote other pools than it reranked");
        let name = |i: usize| format!("{}/{}: pool {i}", self.application.binary, self.set.name);
        let pools = full.pools.iter().enumerate();
        let works: Vec<Workload> = pools
            .map(|(i, Pool { query, texts })| Workload {
                name: name(i),
                query: query.clone(),
                texts: texts.clone(),
            })
            .collect();
        let mut rows = Vec::new();
        for peer in peers.all() {
            let row = self.start(peer.name, works.len());
            rows.push(match self.bench.measure_peer(peers, peer, self.model, &works, 1)? {
                PeerMeasured::Skipped(reason) => row.text("note", format!("skipped: {reason}")),
                PeerMeasured::Done(done) => {
                    let times = done.requests.iter().filter_map(PeerRequest::time);
                    let pairs: Vec<(f64, f64)> =
                        times.zip(&beside).map(|(rank, beside)| (rank.median, *beside)).collect();
                    let share =
                        Summary::of(pairs.iter().map(|(rank, beside)| rank / (rank + beside)));
                    row.summary(
                        "total",
                        Summary::of(pairs.iter().map(|(rank, beside)| rank + beside)),
                    )
                    .number("reranker", share.map(|share| share.median))
                    .number("peak", done.peak_rss_bytes as f64)
                }
            });
        }
        Ok(rows)
    }

    fn run(&self, reranking: &Reranking) -> Result<Ran> {
        let Self { bench, application, program, folder, set, model } = *self;
        let label = format!("{}: {}, {}", application.name, set.name, reranking.name);
        bench.progress.set_message(label.clone());
        let wants_pools = bench.peers.is_some() && reranking.policy.is_none();
        let queries = bench.args.queries();
        let key = json!({
            "program": digest(&std::fs::read(program)?), "machine": bench.machine.shown(),
            "model": model, "planted": model.planted_as(), "weights": reranking.weights,
            "data": folder, "queries": queries, "options": application.options,
            "policy": reranking.policy, "threads": bench.args.threads(), "pools": wants_pools,
        });
        let ran = bench.cells.get_or("application", key, || {
            let mut command = Command::new(program);
            command.arg("--data").arg(folder).args(application.options);
            command.args(["--json", "--queries", &queries.to_string()]);
            command.args(["--threads", &bench.args.threads().to_string()]);
            command.args(bench.opening(model, reranking.weights)?);
            if let Some(policy) = &reranking.policy {
                command.args(["--policy", &policy_json(policy)]);
            }
            let pools = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
            if wants_pools {
                command.arg("--pools").arg(pools.path());
            }
            let finished = child::run(command, b"", LIMIT)?;
            ensure!(finished.status.success(), "{}", finished.stderr.trim());
            let report = serde_json::from_slice(&finished.stdout)
                .context("the example prints other JSON than expected")?;
            let lines = std::fs::read_to_string(pools.path())?;
            let lines = lines.lines().filter(|line| !line.is_empty());
            let pools = lines.map(serde_json::from_str).collect::<Result<_, _>>()?;
            Ok(Ran { report, peak_rss_bytes: finished.peak_rss_bytes, pools })
        });
        bench.progress.inc(1);
        ran.context(label)
    }
}
