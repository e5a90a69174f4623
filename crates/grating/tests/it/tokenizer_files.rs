//! What the files beside `tokenizer.json` decide, and what to do where it is not there.

use std::fs;
use std::path::Path;

use grating::{CheckStatus, ModelSource, Request, Reranker, WeightFormat};
use serde_json::{Value, json};

use crate::{copy_of, golden};

fn reranker(folder: &Path) -> Reranker {
    Reranker::builder().model(folder.to_str().unwrap()).threads(1).build().unwrap()
}

fn source(folder: &Path) -> ModelSource {
    ModelSource::Path(folder.into())
}

/// Score of a text, and whether it was cut.
fn score(reranker: &Reranker, text: &str) -> (f32, bool) {
    let result = reranker.run(Request::new("where is the River", &[text], 1)).unwrap().results[0];
    (result.raw_score.0, result.truncated)
}

/// A copy of a golden model with that `tokenizer_config.json`.
fn with_settings(case: &str, settings: &Value) -> tempfile::TempDir {
    let folder = copy_of(&golden(case));
    fs::write(folder.path().join("tokenizer_config.json"), settings.to_string()).unwrap();
    folder
}

#[test]
fn the_limit_is_the_models_own() {
    for (case, settings, expected) in [
        ("bert-gelu-f32", json!({"model_max_length": 64}), 64),
        ("bert-gelu-f32", json!({"model_max_length": 1e30}), 160),
        ("bert-gelu-f32", json!({"model_max_length": 1024}), 160),
        ("bert-gelu-f32", json!({}), 160),
        // 162 positions, of which two are for padding and what is before it.
        ("xlm-roberta-f32", json!({"model_max_length": 1024}), 160),
        ("qwen3-tied-f32", json!({"model_max_length": 200}), 200),
        ("qwen3-tied-f32", json!({"model_max_length": 131072}), 512),
        // What `grating.json` says comes first.
        ("qwen2-f32", json!({"model_max_length": 200}), 128),
    ] {
        let folder = with_settings(case, &settings);
        let model = reranker(folder.path());
        assert_eq!(model.info().max_length, expected, "{case} {settings}");
    }
    let long = "the window ".repeat(200);
    let folder = with_settings("bert-gelu-f32", &json!({"model_max_length": 64}));
    let found = score(&reranker(folder.path()), &long);
    let path = golden("bert-gelu-f32");
    let builder = Reranker::builder().model(path.to_str().unwrap()).max_length(64);
    assert_eq!(found, score(&builder.threads(1).build().unwrap(), &long));
    assert!(found.1 && found.0 != score(&reranker(&path), &long).0);
}

#[test]
fn what_sentence_transformers_saved_wins_over_the_tokenizers_limit() {
    let folder = with_settings("bert-gelu-f32", &json!({"model_max_length": 64}));
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("sentence_bert_config.json", r#"{"max_seq_length": 32}"#);
    assert_eq!(reranker(folder.path()).info().max_length, 64, "alone it is not read");
    let transformer = "sentence_transformers.base.modules.transformer.Transformer";
    write(
        "modules.json",
        &format!(r#"[{{"idx": 0, "name": "0", "path": "", "type": "{transformer}"}}]"#),
    );
    write("config_sentence_transformers.json", r#"{"model_type": "CrossEncoder"}"#);
    assert_eq!(reranker(folder.path()).info().max_length, 32);
    write("sentence_bert_config.json", r#"{"max_seq_length": 700}"#);
    assert_eq!(reranker(folder.path()).info().max_length, 160);
}

#[test]
fn a_quantized_copy_reads_texts_alike() {
    let settings = json!({"model_max_length": 96, "do_lower_case": false});
    let folder = with_settings("bert-gelu-f32", &settings);
    let out = folder.path().join("q8");
    grating::quantize(&source(folder.path()), WeightFormat::Q8_0, &out).unwrap();
    assert_eq!(reranker(&out).info().max_length, 96);
    let written: Value =
        serde_json::from_slice(&fs::read(out.join("tokenizer_config.json")).unwrap()).unwrap();
    assert_eq!(written, settings);
}

#[test]
fn a_vocab_txt_stands_in_for_tokenizer_json() {
    let folder = copy_of(&golden("bert-gelu-f32"));
    let path = folder.path().join("tokenizer.json");
    let json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut vocab: Vec<(&String, &Value)> =
        json["model"]["vocab"].as_object().unwrap().iter().collect();
    vocab.sort_by_key(|(_, id)| id.as_u64());
    let lines: String = vocab.iter().map(|(token, _)| format!("{token}\n")).collect();
    let text = "The River runs through the città.";
    let expected = score(&reranker(folder.path()), text);
    fs::remove_file(&path).unwrap();
    fs::write(folder.path().join("vocab.txt"), lines).unwrap();
    assert_eq!(score(&reranker(folder.path()), text), expected);
}

#[test]
fn without_a_tokenizer_json_it_is_said_how_to_make_one() {
    let folder = copy_of(&golden("xlm-roberta-f32"));
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    fs::write(folder.path().join("sentencepiece.bpe.model"), "x").unwrap();
    let builder = Reranker::builder().model(folder.path().to_str().unwrap());
    let error = builder.build().unwrap_err().to_string();
    let words = ["has no tokenizer.json", "only sentencepiece.bpe.model", "save_pretrained"];
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
    assert_eq!(error.matches("tokenizer.json").count(), 1, "{error}");
    let report = grating::doctor(&source(folder.path()));
    assert!(report.checks[0].detail.contains("save_pretrained"), "{report:?}");
    assert!(report.checks[0].remedy.as_deref().unwrap().contains("tokenizer.json"));
}

#[test]
fn doctor_reports_files_that_disagree() {
    let check = |settings: Value| {
        let folder = with_settings("bert-gelu-f32", &settings);
        let report = grating::doctor(&source(folder.path()));
        report.checks.into_iter().find(|check| check.name == "tokenizer's files")
    };
    assert_eq!(check(json!({"do_lower_case": true})), None);
    let found = check(json!({"do_lower_case": false})).unwrap();
    assert_eq!(found.status, CheckStatus::Warn);
    assert!(found.detail.contains("\"lowercase\":false"), "{found:?}");
}
