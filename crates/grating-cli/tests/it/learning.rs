//! `--learn`, and what `grating profile show` says of its file.

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
