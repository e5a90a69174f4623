//! A model's files, found and opened but not yet understood.

use std::path::Path;

use grating_io::Checkpoint;
use grating_model::{LoadOptions, LoadedModel, ModelError};

use crate::error::{Error, Result};
use crate::source::ModelSource;

/// What every model consists of.
#[derive(Debug)]
pub(crate) struct ModelFiles {
    /// For messages and reports.
    pub(crate) name: String,
    /// `config.json`.
    pub(crate) config: Vec<u8>,
    /// `tokenizer.json`.
    pub(crate) tokenizer: Vec<u8>,
    /// `grating.json`, where there is one.
    pub(crate) grating: Option<Vec<u8>>,
    /// `grating-profile.json`, where there is one.
    pub(crate) profile: Option<Vec<u8>>,
    /// The weights; only the header is read.
    pub(crate) checkpoint: Checkpoint,
}

impl ModelFiles {
    /// Checks the files against one another and makes a model of them.
    pub(crate) fn load(&self, options: LoadOptions) -> Result<LoadedModel, ModelError> {
        let grating = self.grating.as_deref();
        LoadedModel::load(&self.config, &self.tokenizer, grating, &self.checkpoint, options)
    }
}

/// `config.json` and its neighbours are small; anything larger is another file under that name.
const MAX_JSON_BYTES: u64 = 256 << 20;

/// Opens a model; a hub id is fetched through `fetch` first.
pub(crate) fn open(
    source: &ModelSource,
    fetch: impl FnOnce(&str, Option<&str>) -> Result<std::path::PathBuf>,
) -> Result<ModelFiles> {
    match source {
        ModelSource::Default => crate::default_model::open(),
        ModelSource::Path(path) => open_folder(path),
        ModelSource::Hub { id, revision } => {
            let mut files = open_folder(&fetch(id, revision.as_deref())?)?;
            files.name = source.to_string();
            Ok(files)
        }
    }
}

fn open_folder(folder: &Path) -> Result<ModelFiles> {
    if !folder.is_dir() {
        let reason = match folder.exists() {
            true => "it is a file; name the folder that holds it",
            false => "there is no such folder",
        };
        return Err(Error::ModelFile { path: folder.into(), reason: reason.into() });
    }
    let config = read(&folder.join("config.json"))?;
    let checkpoint = Checkpoint::open(folder)?;
    let tokenizer = read(&folder.join("tokenizer.json"))?;
    let optional = |name: &str| {
        let path = folder.join(name);
        path.exists().then(|| read(&path)).transpose()
    };
    Ok(ModelFiles {
        name: folder.display().to_string(),
        config,
        tokenizer,
        grating: optional("grating.json")?,
        profile: optional(crate::profile::SHIPPED)?,
        checkpoint,
    })
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let fail = |reason: String| Error::ModelFile { path: path.into(), reason };
    let length = std::fs::metadata(path).map_err(|e| fail(e.to_string()))?.len();
    if length > MAX_JSON_BYTES {
        return Err(fail(format!("it has {length} bytes, at most {MAX_JSON_BYTES} are expected")));
    }
    std::fs::read(path).map_err(|e| fail(e.to_string()))
}
