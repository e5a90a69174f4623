//! `cargo xtask models`: checkpoints with the public models' shapes and random weights.
//!
//! Weights do not change timing or memory, so these stand in for models of up to 16 GB wherever
//! the scores do not matter.

mod config;
mod layout;
mod shapes;
mod staging;
mod tensors;
mod tokenizer;
mod values;
mod writer;

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;
use serde_json::Value;

use layout::{MAX_SHARD_BYTES, Shard};
use shapes::{Dtype, SHAPES, Shape};
use staging::{Staging, size};
use writer::Job;

/// Space that the files beside the weights take at most.
const OTHER_FILES_BYTES: u64 = 32 << 20;

/// Set by ctrl-c; the writers stop at their next block, so that the partial folder is removed.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Subcommands of `cargo xtask models`.
#[derive(clap::Subcommand)]
pub(crate) enum ModelsCommand {
    /// Write a checkpoint with random weights, its config.json and a working tokenizer.json
    Random(RandomArgs),
    /// List the shapes
    Shapes,
}

/// Arguments of `cargo xtask models random`.
#[derive(clap::Args)]
pub(crate) struct RandomArgs {
    /// Public shape to write
    #[arg(long, value_parser = PossibleValuesParser::new(SHAPES.map(|shape| shape.name)))]
    shape: String,
    /// Folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Element type [default: the public checkpoint's]
    #[arg(long)]
    dtype: Option<Dtype>,
    /// Seed of the weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Layers instead of the shape's own
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    layers: Option<u16>,
    /// Vocabulary entries instead of the shape's own
    #[arg(long, value_name = "N")]
    vocab: Option<u32>,
    /// Largest data size of one file, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = MAX_SHARD_BYTES)]
    max_shard_bytes: u64,
    /// Replace the model that DIR holds
    #[arg(long)]
    force: bool,
}

/// Runs one subcommand.
pub(crate) fn run(command: ModelsCommand) -> Result<()> {
    match command {
        ModelsCommand::Random(args) => {
            ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed))
                .context("cannot listen for ctrl-c")?;
            random(&args, &INTERRUPTED)
        }
        ModelsCommand::Shapes => list(),
    }
}

fn list() -> Result<()> {
    let mut out = std::io::stdout().lock();
    for shape in &SHAPES {
        let bytes: u64 = layout::shards(tensors::tensors(shape), shape.dtype, u64::MAX)
            .iter()
            .map(|shard| shard.file_bytes)
            .sum();
        let (name, dtype) = (shape.name, shape.dtype.torch());
        writeln!(out, "{name:14} {:>9} {dtype:9} {}", size(bytes), shape.of)?;
    }
    Ok(())
}

fn random(args: &RandomArgs, interrupted: &AtomicBool) -> Result<()> {
    let start = Instant::now();
    let mut shape = Shape::named(&args.shape)?;
    shape.layers = args.layers.map_or(shape.layers, usize::from);
    shape.vocab = args.vocab.map_or(shape.vocab, |n| n as usize);
    let dtype = args.dtype.unwrap_or(shape.dtype);
    let shards = layout::shards(tensors::tensors(&shape), dtype, args.max_shard_bytes);
    let total: u64 = shards.iter().map(|shard| shard.file_bytes).sum();

    let staging = Staging::new(&args.out, args.force)?;
    staging.check_space(total + OTHER_FILES_BYTES)?;
    // The tokenizer first: it refuses a vocabulary that is too small.
    write_description(&shape, dtype, &shards, staging.folder())?;
    let progress = Progress::new(total);
    let job = Job {
        dtype,
        seed: args.seed,
        threads: std::thread::available_parallelism().map_or(1, usize::from).min(8),
        interrupted,
        written: &|bytes| progress.add(bytes),
    };
    for shard in &shards {
        writer::write_shard(&staging.folder().join(&shard.file_name), shard, &job)?;
    }
    staging.commit()?;
    let seconds = start.elapsed().as_secs_f64();
    progress.finish(&format!(
        "{}: {} in {} file{}, {seconds:.1} s ({}/s)",
        args.out.display(),
        size(total),
        shards.len(),
        if shards.len() == 1 { "" } else { "s" },
        size((total as f64 / seconds) as u64)
    ));
    Ok(())
}

/// Everything but the weights.
fn write_description(shape: &Shape, dtype: Dtype, shards: &[Shard], folder: &Path) -> Result<()> {
    let tokenizer = folder.join("tokenizer.json");
    let file = File::create_new(&tokenizer)?;
    let mut out = BufWriter::new(file);
    tokenizer::write(shape, &mut out)?;
    out.flush().with_context(|| format!("cannot write {}", tokenizer.display()))?;
    write_json(&folder.join("tokenizer_config.json"), &config::tokenizer_config(shape))?;
    write_json(&folder.join("config.json"), &config::config(shape, dtype))?;
    if let Some(grating) = config::grating(shape) {
        write_json(&folder.join("grating.json"), &grating)?;
    }
    if let Some(index) = layout::index(shards) {
        write_json(&folder.join("model.safetensors.index.json"), &index)?;
    }
    Ok(())
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    let text = format!("{value:#}\n");
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// One line on stderr, redrawn at each percent, on a terminal only.
struct Progress {
    total: u64,
    done: AtomicU64,
    shown: bool,
}

impl Progress {
    fn new(total: u64) -> Self {
        Self { total, done: AtomicU64::new(0), shown: std::io::stderr().is_terminal() }
    }

    fn add(&self, bytes: u64) {
        let before = self.done.fetch_add(bytes, Ordering::Relaxed);
        let percent = |done: u64| done * 100 / self.total.max(1);
        let now = before + bytes;
        if self.shown && percent(now) > percent(before) {
            eprint!("\r{:3} % of {}", percent(now), size(self.total));
        }
    }

    fn finish(&self, line: &str) {
        let clear = if self.shown { "\r\x1b[K" } else { "" };
        eprintln!("{clear}{line}");
    }
}

#[cfg(test)]
mod tests;
