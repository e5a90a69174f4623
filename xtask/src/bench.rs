//! `cargo xtask bench`: the paper's tables for this machine, peers measured in the same run.
//!
//! Each table is a list of cells. A cell is one measurement with all its parameters; it is stored as
//! soon as it is done, so an interrupted run goes on where it stopped. Tables are written as JSON,
//! Markdown and SVG; `bench report` makes the page in docs/ from the JSON.

mod args;
mod binary;
mod budget;
mod cells;
mod child;
pub(crate) mod data;
mod machine;
mod measure;
mod model;
mod peers;
mod points;
mod quantized;
mod report;
mod settings;
mod stats;
mod table;
mod tables;
mod workload;

use std::path::PathBuf;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub(crate) use args::BenchArgs;
use args::BenchCommand;
use binary::Binary;
use cells::Cells;
use data::DataSet;
use machine::Machine;
use model::Model;
use peers::Peers;
use points::Chosen;
pub(crate) use report::check_readme;

/// What every table needs.
struct Bench {
    args: BenchArgs,
    out: PathBuf,
    binary: Binary,
    machine: Machine,
    models: Vec<Model>,
    data: Vec<DataSet>,
    peers: Option<Peers>,
    cells: Cells,
    /// Policies that were chosen already.
    chosen: Chosen,
    progress: ProgressBar,
    /// The command as one would type it again.
    command: String,
}

/// Measures the tables, or makes the report of measured ones.
pub(crate) fn run(args: BenchArgs) -> Result<()> {
    if let Some(BenchCommand::Report(args)) = &args.command {
        return report::run(args);
    }
    let bench = Bench::prepare(args)?;
    let wanted = bench.args.wanted_tables();
    for (i, &name) in wanted.iter().enumerate() {
        bench.progress.set_prefix(format!("[{}/{}] {name}", i + 1, wanted.len()));
        let table = tables::measure(&bench, name).with_context(|| format!("table {name}"))?;
        report::write_table(&bench.out, &table)?;
        let shown = bench.out.join(format!("{name}.md"));
        bench.progress.suspend(|| eprintln!("{name}: {}", shown.display()));
    }
    bench.progress.finish_and_clear();
    Ok(())
}

impl Bench {
    /// Builds what is to be measured, before anything is measured.
    fn prepare(args: BenchArgs) -> Result<Self> {
        let out = std::path::absolute(&args.out)?;
        std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
        let binary = Binary::find_or_build(args.grating.as_deref())?;
        let data = args.data.iter().map(|folder| DataSet::open(folder)).collect::<Result<_>>()?;
        let models = model::resolve(&args, &binary)?;
        let peers = args.with_peers().then(|| Peers::prepare(&args.peer)).transpose()?;
        Ok(Self {
            command: args.shown(),
            cells: Cells::open(&out)?,
            chosen: Chosen::default(),
            machine: Machine::of(&binary)?,
            progress: progress(),
            out,
            binary,
            models,
            data,
            peers,
            args,
        })
    }

    /// Cells to come, for the progress bar.
    fn expect(&self, cells: usize) {
        self.progress.inc_length(cells as u64);
    }
}

/// Drawn on a terminal only.
fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg} {elapsed}")
        .expect("the template is a constant that a test has drawn");
    ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(4)).with_style(style)
}

#[cfg(test)]
mod tests;
