//! `cargo xtask models planted`: checkpoints of any shape whose scores settle layer by layer as a real
//! model's do.
//!
//! Random weights say nothing about pruning: their scores never converge. Trained weights of large
//! models cannot always be had. A planted checkpoint carries a known relevance signal through its
//! residual stream, along a profile measured on a real model, at the full cost of its shape.

mod construct;
mod patch;
mod profile;
mod texts;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use anyhow::{Result, ensure};
use clap::builder::PossibleValuesParser;
use serde::{Deserialize, Serialize};

use super::shapes::{Dtype, Family, SHAPES, Shape};
use super::{Weights, tokenizer, write_checkpoint};
pub(crate) use construct::{CONSTRUCTION, MARKER_SHARE, MOST_RELEVANT, TOPIC_WORDS, Tokens};
pub(crate) use patch::Patch;
pub(crate) use profile::Profile;

/// File beside the weights that says how texts for them are made.
pub(crate) const DESCRIPTION: &str = "planted.json";
/// The most frequent words, which questions are made of, carry nothing, nor do those of the prompt around
/// every text: signal or noise in them would shift all scores.
const COMMON: usize = 100;
const PROMPT: &str = "judge whether the document meets the requirements based on the query and the \
    instruct provided note that the answer can only be yes or no given a web search query retrieve \
    relevant passages that answer the query system user assistant";
const BGE_PROMPT: &str = "given a query a and a passage b determine whether the passage contains an answer to the \
    query by providing a prediction of either";
/// Marker words of each sign.
const MARKERS: usize = 16;

/// Arguments of `cargo xtask models planted`.
#[derive(clap::Args)]
pub(crate) struct PlantedArgs {
    /// Public shape to write
    #[arg(long, value_parser = PossibleValuesParser::new(SHAPES.map(|shape| shape.name)))]
    pub(crate) shape: String,
    /// Score traces of a real model, or a profile measured on some [default: the built-in model's]
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,
    /// Element type [default: the public checkpoint's]
    #[arg(long)]
    pub(crate) dtype: Option<Dtype>,
    /// Seed of the weights
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Layers instead of the shape's own
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) layers: Option<u16>,
    /// Replace the model that OUT holds
    #[arg(long)]
    pub(crate) force: bool,
    /// Folder to make
    #[arg(value_name = "OUT")]
    pub(crate) out: PathBuf,
}

/// Arguments of `cargo xtask models profile`.
#[derive(clap::Args)]
pub(crate) struct ProfileArgs {
    /// Score traces of runs without pruning
    #[arg(value_name = "FILE")]
    traces: PathBuf,
    /// Which model and texts they come from
    #[arg(long, value_name = "TEXT")]
    source: Option<String>,
}

/// Prints the profile that a file of traces holds.
pub(crate) fn print_profile(args: &ProfileArgs) -> Result<()> {
    let mut profile = Profile::load(&args.traces)?;
    if let Some(source) = &args.source {
        profile.source.clone_from(source);
    }
    println!("{}", serde_json::to_string_pretty(&profile)?);
    Ok(())
}

/// What a planted checkpoint says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Description {
    /// What it is, for whoever finds the folder.
    pub(crate) note: String,
    pub(crate) shape: String,
    pub(crate) seed: u64,
    /// Which [`CONSTRUCTION`] wrote it; 0 from before they were counted.
    #[serde(default)]
    pub(crate) construction: u32,
    /// The scores' way through the layers, as it was asked for.
    pub(crate) profile: Profile,
    /// Words that make a text relevant.
    pub(crate) plus: Vec<String>,
    /// Words that make it irrelevant.
    pub(crate) minus: Vec<String>,
    /// Words that say nothing.
    pub(crate) neutral: Vec<String>,
}

/// Writes a planted checkpoint.
pub(crate) fn run(args: &PlantedArgs, interrupted: &AtomicBool) -> Result<()> {
    let mut shape = Shape::named(&args.shape)?;
    shape.layers = args.layers.map_or(shape.layers, usize::from);
    let profile = match &args.profile {
        Some(path) => Profile::load(path)?,
        None => Profile::default_model(),
    };
    plant(&shape, profile, args, interrupted)
}

fn plant(
    shape: &Shape,
    profile: Profile,
    args: &PlantedArgs,
    interrupted: &AtomicBool,
) -> Result<()> {
    ensure!(
        shape.family.can_be_planted(),
        "nothing is planted in the family of {}: its layers do not see the whole text, or norm what they add; `random` \
         writes its shape",
        shape.name
    );
    let (description, tokens) = describe(shape, args.seed, profile)?;
    let construction = construct::construct(shape, &description.profile, &tokens);
    let weights = Weights {
        dtype: args.dtype.unwrap_or(shape.dtype),
        seed: args.seed,
        max_shard_bytes: super::layout::MAX_SHARD_BYTES,
        tensors: construction.tensors,
        patches: construction.patches,
        description: Some((DESCRIPTION, serde_json::to_value(&description)?)),
        empty: false,
    };
    write_checkpoint(shape, weights, &args.out, args.force, interrupted)
}

/// Chooses the marker words among those that the tokenizer keeps whole.
fn describe(shape: &Shape, seed: u64, profile: Profile) -> Result<(Description, Tokens)> {
    let known = tokenizer::known_words(shape)?;
    let prompt: HashSet<&str> = match shape.family {
        Family::MiniCpm | Family::Gemma => BGE_PROMPT,
        _ => PROMPT,
    }
    .split_whitespace()
    .collect();
    let said = known.words.iter().skip(COMMON).filter(|(word, _)| !prompt.contains(word));
    let words: Vec<_> = said.collect();
    ensure!(
        words.len() >= 2 * MARKERS + 2 * TOPIC_WORDS,
        "the vocabulary of {} has {} whole words, too few to plant markers",
        shape.name,
        words.len()
    );
    let mut description = Description {
        note: format!(
            "Planted, not trained: the shape of {} with random weights and a relevance signal that \
             settles with depth. Good for timing pruned runs; its judgments mean nothing.",
            shape.of
        ),
        shape: shape.name.to_owned(),
        seed,
        construction: CONSTRUCTION,
        profile,
        plus: Vec::new(),
        minus: Vec::new(),
        neutral: Vec::new(),
    };
    let mut tokens = Tokens { answers: known.answers, lone: known.lone, ..Tokens::default() };
    for (i, &&(word, id)) in words.iter().rev().enumerate() {
        match i % 4 {
            0 if tokens.plus.len() < MARKERS => {
                tokens.plus.push(id);
                description.plus.push(word.to_owned());
            }
            2 if tokens.minus.len() < MARKERS => {
                tokens.minus.push(id);
                description.minus.push(word.to_owned());
            }
            _ => {
                tokens.neutral.push(id);
                description.neutral.push(word.to_owned());
            }
        }
    }
    Ok((description, tokens))
}

#[cfg(test)]
mod tests;
