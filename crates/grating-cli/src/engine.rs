//! The engine's options, from the command line to the builder.

use anyhow::Result;
use grating::{IoMode, Mode, Policy, Pruning, RerankerBuilder, Savings, Spill};

use crate::args::{EngineArgs, IoArg, ModeArg, ModelArgs, PruningArgs, SpillArg};
use crate::model;

/// A builder for the model with the engine's options.
pub(crate) fn builder(source: &ModelArgs, args: &EngineArgs) -> Result<RerankerBuilder> {
    let source = model::resolve(source.model.as_deref(), source.revision.as_deref())?;
    let mut builder = grating::Reranker::builder()
        .source(source)
        .window(args.window)
        .row_cache(args.row_cache)
        .precision(args.precision)
        .spill(match args.spill {
            SpillArg::Auto => Spill::Auto,
            SpillArg::Always => Spill::Always,
            SpillArg::Never => Spill::Never,
        })
        .io(match args.io {
            IoArg::Auto => IoMode::Auto,
            IoArg::Direct => IoMode::Direct,
            IoArg::Cached => IoMode::Cached,
        })
        .savings(Savings {
            shared_prefix: !args.no_shared_prefix,
            scored_rows: !args.no_scored_rows,
            equal_texts: !args.no_equal_texts,
        });
    if let Some(bytes) = args.memory_budget {
        builder = builder.memory_budget(bytes);
    }
    if let Some(tokens) = args.chunk_tokens {
        builder = builder.chunk_tokens(tokens);
    }
    if let Some(folder) = &args.spill_folder {
        builder = builder.spill_folder(folder);
    }
    if let Some(threads) = args.threads {
        builder = builder.threads(threads);
    }
    Ok(builder)
}

/// How requests prune.
pub(crate) fn pruning(args: &PruningArgs) -> Pruning {
    let mode = |policy: Policy| args.mode.map_or(policy, |mode| policy.with_mode(mode.into()));
    match args.threshold {
        Some(threshold) => Pruning::By(mode(Policy::paper(threshold))),
        None => Pruning::Off,
    }
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Select => Mode::Select,
            ModeArg::Rank => Mode::Rank,
        }
    }
}
