//! Long texts from the command line: in passages, which results name.

use serde_json::Value;

use crate::{fails, golden, grating};

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
fn options_of_passages_need_passages() {
    let rerank = ["rerank", "-q", "q"];
    for (options, words) in [
        (&["--passage-tokens", "9"][..], "--long"),
        (&["--long", "truncate", "--max-passages", "9"], "need --long passages"),
        (&["--long", "passages", "--passage-score", "min"], "mean:N"),
        (&["--long", "truncate", "--prune-from", "9"], "need --long prune"),
        (&["--long", "prune", "--token-policy", "lazy"], "lazy-llm"),
        (&["--long", "prune", "--max-passages", "9"], "need --long passages"),
        (&["--long", "passages", "--passage-tokens", "0"], "at least 1"),
        (&["--long", "whole"], "passages"),
    ] {
        let args = [&rerank[..], options].concat();
        let output = grating(&args, b"a\n");
        assert!(!output.status.success(), "{options:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(words), "{options:?}: {error}");
    }
    let args = [&rerank[..], &["--passage-overlap", "9"]].concat();
    fails(&args, b"a\n", 2, &["--long"]);
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
    let left = format!("tokens, of which {} left", stats(&found, "tokens_left"));
    assert!(told.contains(&left) && told.contains("% of token-layers computed"), "{told}");
}
