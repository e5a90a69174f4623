//! Texts that tokenizers have no seams for, within a budget: what they cost depends on the token limit, not on their
//! length.
#![cfg(target_os = "linux")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{golden, grating};

const MIB: usize = 1 << 20;
/// As in `memory.rs`.
const OVERHEAD: usize = 8 * MIB;

/// A linear congruential generator: the same texts on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn word(&mut self) -> String {
        const WORDS: [&str; 8] =
            ["river", "stone", "bridge", "window", "paper", "light", "garden", "winter"];
        WORDS[self.below(WORDS.len())].to_owned()
    }

    fn character(&mut self, all: &str) -> char {
        let all: Vec<char> = all.chars().collect();
        all[self.below(all.len())]
    }
}

/// One text of each kind, of `bytes` bytes or a little more.
fn texts(bytes: usize) -> Vec<(&'static str, String)> {
    const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut random = Random(16);
    let mut fill = |line: &dyn Fn(&mut Random, usize) -> String| {
        let mut text = String::new();
        for number in 0.. {
            if text.len() >= bytes {
                break;
            }
            text += &line(&mut random, number);
        }
        text
    };
    vec![
        ("table", fill(&|r, n| format!("| {} | {n} | {} |\n", r.word(), r.word()))),
        ("CSV", fill(&|r, n| format!("{n},{},\"{}\",{}\n", r.word(), r.word(), r.below(1000)))),
        (
            "JSON",
            fill(&|r, n| format!("{{\"{}\":{n},\"{}\":[{}]}},", r.word(), r.word(), r.below(99))),
        ),
        ("CJK", fill(&|r, _| r.character("東京都市河川橋石光紙庭冬窓水").to_string())),
        ("base64", fill(&|r, _| r.character(BASE64).to_string())),
        ("one word a line", fill(&|r, _| r.word() + "\n")),
        ("[[[[", "[".repeat(bytes)),
        ("one letter", "a".repeat(bytes)),
        ("spaces", ["window", &" ".repeat(bytes), "river"].concat()),
        ("pictures", "🙂".repeat(bytes / 4)),
    ]
}

/// A model whose tokenizer takes a whole text for one word.
fn one_word_model(folder: &Path) -> PathBuf {
    let from = golden("llama-f32");
    for name in ["config.json", "grating.json", "model.safetensors"] {
        std::fs::copy(from.join(name), folder.join(name)).unwrap();
    }
    let json = std::fs::read_to_string(from.join("tokenizer.json")).unwrap();
    let mut file: Value = serde_json::from_str(&json).unwrap();
    file["pre_tokenizer"] = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
        "use_regex": false});
    std::fs::write(folder.join("tokenizer.json"), file.to_string()).unwrap();
    folder.to_owned()
}

/// A tokenizer of each kind, by its name; the embedded model has none.
fn models(folder: &Path) -> Vec<(&'static str, Option<PathBuf>)> {
    vec![
        ("WordPiece", None),
        ("byte-level BPE, Qwen", Some(golden("qwen3-tied-f32"))),
        ("byte-level BPE, Llama 3", Some(golden("llama3-rope-f16"))),
        ("BPE, one word", Some(one_word_model(folder))),
        ("unigram", Some(golden("xlm-roberta-f32"))),
    ]
}

/// Ranks within a budget; the peak of the process and the time of tokenizing, ms.
fn run(model: Option<&Path>, budget: usize, texts: &[&str]) -> (usize, f64) {
    let input: String = texts.iter().map(|text| json!({"text": text}).to_string() + "\n").collect();
    let budget = budget.to_string();
    let mut args = vec!["rerank", "-q", "where is the river", "-k", "1", "--json"];
    args.extend(["--memory-budget", &budget, "--threads", "2"]);
    if let Some(model) = model {
        args.extend(["--model", model.to_str().unwrap()]);
    }
    let output = grating(&args, input.as_bytes());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let stats: Value = serde_json::from_slice::<Value>(&output.stdout).unwrap()["stats"].clone();
    let peak = stats["peak_rss_bytes"].as_u64().unwrap() as usize;
    (peak, stats["tokenize_ms"].as_f64().unwrap())
}

#[test]
fn texts_without_seams_stay_within_the_budget() {
    let folder = tempfile::tempdir().unwrap();
    let texts = texts(MIB / 2);
    let all: Vec<&str> = texts.iter().map(|(_, text)| text.as_str()).collect();
    for (name, model) in models(folder.path()) {
        // The embedded model counts as resident; the others are small. Texts are the caller's, and counted, too.
        let budget = if model.is_none() { 100 * MIB } else { 64 * MIB };
        let (peak, _) = run(model.as_deref(), budget, &all);
        assert!(peak <= budget + OVERHEAD, "{name}: peak {} of {} MiB", peak / MIB, budget / MIB);
    }
}

/// `cargo test --release -p grating-cli --test it hostile -- --ignored --nocapture` prints the table.
#[test]
#[ignore = "takes a minute; prints a table of peaks and times"]
fn sweep_of_texts_without_seams() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = String::from(
        "| tokenizer | text | peak MiB, 1 MB | ms | peak MiB, 10 MB | ms |\n|---|---|--:|--:|--:|--:|\n",
    );
    let (small, large) = (texts(MIB), texts(10 * MIB));
    let mut over = Vec::new();
    for (name, model) in models(folder.path()) {
        for ((kind, short), (_, long)) in small.iter().zip(&large) {
            let budget = 100 * MIB;
            let (first, second) =
                (run(model.as_deref(), budget, &[short]), run(model.as_deref(), budget, &[long]));
            let row = [first, second]
                .map(|(peak, ms)| format!("{:.1} | {ms:.1}", peak as f64 / MIB as f64));
            writeln!(table, "| {name} | {kind} | {} |", row.join(" | ")).unwrap();
            if first.0.max(second.0) > budget + OVERHEAD {
                over.push(format!("{name}, {kind}"));
            }
        }
    }
    eprintln!("{table}");
    assert!(over.is_empty(), "over the budget: {over:?}");
}
