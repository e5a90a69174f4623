//! Pictures for generators that are not written in Rust: a chart as JSON in, SVG out.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use grating_chart::Chart;

#[derive(Args)]
pub(crate) struct ChartArgs {
    /// A chart as `grating_chart::Chart` is written in JSON
    chart: PathBuf,
    /// The picture
    svg: PathBuf,
}

pub(crate) fn run(args: &ChartArgs) -> Result<()> {
    let read = || format!("cannot read {}", args.chart.display());
    let text = std::fs::read(&args.chart).with_context(read)?;
    let chart: Chart = serde_json::from_slice(&text).with_context(read)?;
    let svg = chart.svg()?;
    std::fs::write(&args.svg, svg).with_context(|| format!("cannot write {}", args.svg.display()))
}
