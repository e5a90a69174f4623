//! How time, memory and stalls grow with the pool, the texts and the budget.

use anyhow::Result;

use crate::bench::Bench;
use crate::bench::measure::Measured;
use crate::bench::model::Model;
use crate::bench::points::POOL;
use crate::bench::settings::{PRECISION_FIRST, Setting, full_streamed, pruned};
use crate::bench::table::{Chart, Row, Table, Unit};
use crate::bench::workload::made;

const COLUMNS: [(&str, &str, Unit); 11] = [
    ("model", "model", Unit::Text),
    ("axis", "varied", Unit::Text),
    ("setting", "setting", Unit::Text),
    ("pool", "candidates", Unit::Count),
    ("tokens", "tokens each", Unit::Count),
    ("budget", "budget MiB", Unit::Mib),
    ("request", "request s", Unit::Seconds),
    ("peak", "peak MiB", Unit::Mib),
    ("stall", "waiting for weights ms", Unit::Milliseconds),
    ("spilled", "spilled MiB", Unit::Mib),
    ("note", "", Unit::Text),
];

const ABOUT: &str = "From 10 to 1000 candidates of 128 tokens, from 64 to 8192 tokens in ten \
    candidates, and from a budget that is refused to one that holds the model. One run a row.";

const POOLS: [usize; 5] = [10, 30, 100, 300, 1000];
const TOKENS: [usize; 5] = [64, 256, 1024, 4096, 8192];
const TOKENS_IN_POOLS: usize = 128;
const POOL_OF_TOKENS: usize = 10;
/// Budgets, as parts of what the resident full pass takes.
const BUDGETS: [f64; 7] = [0.05, 0.1, 0.15, 0.25, 0.4, 0.7, 1.1];

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
        let point = bench.points(model, bench.args.top_k(), POOL)?.precision_first;
        let settings = [full_streamed(), pruned(PRECISION_FIRST, &point.policy)];
        let points = points(bench, model);
        bench.expect(points.len() * settings.len());
        for point in &points {
            let work = made(model, point.pool, point.tokens, bench.args.seed);
            for setting in &settings {
                let setting = match point.budget {
                    None => setting.clone(),
                    Some(bytes) => budgeted(setting, bytes),
                };
                let measured = bench.measure(model, &setting, &work, bench.args.top_k(), 1)?;
                table.rows.push(row(model, point, &setting, &measured));
            }
        }
        table.charts.extend(charts(&table, model));
    }
    Ok(table)
}

fn points(bench: &Bench, model: &Model) -> Vec<Point> {
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
    let whole = model.weight_bytes() as f64 + f64::from(128 << 20);
    let budgets = if quick { &BUDGETS[4..6] } else { &BUDGETS[..] };
    let by_budget = budgets.iter().map(|part| Point {
        axis: "budget",
        pool: if quick { 10 } else { 60 },
        tokens: bench.args.tokens(),
        // Whole MiB, so that the option reads well.
        budget: Some(((part * whole) as u64 >> 20) << 20),
    });
    by_pool.chain(by_tokens).chain(by_budget).collect()
}

/// The setting without a window of its own: the planner chooses within the budget.
fn budgeted(setting: &Setting, bytes: u64) -> Setting {
    let mut flags = Vec::new();
    let mut given = setting.flags.iter();
    while let Some(flag) = given.next() {
        match flag.as_str() {
            "--window" | "--row-cache" => drop(given.next()),
            _ => flags.push(flag.clone()),
        }
    }
    flags.extend(["--memory-budget".to_owned(), format!("{}MiB", bytes >> 20)]);
    Setting { name: setting.name.replace(", streamed", ""), flags, ..setting.clone() }
}

fn row(model: &Model, point: &Point, setting: &Setting, measured: &Measured) -> Row {
    let spilled = measured.stat("spill_bytes_written").filter(|s| s.median > 0.0);
    let row = Row::default()
        .text("model", model.shown())
        .text("axis", point.axis)
        .text("setting", setting.name.clone())
        .number("pool", point.pool as f64)
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
    use grating_prune::Policy;

    use super::*;
    use crate::bench::settings::policy_json;

    #[test]
    fn a_budget_replaces_the_window() {
        let policy = Policy::paper(0.5);
        let setting = budgeted(&pruned("pruned", &policy), 200 << 20);
        let json = policy_json(&policy);
        assert_eq!(setting.flags, ["--policy", &json, "--memory-budget", "200MiB"]);
    }
}
