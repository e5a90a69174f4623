//! E3.1: the mechanisms switched on one after the other.

use anyhow::Result;
use grating_prune::Policy;

use crate::bench::Bench;
use crate::bench::settings::{LEAN, RESIDENT, STREAMED, Setting, policy_json};
use crate::bench::stats::change_percent;
use crate::bench::table::{Row, Table, Unit};
use crate::bench::workload::made;

const COLUMNS: [(&str, &str, Unit); 9] = [
    ("model", "model", Unit::Text),
    ("pool", "candidates", Unit::Count),
    ("step", "step", Unit::Text),
    ("request", "request s", Unit::Seconds),
    ("latency_change", "vs first step", Unit::Change),
    ("peak", "peak MiB", Unit::Mib),
    ("peak_change", "vs first step", Unit::Change),
    ("stall", "waiting for weights ms", Unit::Milliseconds),
    ("note", "note", Unit::Text),
];

const ABOUT: &str = "Each step keeps what the ones above it switched on; the last one leaves the disk out \
    again and adds what GRATING saves without changing a score (the prompt that all candidates share, the \
    last layer's rows that nobody reads, texts that occur twice). The first is a whole model in memory and \
    the whole pool in one chunk. The paper's figures are of a graphics processor's memory; \
    here it is the resident set of the whole process.";

/// More tokens than any pool has: one chunk.
const ONE_CHUNK: &str = "100000000";

/// Nothing is saved that GRATING saves without changing a score.
const NO_SAVINGS: &[&str] = &["--no-shared-prefix", "--no-scored-rows", "--no-equal-texts"];

/// The steps, each with all options of its own.
fn steps(policy: &Policy, chunk_tokens: usize) -> Vec<Setting> {
    let (policy, chunk) = (policy_json(policy), chunk_tokens.to_string());
    let whole: &[&str] = &["--chunk-tokens", ONE_CHUNK];
    let full: &[&str] = &["--no-prune"];
    let prune: &[&str] = &["--policy", &policy];
    let chunks: &[&str] = &["--chunk-tokens", &chunk];
    vec![
        Setting::new("resident, one chunk", &[full, RESIDENT, whole, NO_SAVINGS]),
        Setting::new("+ pruning", &[prune, RESIDENT, whole, NO_SAVINGS]),
        Setting::new("+ chunks", &[prune, RESIDENT, chunks, NO_SAVINGS]),
        Setting::new("+ streaming", &[prune, STREAMED, chunks, NO_SAVINGS]),
        Setting::new(
            "+ embedding row cache",
            &[prune, LEAN, &["--spill", "never"], chunks, NO_SAVINGS],
        ),
        Setting::new(
            "+ hidden states on disk",
            &[prune, LEAN, &["--spill", "always"], chunks, NO_SAVINGS],
        ),
        Setting::new("row cache, + exact savings", &[prune, LEAN, &["--spill", "never"], chunks]),
    ]
}

pub(super) fn measure(bench: &Bench) -> Result<Table> {
    let mut table = Table::new(bench, "ablation", "One mechanism after the other (E3.1)", ABOUT)
        .columns(&COLUMNS);
    let pool = bench.args.pools().into_iter().max().unwrap_or(60);
    bench.expect(bench.models.len() * 7);
    for model in &bench.models {
        let work = made(model, pool, bench.args.tokens(), bench.args.seed);
        let point = bench.points(model, bench.args.top_k(), pool)?.precision_first;
        let mut first: Option<(f64, f64)> = None;
        for step in &steps(&point.policy, 2 * bench.args.tokens()) {
            let measured =
                bench.measure(model, step, &work, bench.args.top_k(), bench.args.runs())?;
            let figures = measured.request().zip(measured.peak());
            let figures = figures.map(|(request, peak)| (request.median, peak.median));
            first = first.or(figures);
            let change = |of: fn((f64, f64)) -> f64| Some(change_percent(of(figures?), of(first?)));
            let row = Row::default()
                .text("model", model.shown())
                .number("pool", pool as f64)
                .text("step", step.name.clone())
                .summary("request", measured.request())
                .number("latency_change", change(|(request, _)| request))
                .summary("peak", measured.peak())
                .number("peak_change", change(|(_, peak)| peak))
                .summary("stall", measured.stat("stall_ms"));
            table.rows.push(match measured.reason() {
                Some(reason) => row.text("note", reason),
                None => row,
            });
        }
    }
    Ok(table)
}
