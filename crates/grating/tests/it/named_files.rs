//! Weights under names of their own, and models that are named by a file.

use std::fs;
use std::path::Path;

use grating::{ModelSource, Reranker};

use crate::{copy_of, golden};

fn score(model: &Path) -> Result<f32, String> {
    let source = ModelSource::parse(model.to_str().unwrap()).map_err(|e| e.to_string())?;
    let reranker = Reranker::builder().source(source).build().map_err(|e| e.to_string())?;
    let selection = reranker.rerank("where is the river", &["by the city"], 1).unwrap();
    Ok(selection.results[0].raw_score.0)
}

#[test]
fn a_lone_file_of_any_name_is_the_folders_model_and_can_be_named() {
    let expected = score(&golden("bert-gelu-f32")).unwrap();
    for name in ["model-00001-of-00001.safetensors", "reranker.safetensors"] {
        let folder = copy_of(&golden("bert-gelu-f32"));
        fs::rename(folder.path().join("model.safetensors"), folder.path().join(name)).unwrap();
        assert_eq!(score(folder.path()), Ok(expected), "{name}");
        assert_eq!(score(&folder.path().join(name)), Ok(expected), "{name}");
    }
}

#[test]
fn one_of_several_is_named_by_its_file() {
    let folder = copy_of(&golden("bert-gelu-f32"));
    let (first, second) = ("a.safetensors", "b.safetensors");
    fs::rename(folder.path().join("model.safetensors"), folder.path().join(first)).unwrap();
    fs::copy(folder.path().join(first), folder.path().join(second)).unwrap();
    let error = score(folder.path()).unwrap_err();
    let named = folder.path().join(first);
    assert!([first, second, named.to_str().unwrap()].iter().all(|n| error.contains(n)), "{error}");
    assert_eq!(score(&named), score(&golden("bert-gelu-f32")));
}

#[test]
fn shards_without_their_index_and_one_of_them_named() {
    let case = golden("qwen2-bf16-sharded");
    let expected = score(&case).unwrap();
    let part = "model-00002-of-00004.safetensors";
    assert_eq!(score(&case.join(part)), Ok(expected));
    let folder = copy_of(&case);
    fs::remove_file(folder.path().join("model.safetensors.index.json")).unwrap();
    assert_eq!(score(folder.path()), Ok(expected));
    assert_eq!(score(&folder.path().join(part)), Ok(expected));
    fs::remove_file(folder.path().join(part)).unwrap();
    let error = score(folder.path()).unwrap_err();
    assert!(error.contains(part), "{error}");
}

#[test]
fn a_file_that_is_no_weights_says_to_name_the_folder() {
    let error = score(&golden("bert-gelu-f32").join("config.json")).unwrap_err();
    assert!(error.contains("no file of weights") && error.contains("folder"), "{error}");
}
