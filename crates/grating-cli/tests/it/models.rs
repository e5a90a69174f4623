//! Models of the hub: the list, and what is in the cache.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{TEXTS, grating_with};

const ID: &str = "cross-encoder/ms-marco-MiniLM-L6-v2";

/// A cache in which the model of the short name `minilm` is whole.
fn cache() -> (tempfile::TempDir, PathBuf) {
    let cache = tempfile::tempdir().unwrap();
    let repository = cache.path().join("models--cross-encoder--ms-marco-MiniLM-L6-v2");
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let snapshot = repository.join("snapshots").join(commit);
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(repository.join("refs")).unwrap();
    std::fs::write(repository.join("refs/main"), commit).unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/default");
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(model.join(file), snapshot.join(file)).unwrap();
    }
    (cache, snapshot)
}

/// Standard output, standard error and exit code; nobody listens at the hub's address.
fn run(cache: &Path, offline: bool, args: &[&str]) -> (String, String, Option<i32>) {
    let offline = if offline { "1" } else { "0" };
    let cache = cache.to_str().unwrap();
    let variables = [
        ("HF_HUB_CACHE", cache),
        ("HF_HUB_OFFLINE", offline),
        ("HF_ENDPOINT", "http://127.0.0.1:9"),
    ];
    let output = grating_with(args, TEXTS, &variables);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

#[test]
fn the_list_says_what_is_in_the_cache() {
    let (cache, snapshot) = cache();
    let empty = tempfile::tempdir().unwrap();
    for (cache, cached) in [(cache.path(), Some(&snapshot)), (empty.path(), None)] {
        let (table, error, code) = run(cache, false, &["models"]);
        assert_eq!((error.as_str(), code), ("", Some(0)));
        let line = table.lines().find(|line| line.starts_with("minilm ")).unwrap();
        assert!(line.contains(ID) && line.ends_with("yes") == cached.is_some(), "{line}");
        let (json, _, _) = run(cache, false, &["models", "--json"]);
        let models: Vec<Value> = serde_json::from_str(&json).unwrap();
        assert_eq!(models.len(), grating::published_models().len());
        let model = models.iter().find(|model| model["id"] == ID).unwrap();
        assert_eq!(model["cached"].as_str(), cached.map(|path| path.to_str().unwrap()));
        assert_eq!(model["tokens"], 512);
    }
}

#[test]
fn offline_no_connection_is_tried() {
    let (cache, _) = cache();
    for (option, said) in [(&["--offline"][..], ""), (&[], "the hub cannot be reached")] {
        let args = [&["rerank", "-q", "river", "-k", "1", "-m", "minilm"][..], option].concat();
        let (out, error, code) = run(cache.path(), false, &args);
        assert_eq!(code, Some(0), "{error}");
        assert_eq!(out.lines().count(), 1);
        assert!(error.contains(said) && error.is_empty() == said.is_empty(), "{error}");
    }
    let (_, error, code) = run(cache.path(), false, &["inspect", "bge", "--offline"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("BAAI/bge-reranker-v2-m3"), "{error}");
}

#[test]
fn pulled_is_what_is_printed() {
    let (cache, snapshot) = cache();
    let (out, error, code) = run(cache.path(), true, &["pull", "minilm", ID]);
    assert_eq!((error.as_str(), code), ("", Some(0)));
    let folder = snapshot.to_str().unwrap();
    assert_eq!(out.lines().collect::<Vec<_>>(), [folder, folder]);
    for (model, words) in
        [("bge", "bge-reranker-v2-m3"), ("./nowhere", "./nowhere"), (".", "here already")]
    {
        let (out, error, code) = run(cache.path(), true, &["pull", model]);
        assert_eq!((out.as_str(), code), ("", Some(1)), "{error}");
        assert!(error.contains(words), "{error}");
    }
}
