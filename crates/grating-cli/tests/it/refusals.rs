//! Numbers and files that cannot be: an error with its reason, never a panic or an abort.

use serde_json::Value;

use crate::{TEXTS, fails, golden, grating};

#[test]
fn absurd_sizes_are_errors() {
    let most = usize::MAX.to_string();
    let model = golden("bert-gelu-f32");
    let model = model.to_str().unwrap();
    let plan = |candidates: &str, tokens: &str, words: &[&str]| {
        let args = ["plan", "-m", model, "--candidates", candidates, "--tokens", tokens];
        fails(&args, b"", 1, words);
    };
    plan("4294967296", "100", &["the number of candidates is 4294967296", "1 to 1048576"]);
    plan(&most, "100", &["the number of candidates"]);
    // Texts are cut at the model's limit, however long they are.
    let output = grating(&["plan", "-m", model, "--tokens", &most], b"");
    assert!(output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("are cut at 160"));
    // Within the limits, but more than the budget holds: the ids of the tokens alone take more.
    let args = ["plan", "-m", model, "--candidates", "1048576", "--tokens", "160"];
    fails(&[&args[..], &["--memory-budget", "100MB"]].concat(), b"", 1, &["too small"]);
    for option in ["--chunk-tokens", "--window", "--row-cache", "--threads", "-k", "--max-length"] {
        let output = grating(&["rerank", "-q", "window", "-m", model, option, &most], TEXTS);
        let code = output.status.code();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(matches!(code, Some(0..=2)), "{option}: {code:?} {error}");
        assert!(!error.contains("panicked"), "{option}: {error}");
    }
}

/// A file may try to clear the screen, or to fill a log.
#[test]
fn what_errors_quote_of_files_is_short_and_plain() {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(golden("bert-gelu-f32")).unwrap() {
        let from = entry.unwrap().path();
        std::fs::copy(&from, folder.path().join(from.file_name().unwrap())).unwrap();
    }
    let name = folder.path().to_str().unwrap();
    let long = "t".repeat(1 << 20);
    for architecture in [r"\u001b[2J\u0007", &long] {
        for config in [
            format!(r#"{{"architectures":["{architecture}"]}}"#),
            format!(r#"{{"architectures":"{architecture}"}}"#),
        ] {
            std::fs::write(folder.path().join("config.json"), config).unwrap();
            for args in [&["rerank", "-q", "x", "-m", name][..], &["doctor", "-m", name]] {
                let output = grating(args, TEXTS);
                let said = [output.stdout, output.stderr].concat();
                let said = String::from_utf8(said).unwrap();
                assert_eq!(output.status.code(), Some(1));
                assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{said:?}");
                assert!(said.len() < 2000, "{} bytes", said.len());
            }
        }
    }
}

/// Traces that claim to be of this model, with another number of candidates, layers or components than there are.
#[test]
fn traces_of_another_shape_are_refused_with_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let line = |q: usize| {
        let texts: Vec<String> = (0..4).map(|c| format!("a river {q} {c}")).collect();
        serde_json::json!({ "query": format!("window {q}"), "texts": texts }).to_string()
    };
    let (data, traces) = (path("queries.jsonl"), path("traces.jsonl"));
    std::fs::write(&data, (0..8).map(line).collect::<Vec<_>>().join("\n")).unwrap();
    let model = golden("bert-gelu-f32");
    let out = path("profile.json");
    let mut args = vec!["calibrate", "-m", model.to_str().unwrap(), "--data", &data, "--out", &out];
    args.extend(["--top-k", "1", "--target-agreement", "0.3", "--traces", &traces]);
    let good = grating(&args, b"");
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    let recorded = std::fs::read_to_string(&traces).unwrap();
    let damage = |change: &dyn Fn(&mut Value), words: &[&str]| {
        let mut lines: Vec<Value> =
            recorded.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        change(&mut lines[3]);
        let lines: Vec<String> = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(&traces, lines.concat()).unwrap();
        fails(&args, b"", 1, words);
    };
    let shorten = |trace: &mut Value, numbers: usize| {
        trace["scores"].as_array_mut().unwrap().truncate(numbers);
    };
    damage(
        &|line| {
            line["trace"]["candidates"] = 3.into();
            shorten(&mut line["trace"], 12);
        },
        &["the trace of query `3` is of 3 candidates, but there are 4"],
    );
    damage(
        &|line| {
            line["trace"]["layers"] = 3.into();
            shorten(&mut line["trace"], 12);
        },
        &["is of 3 layers, but there are 4"],
    );
    damage(
        &|line| _ = line["states"]["layers"].as_array_mut().unwrap().pop(),
        &["is of 3 layers with hidden states, but there are 4"],
    );
    damage(
        &|line| {
            // 4 candidates of 42 components as 8 of 21.
            line["states"]["candidates"] = 8.into();
            line["states"]["hidden"] = 21.into();
        },
        &["is of 8 candidates in its hidden states, but there are 4"],
    );
    damage(&|line| line["states"]["hidden"] = u64::MAX.into(), &["bytes of states for 4 x"]);
}
