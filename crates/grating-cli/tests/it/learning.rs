//! `--learn`, what `grating profile show` says of its file, and profiles whose promise breaks.

use std::path::Path;

use serde_json::{Value, json};

use crate::{fails, grating};

/// Queries that one of their texts answers.
fn queries() -> Vec<u8> {
    let line = |number: usize| {
        let mut texts = vec![format!("the river number {number} is old")];
        texts.extend((0..9).map(|i| format!("{} coins for a letter", i + number)));
        json!({ "query": format!("how old is the river number {number}"), "texts": texts })
            .to_string()
    };
    (0..80).map(line).collect::<Vec<_>>().join("\n").into_bytes()
}

#[test]
fn a_run_learns_and_the_next_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("learned.json");
    let file = file.to_str().unwrap();
    let mut args = vec!["rerank", "--queries", "-", "-k", "1", "--json", "--max-length", "24"];
    args.extend(["--learn", file, "--target-precision", "0.8", "--confidence", "0.8"]);
    let phases = || -> Vec<String> {
        let output = grating(&args, &queries());
        let text = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        let phase = |line: &str| {
            let answer: Value = serde_json::from_str(line).unwrap();
            answer["stats"]["learning"]["phase"].as_str().unwrap().to_owned()
        };
        text.lines().map(phase).collect()
    };
    let first = phases();
    assert_eq!((first[0].as_str(), first[79].as_str()), ("exploring", "pruning"));
    assert!(phases().iter().all(|phase| phase == "pruning"));

    let shown = grating(&["profile", "show", file], b"");
    let text = String::from_utf8(shown.stdout).unwrap();
    for word in ["promise", "at least 0.8", "K = 1", "pruning with", "160 requests"] {
        assert!(text.contains(word), "{text}");
    }
    let shown = grating(&["profile", "show", file, "--json"], b"");
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["learned"][0]["phase"], "pruning");

    let mut other = args.clone();
    let confidence = other.len() - 1;
    other[confidence] = "0.9";
    fails(
        &other,
        &queries(),
        1,
        &["learned with another promise", "name another file, or remove it"],
    );
    fails(&[&args[..], &["--no-prune"]].concat(), b"", 2, &["cannot be used with"]);
    fails(&["profile", "show", "/no/such/file"], b"", 1, &["/no/such/file"]);
    let wrong = folder.path().join("wrong.json");
    std::fs::write(&wrong, "[]").unwrap();
    fails(&["profile", "show", wrong.to_str().unwrap()], b"", 1, &["wrong.json"]);
}

/// The default model's own profile for K = 1 with a policy that takes whoever is ahead after the first layer. Of requests it knows
/// nothing, so audits alone can speak.
pub(crate) fn broken_profile(folder: &Path) -> String {
    let shipped =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/default/grating-profile.json");
    let profiles: Vec<Value> = serde_json::from_slice(&std::fs::read(shipped).unwrap()).unwrap();
    let mut profile = profiles.into_iter().find(|profile| profile["k"] == 1).unwrap();
    profile["policy"] = json!({
        "threshold": 0.0, "dispersion": "variation", "scale": "probability", "clusters": { "fixed": 3 },
        "gap": "edge", "first_layer": 0, "stride": 1, "mode": "select",
    });
    (profile["signals"], profile["kinds"]) = (json!([]), json!([]));
    let file = folder.join("profile.json");
    std::fs::write(&file, profile.to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}

/// A query and its texts, which the first layer does not tell apart.
pub(crate) fn hard_query(number: usize) -> (String, Vec<String>) {
    let things = ["river", "window", "engine", "garden", "letter", "violin", "harbour", "candle"];
    let wanted = things[number % things.len()];
    let text = |i: usize| match i {
        0 => format!("the {wanted} number {number} is old"),
        i => format!("{} costs {} coins", things[(number + i) % things.len()], i * number),
    };
    (format!("how old is the {wanted} number {number}"), (0..12).map(text).collect())
}

#[test]
fn a_profile_whose_promise_breaks_is_put_out_of_use_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let profile = broken_profile(folder.path());
    let line = |number: usize| {
        let (query, texts) = hard_query(number);
        json!({ "query": query, "texts": texts }).to_string()
    };
    let queries = (0..80).map(line).collect::<Vec<_>>().join("\n").into_bytes();
    let args = ["rerank", "--queries", "-", "-k", "1", "--profile", &profile];
    let output = grating(&[&args[..], &["--json"]].concat(), &queries);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("K = 1: audits agree with the full model less").count(), 1, "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let computed = |line: &Value| line["stats"]["candidate_layers"].as_u64().unwrap();
    assert!(computed(&lines[0]) < 72 && computed(&lines[79]) == 72);
    assert_eq!(lines[0]["stats"]["monitor"]["in_use"], true);
    let last = &lines[79]["stats"]["monitor"];
    assert_eq!((&last["in_use"], &last["alarms"]), (&json!(false), &json!(1)));
    let output = grating(&[&args[..], &["--stats"]].concat(), &queries);
    let said = String::from_utf8(output.stderr).unwrap();
    for words in
        ["profile     in use (1 requests", "out of use: everything is computed (80 requests"]
    {
        assert!(said.contains(words), "{said}");
    }
    // Where nothing is audited, nothing can be noticed.
    let output = grating(&[&args[..], &["--audit", "0"]].concat(), &queries);
    assert!(!String::from_utf8(output.stderr).unwrap().contains("audits agree"));
}
