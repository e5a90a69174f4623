//! Copies of the models with 8-bit weights, made by `grating quantize` on demand.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::json;

use super::Bench;
use super::cells::digest;
use super::model::Model;
use super::settings::{FAST, Weights};
use crate::process::{root, stdout_of};

impl Bench {
    /// The folder of the model's copy in Q8_0, beside the planted checkpoints.
    pub(super) fn quantized(&self, model: &Model) -> Result<PathBuf> {
        // A checkpoint that was written anew has another copy.
        let source = json!({ "model": model, "planted": model.planted_as() });
        let name = format!(
            "{}-q8_0-{}",
            model.name.replace('/', "-"),
            digest(source.to_string().as_bytes())
        );
        let folder = root().join(&self.args.models_dir);
        let out = folder.join(name);
        if out.join("model.gguf").exists() {
            return Ok(out);
        }
        self.progress.set_message(format!("{}: quantizing", model.name));
        std::fs::create_dir_all(&folder)?;
        let mut command = self.binary.command(&["quantize"]);
        command.args(&model.argument).args(["--format", "q8_0", "--out"]).arg(&out);
        stdout_of(command).with_context(|| format!("cannot quantize {}", model.name))?;
        Ok(out)
    }

    /// Options with which our programs open the model, or its copy in fast precision.
    pub(super) fn opening(&self, model: &Model, weights: Weights) -> Result<Vec<OsString>> {
        let folder = match weights {
            Weights::Own => model.argument.clone().map(OsString::from),
            Weights::Quantized => Some(self.quantized(model)?.into_os_string()),
        };
        let products = if weights == Weights::Quantized { FAST } else { &[] };
        let model = folder.into_iter().flat_map(|folder| ["--model".into(), folder]);
        Ok(model.chain(products.iter().map(OsString::from)).collect())
    }
}
