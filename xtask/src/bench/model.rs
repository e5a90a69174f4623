//! The models of a run: the built-in one, planted checkpoints made on demand, folders, hub ids.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use super::args::BenchArgs;
use super::binary::Binary;
use crate::models::planted::{self, CONSTRUCTION, DESCRIPTION, Description, PlantedArgs, Profile};
use crate::models::shape_names;
use crate::process::{root, stdout_of};

/// A model to measure.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Model {
    pub(super) name: String,
    /// What `--model` gets; nothing for the built-in model.
    #[serde(skip)]
    pub(super) argument: Option<String>,
    /// Its folder, for the peers and the page cache.
    #[serde(skip)]
    pub(super) folder: Option<PathBuf>,
    /// What it says of itself, where it is planted.
    #[serde(skip)]
    pub(super) planted: Option<Description>,
    /// What `grating inspect` says of it, the tensors left out.
    pub(super) info: Value,
}

/// Weights of more than this make a model heavy.
const HEAVY_BYTES: u64 = 4 << 30;

impl Model {
    /// What tells planted weights of this shape from others, as part of a cell's key.
    pub(super) fn planted_as(&self) -> Option<(&Profile, u64, u32)> {
        self.planted.as_ref().map(|p| (&p.profile, p.seed, p.construction))
    }

    /// The name with the mark that planted models carry wherever they appear.
    pub(super) fn shown(&self) -> String {
        match self.planted {
            Some(_) => format!("{} (planted)", self.name),
            None => self.name.clone(),
        }
    }

    pub(super) fn is_decoder(&self) -> bool {
        let family = self.info["family"].as_str().unwrap_or_default().to_lowercase();
        !family.contains("bert")
    }

    /// Bytes of all weights as stored.
    pub(super) fn weight_bytes(&self) -> u64 {
        self.info["weight_bytes"].as_u64().unwrap_or(0)
    }

    /// Whether a pass takes minutes, so that only few are worth their time.
    pub(super) fn is_heavy(&self) -> bool {
        self.weight_bytes() > HEAVY_BYTES
    }

    /// Tokens around a text: the template and a short query.
    pub(super) fn overhead_tokens(&self) -> usize {
        if self.is_decoder() { 100 } else { 16 }
    }
}

/// Resolves every `--model`, writing planted checkpoints that are not there.
pub(super) fn resolve(args: &BenchArgs, binary: &Binary) -> Result<Vec<Model>> {
    args.model.iter().map(|name| one(name, args, binary)).collect()
}

fn one(name: &str, args: &BenchArgs, binary: &Binary) -> Result<Model> {
    let path = Path::new(name);
    let (argument, folder) = if name == "default" {
        (None, Some(root().join("models/default")))
    } else if path.is_dir() {
        (Some(name.to_owned()), Some(std::path::absolute(path)?))
    } else if shape_names().contains(&name) {
        let folder = plant(name, args)?;
        (Some(folder.display().to_string()), Some(folder))
    } else {
        (Some(name.to_owned()), None)
    };
    let planted = folder.as_deref().map(description).transpose()?.flatten();
    let name = match (&planted, path.is_dir()) {
        (Some(planted), _) => planted.shape.clone(),
        (None, true) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        (None, false) => name.to_owned(),
    };
    let info = inspect(binary, argument.as_deref())?;
    Ok(Model { name, argument, folder, planted, info })
}

fn inspect(binary: &Binary, model: Option<&str>) -> Result<Value> {
    let mut args = vec!["inspect"];
    args.extend(model);
    args.push("--json");
    let report: Value = serde_json::from_slice(&stdout_of(binary.command(&args))?)
        .context("`grating inspect --json` prints no JSON")?;
    Ok(report["info"].clone())
}

/// What a folder says of itself if it is planted.
fn description(folder: &Path) -> Result<Option<Description>> {
    let path = folder.join(DESCRIPTION);
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path)?;
    let read = serde_json::from_str(&text);
    Ok(Some(read.with_context(|| format!("{} is not what was written", path.display()))?))
}

/// The planted checkpoint of a shape; written anew when its seed, profile or construction is another.
fn plant(shape: &str, args: &BenchArgs) -> Result<PathBuf> {
    let models = root().join(&args.models_dir);
    let out = models.join(format!("planted-{shape}"));
    let kept = description(&out).ok().flatten();
    let is_meant = |kept: &Description| {
        let made_so = (kept.seed, kept.construction) == (args.seed, CONSTRUCTION);
        made_so && kept.profile == Profile::default_model()
    };
    if kept.as_ref().is_some_and(is_meant) {
        return Ok(out);
    }
    eprintln!("bench: writing planted weights of {shape}");
    let plant = PlantedArgs {
        shape: shape.to_owned(),
        profile: None,
        dtype: None,
        seed: args.seed,
        layers: None,
        force: true,
        out: out.clone(),
    };
    planted::run(&plant, &AtomicBool::new(false))?;
    Ok(out)
}
