//! What a model's own files say of its prompt and head is what it is run with, or it is refused by name.
//!
//! `tests/identity/goldens.json` comes from sentence-transformers (`xtask/goldens/sentence_transformers_files.py`).

use std::fs;
use std::path::{Path, PathBuf};

use grating::{CheckStatus, ModelSource, Precision, Reranker, WeightFormat};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{copy_of, golden};

/// As in the golden tests: the same weights in the same type.
const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Goldens {
    pairs: Vec<(String, String)>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    checkpoint: String,
    weights: Option<String>,
    files: std::collections::BTreeMap<String, String>,
    /// Others than usual.
    pairs: Option<Vec<(String, String)>>,
    scores: Vec<f32>,
    /// What `predict` returns where nothing is asked of it.
    predicted: Vec<f32>,
}

fn goldens() -> Goldens {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/identity/goldens.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn case(name: &str) -> Case {
    goldens().cases.into_iter().find(|case| case.name == name).unwrap()
}

/// A golden checkpoint as published: without the `grating.json` that says what its files do not.
fn published(checkpoint: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = copy_of(&golden(checkpoint));
    _ = fs::remove_file(folder.path().join("grating.json"));
    for (path, content) in files {
        put(folder.path(), path, content);
    }
    folder
}

fn put(folder: &Path, path: &str, content: &str) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

impl Case {
    fn folder(&self) -> tempfile::TempDir {
        let files: Vec<(&str, &str)> =
            self.files.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
        let folder = published(&self.checkpoint, &files);
        if let Some(rule) = &self.weights {
            change_weights(&folder.path().join("model.safetensors"), rule);
        }
        folder
    }
}

/// The rules of the golden script: `lm_head.weight` made of the embeddings.
fn change_weights(path: &Path, rule: &str) {
    let bytes = fs::read(path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut json: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let mut data = bytes[8 + header..].to_vec();
    let mut head = json["model.embed_tokens.weight"].clone();
    let offset = |i: usize| head["data_offsets"][i].as_u64().unwrap() as usize;
    let table = data[offset(0)..offset(1)].to_vec();
    if rule == "lm_head alone" {
        json.as_object_mut().unwrap().remove("model.embed_tokens.weight");
    } else {
        let rows = table.chunks(table.len() / head["shape"][0].as_u64().unwrap() as usize);
        let start = data.len();
        match rule {
            "lm_head of its own" => rows.rev().for_each(|row| data.extend(row)),
            "lm_head equal" => data.extend(&table),
            other => panic!("{other}"),
        }
        head["data_offsets"] = json!([start, data.len()]);
    }
    json["lm_head.weight"] = head;
    let header = json.to_string();
    let length = (header.len() as u64).to_le_bytes();
    fs::write(path, [&length[..], header.as_bytes(), &data].concat()).unwrap();
}

fn build(folder: &Path) -> grating::Result<Reranker> {
    Reranker::builder()
        .model(folder.to_str().unwrap())
        .precision(Precision::Full)
        .threads(1)
        .build()
}

fn refusal(folder: &Path) -> String {
    match build(folder) {
        Ok(reranker) => panic!("taken for {:?}", reranker.info().prompt),
        Err(error) => error.to_string(),
    }
}

fn score(reranker: &Reranker, (query, document): &(String, String)) -> f32 {
    reranker.rerank(query, &[document], 1).unwrap().results[0].raw_score.0
}

fn assert_scores(name: &str, folder: &Path, pairs: &[(String, String)], expected: &[f32]) {
    let reranker = build(folder).unwrap_or_else(|error| panic!("{name}: {error}"));
    for (pair, expected) in pairs.iter().zip(expected) {
        let found = score(&reranker, pair);
        let error = (found - expected).abs() / expected.abs().max(1.0);
        assert!(error <= TOLERANCE, "{name}: {pair:?}: {found}, expected {expected}");
    }
}

#[test]
fn scores_are_those_of_the_models_own_files() {
    let Goldens { pairs, cases } = goldens();
    assert!(cases.len() >= 16);
    for case in cases {
        let folder = case.folder();
        let pairs = case.pairs.as_ref().unwrap_or(&pairs);
        assert_eq!(pairs.len(), case.scores.len());
        assert_scores(&case.name, folder.path(), pairs, &case.scores);
        let reranker = build(folder.path()).unwrap();
        assert_eq!(reranker.info().warnings, [""; 0], "{}", case.name);
        // The file names the default activation, and so which of the two scores `predict` returns.
        for ((query, document), expected) in pairs.iter().zip(&case.predicted) {
            let found = reranker.rerank(query, &[document], 1).unwrap().results[0];
            let found = match reranker.info().activation.as_deref() {
                Some("Sigmoid") => found.score.0,
                Some("Identity") => found.raw_score.0,
                other => panic!("{other:?}"),
            };
            let error = (found - expected).abs() / expected.abs().max(1.0);
            assert!(error <= TOLERANCE, "{}: {found}, expected {expected}", case.name);
        }
    }
}

#[test]
fn a_temperature_makes_probabilities_and_leaves_scores() {
    let query = "what is a window";
    let texts = ["an opening in a wall", "cats"];
    let with = |more: &str| {
        let grating = format!(r#"{{"template":"qwen3-reranker"{more}}}"#);
        let folder = published("qwen3-kv-all-f32", &[("grating.json", &grating)]);
        let reranker = build(folder.path()).unwrap();
        let results = reranker.rerank(query, &texts, 2).unwrap().results;
        let pairs = results.iter().map(|r| (r.raw_score.0, r.score.0)).collect::<Vec<_>>();
        (reranker.info().temperature, pairs)
    };
    let (one, plain) = with("");
    let (five, cooled) = with(r#","temperature":5"#);
    assert_eq!((one, five), (1.0, 5.0));
    for ((raw, score), (same, probability)) in plain.into_iter().zip(cooled) {
        assert_eq!(raw, same);
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        assert!(
            (score - sigmoid(raw)).abs() < 1e-6 && (probability - sigmoid(raw / 5.0)).abs() < 1e-6
        );
    }
}

#[test]
fn a_query_behind_the_text_is_never_cut() {
    let folder = case("text first").folder();
    let reranker = build(folder.path()).unwrap();
    let long = "what is a window ".repeat(200);
    let error = reranker.rerank(&long, &["an opening in a wall"], 1).unwrap_err().to_string();
    assert!(error.contains("shorten"), "{error}");
    // Of the text only the end is lost.
    let text = "an opening in a wall ".repeat(400);
    let found = reranker.rerank("what is a window", &[&text], 1).unwrap().results[0];
    assert!(found.truncated);
    let other = reranker.rerank("how do plants live?", &[&text], 1).unwrap().results[0];
    assert_ne!(found.raw_score.0, other.raw_score.0, "the query is still there");
}

#[test]
fn a_quantized_model_keeps_what_it_is() {
    // Rows of these widths are no blocks: all stays, to the bit, if the prompt does.
    for name in ["lone token", "qwen3-reranker", "named template"] {
        let (case, pairs) = (case(name), goldens().pairs);
        let (folder, out) = (case.folder(), tempfile::tempdir().unwrap());
        let out = out.path().join("out");
        let source = ModelSource::Path(folder.path().into());
        grating::quantize(&source, WeightFormat::Q8_0, &out).unwrap();
        let (before, after) = (build(folder.path()).unwrap(), build(&out).unwrap());
        assert_eq!(before.info().prompt, after.info().prompt);
        for pair in &pairs {
            assert_eq!(score(&before, pair), score(&after, pair), "{name}");
        }
    }
    // What only a folder's name says is said by a file in the new folder.
    let named = named("Qwen3-Reranker-0.6B-finetuned", &[("tokenizer_config.json", CHAT)]);
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("out");
    let source = ModelSource::Path(named.1.clone());
    grating::quantize(&source, WeightFormat::Q8_0, &out).unwrap();
    assert_eq!(
        fs::read_to_string(out.join("grating.json")).unwrap(),
        r#"{"template":"qwen3-reranker"}"#
    );
    let pair = &goldens().pairs[0];
    assert_eq!(score(&build(&named.1).unwrap(), pair), score(&build(&out).unwrap(), pair));
}

/// The chat template of a plain model, as its `tokenizer_config.json` has it.
const CHAT: &str = r#"{"chat_template":"{%- for message in messages %}{%- if message.role == 'user' %}{{- '<|im_start|>user\n' + message.content + '<|im_end|>\n' }}{%- endif %}{%- endfor %}"}"#;

/// A plain checkpoint in a folder of this name.
fn named(name: &str, files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join(name);
    let copy = published("qwen3-kv-all-f32", files);
    fs::create_dir(&folder).unwrap();
    for entry in fs::read_dir(copy.path()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    (parent, folder)
}

#[test]
fn a_language_model_is_a_qwen3_reranker_only_where_something_says_so() {
    let expected = case("qwen3-reranker").scores;
    let pairs = goldens().pairs;
    let chat = ("tokenizer_config.json", CHAT);
    let base = "---\nlicense: apache-2.0\nbase_model: Qwen/Qwen3-Reranker-0.6B\n---\n# Ours\n";
    let title = "---\nbase_model:\n- Qwen/Qwen3-0.6B-Base\n---\n# Qwen3-Reranker-0.6B\n";
    let template = case("qwen3-reranker").files["chat_template.jinja"].clone();
    for (folder, files) in [
        ("Qwen3-Reranker-0.6B", vec![chat]),
        ("qwen3_reranker_8b", vec![chat]),
        ("model", vec![chat, ("README.md", base)]),
        ("model", vec![chat, ("README.md", title)]),
        ("model", vec![("chat_template.jinja", &template), ("README.md", "# Of our own")]),
        (
            "model",
            vec![chat, ("README.md", "# x"), ("grating.json", r#"{"template":"qwen3-reranker"}"#)],
        ),
        ("models--Qwen--Qwen3-Reranker-0.6B/snapshots/0123", vec![chat]),
    ] {
        let (parent, _) = (tempfile::tempdir().unwrap(), ());
        let copy = published("qwen3-kv-all-f32", &files);
        let path = parent.path().join(folder);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::rename(copy.path(), &path).unwrap();
        assert_scores(folder, &path, &pairs, &expected);
        assert_eq!(build(&path).unwrap().info().warnings, [""; 0], "{folder} {files:?}");
    }
    let other = "---\nbase_model: Qwen/Qwen3-4B\n---\n# zerank-2\ncompared with Qwen3-Reranker-4B";
    for (folder, files, named) in [
        ("model", vec![chat], "tokenizer_config.json"),
        ("model", vec![("README.md", other)], "Qwen/Qwen3-4B"),
        ("model", vec![("README.md", "no title")], "README.md"),
        ("models--zeroentropy--zerank-2/snapshots/0123", vec![], "zeroentropy/zerank-2"),
    ] {
        let parent = tempfile::tempdir().unwrap();
        let copy = published("qwen3-kv-all-f32", &files);
        let path = parent.path().join(folder);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::rename(copy.path(), &path).unwrap();
        let error = refusal(&path);
        assert!(error.contains(named) && error.contains("grating.json"), "{error}");
    }
}

#[test]
fn bges_decoders_are_known_by_name_or_by_architecture() {
    // Most models of Gemma's architecture are for chats.
    let error = refusal(published("gemma-f32", &[]).path());
    assert!(error.contains("GemmaForCausalLM") && error.contains("grating.json"), "{error}");
    let parent = tempfile::tempdir().unwrap();
    let named = parent.path().join("bge-reranker-v2-gemma");
    fs::rename(published("gemma-f32", &[]).path(), &named).unwrap();
    let (named, expected) = (build(&named).unwrap(), build(&golden("gemma-f32")).unwrap());
    let pair = &goldens().pairs[0];
    assert_eq!(score(&named, pair), score(&expected, pair));
    assert!(named.info().prompt_reason.contains("bge-reranker-v2-gemma"));
    // Nothing else has this one, whatever its folder and chat template are called.
    let folder = published("minicpm-layerwise-f32", &[("chat_template.jinja", "{{ messages }}")]);
    let found = build(folder.path()).unwrap();
    assert_eq!(found.info().prompt, "bge-reranker-v2-minicpm-layerwise's prompt");
    assert_eq!((found.info().warnings.len(), found.info().family), (0, "MiniCPM"));
}

#[test]
fn bare_weights_are_taken_for_qwen3_rerankers_with_a_warning() {
    let (_parent, folder) = named("model", &[]);
    assert_scores("bare", &folder, &goldens().pairs, &case("qwen3-reranker").scores);
    let reranker = build(&folder).unwrap();
    assert!(reranker.info().warnings[0].contains("grating.json"));
    let report = grating::doctor(&ModelSource::Path(folder));
    let warned =
        |check: &&grating::Check| check.name == "prompt" && check.status == CheckStatus::Warn;
    assert_eq!(report.checks.iter().filter(warned).count(), 1);
}

#[test]
fn files_that_describe_something_else_are_named() {
    let lone = case("lone token").files;
    let with = |path: &str, content: &str| {
        let folder = case("lone token").folder();
        put(folder.path(), path, content);
        refusal(folder.path())
    };
    let modules = |kinds: &[&str]| {
        let module = |(i, kind): (usize, &&str)| json!({ "type": format!("a.b.{kind}"), "path": format!("{i}_{kind}") });
        Value::from_iter(kinds.iter().enumerate().map(module)).to_string()
    };
    for (path, content, words) in [
        (
            "modules.json",
            modules(&["Transformer", "Pooling", "Normalize"]),
            ["modules.json", "Pooling"],
        ),
        ("modules.json", modules(&["Transformer"]), ["modules.json", "Transformer"]),
        ("modules.json", "{".into(), ["modules.json", "download"]),
        ("1_LogitScore/config.json", "{}".into(), ["1_LogitScore/config.json", "true_token_id"]),
        ("1_LogitScore/config.json", r#"{"true_token_id":99999}"#.into(), ["99999", "566"]),
        (
            "config_sentence_transformers.json",
            r#"{"model_type":"SentenceTransformer"}"#.into(),
            ["modules.json", "CrossEncoder"],
        ),
        (
            "config_sentence_transformers.json",
            r#"{"model_type":"CrossEncoder","default_prompt_name":"x","prompts":{}}"#.into(),
            ["config_sentence_transformers.json", "`x`"],
        ),
        (
            "sentence_bert_config.json",
            r#"{"modality_config":{"text":{}}}"#.into(),
            ["sentence_bert_config.json", "without a prompt"],
        ),
        (
            "chat_template.jinja",
            "{{ messages[0].content }}".into(),
            ["chat_template.jinja", "no place for"],
        ),
        ("chat_template.jinja", "{% if".into(), ["chat_template.jinja", "rendered"]),
        (
            "chat_template.jinja",
            lone["chat_template.jinja"].replace("+ d +", "+ (d | trim) +"),
            ["chat_template.jinja", "changes the text"],
        ),
    ] {
        let error = with(path, &content);
        assert!(words.iter().all(|word| error.contains(word)), "{path} {content}: {error}");
    }
    let folder = case("lone token").folder();
    fs::remove_file(folder.path().join("chat_template.jinja")).unwrap();
    let error = refusal(folder.path());
    assert!(error.contains("chat_template.jinja") && error.contains("missing"), "{error}");
}

#[test]
fn encoders_with_other_modules_or_prompts_are_named() {
    let with = |files: &[(&str, &str)]| {
        let folder = case("encoder").folder();
        files.iter().for_each(|(path, content)| put(folder.path(), path, content));
        folder
    };
    let prompt =
        r#"{"model_type":"CrossEncoder","default_prompt_name":"q","prompts":{"q":"query: "}}"#;
    let folder = with(&[("config_sentence_transformers.json", prompt)]);
    let error = refusal(folder.path());
    assert!(error.contains("query: ") && error.contains("default_prompt_name"), "{error}");
    let dense = r#"[{"type":"a.Transformer","path":""},{"type":"a.Dense","path":"1_Dense"}]"#;
    let folder = with(&[("modules.json", dense)]);
    let error = refusal(folder.path());
    assert!(error.contains("modules.json") && error.contains("Dense"), "{error}");
    // An embedding model's list beside a classification head: the reference ignores it and says so.
    let pooling = r#"[{"type":"a.Transformer","path":""},{"type":"a.Pooling","path":"1_Pooling"}]"#;
    let settings = r#"{"prompts":{"q":"query: "},"default_prompt_name":"q"}"#;
    let folder =
        with(&[("modules.json", pooling), ("config_sentence_transformers.json", settings)]);
    assert_scores("pooling", folder.path(), &goldens().pairs, &case("encoder").scores);
    assert!(build(folder.path()).unwrap().info().warnings[0].contains("Pooling"));
}

#[test]
fn a_classifier_without_a_prompt_of_its_own_is_warned_about_unless_it_is_named() {
    let warnings = |files: &[(&str, &str)]| {
        let folder = published("qwen3-score-f32", files);
        build(folder.path()).unwrap().info().warnings.clone()
    };
    assert_eq!(
        warnings(&[("README.md", "---\nbase_model: Qwen/Qwen3-Reranker-0.6B\n---\n")]),
        [""; 0]
    );
    let other = warnings(&[("tokenizer_config.json", CHAT)]);
    assert!(
        other[0].contains("tokenizer_config.json") && other[0].contains("grating.json"),
        "{other:?}"
    );
}

#[test]
fn an_adapter_that_is_not_merged_is_refused() {
    let config = r#"{"peft_type":"LORA","base_model_name_or_path":"Qwen/Qwen3-Reranker-0.6B"}"#;
    for file in ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"] {
        let beside = published("bert-gelu-f32", &[(file, config)]);
        let alone = tempfile::tempdir().unwrap();
        put(alone.path(), file, config);
        for folder in [beside.path(), alone.path()] {
            let error = refusal(folder);
            for word in [file, "merge_and_unload", "LoRA"] {
                assert!(error.contains(word), "{error}");
            }
            let report = grating::doctor(&ModelSource::Path(folder.into()));
            let failed =
                report.checks.iter().find(|check| check.status == CheckStatus::Fail).unwrap();
            assert!(failed.remedy.as_ref().unwrap().contains("merge_and_unload"), "{failed:?}");
        }
    }
}

#[test]
fn doctor_says_what_was_recognised_and_what_predict_returns() {
    let checks = |folder: &Path| grating::doctor(&ModelSource::Path(folder.into())).checks;
    let found = checks(case("lone token").folder().path());
    let prompt = found.iter().find(|check| check.name == "prompt").unwrap();
    assert_eq!(prompt.status, CheckStatus::Pass);
    assert!(prompt.detail.contains("1_LogitScore/config.json asks for token 257"), "{prompt:?}");
    assert!(prompt.detail.contains("chat_template.jinja"), "{prompt:?}");
    let found = checks(case("encoder").folder().path());
    let score = found.iter().find(|check| check.name == "score").unwrap();
    assert!(score.detail.contains("Identity") && score.status == CheckStatus::Pass, "{score:?}");
}

#[test]
fn a_head_that_is_neither_tied_nor_there_is_refused_with_the_way_out() {
    let folder = copy_of(&golden("qwen3-tied-f32"));
    let path = folder.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["tie_word_embeddings"] = false.into();
    fs::write(&path, config.to_string()).unwrap();
    let error = refusal(folder.path());
    assert!(error.contains("tie_word_embeddings") && error.contains("lm_head.weight"), "{error}");
}
