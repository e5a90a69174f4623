//! A model's files, found and opened but not yet understood.

use std::path::Path;

use grating_io::{Checkpoint, IoError};
use grating_model::{
    GgufFiles, LoadOptions, LoadedModel, ModelError, SideFiles, TokenizerFiles,
    names_an_architecture, refuse_adapter, wordpiece_json,
};

use crate::error::{Error, Result};
use crate::regular;
use crate::side_files;
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
    /// What lies beside it of [`TokenizerFiles::BESIDE`].
    pub(crate) beside_tokenizer: Vec<(&'static str, Vec<u8>)>,
    /// `grating.json`, where there is one.
    pub(crate) grating: Option<Vec<u8>>,
    /// Further small files that say what the model is, and its names.
    pub(crate) side_files: SideFiles,
    /// `grating-profile.json`, where there is one.
    pub(crate) profile: Option<Vec<u8>>,
    /// Which of the files above are the GGUF file's metadata.
    pub(crate) from_metadata: Vec<&'static str>,
    /// The weights; only the header is read.
    pub(crate) checkpoint: Checkpoint,
}

impl ModelFiles {
    /// Checks the files against one another and makes a model of them.
    pub(crate) fn load(&self, options: LoadOptions) -> Result<LoadedModel, ModelError> {
        let grating = self.grating.as_deref();
        let (config, tokenizer) = (&self.config, self.tokenizer_files());
        LoadedModel::load(config, tokenizer, grating, &self.side_files, &self.checkpoint, options)
    }

    /// All that decides which ids a text becomes.
    pub(crate) fn tokenizer_files(&self) -> TokenizerFiles<'_> {
        let beside = |name: &str| {
            let found = self.beside_tokenizer.iter().find(|(other, _)| *other == name);
            found.map(|(_, content)| content.as_slice())
        };
        TokenizerFiles::of(&self.tokenizer, beside)
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
        ModelSource::Path(path) => open_path(path, &path.display().to_string()),
        ModelSource::Hub { id, revision } => {
            let mut files = open_path(&fetch(id, revision.as_deref())?, &source.to_string())?;
            files.side_files.add_name(side_files::hub_name(id.clone()));
            Ok(files)
        }
    }
}

/// A folder, or one of several models in a folder by the file of its weights; the other files lie beside it.
fn open_path(path: &Path, name: &str) -> Result<ModelFiles> {
    let folder = match path.is_dir() {
        true => path,
        false if path.exists() => weights_folder(path)?,
        false => {
            let reason = "there is no such folder or file".into();
            return Err(Error::ModelFile { path: path.into(), reason });
        }
    };
    let side_files = side_files::read(folder)?;
    // Before what an adapter alone lacks.
    refuse_adapter(&side_files).map_err(|error| Error::of_model(name, error))?;
    let checkpoint = match Checkpoint::open(path) {
        // Nothing of a model is there: what it needs says more.
        Err(IoError::NoCheckpoint { candidates, .. })
            if candidates.is_empty() && !folder.join("config.json").exists() =>
        {
            read(&folder.join("config.json"))?;
            Checkpoint::open(path)?
        }
        opened => opened?,
    };
    let optional = |name: &str| {
        let path = folder.join(name);
        regular::exists(&path).then(|| read(&path)).transpose()
    };
    let written = Written {
        config: optional("config.json")?,
        tokenizer: optional("tokenizer.json")?,
        grating: optional("grating.json")?,
    };
    let (files, from_metadata) = match GgufFiles::of(&checkpoint) {
        Some(gguf) => written.completed(&gguf).map_err(|error| Error::of_model(name, error))?,
        None => (written, Vec::new()),
    };
    let config = match files.config {
        Some(config) => config,
        None => read(&folder.join("config.json"))?,
    };
    let beside_tokenizer = match from_metadata.contains(&TOKENIZER) {
        true => vec![("tokenizer_config.json", COMPLETE.to_vec())],
        false => beside_tokenizer(folder)?,
    };
    let tokenizer = match files.tokenizer {
        Some(tokenizer) => tokenizer,
        None => tokenizer_of_vocab_txt(folder, &config, &beside_tokenizer)?,
    };
    Ok(ModelFiles {
        config,
        tokenizer,
        beside_tokenizer,
        grating: files.grating,
        side_files,
        profile: optional(crate::profile::SHIPPED)?,
        from_metadata,
        name: name.to_string(),
        checkpoint,
    })
}

/// What of a model is its tokenizer, in [`ModelFiles::from_metadata`].
const TOKENIZER: &str = "tokenizer";

/// What stands beside a tokenizer that is made of a GGUF file's metadata: it is taken as it is, token types included.
const COMPLETE: &[u8] = br#"{"tokenizer_class": "PreTrainedTokenizerFast",
"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}"#;

/// The files beside `tokenizer.json` that are looked at.
fn beside_tokenizer(folder: &Path) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let there =
        TokenizerFiles::BESIDE.into_iter().filter(|name| regular::exists(&folder.join(name)));
    there.map(|name| Ok((name, read(&folder.join(name))?))).collect()
}

/// The small files that lie beside the weights.
struct Written {
    config: Option<Vec<u8>>,
    tokenizer: Option<Vec<u8>>,
    grating: Option<Vec<u8>>,
}

impl Written {
    /// What is not there is taken from the GGUF file's metadata; so is `config.json` where it is a stub, as in many
    /// repositories. A prompt in the metadata is the model's own, as its tokenizer is.
    fn completed(mut self, gguf: &GgufFiles<'_>) -> Result<(Self, Vec<&'static str>), ModelError> {
        let mut from_metadata = Vec::new();
        if !self.config.as_deref().is_some_and(names_an_architecture) {
            self.config = Some(gguf.config()?);
            from_metadata.push("sizes");
        }
        if self.tokenizer.is_none() {
            self.tokenizer = Some(gguf.tokenizer()?.tokenizer);
            from_metadata.push(TOKENIZER);
        }
        if self.grating.is_none()
            && let Some(grating) = gguf.grating()?
        {
            self.grating = Some(grating);
            from_metadata.push("prompt");
        }
        Ok((self, from_metadata))
    }
}

/// The folder of a file of weights.
fn weights_folder(file: &Path) -> Result<&Path> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    // Pickles and index files are for the checkpoint to judge.
    let weights = [".safetensors", ".gguf", ".index.json", ".bin", ".pt", ".pth", ".ckpt", ".pkl"];
    match (weights.iter().any(|ending| name.ends_with(ending)), file.parent()) {
        (true, Some(folder)) if folder.as_os_str().is_empty() => Ok(Path::new(".")),
        (true, Some(folder)) => Ok(folder),
        _ => {
            let reason = "it is no file of weights; name the folder that holds it".into();
            Err(Error::ModelFile { path: file.into(), reason })
        }
    }
}

/// What can be made of BERT's `vocab.txt` where there is no `tokenizer.json`.
fn tokenizer_of_vocab_txt(
    folder: &Path,
    config: &[u8],
    beside: &[(&str, Vec<u8>)],
) -> Result<Vec<u8>> {
    #[derive(Default, serde::Deserialize)]
    struct Names {
        model_type: Option<String>,
        tokenizer_class: Option<String>,
    }
    let names = |json: &[u8]| serde_json::from_slice::<Names>(json).unwrap_or_default();
    let (config, settings) =
        (names(config), beside.iter().find(|(n, _)| *n == "tokenizer_config.json"));
    let settings = settings.map(|(_, json)| names(json)).unwrap_or_default();
    let class = settings.tokenizer_class.or(config.tokenizer_class);
    let vocab = folder.join("vocab.txt");
    if regular::exists(&vocab) && (config.model_type.as_deref() == Some("bert") || class.is_some())
    {
        return Ok(wordpiece_json(&read(&vocab)?, class.as_deref())?);
    }
    const OTHERS: [&str; 7] = [
        "sentencepiece.bpe.model",
        "spiece.model",
        "tokenizer.model",
        "spm.model",
        "vocab.txt",
        "vocab.json",
        "merges.txt",
    ];
    let found = OTHERS.into_iter().filter(|name| regular::exists(&folder.join(name))).collect();
    Err(Error::NoTokenizerJson { folder: folder.into(), found })
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let fail = |reason: String| Error::ModelFile { path: path.into(), reason };
    let length = regular::metadata(path).map_err(|e| fail(e.to_string()))?.len();
    if length > MAX_JSON_BYTES {
        return Err(fail(format!("it has {length} bytes, at most {MAX_JSON_BYTES} are expected")));
    }
    let bytes = regular::read(path).map_err(|e| fail(e.to_string()))?;
    let is_json = path.extension().is_some_and(|ending| ending == "json");
    if let Some(problem) = not_json(&bytes).filter(|_| is_json) {
        return Err(Error::OtherContent { path: path.into(), problem });
    }
    Ok(match bytes.strip_prefix(BYTE_ORDER_MARK) {
        Some(text) => text.to_vec(),
        None => bytes,
    })
}

/// Some editors begin UTF-8 files with it; parsers of JSON do not know it.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What a file that should hold JSON holds instead, where its beginning tells, and what to do.
fn not_json(bytes: &[u8]) -> Option<String> {
    let text = bytes.trim_ascii_start();
    if text.is_empty() {
        return Some("an empty file; the download or copy did not happen, fetch it again".into());
    }
    if text.starts_with(b"version https://git-lfs") {
        return Some(format!(
            "a git-lfs pointer of {} bytes, not the file itself; run `git lfs pull` in the repository, or download \
             the file",
            bytes.len()
        ));
    }
    if text.starts_with(b"<") {
        let problem = "a web page under this name, not the file itself; download the file (models with a licence to \
                       accept need a login)";
        return Some(problem.into());
    }
    let utf16 = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    utf16.then(|| "UTF-16 text; save it as UTF-8, or download it again".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_is_told_by_its_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        for (content, words) in [
            (&b" \n"[..], "empty file"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
            (b"<!DOCTYPE html>", "web page"),
            (b"\xff\xfe{\0}\0", "UTF-16"),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("tokenizer.json"), "{error}");
        }
        std::fs::write(&path, "\u{feff}{}").unwrap();
        assert_eq!(read(&path).unwrap(), b"{}");
    }
}
