//! Which model, and which there are.

use std::ffi::OsString;

use clap::Args;
use grating::ModelSource;

use crate::model;

#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// Folder with config.json, tokenizer.json and safetensors weights, or with a GGUF file; the file of one of several
    /// models; or a hub id (owner/name, owner/name:Q4_K_M) or a short name of one (minilm, bge, modernbert, qwen3-0.6b).
    /// Without it, the model that is built in.
    #[arg(long, short, value_name = "DIR|HUB_ID")]
    pub(crate) model: Option<OsString>,
    /// Branch, tag or commit of a hub id.
    #[arg(long, value_name = "REV", requires = "model")]
    pub(crate) revision: Option<String>,
    /// Take hub ids from the cache and make no connection; HF_HUB_OFFLINE=1 does the same.
    #[arg(long)]
    pub(crate) offline: bool,
}

/// A model that is named by its place among the arguments or by an option.
#[derive(Debug, Args)]
pub(crate) struct ModelChoice {
    /// Folder, the file of one of several models there, hub id or a short name of one; without it, the model that is built in.
    #[arg(value_name = "MODEL", group = "model_given")]
    place: Option<OsString>,
    /// The same as MODEL.
    #[arg(long, short, value_name = "DIR|HUB_ID", group = "model_given")]
    model: Option<OsString>,
    /// Branch, tag or commit of a hub id.
    #[arg(long, value_name = "REV", requires = "model_given")]
    revision: Option<String>,
    /// Take hub ids from the cache and make no connection; HF_HUB_OFFLINE=1 does the same.
    #[arg(long)]
    offline: bool,
}

impl ModelArgs {
    pub(crate) fn resolve(&self) -> anyhow::Result<ModelSource> {
        model::resolve(self.model.as_deref(), self.revision.as_deref(), self.offline)
    }
}

impl ModelChoice {
    pub(crate) fn resolve(&self) -> anyhow::Result<ModelSource> {
        let model = self.place.as_deref().or(self.model.as_deref());
        model::resolve(model, self.revision.as_deref(), self.offline)
    }
}

#[derive(Debug, Args)]
pub(crate) struct ModelsArgs {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Hub ids (owner/name, owner/name:Q4_K_M) or short names, as `grating models` lists them.
    #[arg(value_name = "HUB_ID", required = true)]
    pub(crate) models: Vec<OsString>,
    /// Branch, tag or commit.
    #[arg(long, value_name = "REV")]
    pub(crate) revision: Option<String>,
}
