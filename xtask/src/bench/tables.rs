//! The tables, one module each.

mod ablation;
mod applications;
mod budgets;
mod chunks;
mod long;
mod micro;
mod precision;
mod quality;
mod scaling;
mod streaming;
mod sweep;

use anyhow::Result;
use clap::ValueEnum;

use super::Bench;
use super::args::TableName;
use super::stats::change_percent;
use super::table::{Row, Table};

/// Measures one table.
pub(super) fn measure(bench: &Bench, name: TableName) -> Result<Table> {
    bench.progress.set_length(0);
    bench.progress.set_position(0);
    match name {
        TableName::Micro => micro::measure(bench),
        TableName::Precision => precision::measure(bench),
        TableName::Sweep => sweep::measure(bench),
        TableName::Chunks => chunks::measure(bench),
        TableName::Ablation => ablation::measure(bench),
        TableName::Scaling => scaling::measure(bench),
        TableName::Streaming => streaming::measure(bench),
        TableName::Budgets => budgets::measure(bench),
        TableName::Applications => applications::measure(bench),
        TableName::Long => long::measure(bench),
    }
}

/// The tables' names in the order of the page.
pub(super) fn names() -> Vec<String> {
    TableName::value_variants().iter().map(ToString::to_string).collect()
}

/// Adds to each row how its `time` and its peak change from the first of `baselines` that was measured.
fn against(baselines: &[&str], time: &str, mut rows: Vec<Row>) -> Vec<Row> {
    let figures = |name: &&str| {
        let row = rows.iter().find(|row| row.words("setting") == Some(name))?;
        row.value("peak").map(|peak| (row.value(time), peak))
    };
    let Some((seconds, peak)) = baselines.iter().find_map(figures) else { return rows };
    for row in &mut rows {
        let change = |key: &str, baseline: f64| Some(change_percent(row.value(key)?, baseline));
        let latency = seconds.and_then(|baseline| change(time, baseline));
        let memory = change("peak", peak);
        *row = std::mem::take(row).number("latency_change", latency).number("peak_change", memory);
    }
    rows
}
