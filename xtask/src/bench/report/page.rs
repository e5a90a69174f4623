//! docs/benchmarks.md: every kept table with what it shows and does not show, beside the paper's
//! figures.

use std::fmt::Write as _;

use super::markdown;
use crate::bench::stats::change_percent;
use crate::bench::table::{Row, Table};

const HEAD: &str = "# Benchmarks\n\n\
    This page is generated: `cargo xtask bench` measures, `cargo xtask bench report --from DIR` writes \
    the page from what was measured. The tables and figures behind it are in \
    [docs/benchmarks/](benchmarks). They carry the names of the paper's artifact experiments where they \
    match (arXiv 2510.15620).\n\n\
    Compare figures within one table only: each was measured in one run on one machine. A time is the \
    median of the runs, with the smallest and the largest in parentheses. Memory is the resident set of \
    the whole process, code and page-cache mappings included.\n";

const PLANTED: &str = "## Planted weights\n\n\
    Trained weights of the large models cannot always be had, and with random weights scores do not \
    settle from layer to layer, so nothing could be pruned. Rows marked \"planted\" come from checkpoints \
    with the model's shape and random weights in which a relevance signal is planted: after each layer \
    the scores agree with the final ones as far as a profile says that was measured on score traces \
    of the built-in model and stretched over the shape's depth (`cargo xtask models planted`, \
    `xtask/src/models/planted/`). All matrix products are computed. Such rows tell time and memory of \
    that shape under that profile; they do not tell how well the real model ranks, nor how early its own \
    scores settle. With real weights (`--model Qwen/Qwen3-Reranker-0.6B`) the same command gives the \
    real thing.\n";

/// What the paper reports (version 1, and version 2 where it differs).
const PAPER: [(&str, &str); 6] = [
    ("largest latency cut, against disk offload", "-89.0 % (v2: -89.2 %)"),
    ("largest cut of peak memory", "-94.9 % (v2: -91.3 %)"),
    ("mean latency cut against in-memory transformers, by model", "-20 % to -44 %"),
    ("largest loss of precision", "0.008"),
    ("ablation, all mechanisms: latency, peak memory", "-48.5 %, -78.4 %"),
    ("applications: latency, peak memory", "-11.6 % to -51.0 %, -18.6 % to -77.8 %"),
];

/// The whole page.
pub(super) fn page(tables: &[Table]) -> String {
    let mut out = HEAD.to_owned();
    out.push_str(&beside_the_paper(tables));
    for table in tables {
        let _ = write!(out, "\n{}\n{}", markdown::table(table, "benchmarks/"), reading(table));
    }
    let planted = |row: &Row| row.words("model").is_some_and(|model| model.contains("planted"));
    if tables.iter().any(|table| table.rows.iter().any(planted)) {
        let _ = write!(out, "\n{PLANTED}");
    }
    out
}

/// The paper's headline figures and ours, each against the same kind of baseline.
fn beside_the_paper(tables: &[Table]) -> String {
    let table = |name: &str| tables.iter().find(|table| table.name == name);
    let micro = table("micro");
    let ours = [
        micro.and_then(|t| {
            best_against(t, "request", "transformers + accelerate, bf16, disk offload")
        }),
        micro.and_then(|t| best_against(t, "peak", "transformers, bf16")),
        micro.and_then(|t| best_against(t, "request", "transformers, bf16")),
        table("precision").and_then(largest_loss),
        table("ablation").and_then(last_step),
        table("applications").and_then(range_of_changes),
    ];
    let mut out = String::from(
        "\n## Beside the paper\n\nThe paper measured a graphics processor and a Mac; these tables \
         were measured on the machine that they name. Percentages are against the same kind of \
         baseline.\n\n| figure | paper | here |\n| --- | --- | --- |\n",
    );
    for ((figure, paper), ours) in PAPER.iter().zip(ours) {
        let ours = ours.unwrap_or_else(|| "not measured".to_owned());
        let _ = writeln!(out, "| {figure} | {paper} | {ours} |");
    }
    out
}

/// The largest cut of a pruned row against a peer's row of the same model and pool.
fn best_against(table: &Table, key: &str, baseline: &str) -> Option<String> {
    let pruned =
        |row: &&Row| row.words("setting").is_some_and(|name| name.contains("precision-first"));
    let same = |a: &Row, b: &Row| {
        a.words("model") == b.words("model") && a.value("pool") == b.value("pool")
    };
    let mut best: Option<(f64, String)> = None;
    for row in table.rows.iter().filter(pruned) {
        let peer = table.rows.iter().find(|r| r.words("setting") == Some(baseline) && same(r, row));
        let (Some(ours), Some(theirs)) = (row.value(key), peer.and_then(|peer| peer.value(key)))
        else {
            continue;
        };
        let change = change_percent(ours, theirs);
        if best.as_ref().is_none_or(|(least, _)| change < *least) {
            let model = row.words("model").unwrap_or_default();
            let pool = row.value("pool").unwrap_or_default();
            let agreement = row
                .value("agreement")
                .map_or(String::new(), |agreement| format!(", agreement {agreement:.3}"));
            let place = format!("{change:.1} % ({model}, {pool:.0} candidates{agreement})");
            best = Some((change, place));
        }
    }
    best.map(|(_, place)| place)
}

/// The most that P@K falls from the full pass to the precision-first one.
fn largest_loss(table: &Table) -> Option<String> {
    let losses = table.rows.iter().filter_map(|row| {
        let pruned = row.words("setting")?.contains("precision-first");
        let full = table.rows.iter().find(|full| {
            full.words("setting") == Some("full")
                && ["model", "set"].iter().all(|key| full.words(key) == row.words(key))
                && full.value("k") == row.value("k")
        })?;
        pruned.then(|| Some(full.value("precision")? - row.value("precision")?)).flatten()
    });
    losses.reduce(f64::max).map(|loss| format!("{loss:.3}"))
}

fn last_step(table: &Table) -> Option<String> {
    let row = table.rows.iter().rfind(|row| row.value("request").is_some())?;
    let (latency, peak) = (row.value("latency_change")?, row.value("peak_change")?);
    let step = row.words("step").unwrap_or_default();
    let model = row.words("model").unwrap_or_default();
    Some(format!("{latency:.1} %, {peak:.1} % ({model}, at \"{step}\")"))
}

fn range_of_changes(table: &Table) -> Option<String> {
    let pruned = |row: &&Row| row.words("setting") == Some("pruned");
    let changes: Vec<f64> =
        table.rows.iter().filter(pruned).filter_map(|row| row.value("change")).collect();
    let (low, high) =
        (changes.iter().copied().reduce(f64::min)?, changes.into_iter().reduce(f64::max)?);
    Some(format!("latency {high:.1} % to {low:.1} %, pruned against our own full pass"))
}

/// What a table shows and what it does not.
fn reading(table: &Table) -> &'static str {
    match table.name.as_str() {
        "micro" => {
            "**Shows** what one query costs from the user's side, by system, on one machine. Peers are \
             timed after loading and one batch to warm up, GRATING in a fresh process each time, so \
             starting costs count against GRATING and loading does not count against peers; the \
             column of the whole process has both. **Does not show** throughput over many queries, or \
             graphics processors.\n"
        }
        "precision" => {
            "**Shows** how much of the full model's selection, and of the judged quality, pruning keeps \
             on real questions, and what it saves there. **Does not show** that the model is good: the \
             full rows say how good it is.\n"
        }
        "sweep" => {
            "**Shows** the exchange of agreement for time that policies offer, the paper's and ours. **Does \
             not show** which to take on other texts: `grating calibrate` chooses one from a sample, with \
             a guarantee.\n"
        }
        "chunks" => {
            "**Shows** from which chunk size on computing covers the reading of weights and matrix \
             products run at full speed. **Does not show** what pruning does to chunks, which shrink \
             with the pool.\n"
        }
        "ablation" => {
            "**Shows** what each mechanism brings and costs in the order of the paper. **Does not show** \
             their effect alone: each step builds on the ones above it.\n"
        }
        "scaling" => {
            "**Shows** how time grows with the work and how memory keeps to the budget. Rows without a \
             time were refused by the planner, which is what a budget below the minimum asks for. \
             **Does not show** spread: one run a row.\n"
        }
        "applications" => {
            "**Shows** what the reranker takes of a retrieval pipeline and what it brings: relevant \
             texts found, with and without it. **Does not show** the answers of a language model, or the \
             time of one.\n"
        }
        _ => "",
    }
}
