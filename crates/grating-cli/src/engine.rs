//! The engine's options, from the command line to the builder.

use std::cell::{Cell, OnceCell};

use anyhow::Result;
use grating::calibrate::Reading;
use grating::prune::Target;
use grating::{
    IoMode, Mode, ModelSource, Policy, Profile, ProfileError, Pruning, Reranker, RerankerBuilder,
    Savings, Spill,
};

use crate::args::{EngineArgs, IoArg, ModeArg, PruningArgs, ReadoutArg, SpillArg};

/// A builder for the model with the engine's options.
pub(crate) fn builder(source: ModelSource, args: &EngineArgs) -> RerankerBuilder {
    let mut builder = grating::Reranker::builder()
        .source(source)
        .window(args.window)
        .row_cache(args.row_cache)
        .precision(args.precision)
        .device(args.device)
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
        .savings(
            Savings::default()
                .with_shared_prefix(!args.no_shared_prefix)
                .with_scored_rows(!args.no_scored_rows)
                .with_equal_texts(!args.no_equal_texts),
        );
    if let Some(bytes) = args.memory_budget {
        builder = builder.memory_budget(bytes);
    }
    if let Some(bytes) = args.device_memory_budget {
        builder = builder.device_memory_budget(bytes);
    }
    if let Some(layers) = args.cutoff_layers {
        builder = builder.cutoff_layers(layers);
    }
    if let Some(tokens) = args.compress_ratio {
        builder = builder.compress_ratio(tokens);
    }
    if !args.compress_layers.is_empty() {
        builder = builder.compress_layers(args.compress_layers.as_slice());
    }
    if let Some(tokens) = args.chunk_tokens {
        builder = builder.chunk_tokens(tokens);
    }
    if let Some(folder) = &args.spill_folder {
        builder = builder.spill_folder(folder);
    }
    if let Some(isa) = args.isa {
        builder = builder.isa(isa);
    }
    if let Some(threads) = args.threads {
        builder = builder.threads(threads);
    }
    builder
}

/// An instruction that a model has no place for is no failure, since scripts run over many models.
pub(crate) fn warn_of_instruction(instruction: Option<&str>, reranker: &Reranker) {
    if instruction.is_some() && !reranker.info().instruction {
        let name = &reranker.info().name;
        eprintln!(
            "grating: --instruction has no effect: the template of {name} has no place for one"
        );
    }
}

/// An error of a setting with the option that sets it.
pub(crate) fn with_option(error: grating::Error) -> anyhow::Error {
    let option = match error.setting() {
        Some("threads") => "--threads",
        Some("max_length") => "--max-length",
        Some("compress_ratio") => "--compress-ratio",
        Some("compress_layers") => "--compress-layers",
        Some("the number of candidates") => "--candidates",
        Some("the number of tokens of a candidate") => "--tokens",
        _ => return error.into(),
    };
    anyhow::anyhow!("{error} ({option})")
}

/// Opens the model, and says on stderr what to look at in its files.
pub(crate) fn build(builder: RerankerBuilder) -> Result<Reranker> {
    let reranker = builder.build().map_err(with_option)?;
    for warning in &reranker.info().warnings {
        eprintln!("grating: {warning}");
    }
    Ok(reranker)
}

/// A model that is opened once, when it is first needed: mistakes in a small input come to light before.
pub(crate) struct Opening<'a> {
    open: Box<dyn Fn() -> Result<Reranker> + 'a>,
    opened: OnceCell<Reranker>,
    failure: Cell<Option<anyhow::Error>>,
}

impl<'a> Opening<'a> {
    pub(crate) fn new(open: impl Fn() -> Result<Reranker> + 'a) -> Self {
        Opening { open: Box::new(open), opened: OnceCell::new(), failure: Cell::default() }
    }

    pub(crate) fn get(&self) -> Result<&Reranker> {
        if self.opened.get().is_none() {
            // Nothing was there, so nothing is lost.
            _ = self.opened.set((self.open)()?);
        }
        Ok(self.opened.get().expect("it has been set"))
    }

    /// Opens it for whoever reads; what is wrong is [kept](Self::failure).
    pub(crate) fn open_for_reading(&self) -> std::io::Result<()> {
        self.get().map(drop).map_err(|error| {
            self.failure.set(Some(error));
            std::io::Error::other("the model cannot be opened")
        })
    }

    /// What kept [`Self::open_for_reading`] from it.
    pub(crate) fn failure(&self) -> Option<anyhow::Error> {
        self.failure.take()
    }
}

/// What `--learn` promises where nothing is said.
const LEARNED_AGREEMENT: f64 = 0.95;

/// With the options of pruning; without any, the model's own profile counts.
pub(crate) fn pruning(builder: RerankerBuilder, args: &PruningArgs) -> Result<RerankerBuilder> {
    let builder = match args.audit {
        Some(share) => builder.audit(share),
        None => builder,
    };
    if args.learn.is_some() || args.target_agreement.is_some() {
        let agreement = args.target_agreement.unwrap_or(LEARNED_AGREEMENT);
        let builder =
            builder.pruning(Pruning::Auto(Target { agreement, confidence: args.confidence }));
        return Ok(match &args.learn {
            Some(file) => builder.learning_file(file),
            None => builder,
        });
    }
    let policy = args.threshold.map(Policy::paper).or(args.policy.clone());
    Ok(match (policy, &args.profile) {
        _ if args.no_prune => builder.pruning(Pruning::Off),
        (Some(policy), _) => builder.pruning(Pruning::By(policy)),
        (None, Some(file)) => builder.profile(Profile::read(file).map_err(no_profile)?),
        (None, None) => builder,
    })
}

fn no_profile(error: ProfileError) -> anyhow::Error {
    let remedy = match &error {
        ProfileError::File { .. } => "; name a file that `grating calibrate` has written",
        // It says what to do.
        _ => "",
    };
    anyhow::anyhow!("--profile: {}{remedy}", grating::Error::from(error))
}

impl From<ReadoutArg> for Reading {
    fn from(readout: ReadoutArg) -> Self {
        match readout {
            ReadoutArg::Best => Reading::Best,
            ReadoutArg::Head => Reading::Head,
            ReadoutArg::Fitted => Reading::Fitted,
        }
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
