//! Errors say their cause once, in the message or in the chain of sources but not in both.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use grating::calibrate::{Dataset, Traces};
use grating::{Error, ModelSource, Profile, Reranker, RerankerBuilder, Spill, WeightFormat};

use crate::{copy_of, golden};

/// The messages from the error to its last source.
fn chain(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect()
}

/// As whoever prints the whole chain sees it: no part is there twice.
fn check(error: impl Into<Error>) {
    let error = error.into();
    let said = chain(&error).join(": ");
    let mut seen = HashSet::new();
    let parts = said.split([':', ';']).map(str::trim).filter(|part| part.len() > 3);
    for part in parts {
        assert!(seen.insert(part), "`{part}` is said twice: {said}");
    }
}

fn model(folder: &Path) -> RerankerBuilder {
    Reranker::builder().model(folder)
}

#[test]
fn damaged_models_say_a_cause_once() {
    for case in ["bert-gelu-f32", "qwen3-untied-bf16-sharded", "llama-f32"] {
        let names: Vec<_> =
            fs::read_dir(golden(case)).unwrap().map(|e| e.unwrap().file_name()).collect();
        for name in names.iter().filter(|name| *name != "golden.json") {
            let folder = copy_of(&golden(case));
            let path = folder.path().join(name);
            let whole = fs::read(&path).unwrap();
            for damage in [&b""[..], b"{", b"{}", b"[1]", b"\xff", &whole[..whole.len() / 2]] {
                fs::write(&path, damage).unwrap();
                check_all(folder.path());
            }
            fs::remove_file(&path).unwrap();
            check_all(folder.path());
            fs::create_dir(&path).unwrap();
            check_all(folder.path());
        }
    }
}

/// Whatever loads it.
fn check_all(folder: &Path) {
    if let Err(error) = model(folder).build() {
        check(error);
    }
    let source = ModelSource::Path(folder.into());
    if let Err(error) = grating::inspect(&source) {
        check(error);
    }
}

#[test]
fn files_of_calibration_say_a_cause_once() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("no/such/file");
    let text = folder.path().join("text");
    fs::write(&text, "plain text\n").unwrap();
    for path in [&nowhere, &text, &folder.path().to_path_buf()] {
        check(Profile::read(path).unwrap_err());
        check(Traces::read(path).unwrap_err());
        check(Dataset::read(path).unwrap_err());
    }
}

#[test]
fn settings_and_requests_say_a_cause_once() {
    let folder = golden("bert-gelu-f32");
    let builder = || model(&folder);
    check(builder().threads(0).build().unwrap_err());
    check(builder().max_length(1).build().unwrap_err());
    check(builder().max_length(1 << 20).build().unwrap_err());
    check(Reranker::builder().model("no such model").build().unwrap_err());
    let reranker = builder().memory_budget(1 << 20).build();
    if let Err(error) = reranker {
        check(error);
    }
    let reranker = builder().build().unwrap();
    check(reranker.rerank("x", &["a"], 0).unwrap_err());
    check(reranker.rerank::<&str>("x", &[], 1).unwrap_err());
    check(reranker.plan(usize::MAX, 1).unwrap_err());
    check(reranker.plan(0, 1).unwrap_err());
    let source = ModelSource::Path(folder.clone());
    let there = tempfile::tempdir().unwrap();
    check(grating::quantize(&source, WeightFormat::Q8_0, there.path()).unwrap_err());
    let nowhere = there.path().join("no/such/folder");
    check(grating::quantize(&source, WeightFormat::Q8_0, &nowhere).unwrap_err());
}

/// A disk that takes no hidden states says nothing about the model.
#[test]
fn a_folder_that_takes_no_hidden_states_is_not_the_checkpoints_fault() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("gone");
    let builder = model(&golden("bert-gelu-f32")).spill(Spill::Always).spill_folder(&nowhere);
    let texts: Vec<String> = (0..40).map(|i| format!("river {i}")).collect();
    let outcome =
        builder.chunk_tokens(32).build().and_then(|reranker| reranker.rerank("x", &texts, 3));
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::Spill(_)), "{error}");
    let words = error.to_string();
    assert!(words.contains("--spill-folder") && words.contains("gone"), "{words}");
    check(error);
}
