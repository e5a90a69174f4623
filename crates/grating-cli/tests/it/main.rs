//! The command as a user runs it: output, exit codes, messages.
#![allow(clippy::unwrap_used)] // a failed test should panic

mod calibrate;
mod config;
mod device;
mod docs;
mod generate;
mod hostile;
mod input;
mod learning;
mod long_texts;
mod memory;
mod models;
mod mutations;
mod options;
mod queries;
mod refusals;
#[cfg(feature = "serve")]
mod serve;
#[cfg(unix)]
mod unix;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn golden(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../grating-model/tests/goldens").join(case)
}

/// Runs `grating` with `input` on standard input.
fn grating(args: &[&str], input: &[u8]) -> Output {
    grating_with(args, input, &[])
}

/// As [`grating`], with these variables in its environment.
fn grating_with(args: &[&str], input: &[u8], variables: &[(&str, &str)]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_grating"))
        .args(args)
        .env("HF_HUB_OFFLINE", "1")
        // Nothing of whoever runs the tests.
        .env("GRATING_CONFIG", if cfg!(windows) { "NUL" } else { "/dev/null" })
        .env_remove("GRATING_ISA")
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that fails early does not read its input.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// Expects failure with `code` and all `words` on standard error, and nothing that looks like a panic.
fn fails(args: &[&str], input: &[u8], code: i32, words: &[&str]) {
    let output = grating(args, input);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
    assert!(words.iter().all(|word| error.contains(word)), "{args:?}: {error}");
    assert!(!error.contains("panicked"), "{error}");
    assert!(output.stdout.is_empty(), "{args:?} printed results");
}

const TEXTS: &[u8] =
    b"Bananas are rich in potassium.\nParis is the capital of France.\nThe river is long.\n";

#[test]
fn the_default_model_answers_a_question() {
    let output =
        grating(&["rerank", "--query", "What is the capital of France?", "-k", "2"], TEXTS);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(lines[0][1..], ["1", "Paris is the capital of France."]);
    assert!(output.stderr.is_empty(), "no progress bar off a terminal");
}

#[test]
fn json_has_everything_and_ids_pass_through() {
    let input =
        b"{\"id\":\"a\",\"text\":\"a river\"}\n{\"id\":7,\"text\":\"\"}\n{\"text\":\"a bridge\"}\n";
    let model = golden("qwen3-tied-f32");
    let args = [
        "rerank",
        "-q",
        "window",
        "-m",
        model.to_str().unwrap(),
        "--max-length",
        "200",
        "--json",
        "-",
    ];
    let output = grating(&args, input);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let results = json["results"].as_array().unwrap();
    assert_eq!(results.len(), 3);
    for result in results {
        let expected = [Value::from("a"), Value::from(7), Value::Null]
            [result["index"].as_u64().unwrap() as usize]
            .clone();
        assert_eq!(result["id"], expected);
        assert_eq!(result["decided_after_layer"], 3);
        let (score, raw) =
            (result["score"].as_f64().unwrap(), result["raw_score"].as_f64().unwrap());
        assert!((score - 1.0 / (1.0 + (-raw).exp())).abs() < 1e-6);
    }
    assert_eq!(json["stats"]["candidates"], 3);
    assert!(json["stats"]["total_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn raw_scores_and_stats_are_printed_on_request() {
    let model = golden("bert-gelu-f32");
    let args = ["rerank", "-q", "window", "-m", model.to_str().unwrap(), "--raw-scores", "--stats"];
    let output = grating(&args, b"a river\n");
    let logit: f32 =
        String::from_utf8(output.stdout).unwrap().split('\t').next().unwrap().parse().unwrap();
    assert!(logit.is_finite());
    let stats = String::from_utf8(output.stderr).unwrap();
    for line in [
        "candidates  1",
        "link        disk to memory: ",
        "% behind computing, ",
        "planned     total",
    ] {
        assert!(stats.contains(line), "{line} is not in\n{stats}");
    }
}

#[test]
fn explain_names_memories_and_links_as_plan_does() {
    let model = golden("bert-gelu-f32");
    let model = ["-m", model.to_str().unwrap()];
    let plan = String::from_utf8(grating(&[&["plan"], &model[..]].concat(), b"").stdout).unwrap();
    let names = ["memory", "disk to memory"];
    assert!(plan.lines().any(|line| line == names[0]), "{plan}");
    assert!(plan.lines().any(|line| line.trim_start().starts_with(names[1])), "{plan}");
    let rerank = [&["rerank", "-q", "window", "--explain"], &model[..]].concat();
    let lines = |args: &[&str]| {
        let explained = String::from_utf8(grating(args, b"a river\na window\n").stderr).unwrap();
        let count = |start: &str| explained.lines().filter(|line| line.starts_with(start)).count();
        (count("memory      memory: "), count("link        disk to memory: "), count("layer"))
    };
    assert_eq!(lines(&rerank), (1, 1, 4));
    // Not twice.
    let (memories, links, _) = lines(&[&rerank[..], &["--stats"]].concat());
    assert_eq!((memories, links), (0, 1));
}

#[test]
fn wrong_usage_exits_with_two() {
    fails(&["rerank", "-q", "x", "-k", "0"], TEXTS, 2, &["at least 1"]);
    fails(&["rerank", "-q", "x", "--k", "0"], TEXTS, 2, &["at least 1"]);
    for blank in ["", " \t"] {
        fails(&["rerank", "-q", blank], TEXTS, 2, &["--query", "blank", "say what"]);
    }
    fails(&["rerank"], TEXTS, 2, &["--query"]);
    fails(&["rerank"], b"", 2, &["--query"]);
    fails(&["rank"], TEXTS, 2, &["rank"]);
}

#[test]
fn bad_input_exits_with_one_and_says_what_to_do() {
    fails(&["rerank", "-q", "x", "/no/such/file"], b"", 1, &["/no/such/file", "No such file"]);
    fails(&["rerank", "-q", "x", "/"], b"", 1, &["cannot read /"]);
    fails(&["rerank", "-q", "x"], b"", 1, &["no texts"]);
    let blanks = ["standard input", "no texts to rank", "all 3 are blank"];
    fails(&["rerank", "-q", "x"], b"\n \n\t\n", 1, &blanks);
    fails(&["rerank", "-q", "x"], b"[\"\"]", 1, &["the only one is blank"]);
    let body = b"{\"query\":\" \",\"texts\":[\"a\"]}";
    fails(&["rerank"], body, 1, &["standard input", "the query is blank"]);
    fails(&["rerank", "-q", "x"], b"good\nb\xffd\n", 1, &["standard input", "line 2", "UTF-8"]);
    fails(
        &["rerank", "-q", "x", "--format", "jsonl"],
        b"{\"txt\":1}\n",
        1,
        &["line 1", "there is no `text`", "the fields are `txt`"],
    );
    let long = "long ".repeat(2000);
    fails(
        &["rerank", "-q", &long, "--refuse-long-query"],
        TEXTS,
        1,
        &["2000 tokens", "let it be cut"],
    );
}

#[test]
fn bad_models_exit_with_one() {
    fails(
        &["rerank", "-q", "x", "-m", "./nowhere"],
        TEXTS,
        1,
        &["./nowhere", "owner/name", "grating models"],
    );
    let empty = tempfile::tempdir().unwrap();
    fails(&["rerank", "-q", "x", "-m", empty.path().to_str().unwrap()], TEXTS, 1, &["config.json"]);
}

#[test]
fn an_offline_hub_id_without_a_cache_is_an_error_at_once() {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_grating"))
        .args(["inspect", "nobody/nothing"])
        .env("HF_HOME", home.path())
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("nobody/nothing"));
}

#[test]
fn inspect_prints_the_shape_and_the_tensors() {
    let model = golden("qwen3-untied-bf16-sharded");
    let output = grating(&["inspect", model.to_str().unwrap()], b"");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("Qwen3 (Qwen3ForCausalLM)"), "{text}");
    assert!(text.contains("model.layers.0.self_attn.q_proj.weight\tBF16"), "{text}");
    let output = grating(&["inspect", "--json"], b"");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["info"]["family"], "BERT");
}

#[test]
fn doctor_finds_nothing_wrong_with_the_default_model() {
    let output = grating(&["doctor"], b"");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
}

#[test]
fn doctor_exits_with_one_where_something_is_wrong() {
    let empty = tempfile::tempdir().unwrap();
    let output = grating(&["doctor", "-m", empty.path().to_str().unwrap(), "--json"], b"");
    assert_eq!(output.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["checks"][0]["status"], "fail");
    assert_eq!(json["checks"][1]["status"], "skip");
}

#[test]
fn a_quantized_model_runs_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("q8");
    let out = out.to_str().unwrap();
    let output = grating(&["quantize", "--format", "q8_0", "--out", out], b"");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("Q8_0"), "{text}");
    let output = grating(&["rerank", "-q", "capital of France", "-k", "1", "-m", out], TEXTS);
    assert!(String::from_utf8(output.stdout).unwrap().contains("Paris"));

    fails(&["quantize", "--format", "q8_0", "--out", out], b"", 1, &["exists already"]);
    fails(&["quantize", "--format", "q5_k", "--out", "x"], b"", 2, &["q5_k", "q4_k"]);
}

#[test]
fn a_model_whose_rows_are_no_whole_blocks_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("q4");
    // 42 numbers a row.
    let model = golden("bert-gelu-f32");
    let quantize = ["quantize", model.to_str().unwrap(), "--format", "q4_k", "--json", "--out"];
    let output = grating(&[&quantize[..], &[out.to_str().unwrap()]].concat(), b"");
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && words.contains("nothing is stored as q4_k"), "{words}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["in_format"], 0);
}
