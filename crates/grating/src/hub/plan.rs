//! Which files of a repository a reranker needs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use grating_model::{SideFiles, TokenizerFiles};

use super::{HubError, models, names};

pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";
const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
/// Fetched where the repository has it, as the small files are that say what the model is.
const GRATING: &str = "grating.json";
/// Weights that are never read: loading a pickle runs code of its author.
const OTHER_WEIGHTS: [&str; 6] = [
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "tf_model.h5",
    "flax_model.msgpack",
    "model.onnx",
    "onnx/model.onnx",
];

/// What the hub says about a revision.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: BTreeSet<String>,
}

/// Where the weights are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Weights {
    Single,
    Sharded,
    /// A file under another name, or all its parts in order.
    Model(Vec<String>),
}

impl Weights {
    /// Whether the file says what else a model's folder says.
    fn is_gguf(&self) -> bool {
        match self {
            Weights::Model(files) => files.iter().any(|file| models::is_gguf(file)),
            _ => false,
        }
    }
}

/// What to fetch: the files beside the weights, and the weights.
pub(super) fn files(
    id: &str,
    listing: &Listing,
    choice: Option<&str>,
) -> Result<(Vec<String>, Weights), HubError> {
    let weights = match weights(id, &listing.files, choice) {
        // That there is no model at all says more.
        Err(error @ HubError::NoSafetensors { .. }) => {
            small_files(id, listing, &Weights::Single)?;
            return Err(error);
        }
        weights => weights?,
    };
    Ok((small_files(id, listing, &weights)?, weights))
}

/// The files beside the weights, in the order they are fetched.
fn small_files(id: &str, listing: &Listing, weights: &Weights) -> Result<Vec<String>, HubError> {
    let described = |file: &&String| {
        *file == GRATING
            || SideFiles::is_wanted(file)
            || TokenizerFiles::BESIDE.contains(&file.as_str())
    };
    let optional = listing.files.iter().filter(described);
    if weights.is_gguf() {
        let named = [CONFIG, TOKENIZER].iter().filter_map(|file| listing.files.get(*file));
        return Ok(named.chain(optional).cloned().collect());
    }
    for file in [CONFIG, TOKENIZER] {
        if !listing.files.contains(file) {
            let hint = if file == TOKENIZER {
                "save the fast tokenizer with transformers (`AutoTokenizer.from_pretrained(id).save_pretrained(folder)`) \
                 and give that folder"
            } else {
                "this is not a transformers model; look for the repository that its card names"
            };
            return Err(HubError::MissingFile { id: id.to_string(), file: file.to_string(), hint });
        }
    }
    Ok([CONFIG, TOKENIZER].map(str::to_string).into_iter().chain(optional.cloned()).collect())
}

/// The form of the weights among `files`; a single file wins over an index, as in transformers, and both over files of
/// other names. `choice` names one of those, wholly or by its quantization.
fn weights(id: &str, files: &BTreeSet<String>, choice: Option<&str>) -> Result<Weights, HubError> {
    if choice.is_none() && files.contains(SINGLE) {
        return Ok(Weights::Single);
    }
    if choice.is_none() && files.contains(INDEX) {
        return Ok(Weights::Sharded);
    }
    if let Some(model) = models::choose(id, files, choice)? {
        return Ok(Weights::Model(model));
    }
    let found: Vec<_> = OTHER_WEIGHTS.into_iter().filter(|file| files.contains(*file)).collect();
    let found = if found.is_empty() { "no weights".to_string() } else { found.join(", ") };
    Err(HubError::NoSafetensors { id: id.to_string(), found })
}

/// The shards that the index at `path` names, sorted.
pub(super) fn shards(path: &Path) -> Result<Vec<String>, HubError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: std::collections::HashMap<String, String>,
    }
    let bad = |reason: String| HubError::BadIndex { path: path.to_path_buf(), reason };
    let bytes = crate::regular::read(path).map_err(|e| HubError::io("read", path, e))?;
    let index: Index = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    if shards.is_empty() {
        return Err(bad("it names no shards".to_string()));
    }
    if let Some(shard) = shards.iter().find(|shard| !names::is_safe_file(shard)) {
        return Err(bad(format!(
            "it names the file {shard:?}, which is not a plain relative path"
        )));
    }
    Ok(shards.into_iter().collect())
}

/// What of a model a snapshot folder has.
pub(super) struct Local {
    /// Repository paths of what it lacks; empty if it is complete.
    pub(super) missing: Vec<String>,
    pub(super) weights: Weights,
}

/// Looks for the model, or for the one that `choice` names, in a snapshot folder.
pub(super) fn local(id: &str, folder: &Path, choice: Option<&str>) -> Result<Local, HubError> {
    let files = models::in_folder(folder);
    let weights = match weights(id, &files, choice) {
        Ok(weights) => weights,
        Err(HubError::NoSafetensors { .. }) => Weights::Single,
        Err(HubError::NoSuchModel { choice, .. }) => {
            return Ok(Local { missing: vec![choice], weights: Weights::Single });
        }
        Err(other) => return Err(other),
    };
    let mut required = match weights.is_gguf() {
        true => Vec::new(),
        false => vec![CONFIG.to_string(), TOKENIZER.to_string()],
    };
    match &weights {
        Weights::Single => required.push(SINGLE.to_string()),
        Weights::Sharded => required.extend(shards(&folder.join(INDEX))?),
        Weights::Model(files) => required.extend(files.iter().cloned()),
    }
    required.retain(|file| !folder.join(file).exists());
    Ok(Local { missing: required, weights })
}

/// What names the model in its snapshot: the folder, or the first file of one under a name of its own.
pub(super) fn path(snapshot: PathBuf, weights: &Weights) -> PathBuf {
    match weights {
        Weights::Model(files) => snapshot.join(&files[0]),
        Weights::Single | Weights::Sharded => snapshot,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(files: &[&str]) -> Listing {
        Listing { commit: "c".into(), files: files.iter().map(|f| f.to_string()).collect() }
    }

    #[test]
    fn only_what_is_needed_is_taken() {
        let all = listing(&[
            "1_LogitScore/config.json",
            "README.md",
            "config.json",
            "grating.json",
            "model.safetensors",
            "onnx/model.onnx",
            "pytorch_model.bin",
            "tokenizer.json",
            "vocab.txt",
        ]);
        let found = weights("a/b", &all.files, None).unwrap();
        assert_eq!(found, Weights::Single);
        assert_eq!(
            small_files("a/b", &all, &found).unwrap(),
            [
                "config.json",
                "tokenizer.json",
                "1_LogitScore/config.json",
                "README.md",
                "grating.json"
            ]
        );
        let sharded = listing(&[INDEX, "model-00001-of-00001.safetensors"]);
        assert_eq!(weights("a/b", &sharded.files, None).unwrap(), Weights::Sharded);
    }

    #[test]
    fn a_gguf_file_needs_nothing_beside_it() {
        let all = listing(&["README.md", "config.json", "m-Q8_0.gguf", "mmproj-f16.gguf"]);
        let found = weights("a/b", &all.files, None).unwrap();
        assert_eq!(found, Weights::Model(vec!["m-Q8_0.gguf".into()]));
        assert_eq!(small_files("a/b", &all, &found).unwrap(), ["config.json", "README.md"]);
    }

    #[test]
    fn a_repository_that_cannot_be_used_says_why() {
        let only = listing(&["config.json"]);
        let error = small_files("a/b", &only, &Weights::Single).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json") && error.contains("save_pretrained"), "{error}");
        let pickle = listing(&["pytorch_model.bin"]);
        let error = weights("a/b", &pickle.files, None).unwrap_err().to_string();
        assert!(
            error.contains("pytorch_model.bin") && error.contains("safe_serialization"),
            "{error}"
        );
    }

    #[test]
    fn an_index_cannot_name_files_outside_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(INDEX);
        for (text, good) in [
            (
                r#"{"weight_map": {"a": "m-2.safetensors", "b": "m-1.safetensors", "c": "m-1.safetensors"}}"#,
                true,
            ),
            (r#"{"weight_map": {"a": "../../x"}}"#, false),
            (r#"{"weight_map": {"a": "/etc/passwd"}}"#, false),
            (r#"{"weight_map": {}}"#, false),
            ("{", false),
        ] {
            std::fs::write(&path, text).unwrap();
            match shards(&path) {
                Ok(shards) => assert!(good && shards == ["m-1.safetensors", "m-2.safetensors"]),
                Err(error) => {
                    assert!(!good && matches!(error, HubError::BadIndex { .. }), "{text}: {error}")
                }
            }
        }
    }
}
