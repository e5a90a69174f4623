//! The project's task runner: everything that is not the product itself.
//!
//! `cargo xtask ci` is what a change must pass, `tidy` its checks of the workspace's structure,
//! `models` writes stand-ins for public checkpoints, `bench` measures the paper's tables, `goldens`
//! makes the reference outputs, `clients` has real clients ask the server, `python` builds and tests the Python package,
//! `ptx` compiles the GPU's kernels, `gpu` tries them on a card, `chart` draws what generators in other languages give it.

mod bench;
mod chart;
mod ci;
mod clients;
mod features;
mod goldens;
mod gpu;
mod load;
mod models;
mod packaging;
#[cfg(unix)]
mod pages;
mod process;
mod ptx;
mod python;
mod random;
mod shift;
mod tidy;

use std::process::ExitCode;

use clap::Parser;

/// Tasks of the GRATING workspace
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
enum Task {
    /// Run every check that a change must pass
    Ci,
    /// Check the dependency arrows and the sources' form
    Tidy,
    /// Checkpoints with the public models' shapes
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// Measure the paper's tables on this machine
    Bench(Box<bench::BenchArgs>),
    /// Draw a chart that is given as JSON
    Chart(chart::ChartArgs),
    /// Have real clients and a browser ask a running server; installs them into target/clients
    Clients(clients::ClientsArgs),
    /// Check that each crate compiles by itself, with each feature and without
    Features,
    /// Check the files for packages with their linters, which it installs into target/clients, and the crates
    Packaging(packaging::PackagingArgs),
    /// Send a server of this machine requests from many connections and report rates and times
    Load(load::LoadArgs),
    /// Watch a server learn pruning from the requests of one set, and then of another
    Shift(shift::ShiftArgs),
    /// Make the golden checkpoints and outputs with the reference implementation
    Goldens(goldens::GoldensArgs),
    /// Run what the README and the guide tell their readers to run
    #[cfg(unix)]
    Pages(pages::PagesArgs),
    /// Build the Python package's wheel and test it in an environment of its own
    Python(python::PythonArgs),
    /// Compile the GPU's kernels to the PTX that is committed, or check that it belongs to them
    Ptx(ptx::PtxArgs),
    /// Pack what a machine with a card needs to check the CUDA backend, and run it here
    Gpu(gpu::GpuArgs),
}

impl Task {
    fn run(self) -> anyhow::Result<()> {
        match self {
            Task::Ci => ci::run(),
            Task::Tidy => tidy::run(),
            Task::Models(command) => models::run(command),
            Task::Bench(args) => bench::run(*args),
            Task::Chart(args) => chart::run(&args),
            Task::Clients(args) => clients::run(&args),
            Task::Features => features::run(),
            Task::Packaging(args) => packaging::run(&args),
            Task::Load(args) => load::run(&args),
            Task::Shift(args) => shift::run(&args),
            Task::Goldens(args) => goldens::run(&args),
            #[cfg(unix)]
            Task::Pages(args) => pages::run(&args),
            Task::Python(args) => python::run(&args),
            Task::Ptx(args) => ptx::run(&args),
            Task::Gpu(args) => gpu::run(&args),
        }
    }
}

fn main() -> ExitCode {
    match Task::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
