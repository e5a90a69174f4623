//! `grating calibrate`, and what becomes of its profile in `grating rerank`.

use std::path::Path;

use serde_json::Value;

use crate::{fails, golden, grating};

/// Thirty queries of eight texts.
fn data(folder: &Path) -> String {
    let words = ["window", "river", "layer", "glass", "slides", "Paris"];
    let text = |i: usize| format!("{} {} {i}", words[i % 6], words[(i / 6) % 6]);
    written(folder, 30, text, |q| (0..8).map(move |c| 5 * q + c))
}

/// A file of so many queries, the numbers of whose texts `pool` says.
fn written<P: Iterator<Item = usize>>(
    folder: &Path,
    queries: usize,
    text: impl Fn(usize) -> String,
    pool: impl Fn(usize) -> P,
) -> String {
    let line = |q: usize| {
        let texts: Vec<String> = pool(q).map(&text).collect();
        serde_json::json!({ "query": text(q), "texts": texts }).to_string()
    };
    let path = folder.join("queries.jsonl");
    std::fs::write(&path, (0..queries).map(line).collect::<Vec<_>>().join("\n")).unwrap();
    path.to_str().unwrap().to_string()
}

#[test]
fn a_profile_is_made_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let (data, model) = (data(folder.path()), golden("bert-gelu-f32"));
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (out, traces, plot) = (path("profile.json"), path("traces.jsonl"), path("plot.svg"));
    let model = model.to_str().unwrap();
    let mut args = vec!["calibrate", "--model", model, "--data", &data, "--out", &out];
    args.extend(["--traces", &traces, "--plot", &plot, "--top-k", "2"]);
    args.extend(["--target-agreement", "0.3", "--confidence", "0.7", "--threads", "1"]);
    let first = grating(&args, b"");
    let text = String::from_utf8(first.stdout).unwrap();
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    for word in ["certified", "test half", "candidate-layers saved", "promise"] {
        assert!(text.contains(word), "{text}");
    }
    assert!(std::fs::read_to_string(&plot).unwrap().starts_with("<svg"));
    // From the traces alone, and as JSON.
    let written = std::fs::read(&out).unwrap();
    args.push("--json");
    let json: Value = serde_json::from_slice(&grating(&args, b"").stdout).unwrap();
    assert_eq!(json, serde_json::from_slice::<Value>(&written).unwrap());
    assert_eq!(json["k"], 2);

    let texts = b"a river\nthe window slides\nglass 7\nParis 9\ndisk\n";
    let rerank = ["rerank", "-q", "window", "-m", model, "--profile", &out, "--audit", "1"];
    let audited = grating(&[&rerank[..], &["-k", "2", "--stats"]].concat(), texts);
    let stats = String::from_utf8(audited.stderr).unwrap();
    assert!(stats.contains("audits      1 of 1 requests"), "{stats}");
    let pruned = grating(&[&rerank[..7], &["-k", "2", "--json", "--mode", "rank"]].concat(), texts);
    let json: Value = serde_json::from_slice(&pruned.stdout).unwrap();
    assert!(json["stats"]["candidate_layers"].as_u64().unwrap() <= 20);
    assert_eq!(json["audits"]["requests"], 1);
    assert!(json["results"].as_array().unwrap().iter().all(|r| r["decided_after_layer"].is_u64()));

    fails(&rerank[..7], texts, 1, &["K = 2", "--no-prune", "--top-k 10"]);
    // As that message advises, with nothing taken away.
    let full = grating(&[&rerank[..7], &["--no-prune", "--json"]].concat(), texts);
    let json: Value = serde_json::from_slice(&full.stdout).unwrap();
    assert_eq!(json["results"].as_array().unwrap().len(), 5);
    let other = golden("qwen3-tied-f32");
    let other = ["rerank", "-q", "x", "-k", "2", "-m", other.to_str().unwrap(), "--profile", &out];
    fails(&other, texts, 1, &["was made for the model", "grating calibrate"]);
}

#[test]
fn a_blank_query_is_named_before_anything_is_computed() {
    let folder = tempfile::tempdir().unwrap();
    let model = golden("bert-gelu-f32");
    let (file, out) = (folder.path().join("queries.jsonl"), folder.path().join("out.json"));
    for (last, word) in [
        (r#""query":" ","texts":["a","b"]"#, "the text"),
        (r#""query":"q","texts":["","\t"]"#, "every candidate"),
    ] {
        let line = |i| format!("{{\"query\":\"q{i}\",\"texts\":[\"a\",\"b\"]}}\n");
        let lines: String = (0..5).map(line).collect();
        std::fs::write(&file, lines + &format!("{{\"id\":\"last\",{last}}}")).unwrap();
        let mut args = vec!["calibrate", "--model", model.to_str().unwrap(), "--top-k", "1"];
        args.extend(["--target-agreement", "0.3", "--data", file.to_str().unwrap()]);
        args.extend(["--out", out.to_str().unwrap()]);
        fails(&args, b"", 1, &[word, "query `last` is blank"]);
    }
}

#[test]
fn without_a_chance_it_says_so_and_writes_a_profile_that_prunes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (data, model) = (data(folder.path()), golden("bert-gelu-f32"));
    let out = folder.path().join("profile.json");
    let mut args = vec!["calibrate", "-m", model.to_str().unwrap(), "--data", &data];
    args.extend(["--top-k", "2", "--target-agreement", "0.99", "--out", out.to_str().unwrap()]);
    let output = grating(&args, b"");
    assert!(String::from_utf8(output.stdout).unwrap().contains("none can be certified"));
    let warning = String::from_utf8(output.stderr).unwrap();
    // 15 calibrate, 5 of those explore; (1 - 0.99)^n falls to 0.05 at 299, and betting takes no fewer.
    let words = ["too small", "30 queries have more than 2 texts", "leaves 10 to test"];
    assert!(words.iter().all(|word| warning.contains(word)), "{warning}");
    let needed = warning.split("at least ").nth(1).unwrap().split(',').next().unwrap();
    assert!(needed.parse::<usize>().unwrap() >= 299, "{warning}");
    let profile: Value = serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap();
    assert!(profile["policy"].is_null() && profile["calibration"]["nearest_miss"].is_object());
}

#[test]
fn wrong_usage_is_told_before_anything_is_computed() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let args = |out: &'static str, precision: &'static str| {
        vec!["calibrate", "--data", &data, "-k", "2", "--target-agreement", precision, "-o", out]
    };
    fails(&args("x.json", "1"), b"", 2, &["between 0 and 1"]);
    // No model is loaded for a sample that can never be split.
    let mut nowhere = vec!["calibrate", "--data", &data, "-k", "8", "--target-agreement", "0.9"];
    nowhere.extend(["-o", "x.json", "-m", "./nowhere"]);
    fails(&nowhere, b"", 1, &["0 queries have more than K = 8"]);
    fails(&args("no/such/folder/x.json", "0.9"), b"", 1, &["no/such/folder"]);
    let missing = ["calibrate", "--data", "/no/such", "-k", "2", "--target-agreement", "0.9"];
    fails(&[&missing[..], &["-o", "x.json"]].concat(), b"", 1, &["/no/such"]);
    fails(&["rerank", "-q", "x", "--profile", "/no/such"], b"a\n", 1, &["/no/such"]);
    fails(&["rerank", "-q", "x", "--audit", "2"], b"a\n", 2, &["0 to 1"]);
}

/// Eighty queries of ten texts of three to seven words.
fn varied(folder: &Path) -> String {
    let words = ["window", "river", "layer", "glass", "slides", "Paris", "weights", "disk"];
    let text = |i: usize| {
        let words: Vec<&str> = (0..3 + i % 5).map(|j| words[(i * i + 3 * j) % 8]).collect();
        format!("{} {i}", words.join(" "))
    };
    written(folder, 80, text, |q| (0..10).map(move |c| 11 * q + c))
}

#[test]
fn tokens_leave_by_a_profile_that_was_certified_so() {
    let folder = tempfile::tempdir().unwrap();
    let (data, model) = (varied(folder.path()), golden("bert-gelu-f32"));
    let out = folder.path().join("profile.json");
    let (out, model) = (out.to_str().unwrap(), model.to_str().unwrap());
    let mut args = vec!["calibrate", "--model", model, "--data", &data, "--out", out, "-k", "3"];
    args.extend(["--target-agreement", "0.3", "--confidence", "0.8", "--threads", "1"]);
    let prune = ["--long", "prune", "--prune-from", "8", "--token-policy", "lazy-llm:0.9"];
    let found = grating(&[&args[..], &prune].concat(), b"");
    let text = String::from_utf8(found.stdout).unwrap();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    assert!(text.contains("tokens       0.9 of the tokens by the mean of the heads"), "{text}");
    let profile: Value = serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap();
    assert_eq!(profile["tokens"]["min_tokens"], 8);

    let texts = ["a river of glass", "the window slides", "a disk of layers", "weights"];
    let texts = texts.map(|text| format!("{}\n", [text; 9].join(" and "))).concat();
    let rerank = ["rerank", "-q", "window", "-m", model, "-k", "3", "--json", "--profile", out];
    let left = |more: &[&str]| {
        let found = grating(&[&rerank[..], more].concat(), texts.as_bytes());
        let json: Value = serde_json::from_slice(&found.stdout).unwrap();
        json["stats"]["tokens_left"].as_u64().unwrap()
    };
    assert!(left(&[]) > 0);
    assert_eq!((left(&["--long", "truncate"]), left(&["--no-prune"])), (0, 0));

    let idle = grating(&[&args[..], &["--token-policy", "lazy-llm", "--json"]].concat(), b"");
    assert!(String::from_utf8(idle.stderr).unwrap().contains("has no effect without --long prune"));
    assert!(serde_json::from_slice::<Value>(&idle.stdout).unwrap()["tokens"].is_null());
    let fitted = [&args[..], &prune, &["--readout", "fitted"]].concat();
    fails(&fitted, b"", 1, &["model's own head", "--readout head"]);
}
