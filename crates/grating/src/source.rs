//! Where a model comes from: a folder, the hub, or the library itself.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;

use crate::catalog;
use crate::error::{Error, Result};

/// A model's place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ModelSource {
    /// The model embedded in the library (feature `default-model`).
    #[default]
    Default,
    /// A folder with `config.json`, `tokenizer.json` and safetensors weights, or with a GGUF file; or the file of one of
    /// several models in a folder.
    Path(PathBuf),
    /// A repository on the Hugging Face hub.
    Hub {
        /// `owner/name`; one of several GGUF files by its quantization or name, `owner/name:Q4_K_M` or
        /// `owner/name/file.gguf`.
        id: String,
        /// Branch, tag or commit; `main` where none is given.
        revision: Option<String>,
    },
}

impl ModelSource {
    /// Reads what a user typed: an existing folder or file wins, then `owner/name` is a hub id, and a
    /// [short name](crate::published_models) stands for one.
    ///
    /// ```
    /// use grating::ModelSource;
    /// assert!(matches!(ModelSource::parse("BAAI/bge-reranker-v2-m3")?, ModelSource::Hub { .. }));
    /// assert_eq!(ModelSource::parse("bge")?, ModelSource::parse("BAAI/bge-reranker-v2-m3")?);
    /// assert!(ModelSource::parse("./no/such/folder").is_err());
    /// # Ok::<(), grating::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoSuchModel`] when it is neither.
    pub fn parse(text: impl AsRef<OsStr>) -> Result<Self> {
        let text = text.as_ref();
        let path = PathBuf::from(text);
        if path.exists() {
            return Ok(ModelSource::Path(path));
        }
        let id = text.to_str().map(|text| catalog::id_of(text).unwrap_or(text));
        match id.filter(|id| is_hub_id(id)) {
            Some(id) => Ok(ModelSource::Hub { id: id.to_string(), revision: None }),
            None => Err(Error::NoSuchModel { model: text.to_string_lossy().into_owned() }),
        }
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelSource::Default => f.write_str("default"),
            ModelSource::Path(path) => path.display().fmt(f),
            ModelSource::Hub { id, revision: None } => f.write_str(id),
            ModelSource::Hub { id, revision: Some(revision) } => write!(f, "{id}@{revision}"),
        }
    }
}

/// The hub's own rule for names, as far as it tells an id from a path.
fn is_hub_id(text: &str) -> bool {
    let part = |s: &str| {
        !s.is_empty()
            && s.len() <= 96
            && !s.starts_with(['.', '-'])
            && s.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let file = |file: &str| file.split('/').all(part);
    let (text, choice) = match text.split_once(':') {
        Some((id, choice)) => (id, Some(choice)),
        None => (text, None),
    };
    match text.splitn(3, '/').collect::<Vec<_>>()[..] {
        [owner, name] => part(owner) && part(name) && choice.is_none_or(file),
        [owner, name, rest] => {
            let model = grating_io::is_model_file(rest) && choice.is_none();
            part(owner) && part(name) && file(rest) && model
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_folder_wins_and_paths_are_no_ids() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().to_str().unwrap();
        assert_eq!(ModelSource::parse(text).unwrap(), ModelSource::Path(folder.path().into()));
        for id in ["a/b", "a/b:Q4_K_M", "a/b/c-Q8_0.gguf", "a/b/x/c.gguf"] {
            let hub = ModelSource::Hub { id: id.into(), revision: None };
            assert_eq!(ModelSource::parse(id).unwrap(), hub);
        }
        for bad in ["a/b:", "a/b: x", "a/b/c.gguf:Q8_0", "C:/x", "a/b/../c.gguf"] {
            assert!(matches!(ModelSource::parse(bad), Err(Error::NoSuchModel { .. })), "{bad}");
        }
        for bad in ["", "name", "/abs/path", "./a", "../a/b", "a/b/c", "a b/c", "owner/"] {
            assert!(matches!(ModelSource::parse(bad), Err(Error::NoSuchModel { .. })), "{bad}");
        }
    }
}
