//! E3.1: the mechanisms switched on one after the other.

use anyhow::Result;

use crate::bench::Bench;
use crate::bench::settings::{PRECISION_FIRST, Setting};
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
    ("note", "", Unit::Text),
];

const ABOUT: &str = "Each step keeps what the ones above it switched on. The first is a whole model in \
    memory and the whole pool in one chunk. The paper's figures are of a graphics processor's memory; \
    here it is the resident set of the whole process.";

/// More tokens than any pool has: one chunk.
const ONE_CHUNK: &str = "100000000";

/// The steps, each with all options of its own.
fn steps(chunk_tokens: usize) -> Vec<Setting> {
    let threshold = PRECISION_FIRST.to_string();
    let chunk = chunk_tokens.to_string();
    let resident = ["--window", "all", "--spill", "never"];
    let streamed = ["--window", "2", "--spill", "never"];
    let pruned = ["--prune", "--threshold", &threshold];
    let step = |name: &str, parts: &[&[&str]]| Setting::new(name, &parts.concat());
    vec![
        step("resident, one chunk", &[&["--no-prune"], &resident, &["--chunk-tokens", ONE_CHUNK]]),
        step("+ pruning", &[&pruned, &resident, &["--chunk-tokens", ONE_CHUNK]]),
        step("+ chunks", &[&pruned, &resident, &["--chunk-tokens", &chunk]]),
        step("+ streaming", &[&pruned, &streamed, &["--chunk-tokens", &chunk]]),
        step(
            "+ embedding row cache",
            &[&pruned, &streamed, &["--row-cache"], &["--chunk-tokens", &chunk]],
        ),
        step(
            "+ hidden states on disk",
            &[
                &pruned,
                &["--window", "2", "--spill", "always"],
                &["--row-cache"],
                &["--chunk-tokens", &chunk],
            ],
        ),
    ]
}

pub(super) fn measure(bench: &Bench) -> Result<Table> {
    let mut table = Table::new(bench, "ablation", "One mechanism after the other (E3.1)", ABOUT)
        .columns(&COLUMNS);
    let pool = bench.args.pools().into_iter().max().unwrap_or(60);
    let steps = steps(2 * bench.args.tokens());
    bench.expect(bench.models.len() * steps.len());
    for model in &bench.models {
        let work = made(model, pool, bench.args.tokens(), bench.args.seed);
        let mut first: Option<(f64, f64)> = None;
        for step in &steps {
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
