//! The promise of the memory budget: peaks of whole processes over budgets, models and pools.

use anyhow::Result;

use crate::bench::Bench;
use crate::bench::measure::Measured;
use crate::bench::model::Model;
use crate::bench::settings::{Setting, full};
use crate::bench::table::{Row, Table, Unit};
use crate::bench::workload::made;

const COLUMNS: [(&str, &str, Unit); 9] = [
    ("model", "model", Unit::Text),
    ("pool", "candidates", Unit::Count),
    ("budget", "budget MiB", Unit::Mib),
    ("peak", "peak MiB", Unit::Mib),
    ("request", "request s", Unit::Seconds),
    ("each", "s a candidate", Unit::Seconds),
    ("stall", "waiting for weights ms", Unit::Milliseconds),
    ("spilled", "spilled MiB", Unit::Mib),
    ("note", "note", Unit::Text),
];

const ABOUT: &str = "Full passes within budgets, from one that is refused to one that holds the \
    model, with pools from small to large. The peak is the whole process's largest resident set \
    (VmHWM). One run a row.";

/// Budgets, MiB.
const BUDGETS: [u64; 6] = [60, 100, 150, 200, 300, 600];
/// Pools, where none are asked for.
const POOLS: [usize; 3] = [20, 200, 1000];

pub(super) fn measure(bench: &Bench) -> Result<Table> {
    let mut table = Table::new(bench, "budgets", "Memory budgets", ABOUT).columns(&COLUMNS);
    for model in &bench.models {
        for (pool, budget) in points(bench, model) {
            bench.expect(1);
            let work = made(model, pool, bench.args.tokens(), bench.args.seed);
            let setting = within(budget);
            let measured = bench.measure(model, &setting, &work, bench.args.top_k(), 1)?;
            table.rows.push(row(model, pool, budget, &measured));
        }
    }
    let over = worst(&table);
    table.note(format!("Largest peak over its budget: {over:+.1} MiB."));
    Ok(table)
}

fn points(bench: &Bench, model: &Model) -> Vec<(usize, u64)> {
    let pools = match (bench.args.pool.is_empty(), bench.args.quick) {
        (false, _) => bench.args.pool.clone(),
        (true, true) => vec![10],
        (true, false) => POOLS.to_vec(),
    };
    let budgets: &[u64] = match (model.is_heavy(), bench.args.quick) {
        (true, _) => &[600, 1024],
        (false, true) => &[60, 150],
        (false, false) => &BUDGETS,
    };
    pools.iter().flat_map(|&pool| budgets.iter().map(move |&budget| (pool, budget))).collect()
}

fn within(mebibytes: u64) -> Setting {
    let name = format!("full, {mebibytes} MiB");
    full().with(name, &["--memory-budget", &format!("{mebibytes}MiB")])
}

fn row(model: &Model, pool: usize, budget: u64, measured: &Measured) -> Row {
    let spilled = measured.stat("spill_bytes_written").filter(|s| s.median > 0.0);
    let each = measured.request().map(|request| request.median / pool as f64);
    let row = Row::default()
        .text("model", model.shown())
        .number("pool", pool as f64)
        .number("budget", (budget << 20) as f64)
        .summary("peak", measured.peak())
        .summary("request", measured.request())
        .number("each", each)
        .summary("stall", measured.stat("stall_ms"))
        .summary("spilled", spilled);
    match measured.reason() {
        Some(reason) => row.text("note", reason),
        None => row,
    }
}

/// The largest difference of a peak to its budget, MiB.
fn worst(table: &Table) -> f64 {
    let over = |row: &Row| Some((row.value("peak")? - row.value("budget")?) / f64::from(1 << 20));
    table.rows.iter().filter_map(over).fold(f64::NEG_INFINITY, f64::max)
}
