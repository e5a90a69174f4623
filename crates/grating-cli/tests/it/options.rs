//! Options as people type them, and what is said on standard error.

use serde_json::Value;

use crate::{TEXTS, fails, golden, grating, grating_with};

fn said(args: &[&str], input: &[u8]) -> (String, String) {
    let output = grating(args, input);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, error) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{args:?}: {error}");
    (out, error)
}

#[test]
fn cut_texts_are_told_with_limit_and_option() {
    let model = golden("bert-gelu-f32"); // 160 positions
    let rerank = ["rerank", "-m", model.to_str().unwrap(), "-q", "window"];
    let texts = format!("a river\n{}\n{0}x\n", "river ".repeat(400));
    let (_, error) = said(&[&rerank[..], &["--max-length", "100"]].concat(), texts.as_bytes());
    assert_eq!(
        error,
        "grating: 2 of 3 texts were cut at 100 tokens, query and template included; --max-length raises the limit, up to \
         160; --long passages reads all of them\n"
    );
    let (_, error) = said(&[&rerank[..], &["--json"]].concat(), texts.as_bytes());
    assert!(
        error.contains("at 160 tokens") && error.contains("more the model cannot read"),
        "{error}"
    );
    let (short, error) = said(&[&rerank[..], &["--max-text-tokens", "1"]].concat(), b"river a\n");
    assert!(error.contains("1 of 1 texts was cut at 1 tokens of their own, or 160"), "{error}");
    assert_eq!(short.split('\t').nth(1), said(&rerank, b"river\n").0.split('\t').nth(1));
    let (_, error) = said(&rerank, b"a river\n");
    assert!(error.is_empty(), "{error}");
}

#[test]
fn a_long_query_is_cut_and_told_or_refused() {
    let long = "the ".repeat(150); // as many tokens for BERT, which leaves 157 to query and text
    let bert = golden("bert-gelu-f32");
    let rerank = ["rerank", "-m", bert.to_str().unwrap(), "-q", &long];
    let text = "the window slides over the river and the river"; // 24 tokens
    let (out, error) = said(&rerank, format!("a\n{text}\n").as_bytes());
    assert_eq!(out.lines().count(), 2);
    let words = [
        "the query was cut beside 1 of 2 texts and 0 were cut",
        "160 tokens",
        "--refuse-long-query",
    ];
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
    assert_eq!(said(&[&rerank[..], &["--allow-query-truncation"]].concat(), b"a\n").1, "");
    let refuse = [&rerank[..], &["--refuse-long-query"]].concat();
    let words = ["takes 150 tokens", "133 are left"];
    fails(&refuse, text.as_bytes(), 1, &words);

    let qwen = golden("qwen3-tied-f32");
    let rerank = ["rerank", "-m", qwen.to_str().unwrap(), "--max-length", "160", "-q", &long];
    let (out, error) = said(&rerank, b"a\nb\n");
    let scores: Vec<&str> = out.lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(scores[0], scores[1]);
    assert!(
        error.contains("nothing is left of 2 of 2 texts") && error.contains("up to 512"),
        "{error}"
    );
}

#[test]
fn a_query_may_begin_with_a_hyphen() {
    for query in [&["--query", "-1 degrees"][..], &["-q", "-1 degrees"], &["--query=--json"]] {
        let (out, _) = said(&[&["rerank"][..], query].concat(), TEXTS);
        assert_eq!(out.lines().count(), 3);
    }
}

#[test]
fn a_model_is_named_by_place_or_by_option() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/default");
    for command in ["doctor", "inspect", "plan"] {
        // A plan's first lines; times and what the process takes anyhow follow.
        let lines = |args: &[&str]| {
            let lines = said(args, b"").0.lines().map(str::to_string).collect::<Vec<_>>();
            lines[..if command == "plan" { 5 } else { lines.len() }].to_vec()
        };
        let by_place = lines(&[command, model]);
        assert_eq!(lines(&[command, "-m", model]), by_place);
        assert_eq!(lines(&[command, "--model", model]), by_place);
        fails(&[command, model, "-m", model], b"", 2, &["cannot be used with"]);
        fails(&[command, "--revision", "main"], b"", 2, &["--revision", "MODEL"]);
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("q8").to_str().unwrap().to_string();
    let quantize = ["quantize", "--format", "q8_0", "--out", out.as_str()];
    fails(&[&quantize[..], &["-m", "./nowhere"]].concat(), b"", 1, &["./nowhere"]);
    fails(&[&quantize[..], &["./nowhere"]].concat(), b"", 1, &["./nowhere"]);
}

#[test]
fn an_instruction_without_a_place_for_it_is_told() {
    let (bert, qwen) = (golden("bert-gelu-f32"), golden("qwen3-tied-f32"));
    let rerank =
        |model: &str| said(&["rerank", "-m", model, "-q", "x", "--instruction", "- find"], TEXTS);
    assert!(rerank(bert.to_str().unwrap()).1.contains("--instruction has no effect"));
    assert_eq!(rerank(qwen.to_str().unwrap()).1, "");
}

#[test]
fn a_plan_beyond_the_limit_says_so() {
    let model = golden("bert-gelu-f32");
    let plan = ["plan", model.to_str().unwrap(), "--tokens"];
    let (at_limit, error) = said(&[&plan[..], &["160"]].concat(), b"");
    assert!(error.is_empty(), "{error}");
    assert!(said(&plan[..2], b"").1.is_empty());
    let (beyond, error) = said(&[&plan[..], &["4000"]].concat(), b"");
    assert!(error.contains("texts of 4000 tokens are cut at 160"), "{error}");
    let sizes = |plan: &str| -> Vec<String> {
        let named =
            |line: &&str| ["  hidden", "  workspace"].iter().any(|name| line.starts_with(name));
        plan.lines().filter(named).map(str::to_string).collect()
    };
    assert_eq!(sizes(&beyond), sizes(&at_limit));
    assert!(sizes(&beyond).len() >= 3, "{beyond}");
    let (_, error) = said(&[&plan[..], &["150", "--max-length", "100"]].concat(), b"");
    assert!(error.contains("cut at 100") && error.contains("up to 160"), "{error}");
}

#[test]
fn help_names_all_commands_and_shows_examples() {
    for help in ["-h", "--help"] {
        let (out, _) = said(&[help], b"");
        for word in [
            "rerank",
            "calibrate",
            "plan",
            "inspect",
            "quantize",
            "doctor",
            "Examples:",
            "--queries",
        ] {
            assert!(out.contains(word), "{word}: {out}");
        }
    }
    fails(&[], b"", 2, &["Usage", "rerank"]);
}

/// The program reads the variable, and passes it on: the bits are those of the library with the same instructions.
#[test]
fn instructions_come_from_the_option_or_the_variable() {
    let model = golden("qwen3-score-bf16");
    let args = ["rerank", "--json", "-q", "capital", "-m", model.to_str().unwrap()];
    let scores = |output: std::process::Output| -> Vec<f64> {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{error}");
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let results = json["results"].as_array().unwrap();
        results.iter().map(|result| result["raw_score"].as_f64().unwrap()).collect()
    };
    let texts = String::from_utf8(TEXTS.to_vec()).unwrap();
    let texts: Vec<&str> = texts.lines().collect();
    for isa in grating::Isa::supported() {
        let reranker = grating::Reranker::builder().model(model.to_str().unwrap()).isa(isa);
        let selection = reranker.build().unwrap().rerank("capital", &texts, 3).unwrap();
        let expected: Vec<f64> =
            selection.results.iter().map(|r| f64::from(r.raw_score.0)).collect();
        let isa = isa.to_string();
        let by_option = scores(grating(&[&args[..], &["--isa", &isa]].concat(), TEXTS));
        assert_eq!(as_f32(&by_option), as_f32(&expected), "{isa}");
        let by_variable = scores(grating_with(&args, TEXTS, &[("GRATING_ISA", &isa)]));
        assert_eq!(by_variable, by_option, "{isa}");
    }
    let refused = grating_with(&args, TEXTS, &[("GRATING_ISA", "sse9")]);
    assert_eq!(refused.status.code(), Some(2));
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("sse9") && error.contains("portable"), "{error}");
}

fn as_f32(scores: &[f64]) -> Vec<u32> {
    scores.iter().map(|&score| (score as f32).to_bits()).collect()
}

#[test]
fn an_answer_that_would_come_too_late_is_an_error() {
    let query = ["rerank", "-q", "x", "--deadline"];
    let late = ["not done within 1µs"];
    fails(&[&query[..], &["0.001ms"]].concat(), TEXTS, 1, &late);
    assert_eq!(said(&[&query[..], &["10m"]].concat(), TEXTS).0.lines().count(), 3);
    fails(&[&query[..], &["soon"]].concat(), TEXTS, 2, &["500ms"]);
}

/// What is wrong is told by the option's name, in the user's terms.
#[test]
fn wrong_values_are_told_with_their_option() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let model = golden("bert-gelu-f32");
    let rerank = ["rerank", "-m", model.to_str().unwrap(), "-q", "x"];
    let nowhere = folder.path().join("no").join("file");
    let nowhere = nowhere.to_str().unwrap();
    for (option, value, code, words) in [
        ("--memory-budget", "99999999999999999999G", 2, &["--memory-budget", "200MiB"][..]),
        ("--memory-budget", "0", 2, &["--memory-budget", "at least one byte"]),
        ("--threads", "99999", 2, &["--threads", "from 1 to 1024"]),
        (
            "--max-length",
            "99999",
            1,
            &["a limit of 99999 tokens", "160 positions", "(--max-length)"],
        ),
        ("--max-length", "2", 1, &["leaves no room", "(--max-length)"]),
        ("--text-field", "", 2, &["--text-field"]),
        ("--text-field", "a,", 2, &["--text-field"]),
        ("--id-field", "", 2, &["--id-field"]),
        ("--profile", nowhere, 1, &["--profile", nowhere, "No such file", "grating calibrate"]),
        ("--policy", path, 2, &["--policy", "a folder", "a policy looks like {"]),
        ("--policy", "[]", 2, &["--policy", "a policy looks like {"]),
        ("--timeline", path, 1, &["cannot write", "a folder"]),
        ("--timeline", nowhere, 1, &["cannot write", "there is no folder"]),
    ] {
        fails(&[&rerank[..], &[option, value]].concat(), TEXTS, code, words);
    }
    fails(&[&rerank[..], &[path]].concat(), b"", 1, &["it is a folder"]);
    let texts = folder.path().join("texts");
    std::fs::write(&texts, "a river\n").unwrap();
    let texts = texts.to_str().unwrap();
    fails(
        &[&rerank[..], &["--timeline", texts, texts]].concat(),
        b"",
        2,
        &["--timeline", "is read"],
    );
    assert_eq!(std::fs::read_to_string(texts).unwrap(), "a river\n");
}

#[test]
fn a_plan_that_cannot_be_names_the_option_and_the_budget() {
    let model = golden("bert-gelu-f32");
    let plan = ["plan", model.to_str().unwrap()];
    let fails_with = |option: [&str; 2], words: &[&str]| {
        fails(&[&plan[..], &option].concat(), b"", 1, words);
    };
    fails_with(["-n", "99999999999"], &["99999999999", "1 to 1048576", "(--candidates)"]);
    fails_with(["--memory-budget", "1KiB"], &["a budget of 1 KiB is too small"]);
    fails_with(["--memory-budget", "7"], &["a budget of 7 bytes is too small"]);
}

#[test]
fn a_cutoff_takes_the_references_score_of_that_layers_own_head() {
    let layerwise = [
        ("minicpm-layerwise-f32", 4, "one of 3, 4, 5, 6"),
        ("gemma2-lightweight-f32", 2, "one of 2, 4, 6"),
    ];
    for (case, layers, heads) in layerwise {
        let model = golden(case);
        let file = std::fs::read(model.join("golden.json")).unwrap();
        let pair = serde_json::from_slice::<Value>(&file).unwrap()["pairs"][0].take();
        let (query, text) = (pair["query"].as_str().unwrap(), pair["document"].as_str().unwrap());
        let limit = pair["max_tokens"].to_string();
        let rerank = ["rerank", "-m", model.to_str().unwrap(), "-q", query, "--max-length", &limit];
        let cut = |layers: &str| {
            let all = [&rerank[..], &["--raw-scores", "--cutoff-layers", layers]].concat();
            let (out, _) = said(&all, text.as_bytes());
            out.split('\t').next().unwrap().parse::<f64>().unwrap()
        };
        for layers in [layers, 6] {
            let expected = pair["logits_after_layer"][layers - 1].as_f64().unwrap();
            let found = cut(&layers.to_string());
            // The command prints four decimals.
            assert!((found - expected).abs() < 2e-4, "{case} {layers}: {found} for {expected}");
        }
        fails(&[&rerank[..], &["--cutoff-layers", "1"]].concat(), b"a\n", 1, &[heads]);
    }
    let model = golden("qwen3-tied-f32");
    let rerank = ["rerank", "-m", model.to_str().unwrap(), "-q", "window", "--cutoff-layers", "2"];
    fails(&rerank, b"a\n", 1, &["the only head"]);
}

#[test]
fn compressed_passages_score_as_in_the_reference() {
    let model = golden("gemma2-lightweight-f32");
    let file = golden("").join("../compressed/gemma2-lightweight-f32.json");
    let reference: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let pair = &reference["pairs"][1];
    let (query, text) = (pair["query"].as_str().unwrap(), pair["document"].as_str().unwrap());
    let limit = pair["max_tokens"].to_string();
    let rerank = ["rerank", "-m", model.to_str().unwrap(), "-q", query, "--max-length", &limit];
    let mut checked = 0;
    for setting in reference["settings"].as_array().unwrap() {
        let ratio = setting["ratio"].to_string();
        let layers = setting["layers"].to_string();
        let layers = layers.trim_matches(['[', ']']);
        let compress = ["--raw-scores", "--compress-ratio", &ratio, "--compress-layers", layers];
        for (at, cutoff) in ["2", "4", "6"].into_iter().enumerate() {
            let last = setting["layers"].as_array().unwrap().last().unwrap().to_string();
            if last.as_str() >= cutoff {
                continue;
            }
            let all = [&rerank[..], &compress, &["--cutoff-layers", cutoff]].concat();
            let (out, _) = said(&all, text.as_bytes());
            let found: f64 = out.split('\t').next().unwrap().parse().unwrap();
            let expected = setting["scores"][1][at].as_f64().unwrap();
            assert!((found - expected).abs() < 2e-4, "{all:?}: {found} for {expected}");
            checked += 1;
        }
    }
    assert!(checked >= 10, "{checked}");

    let refused = |more: &[&str], words: &[&str]| {
        fails(&[&rerank[..], more].concat(), b"a\n", 1, words);
    };
    refused(&["--compress-ratio", "3"], &["1, 2, 4 or 8", "(--compress-ratio)"]);
    refused(&["--compress-ratio", "2"], &["is 8", "from 1 to 5", "(--compress-layers)"]);
    refused(&["--compress-layers", "2"], &["a compress_ratio beside it", "(--compress-layers)"]);
    let other = golden("qwen3-tied-f32");
    let other = ["rerank", "-m", other.to_str().unwrap(), "-q", "window", "--compress-ratio", "2"];
    fails(&other, b"a\n", 1, &["Qwen3 were not trained", "(--compress-ratio)"]);
}
