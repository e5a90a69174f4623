//! Models that are not in order: each gets an error that says what is wrong.

use std::fs;
use std::path::Path;

use grating::{Error, Reranker};

use crate::{copy_of, golden};

fn error(folder: &Path) -> String {
    match Reranker::builder().model(folder.to_str().unwrap()).build() {
        Ok(_) => panic!("{} was accepted", folder.display()),
        Err(error) => error.to_string(),
    }
}

/// Changes `config.json` and expects words in the error.
fn with_config(case: &str, change: impl Fn(&mut serde_json::Value), words: &[&str]) {
    let folder = copy_of(&golden(case));
    let path = folder.path().join("config.json");
    let mut config = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    fs::write(&path, config.to_string()).unwrap();
    let error = error(folder.path());
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
}

#[test]
fn no_such_model() {
    let error = Reranker::builder().model("./no/such/model").build().unwrap_err();
    assert!(matches!(error, Error::NoSuchModel { .. }), "{error}");
}

#[test]
fn missing_files_are_named() {
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let folder = copy_of(&golden("bert-gelu-f32"));
        fs::remove_file(folder.path().join(name)).unwrap();
        let error = error(folder.path());
        assert!(error.contains(name), "{name}: {error}");
    }
}

#[test]
fn pickle_checkpoints_are_refused_with_a_way_out() {
    let folder = copy_of(&golden("bert-gelu-f32"));
    fs::rename(folder.path().join("model.safetensors"), folder.path().join("pytorch_model.bin"))
        .unwrap();
    let error = error(folder.path());
    assert!(error.contains("pytorch_model.bin") && error.contains("safetensors"), "{error}");
}

#[test]
fn truncated_weights_are_found_before_they_are_needed() {
    let folder = copy_of(&golden("bert-gelu-f32"));
    let path = folder.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 100]).unwrap();
    let error = error(folder.path());
    assert!(error.contains("model.safetensors"), "{error}");
}

#[test]
fn config_and_weights_must_belong_together() {
    with_config(
        "bert-gelu-f32",
        |c| c["intermediate_size"] = 64.into(),
        &["intermediate.dense", "[60, 42]"],
    );
    with_config("bert-gelu-f32", |c| c["num_hidden_layers"] = 9.into(), &["layer.4", "lacks"]);
    with_config(
        "bert-gelu-f32",
        |c| c["num_hidden_layers"] = 2.into(),
        &["layer.2", "does not call for"],
    );
    with_config(
        "bert-gelu-f32",
        |c| c["architectures"][0] = "BertModel".into(),
        &["BertModel", "embedding models", "cross-encoder/ms-marco-MiniLM-L6-v2"],
    );
    with_config(
        "qwen3-tied-f32",
        |c| c["tie_word_embeddings"] = false.into(),
        &["no scoring head", "lm_head"],
    );
}

#[test]
fn damaged_json_is_named() {
    for name in ["config.json", "tokenizer.json"] {
        let folder = copy_of(&golden("bert-gelu-f32"));
        fs::write(folder.path().join(name), "{").unwrap();
        let error = error(folder.path());
        assert!(error.contains(name), "{error}");
    }
}

/// Where `tokenizers` itself panics on a file that ends early, that is an error like any other.
#[test]
fn a_tokenizer_cut_anywhere_is_an_error() {
    for case in ["bert-gelu-f32", "xlm-roberta-f32", "qwen3-tied-f32", "llama-f32"] {
        let folder = copy_of(&golden(case));
        let path = folder.path().join("tokenizer.json");
        let whole = fs::read(&path).unwrap();
        // Its decoder is read by way of a tree of values, and an end within that is what `tokenizers` panics on.
        let decoder = whole.windows(10).position(|at| at == b"\"decoder\":").unwrap();
        let sixteenths = (0..16).map(|n| whole.len() * n / 16);
        for end in sixteenths.chain((decoder..decoder + 60).step_by(3)) {
            fs::write(&path, &whole[..end]).unwrap();
            let error = error(folder.path());
            assert!(error.contains("tokenizer"), "{case}, {end}: {error}");
        }
    }
}

/// Written by a program that sorts fields, or by `tokenizers` before it named the type.
#[test]
fn a_unigram_model_is_known_wherever_its_type_stands_and_without_one() {
    let score = |folder: &Path| {
        let reranker = Reranker::builder().model(folder.to_str().unwrap()).build().unwrap();
        let texts = ["a </s> bridge", "the river"];
        let selection = reranker.rerank("where is the river", &texts, 2).unwrap();
        selection.results.iter().map(|r| r.raw_score.0).collect::<Vec<_>>()
    };
    let folder = copy_of(&golden("xlm-roberta-f32"));
    let expected = score(folder.path());
    let path = folder.path().join("tokenizer.json");
    // `serde_json` sorts fields: `byte_fallback` or `unk_id` comes before `type`.
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    fs::write(&path, json.to_string()).unwrap();
    assert!(!json["model"].to_string().starts_with(r#"{"type""#), "its fields are sorted");
    assert_eq!(score(folder.path()), expected);
    json["model"].as_object_mut().unwrap().remove("type").unwrap();
    fs::write(&path, json.to_string()).unwrap();
    assert_eq!(score(folder.path()), expected);
}

#[cfg(unix)]
#[test]
fn pipes_in_place_of_files_are_refused_at_once() {
    for name in ["config.json", "tokenizer.json", "grating.json", "model.safetensors"] {
        let folder = copy_of(&golden("llama-f32"));
        let path = folder.path().join(name);
        fs::remove_file(&path).unwrap();
        // As many bytes as anybody wants, and no end.
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let error = error(folder.path());
        assert!(error.contains(name) && error.contains("not a regular file"), "{error}");
    }
}

#[test]
fn a_plain_decoder_needs_its_template() {
    let folder = copy_of(&golden("llama-f32"));
    fs::remove_file(folder.path().join("grating.json")).unwrap();
    let error = error(folder.path());
    assert!(error.contains("grating.json"), "{error}");
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let folder = copy_of(&golden("bert-gelu-f32"));
    let other = golden("xlm-roberta-f32").join("tokenizer.json");
    fs::copy(other, folder.path().join("tokenizer.json")).unwrap();
    let error = error(folder.path());
    assert!(["Unigram", "`BertTokenizer`"].iter().all(|word| error.contains(word)), "{error}");
    // A class that takes the file as it is may be named; then it is the model's.
    let named = folder.path().join("tokenizer_config.json");
    fs::write(named, r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#).unwrap();
    assert!(Reranker::builder().model(folder.path().to_str().unwrap()).build().is_ok());
}

#[test]
fn not_a_number_in_the_weights_is_an_error_that_names_the_candidate() {
    let folder = copy_of(&golden("bert-gelu-f32"));
    let path = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let json: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let nan_in = |bytes: &mut [u8], tensor: &str| {
        let start = 8 + header + json[tensor]["data_offsets"][0].as_u64().unwrap() as usize;
        bytes[start..start + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    };
    nan_in(&mut bytes, "bert.encoder.layer.0.output.dense.weight");
    fs::write(&path, &bytes).unwrap();
    let reranker = Reranker::builder().model(folder.path().to_str().unwrap()).build().unwrap();
    match reranker.rerank("q", &["a", "b"], 1) {
        Err(Error::NotFinite { candidate: 0, layer: 3, score }) => assert!(score.is_nan()),
        other => panic!("{other:?}"),
    }
    // In the head it is found when the model is loaded.
    nan_in(&mut bytes, "classifier.weight");
    fs::write(&path, &bytes).unwrap();
    assert!(error(folder.path()).contains("classifier.weight"));
}

/// A link that leads nowhere is not the same as a file that is not there: the model would be taken for another.
#[cfg(unix)]
#[test]
fn links_that_lead_nowhere_are_errors_that_name_them() {
    let names = [
        "tokenizer.json",
        "tokenizer_config.json",
        "grating.json",
        "special_tokens_map.json",
        "modules.json",
    ];
    for name in names {
        let folder = copy_of(&golden("bert-gelu-f32"));
        let path = folder.path().join(name);
        _ = fs::remove_file(&path);
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        let error = error(folder.path());
        assert!(error.contains(name) && error.contains("a link that leads nowhere"), "{error}");
    }
}
