//! Which files of a repository a reranker needs.

use std::collections::BTreeSet;
use std::path::Path;

use super::{HubError, names};

pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";
const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
/// Fetched where the repository has them.
const OPTIONAL: [&str; 2] = ["tokenizer_config.json", "grating.json"];
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weights {
    Single,
    Sharded,
}

/// The files beside the weights, in the order they are fetched.
pub(super) fn small_files(id: &str, listing: &Listing) -> Result<Vec<&'static str>, HubError> {
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
    let optional = OPTIONAL.into_iter().filter(|file| listing.files.contains(*file));
    Ok([CONFIG, TOKENIZER].into_iter().chain(optional).collect())
}

/// The form of the weights; a single file wins over an index, as in transformers.
pub(super) fn weights(id: &str, listing: &Listing) -> Result<Weights, HubError> {
    if listing.files.contains(SINGLE) {
        return Ok(Weights::Single);
    }
    if listing.files.contains(INDEX) {
        return Ok(Weights::Sharded);
    }
    let found: Vec<_> =
        OTHER_WEIGHTS.into_iter().filter(|file| listing.files.contains(*file)).collect();
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

/// What a model folder lacks to be used, as repository paths; empty if it is complete.
pub(super) fn missing(folder: &Path) -> Result<Vec<String>, HubError> {
    let mut required = vec![CONFIG.to_string(), TOKENIZER.to_string()];
    if folder.join(SINGLE).exists() || !folder.join(INDEX).exists() {
        required.push(SINGLE.to_string());
    } else {
        required.extend(shards(&folder.join(INDEX))?);
    }
    required.retain(|file| !folder.join(file).exists());
    Ok(required)
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
            "README.md",
            "config.json",
            "grating.json",
            "model.safetensors",
            "onnx/model.onnx",
            "pytorch_model.bin",
            "tokenizer.json",
            "vocab.txt",
        ]);
        assert_eq!(
            small_files("a/b", &all).unwrap(),
            ["config.json", "tokenizer.json", "grating.json"]
        );
        assert_eq!(weights("a/b", &all).unwrap(), Weights::Single);
        assert_eq!(weights("a/b", &listing(&[INDEX])).unwrap(), Weights::Sharded);
    }

    #[test]
    fn a_repository_that_cannot_be_used_says_why() {
        let error = small_files("a/b", &listing(&["config.json"])).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json") && error.contains("save_pretrained"), "{error}");
        let error = weights("a/b", &listing(&["pytorch_model.bin"])).unwrap_err().to_string();
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
