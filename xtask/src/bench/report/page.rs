//! docs/measurements/benchmarks.md: every kept table with what it shows and does not show, beside the paper's
//! figures.

use std::fmt::Write as _;

use super::{Figure, headline, markdown};
use crate::bench::table::{Row, Table};

const HEAD: &str = "# Benchmarks\n\n\
    This page is generated: `cargo xtask bench` measures, `cargo xtask bench report --from DIR` writes \
    the page from what was measured. The tables and figures behind it are in \
    [docs/measurements/benchmarks/](benchmarks). They carry the names of the paper's artifact experiments where they \
    match (arXiv 2510.15620).\n\n\
    Compare figures of one model within one table only: those were measured with one binary on one machine. A time is the \
    median of the runs, with the smallest and the largest in parentheses. Memory is the resident set of \
    the whole process, code and page-cache mappings included.\n";

const PLANTED: &str = "## Planted weights\n\n\
    Trained weights of the large models cannot always be had, and with random weights scores do not \
    settle from layer to layer, so nothing could be pruned. Rows marked \"planted\" come from checkpoints \
    with the model's shape and random weights in which a relevance signal is planted: after each layer \
    the scores agree with the final ones as far as a profile says that was measured on score traces \
    of the built-in model and stretched over the shape's depth (`cargo xtask models planted`, \
    `xtask/src/models/planted/`). The signal lies along many channels, as a trained model's does: in a \
    single one, the rounding of that one number would be most of what 8-bit products do to the scores. \
    All matrix products are computed. Such rows tell time and memory of \
    that shape under that profile; they do not tell how well the real model ranks, nor how early its own \
    scores settle. With real weights (`--model Qwen/Qwen3-Reranker-0.6B`) the same command gives the \
    real thing.\n";

/// The whole page.
pub(super) fn page(tables: &[(Table, Vec<Figure>)]) -> String {
    let mut out = HEAD.to_owned();
    out.push_str(&headline::beside_the_paper(tables.iter().map(|(table, _)| table)));
    for (table, figures) in tables {
        let words = markdown::table(table, figures, "benchmarks/");
        let _ = write!(out, "\n{words}\n{}", reading(table));
    }
    let planted = |row: &Row| row.words("model").is_some_and(|model| model.contains("planted"));
    if tables.iter().any(|(table, _)| table.rows.iter().any(planted)) {
        let _ = write!(out, "\n{PLANTED}");
    }
    out
}

/// What a table shows and what it does not.
fn reading(table: &Table) -> &'static str {
    match table.name.as_str() {
        "micro" => {
            "**Shows** what one query costs from the user's side, by system, on one machine. Peers are \
             timed after loading and one batch to warm up, GRATING in a fresh process each time, so \
             starting costs count against GRATING and loading does not count against peers; the \
             column of the whole process has both. Less memory than two layers take costs waiting for the \
             disk: the rows \"least memory\" are the end of that exchange. **Does not show** throughput over many queries, or \
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
            "**Shows** how time grows with the work and how memory keeps to the budget: with the number \
             of candidates and with their length about in proportion, as long as attention is a small part, and hardly with less \
             memory. Rows without a time were refused by the planner, which is what a budget below the minimum asks for. \
             **Does not show** spread: one run a row.\n"
        }
        "applications" => {
            "**Shows** what the reranker takes of a retrieval pipeline and what it brings: relevant \
             texts found, with and without it; and what the same program takes with another system in its \
             place. **Does not show** the answers of a language model, or the time of one. A few questions \
             a set: shares found are coarse.\n"
        }
        "streaming" => {
            "**Shows** what reading weights while computing costs beside weights that stay in memory. \
             **Does not show** slower disks: `cargo run --release -p grating-benches --bin slow_disk` does.\n"
        }
        "budgets" => {
            "**Shows** that whole processes stay within the budget that they were given, and what a \
             small budget costs in time. **Does not show** spread: one run a row.\n"
        }
        "long" => {
            "**Shows** how far ways to read long texts keep what the full pass says, and what of its time and \
             memory they take. **Does not show** quality where the model is no reranker: a decoder that is asked for yes or \
             no ranks these texts little better than chance. A few queries: shares are coarse. [long-texts.md](long-texts.md) \
             says what it means.\n"
        }
        _ => "",
    }
}
