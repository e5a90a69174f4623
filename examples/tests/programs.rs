//! The programs as a user runs them, on the built-in model.
#![allow(clippy::unwrap_used)] // a failed test should panic

use std::fs;
use std::path::Path;
use std::process::Command;

/// Standard output of a program of this package.
fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

const TEXTS: [&str; 5] = [
    "The Seine flows through Paris and ends in the English Channel.",
    "Bread is made of flour, water, salt and yeast.",
    "The heron stands still in shallow water and waits for fish.",
    "A violin has four strings and is played with a bow.",
    "Granite cools slowly below the ground, so that its crystals are large.",
];
const QUESTION: &str = "which river flows through Paris";

/// Judged questions in BEIR layout, each with all texts as its pool.
fn write_set(folder: &Path, conversation: &str) {
    let ids: Vec<String> = (0..TEXTS.len()).map(|i| format!("{conversation}d{i}")).collect();
    let corpus = ids.iter().zip(TEXTS);
    let corpus = corpus.map(|(id, text)| serde_json::json!({"_id": id, "text": text}).to_string());
    let query = format!("{conversation}q");
    fs::create_dir_all(folder.join("qrels")).unwrap();
    let files = [
        ("corpus.jsonl", corpus.collect::<Vec<_>>().join("\n")),
        ("queries.jsonl", serde_json::json!({"_id": query, "text": QUESTION}).to_string()),
        ("candidates.jsonl", serde_json::json!({"query": query, "candidates": ids}).to_string()),
        ("qrels/test.tsv", format!("query-id\tcorpus-id\tscore\n{query}\t{}\t1\n", ids[0])),
    ];
    for (name, text) in files {
        fs::write(folder.join(name), text).unwrap();
    }
}

/// What a program says of the one question of a set.
fn measured(program: &str, folder: &Path, more: &[&str]) -> serde_json::Value {
    let args = [&["--data", folder.to_str().unwrap(), "--json"], more].concat();
    let report: serde_json::Value = serde_json::from_str(&output(program, &args)).unwrap();
    assert_eq!(report["queries"].as_array().unwrap().len(), 1);
    let asked = report["queries"][0].clone();
    assert!(asked["rerank_ms"].as_f64().unwrap() <= asked["total_ms"].as_f64().unwrap());
    asked
}

#[test]
fn rag_finds_the_passage_in_a_folder_and_measures_itself() {
    let root = tempfile::tempdir().unwrap();
    let notes = root.path().join("notes");
    fs::create_dir_all(notes.join("more")).unwrap();
    fs::write(notes.join("a.txt"), TEXTS[1..].join("\n\n")).unwrap();
    fs::write(notes.join("more/b.md"), TEXTS[0]).unwrap();
    let program = env!("CARGO_BIN_EXE_rag");
    let notes = notes.to_str().unwrap();
    let context = output(program, &[notes, "--query", QUESTION, "-k", "1", "--passage", "20"]);
    assert!(context.contains("b.md") && context.contains("The Seine"), "{context}");
    let set = root.path().join("set");
    write_set(&set, "");
    let pools = root.path().join("pools.jsonl");
    let more = ["--top-k", "2", "--pools", pools.to_str().unwrap()];
    assert_eq!(measured(program, &set, &more)["found"], 1.0);
    let pool: grating_examples::Pool =
        serde_json::from_str(&fs::read_to_string(pools).unwrap()).unwrap();
    assert_eq!(pool.query, QUESTION);
    assert!(pool.texts.iter().any(|text| text == TEXTS[0]), "{pool:?}");
}

#[test]
fn memory_recalls_the_turn() {
    let root = tempfile::tempdir().unwrap();
    write_set(root.path(), "talk/");
    let program = env!("CARGO_BIN_EXE_agent_memory");
    assert_eq!(measured(program, root.path(), &["--top-k", "2"])["found"], 1.0);
    let args = ["--data", root.path().to_str().unwrap(), "--conversation", "talk", "-k", "1"];
    let turns = output(program, &[&args[..], &["--query", QUESTION]].concat());
    assert_eq!(turns.lines().count(), 1);
    assert!(turns.contains("The Seine"), "{turns}");
}

#[test]
fn long_context_keeps_the_segment_in_budget() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("long.txt");
    fs::write(&file, TEXTS.join("\n\n")).unwrap();
    let program = env!("CARGO_BIN_EXE_long_context");
    let budget = ["--budget", "20", "--segment", "20"];
    let args = [&[file.to_str().unwrap(), "--query", QUESTION], &budget[..]].concat();
    let kept = output(program, &args);
    assert!(kept.contains("The Seine") && !kept.contains("violin"), "{kept}");
    let set = root.path().join("set");
    write_set(&set, "");
    assert_eq!(measured(program, &set, &budget)["found"], 1.0);
}

#[test]
fn traces_have_a_row_a_layer() {
    let root = tempfile::tempdir().unwrap();
    write_set(root.path(), "");
    let args = ["--data", root.path().to_str().unwrap()];
    let printed = output(env!("CARGO_BIN_EXE_traces"), &args);
    let traces: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let (layers, scores) = (traces[0]["layers"].as_u64().unwrap(), &traces[0]["scores"]);
    assert_eq!(traces[0]["candidates"], TEXTS.len());
    assert_eq!(scores.as_array().unwrap().len() as u64, layers * TEXTS.len() as u64);
}
