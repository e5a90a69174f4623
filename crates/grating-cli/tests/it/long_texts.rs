//! Long texts from the command line: in passages, which results name.

use serde_json::Value;

use crate::{golden, grating};

/// A river in the last of many sentences, and a short text.
fn texts() -> (String, &'static str) {
    let long = "the glass of an old house is wide and old. ".repeat(40);
    (long + "a river carries water through the window.", "a bridge")
}

fn rerank(options: &[&str]) -> (String, String) {
    let (model, (long, short)) = (golden("bert-gelu-f32"), texts());
    let args = ["rerank", "-m", model.to_str().unwrap(), "-q", "river water"];
    let output = grating(&[&args[..], options].concat(), format!("{long}\n{short}\n").as_bytes());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, error) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{options:?}: {error}");
    (out, error)
}

fn json(options: &[&str]) -> Value {
    serde_json::from_str(&rerank(&[options, &["--json"]].concat()).0).unwrap()
}

#[test]
fn results_say_which_passage_was_the_best() {
    let passages = ["--long", "passages", "--passage-tokens", "40", "--passage-overlap", "8"];
    let found = json(&passages);
    let result = |index: u64| {
        let mut results = found["results"].as_array().unwrap().iter();
        results.find(|result| result["index"] == index).unwrap()
    };
    let (long, _) = texts();
    assert!(result(1).get("passage").is_none());
    let best = &result(0)["passage"];
    let at = |key: &str| best[key].as_u64().unwrap() as usize;
    assert!(at("of") > 10 && at("index") < at("of"), "{best}");
    assert_eq!(found["stats"]["in_passages"], 1);
    assert_eq!(found["stats"]["passages"].as_u64().unwrap() as usize, at("of") + 1);
    // Its score is that of the passage as a text of its own.
    let model = golden("bert-gelu-f32");
    let args = ["rerank", "-m", model.to_str().unwrap(), "-q", "river water", "--json"];
    let output = grating(&args, &long.as_bytes()[at("start")..at("end")]);
    let alone: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(alone["results"][0]["raw_score"], result(0)["raw_score"]);
    // Between tabs a field says where it is.
    let (tabs, error) = rerank(&passages);
    assert!(error.is_empty(), "{error}");
    let places: Vec<&str> = tabs.lines().map(|line| line.split('\t').nth(2).unwrap()).collect();
    assert!(places.contains(&"whole"), "{tabs}");
    assert!(places.contains(&format!("{}-{}", at("start"), at("end")).as_str()), "{tabs}");
    // The mean of all of them.
    let mean = json(&[&passages[..], &["--passage-score", "mean:1000"]].concat());
    let score = |of: &Value| {
        let results = of["results"].as_array().unwrap();
        let long = results.iter().find(|result| result["index"] == 0).unwrap();
        long["raw_score"].as_f64().unwrap()
    };
    assert!(score(&mean) < score(&found));
}

#[test]
fn what_is_left_out_is_told_with_the_option_that_helps() {
    let (_, error) = rerank(&["--long", "passages", "--max-passages", "2"]);
    let expected =
        "1 of 2 texts has more than 2 passages, behind which the rest is left out; --max-passages";
    assert!(error.contains(expected), "{error}");
    assert_eq!(rerank(&["--long", "passages"]).1, "");
    let (_, error) = rerank(&["--long", "truncate"]);
    assert!(error.contains("--long passages reads all of them"), "{error}");
    let (_, stats) = rerank(&["--long", "passages", "--stats"]);
    assert!(stats.contains("1 texts in several"), "{stats}");
}

#[test]
fn wrong_options_of_long_texts_are_refused() {
    let rerank = ["rerank", "-q", "q"];
    for (options, words) in [
        (&["--long", "passages", "--passage-score", "min"][..], "mean:N"),
        (&["--long", "prune", "--token-policy", "lazy"], "lazy-llm"),
        (&["--long", "passages", "--passage-tokens", "0"], "at least 1"),
        (&["--long", "whole"], "passages"),
    ] {
        let args = [&rerank[..], options].concat();
        let output = grating(&args, b"a\n");
        assert!(!output.status.success(), "{options:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(words), "{options:?}: {error}");
    }
}

/// A file of options may hold those of passages for all commands, and one command may want none.
#[test]
fn options_of_what_is_not_done_have_no_effect() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("options.toml");
    std::fs::write(&file, "long = \"passages\"\npassage-tokens = 40\n").unwrap();
    let config = ["--config", file.to_str().unwrap()];
    let (out, error) = rerank(&config);
    assert!(out.contains("a river carries water") && error.is_empty(), "{error}");
    let (cut, error) = rerank(&[&config[..], &["--long", "truncate"]].concat());
    assert_eq!(cut, rerank(&["--long", "truncate"]).0);
    assert!(error.contains("--passage-tokens has no effect without --long passages"), "{error}");
    let (_, error) = rerank(&["--passage-overlap", "9"]);
    assert!(error.contains("--passage-overlap has no effect without --long passages"), "{error}");
    let (_, error) = rerank(&["--long", "passages", "--prune-from", "9"]);
    assert!(error.contains("--prune-from has no effect without --long prune"), "{error}");
}

#[test]
fn tokens_leave_and_each_layer_says_how_many_are_left() {
    let prune = ["--long", "prune", "--prune-from", "100", "--token-policy", "grating:0.25"];
    let (found, full) = (json(&prune), json(&[]));
    let stats = |of: &Value, field: &str| of["stats"][field].as_u64().unwrap();
    assert!(stats(&found, "tokens_left") > 50 && stats(&full, "tokens_left") == 0);
    assert!(stats(&found, "token_layers") < stats(&full, "token_layers"));
    let score = |of: &Value, index: u64| {
        let results = of["results"].as_array().unwrap().clone();
        results.into_iter().find(|r| r["index"] == index).unwrap()["raw_score"].clone()
    };
    assert_eq!(score(&found, 1), score(&full, 1));
    assert_ne!(score(&found, 0), score(&full, 0));
    let (_, told) = rerank(&[&prune[..], &["--explain", "--stats"]].concat());
    let left =
        told.lines().filter_map(|line| line.split_once("tokens, of which ")?.1.split_once(" left"));
    let left: u64 = left.map(|(left, _)| left.parse::<u64>().unwrap()).sum();
    assert_eq!(left, stats(&found, "tokens_left"), "{told}");
    assert!(told.contains("% of token-layers computed"), "{told}");
}

#[test]
fn plans_know_how_long_texts_are_read() {
    let model = golden("qwen3-tied-f32");
    // Here, and on a device that is not.
    for device in [&[][..], &["--device-memory", "8GiB"]] {
        let plan = |more: &[&str]| -> Value {
            let args = ["plan", "-m", model.to_str().unwrap(), "-n", "6", "--tokens", "160"];
            let output = grating(&[&args[..], &["--json"], device, more].concat(), b"");
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && !error.contains("no effect"), "{error}");
            serde_json::from_slice(&output.stdout).unwrap()
        };
        let seconds = |plan: &Value| plan["prediction"]["compute_seconds"].as_f64().unwrap();
        let full = plan(&[]);
        let half =
            plan(&["--long", "prune", "--token-policy", "grating:0.5", "--prune-from", "100"]);
        assert!(seconds(&half) < 0.9 * seconds(&full), "{half} {full}");
        let short = plan(&["--long", "prune", "--prune-from", "161"]);
        assert_eq!(seconds(&short), seconds(&full));
        // Four passages of forty tokens each.
        let passages = plan(&["--long", "passages", "--passage-tokens", "40"]);
        // Where reading is what counts it says of how many tokens; what lies on the device is not read.
        let reading = passages["reasons"].to_string().contains("\"tokens\":960");
        assert_eq!(reading, device.is_empty(), "{passages}");
        assert!(seconds(&passages) < seconds(&full), "attention is cheaper");
    }
}

#[test]
fn plans_know_of_compressed_passages_and_that_tokens_leave_none_of_them() {
    let model = golden("gemma2-lightweight-f32");
    let plan = |more: &[&str]| {
        let args = ["plan", "-m", model.to_str().unwrap(), "-n", "6", "--tokens", "100", "--json"];
        grating(&[&args[..], more].concat(), b"")
    };
    let compressed = ["--compress-ratio", "4", "--compress-layers", "1,3"];
    let pruned = ["--long", "prune", "--prune-from", "50"];
    for device in [&[][..], &["--device-memory", "8GiB"]] {
        let seconds = |more: &[&str]| {
            let output = plan(&[device, more].concat());
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            let plan: Value = serde_json::from_slice(&output.stdout).expect(&error);
            plan["prediction"]["compute_seconds"].as_f64().unwrap()
        };
        assert!(seconds(&compressed) < 0.9 * seconds(&[]), "{device:?}");
        let refused = plan(&[device, &compressed, &pruned].concat());
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && error.contains("compressed"), "{error}");
    }
    let means = golden("modernbert-mean-f32");
    for device in [&[][..], &["--device-memory", "8GiB"]] {
        let args = ["plan", "-m", means.to_str().unwrap()];
        let refused = grating(&[&args[..], &pruned, device].concat(), b"");
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && error.contains("mean"), "{error}");
    }
}

/// What no request could do is not planned either.
#[test]
fn plans_in_which_tokens_leave_are_refused_for_models_that_let_none_leave() {
    let plan = |model: &str, more: &[&str], words: &[&str]| {
        let model = golden(model);
        let args = ["plan", "-m", model.to_str().unwrap(), "-n", "6", "--tokens", "100"];
        let prune = ["--long", "prune", "--prune-from", "20"];
        crate::fails(&[&args[..], &prune, more].concat(), b"", 1, words);
        let passages = ["--long", "passages", "--passage-tokens", "20"];
        assert!(grating(&[&args[..], &passages, more].concat(), b"").status.success());
    };
    plan("modernbert-mean-f32", &[], &["mean of all tokens", "no token policy"]);
    let compressed = ["--compress-ratio", "4", "--compress-layers", "2"];
    plan("gemma2-lightweight-f32", &compressed, &["compressed", "compress_ratio"]);
}
