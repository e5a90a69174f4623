//! The tables, one module each.

mod ablation;
mod applications;
mod budgets;
mod chunks;
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
use super::table::Table;

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
    }
}

/// The tables' names in the order of the page.
pub(super) fn names() -> Vec<String> {
    TableName::value_variants().iter().map(ToString::to_string).collect()
}
