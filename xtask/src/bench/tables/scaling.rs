//! How time, memory and stalls grow with the pool, the texts and the budget.

use anyhow::Result;

use crate::bench::Bench;
use crate::bench::budget::{MIB, resident};
use crate::bench::measure::Measured;
use crate::bench::model::Model;
use crate::bench::points::POOL;
use crate::bench::settings::{PRECISION_FIRST, Setting, Weights, full_streamed, pruned};
use crate::bench::table::{Chart, Row, Table, Unit};
use crate::bench::workload::made;

const COLUMNS: [(&str, &str, Unit); 12] = [
    ("model", "model", Unit::Text),
    ("axis", "varied", Unit::Text),
    ("setting", "setting", Unit::Text),
    ("pool", "candidates", Unit::Count),
    ("k", "K", Unit::Count),
    ("tokens", "tokens each", Unit::Count),
    ("budget", "budget MiB", Unit::Mib),
    ("request", "request s", Unit::Seconds),
    ("peak", "peak MiB", Unit::Mib),
    ("stall", "waiting for weights ms", Unit::Milliseconds),
    ("spilled", "spilled MiB", Unit::Mib),
    ("note", "note", Unit::Text),
];

const ABOUT: &str = "From 10 to 1000 candidates of 128 tokens, from 64 tokens in each of ten candidates to \
    what the model reads at most, and from a budget that is refused over the least \
    that `grating plan` takes to one that holds the model. One run a row.";

const POOLS: [usize; 5] = [10, 30, 100, 300, 1000];
const TOKENS: [usize; 7] = [64, 256, 512, 1024, 2048, 4096, 8192];
const TOKENS_IN_POOLS: usize = 128;
const POOL_OF_TOKENS: usize = 10;
/// Candidates while the budget varies.
const POOL_OF_BUDGETS: usize = 60;
/// Budgets from the least to the resident one, both included, at equal ratios.
const BUDGETS: u32 = 5;

/// One point on one axis.
struct Point {
    axis: &'static str,
    pool: usize,
    tokens: usize,
    budget: Option<u64>,
}

pub(super) fn measure(bench: &Bench) -> Result<Table> {
    let mut table = Table::new(bench, "scaling", "Scaling", ABOUT).columns(&COLUMNS);
    for model in &bench.models {
        let points = points(bench, model)?;
        bench.expect(2 * points.len());
        for point in &points {
            let work = made(model, point.pool, point.tokens, bench.args.seed);
            let k = selected(bench.args.top_k(), point.pool);
            let chosen = bench.points(model, k, POOL)?;
            table.note(format!("{}, K = {k}: {}.", model.name, chosen.shown()));
            let careful = pruned(PRECISION_FIRST, &chosen.precision_first.policy);
            for setting in [full_streamed(), careful] {
                let setting = match point.budget {
                    None => setting,
                    Some(bytes) => setting.within(bytes),
                };
                let measured = bench.measure(model, &setting, &work, k, 1)?;
                table.rows.push(row(model, point, k, &setting, &measured));
            }
        }
        table.charts.extend(charts(&table, model));
    }
    Ok(table)
}

/// How many are selected: `top_k`, but half of a pool that has no more than that, where nothing could be pruned.
fn selected(top_k: usize, pool: usize) -> usize {
    if top_k < pool { top_k } else { pool.div_ceil(2) }
}

fn points(bench: &Bench, model: &Model) -> Result<Vec<Point>> {
    let quick = bench.args.quick;
    let cut = |all: &[usize]| if quick { all[..2].to_vec() } else { all.to_vec() };
    // What the model reads at most; longer texts would be cut.
    let longest = model.info["max_length"].as_u64().unwrap_or(u64::MAX) as usize;
    let by_pool = cut(&POOLS).into_iter().map(|pool| Point {
        axis: "candidates",
        pool,
        tokens: TOKENS_IN_POOLS,
        budget: None,
    });
    let by_tokens = cut(&TOKENS)
        .into_iter()
        .filter(|&tokens| tokens <= longest)
        .map(|tokens| Point { axis: "tokens", pool: POOL_OF_TOKENS, tokens, budget: None });
    let pool = if quick { 10 } else { POOL_OF_BUDGETS };
    let tokens = bench.args.tokens();
    let least = bench.least_budget(model, Weights::Own, pool, tokens.min(longest))?;
    let by_budget = budgets(least, resident(model), if quick { 2 } else { BUDGETS })
        .into_iter()
        .map(|budget| Point { axis: "budget", pool, tokens, budget: Some(budget * MIB) });
    Ok(by_pool.chain(by_tokens).chain(by_budget).collect())
}

/// A tenth below `least`, and `count` budgets from it to `resident` at equal ratios, in MiB.
fn budgets(least: u64, resident: u64, count: u32) -> Vec<u64> {
    let ratio = resident.max(least) as f64 / least as f64;
    let step = |i: u32| least as f64 * ratio.powf(f64::from(i) / f64::from(count - 1));
    let mut all = vec![least - least.div_ceil(10)];
    all.extend((0..count).map(|i| step(i).round() as u64));
    all.dedup();
    all
}

fn row(model: &Model, point: &Point, k: usize, setting: &Setting, measured: &Measured) -> Row {
    let spilled = measured.stat("spill_bytes_written").filter(|s| s.median > 0.0);
    let row = Row::default()
        .text("model", model.shown())
        .text("axis", point.axis)
        .text("setting", setting.name.clone())
        .number("pool", point.pool as f64)
        .number("k", k as f64)
        .number("tokens", point.tokens as f64)
        .number("budget", point.budget.map(|bytes| bytes as f64))
        .summary("request", measured.request())
        .summary("peak", measured.peak())
        .summary("stall", measured.stat("stall_ms"))
        .summary("spilled", spilled);
    match measured.reason() {
        Some(reason) => row.text("note", reason),
        None => row,
    }
}

fn charts(table: &Table, model: &Model) -> Vec<Chart> {
    let axis = |axis: &str, key: &str, label: &str| {
        let mut part = table.clone();
        let of_model = |row: &Row| row.words("model") == Some(&model.shown());
        part.rows.retain(|row| row.words("axis") == Some(axis) && of_model(row));
        let series = part.series("setting", key, "request");
        Chart {
            name: format!("{}-{axis}", model.name.replace('/', "-")),
            title: format!("{}: time against {label}", model.shown()),
            x: label.into(),
            y: "seconds".into(),
            log_x: true,
            series,
        }
    };
    let charts = [
        axis("candidates", "pool", "candidates"),
        axis("tokens", "tokens", "tokens a candidate"),
        axis("budget", "budget", "budget, bytes"),
    ];
    charts.into_iter().filter(|chart| !chart.series.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_go_from_one_that_is_refused_to_the_resident_one() {
        assert_eq!(
            [selected(10, 60), selected(10, 11), selected(10, 10), selected(10, 1)],
            [10, 10, 5, 1]
        );
        assert_eq!(budgets(100, 400, 3), [90, 100, 200, 400]);
        assert_eq!(budgets(200, 150, 3), [180, 200], "what is resident may be less than the least");
    }
}
