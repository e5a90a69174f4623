//! E2.1 to E2.3: the example programs, end to end.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use grating_prune::Policy;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::bench::Bench;
use crate::bench::binary::built;
use crate::bench::cells::digest;
use crate::bench::child;
use crate::bench::data::DataSet;
use crate::bench::model::Model;
use crate::bench::points::POOL;
use crate::bench::settings::policy_json;
use crate::bench::stats::{Summary, change_percent};
use crate::bench::table::{Row, Table, Unit};

const COLUMNS: [(&str, &str, Unit); 13] = [
    ("application", "application", Unit::Text),
    ("model", "model", Unit::Text),
    ("set", "data", Unit::Text),
    ("queries", "queries", Unit::Count),
    ("setting", "reranker", Unit::Text),
    ("total", "end to end s", Unit::Seconds),
    ("change", "vs full pass", Unit::Change),
    ("reranker", "of it reranker", Unit::Share),
    ("before", "found by first stage", Unit::Share),
    ("quality", "found after reranking", Unit::Share),
    ("kept", "of the full pass's", Unit::Share),
    ("peak", "peak MiB", Unit::Mib),
    ("note", "", Unit::Text),
];

const ABOUT: &str = "The programs in examples/, each on a data set: retrieval by BM25 over all texts, \
    the reranker, then the selected context. \"Found\" is the mean share of a question's relevant texts \
    among those that are handed on, without and with the reranker. No language model answers: what \
    follows the selection is not part of the times. Times are medians over queries.";

const LIMIT: Duration = Duration::from_secs(3 * 3600);

/// A program with the data that it is measured on.
struct Application {
    name: &'static str,
    binary: &'static str,
    /// Whether a data set has its layout.
    fits: fn(&DataSet) -> bool,
}

const APPLICATIONS: [Application; 3] = [
    Application { name: "RAG (E2.1)", binary: "rag", fits: |set| !is_memory(set) },
    Application { name: "agent memory (E2.2)", binary: "agent_memory", fits: is_memory },
    Application {
        name: "long context (E2.3)",
        binary: "long_context",
        fits: |set| !is_memory(set),
    },
];

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

/// One program's run over a set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Ran {
    report: Report,
    peak_rss_bytes: u64,
}

pub(super) fn measure(bench: &Bench) -> Result<Table> {
    let title = "Applications (E2.1 to E2.3)";
    let mut table = Table::new(bench, "applications", title, ABOUT).columns(&COLUMNS);
    if bench.data.is_empty() {
        table.note("No --data was given: the applications need texts with judgments.");
        return Ok(table);
    }
    for application in &APPLICATIONS {
        let sets: Vec<_> = bench.args.data.iter().zip(&bench.data).collect();
        let sets: Vec<_> = sets.into_iter().filter(|(_, set)| (application.fits)(set)).collect();
        if sets.is_empty() {
            table.note(format!("{}: no data set of its kind was given.", application.name));
            continue;
        }
        let program = built("grating-examples", application.binary)?;
        bench.expect(sets.len() * bench.models.len() * 2);
        for (folder, set) in sets {
            for model in &bench.models {
                rows(bench, &mut table, application, &program, (folder, set), model)?;
            }
        }
    }
    Ok(table)
}

/// The full pass and the pruned one.
fn rows(
    bench: &Bench,
    table: &mut Table,
    application: &Application,
    program: &PathBuf,
    (folder, set): (&PathBuf, &DataSet),
    model: &Model,
) -> Result<()> {
    let mut full: Option<(f64, f64)> = None;
    let point = bench.points(model, bench.args.top_k(), POOL)?.precision_first;
    for (name, policy) in [("full", None), ("pruned", Some(&point.policy))] {
        bench.progress.set_message(format!("{}: {}, {name}", application.name, set.name));
        let ran = run(bench, program, folder, model, policy)
            .with_context(|| format!("{} on {}", application.name, set.name))?;
        bench.progress.inc(1);
        let queries = &ran.report.queries;
        let total = Summary::of(queries.iter().map(|q| q.total_ms / 1e3));
        let share = Summary::of(queries.iter().map(|q| q.rerank_ms / q.total_ms));
        let mean = |of: fn(&ReportQuery) -> Option<f64>| {
            crate::bench::stats::mean(queries.iter().filter_map(of))
        };
        let quality = mean(|q| q.found);
        let now = total.map(|total| total.median).zip(quality);
        full = full.or(now);
        let change = |of: fn((f64, f64), (f64, f64)) -> f64| Some(of(now?, full?));
        table.rows.push(
            Row::default()
                .text("application", application.name)
                .text("model", model.shown())
                .text("set", &set.name)
                .number("queries", queries.len() as f64)
                .text("setting", name)
                .summary("total", total)
                .number("change", change(|now, full| change_percent(now.0, full.0)))
                .number("reranker", share.map(|share| share.median))
                .number("before", mean(|q| q.found_by_first_stage))
                .number("quality", quality)
                .number("kept", change(|now, full| now.1 / full.1))
                .number("peak", ran.peak_rss_bytes as f64),
        );
    }
    Ok(())
}

fn run(
    bench: &Bench,
    program: &PathBuf,
    folder: &PathBuf,
    model: &Model,
    policy: Option<&Policy>,
) -> Result<Ran> {
    let bytes = std::fs::read(program)?;
    let queries = bench.args.queries();
    let key = json!({
        "program": digest(&bytes), "machine": bench.machine.shown(), "model": model,
        "data": folder, "queries": queries, "policy": policy,
        "threads": bench.args.threads(),
    });
    bench.cells.get_or("application", key, || {
        let mut command = Command::new(program);
        command.arg("--data").arg(folder);
        command.args(["--json", "--queries", &queries.to_string()]);
        command.args(["--threads", &bench.args.threads().to_string()]);
        if let Some(model) = &model.argument {
            command.args(["--model", model]);
        }
        if let Some(policy) = policy {
            command.args(["--policy", &policy_json(policy)]);
        }
        let finished = child::run(command, b"", LIMIT)?;
        ensure!(finished.status.success(), "{}", finished.stderr.trim());
        let report = serde_json::from_slice(&finished.stdout)
            .context("the example prints other JSON than expected")?;
        Ok(Ran { report, peak_rss_bytes: finished.peak_rss_bytes })
    })
}
