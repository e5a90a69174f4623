//! `cargo xtask models`: checkpoints with the public models' shapes and random weights.
//!
//! Weights do not change timing or memory, so these stand in for models of up to 16 GB wherever
//! the scores do not matter; `planted` ones where scores must settle with depth as real ones do.

mod config;
mod layout;
pub(crate) mod planted;
mod shapes;
mod staging;
mod tensors;
mod tokenizer;
mod values;
mod writer;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;
use serde_json::Value;

use layout::{MAX_SHARD_BYTES, Shard};
use planted::Patch;
use shapes::{Dtype, SHAPES, Shape};
use staging::{Staging, size};
use tensors::TensorSpec;
use writer::Job;

/// Space that the files beside the weights take at most.
const OTHER_FILES_BYTES: u64 = 32 << 20;

/// Set by ctrl-c; the writers stop at their next block, so that the partial folder is removed.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

pub(crate) use tokenizer::common_words;

/// Names of all shapes.
pub(crate) fn shape_names() -> Vec<&'static str> {
    SHAPES.iter().map(|shape| shape.name).collect()
}

/// Subcommands of `cargo xtask models`.
#[derive(clap::Subcommand)]
pub(crate) enum ModelsCommand {
    /// Write a checkpoint with random weights, its config.json and a working tokenizer.json
    Random(RandomArgs),
    /// Write a checkpoint whose scores settle with depth along a real model's profile
    Planted(planted::PlantedArgs),
    /// Print the profile of score traces, as `planted --profile` takes it
    Profile(planted::ProfileArgs),
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
    /// Leave the weights out: files of the right size that take no room, which can be planned for and not computed on
    #[arg(long)]
    empty: bool,
    /// Replace the model that DIR holds
    #[arg(long)]
    force: bool,
}

/// Runs one subcommand.
pub(crate) fn run(command: ModelsCommand) -> Result<()> {
    match command {
        ModelsCommand::Random(args) => random(&args, listen()?),
        ModelsCommand::Planted(args) => planted::run(&args, listen()?),
        ModelsCommand::Profile(args) => planted::print_profile(&args),
        ModelsCommand::Shapes => list(),
    }
}

/// Lets ctrl-c set the flag that the writers look at.
fn listen() -> Result<&'static AtomicBool> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed))
        .context("cannot listen for ctrl-c")?;
    Ok(&INTERRUPTED)
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
    let mut shape = Shape::named(&args.shape)?;
    shape.layers = args.layers.map_or(shape.layers, usize::from);
    shape.vocab = args.vocab.map_or(shape.vocab, |n| n as usize);
    let weights = Weights {
        dtype: args.dtype.unwrap_or(shape.dtype),
        seed: args.seed,
        max_shard_bytes: args.max_shard_bytes,
        tensors: tensors::tensors(&shape),
        patches: HashMap::new(),
        description: None,
        empty: args.empty,
    };
    write_checkpoint(&shape, weights, &args.out, args.force, interrupted)
}

/// What goes into a checkpoint.
struct Weights {
    dtype: Dtype,
    seed: u64,
    max_shard_bytes: u64,
    tensors: Vec<TensorSpec>,
    /// By tensor name: what differs from the random fill.
    patches: HashMap<String, Patch>,
    /// A file beside the weights that says what they are.
    description: Option<(&'static str, Value)>,
    /// Whether the files have holes where weights would be.
    empty: bool,
}

/// Writes the whole folder or nothing.
fn write_checkpoint(
    shape: &Shape,
    weights: Weights,
    out: &Path,
    force: bool,
    interrupted: &AtomicBool,
) -> Result<()> {
    let start = Instant::now();
    let Weights { dtype, seed, max_shard_bytes, tensors, patches, description, empty } = weights;
    let shards = layout::shards(tensors, dtype, max_shard_bytes);
    let total: u64 = shards.iter().map(|shard| shard.file_bytes).sum();

    let staging = Staging::new(out, force)?;
    staging.check_space(if empty { 0 } else { total } + OTHER_FILES_BYTES)?;
    // The tokenizer first: it refuses a vocabulary that is too small.
    write_description(shape, dtype, &shards, staging.folder())?;
    if let Some((name, value)) = &description {
        write_json(&staging.folder().join(name), value)?;
    }
    let progress = Progress::new(total);
    let job = Job {
        dtype,
        seed,
        patches: &patches,
        threads: std::thread::available_parallelism().map_or(1, usize::from).min(8),
        interrupted,
        written: &|bytes| progress.add(bytes),
    };
    for shard in &shards {
        let path = staging.folder().join(&shard.file_name);
        match empty {
            true => writer::write_hole(&path, shard)?,
            false => writer::write_shard(&path, shard, &job)?,
        }
    }
    staging.commit()?;
    let seconds = start.elapsed().as_secs_f64();
    progress.finish(&format!(
        "{}: {} in {} file{}, {seconds:.1} s ({}/s)",
        out.display(),
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
