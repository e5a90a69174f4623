//! The settings of a reranker, as the Python half passes them: every key is there, `None` is the default.

use std::ffi::OsString;
use std::path::PathBuf;

use grating::hub::HubOptions;
use grating::prune::Target;
use grating::{
    Error, IoMode, Isa, ModelSource, Policy, Precision, Profile, Pruning, RerankerBuilder, Savings,
    Spill,
};
use grating_cli::units;
use pyo3::prelude::*;

use crate::errors::{exception, of_profile, raised};
use crate::request::LongTexts;

/// Where a model is.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Location {
    model: Option<OsString>,
    revision: Option<String>,
    cache_folder: Option<PathBuf>,
    local_files_only: bool,
    token: Option<String>,
}

/// How it is run.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Settings {
    memory_budget: Option<String>,
    threads: Option<usize>,
    max_length: Option<usize>,
    cutoff_layers: Option<usize>,
    compress_ratio: Option<usize>,
    compress_layers: Option<Vec<usize>>,
    long: Option<LongTexts>,
    instruction: Option<String>,
    precision: String,
    isa: Option<String>,
    window: String,
    chunk_tokens: Option<usize>,
    spill: String,
    spill_folder: Option<PathBuf>,
    row_cache: String,
    io: String,
    shared_prefix: bool,
    scored_rows: bool,
    equal_texts: bool,
    pruning: Option<String>,
    profile: Option<String>,
    target_agreement: Option<f64>,
    confidence: f64,
    learning_file: Option<PathBuf>,
    audit: Option<f64>,
    queue_length: Option<usize>,
    joint_passes: bool,
    special_tokens_in_text: bool,
    refuse_long_query: bool,
}

impl Location {
    /// The model's place, fetched where it is on the hub.
    pub(crate) fn resolve(&self) -> Result<ModelSource, Error> {
        let Some(model) = &self.model else { return Ok(ModelSource::Default) };
        match ModelSource::parse(model)? {
            ModelSource::Hub { id, .. } => {
                let revision = self.revision.as_deref();
                let folder = grating::hub::fetch(&id, revision, &self.hub()?, |_| ())?;
                Ok(ModelSource::Path(folder))
            }
            other => Ok(other),
        }
    }

    fn hub(&self) -> Result<HubOptions, Error> {
        let mut options = HubOptions::from_env()?;
        if let Some(folder) = &self.cache_folder {
            options = options.cache_dir(folder);
        }
        if let Some(token) = &self.token {
            options = options.token(token);
        }
        if self.local_files_only {
            options = options.offline(true);
        }
        Ok(options)
    }
}

impl Settings {
    /// A builder with all of them but the model's place.
    pub(crate) fn builder(self, py: Python<'_>) -> PyResult<RerankerBuilder> {
        let wrong =
            |name: &str, reason: String| exception(py, "InputError", &format!("{name}: {reason}"));
        let savings = Savings::default()
            .with_shared_prefix(self.shared_prefix)
            .with_scored_rows(self.scored_rows)
            .with_equal_texts(self.equal_texts);
        let precision = self.precision.parse::<Precision>();
        let mut builder = grating::Reranker::builder()
            .precision(precision.map_err(|error| wrong("precision", error.to_string()))?)
            .window(units::window(&self.window).map_err(|error| wrong("window", error))?)
            .row_cache(units::row_cache(&self.row_cache).map_err(|e| wrong("row_cache", e))?)
            .spill(spill(&self.spill).map_err(|error| wrong("spill", error))?)
            .io(io(&self.io).map_err(|error| wrong("io", error))?)
            .savings(savings)
            .joint_passes(self.joint_passes)
            .special_tokens_in_text(self.special_tokens_in_text)
            .refuse_long_query(self.refuse_long_query);
        if let Some(long) = &self.long {
            builder = builder.long(long.long().map_err(|error| wrong("long", error))?);
        }
        if let Some(size) = &self.memory_budget {
            let bytes = units::size(size).map_err(|error| wrong("memory_budget", error))?;
            builder = builder.memory_budget(bytes);
        }
        if let Some(name) = &self.isa {
            let isa = Isa::from_name(name).map_err(|error| wrong("isa", error.to_string()))?;
            builder = builder.isa(isa);
        }
        if let Some(json) = &self.pruning {
            builder = builder.pruning(pruning(json).map_err(|error| wrong("pruning", error))?);
        }
        if let Some(agreement) = self.target_agreement {
            let target = Target { agreement, confidence: self.confidence };
            builder = builder.pruning(Pruning::Auto(target));
        }
        if let Some(json) = &self.profile {
            builder = builder.profile(profile(py, json)?);
        }
        Ok(self.numbers(builder))
    }

    /// Those that need no reading.
    fn numbers(self, mut builder: RerankerBuilder) -> RerankerBuilder {
        if let Some(share) = self.audit {
            builder = builder.audit(share);
        }
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        if let Some(tokens) = self.max_length {
            builder = builder.max_length(tokens);
        }
        if let Some(layers) = self.cutoff_layers {
            builder = builder.cutoff_layers(layers);
        }
        if let Some(tokens) = self.compress_ratio {
            builder = builder.compress_ratio(tokens);
        }
        if let Some(layers) = self.compress_layers {
            builder = builder.compress_layers(layers);
        }
        if let Some(instruction) = self.instruction {
            builder = builder.instruction(instruction);
        }
        if let Some(tokens) = self.chunk_tokens {
            builder = builder.chunk_tokens(tokens);
        }
        if let Some(file) = self.learning_file {
            builder = builder.learning_file(file);
        }
        if let Some(folder) = self.spill_folder {
            builder = builder.spill_folder(folder);
        }
        if let Some(requests) = self.queue_length {
            builder = builder.queue_length(requests);
        }
        builder
    }
}

fn spill(name: &str) -> Result<Spill, String> {
    match name {
        "auto" => Ok(Spill::Auto),
        "always" => Ok(Spill::Always),
        "never" => Ok(Spill::Never),
        _ => Err("it must be auto, always or never".into()),
    }
}

fn io(name: &str) -> Result<IoMode, String> {
    match name {
        "auto" => Ok(IoMode::Auto),
        "direct" => Ok(IoMode::Direct),
        "cached" => Ok(IoMode::Cached),
        _ => Err("it must be auto, direct or cached".into()),
    }
}

/// `off`, or a policy as JSON.
pub(crate) fn pruning(json: &str) -> Result<Pruning, String> {
    if json == "off" {
        return Ok(Pruning::Off);
    }
    let policy: Policy = serde_json::from_str(json).map_err(|error| {
        let example = serde_json::to_string(&Policy::paper(0.4)).unwrap_or_default();
        format!("{error}; a policy looks like {example}")
    })?;
    policy.validate().map_err(|error| error.to_string())?;
    Ok(Pruning::By(policy))
}

/// A profile from its JSON.
fn profile(py: Python<'_>, json: &str) -> PyResult<Profile> {
    Profile::from_json("profile", json.as_bytes()).map_err(|error| of_profile(py, error))
}

/// What is wrong with a model's place.
pub(crate) fn source(py: Python<'_>, place: &Location) -> PyResult<ModelSource> {
    py.detach(|| place.resolve()).map_err(|error| raised(py, &error))
}
