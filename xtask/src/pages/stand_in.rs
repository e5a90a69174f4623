//! What stands in for what a reader has and a checkout does not: published weights, texts and queries of his own, and the
//! time for another build.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::process::root;

/// A small checkpoint of the family of `bge`, in the place of the published one.
const MODEL: &str = "crates/grating-model/tests/goldens/xlm-roberta-f32";
/// Queries, as many as a promise of 0.95 needs with losses among them.
const QUERIES: usize = 360;
/// Texts of each, more than the K of the pages.
const TEXTS: usize = 12;

/// A page's command as it is run here. What it does is the same, with other data.
pub(super) fn instead(command: &str, python: &Path, release: bool) -> String {
    // The step `test` of `cargo xtask ci` runs them.
    let tests = command.replace("cargo test --workspace", "cargo test --workspace --no-run");
    let model =
        tests.replace("--model bge", &format!("--model '{}'", root().join(MODEL).display()));
    // The environment is there, with what the wheel needs; only the wheel is put into it anew.
    let pip = format!("'{}' -m pip install --quiet --no-deps --force-reinstall", python.display());
    let installed = model.replace("pip install", &pip);
    match release {
        true => installed,
        // The programs are built already, as the tests build them.
        false => installed
            .replace("cargo run --release --", "grating")
            .replace("cargo xtask", &this())
            .replace(" --release", "")
            .replace("wheels/release", "wheels/dev"),
    }
}

/// This program, as the shell takes its name.
fn this() -> String {
    let name = |program: std::path::PathBuf| format!("'{}'", program.display());
    std::env::current_exe().map_or_else(|_| "cargo xtask".to_owned(), name)
}

/// Writes the files of a reader that pages name.
pub(super) fn files(folder: &Path) -> Result<()> {
    let passages = fs::read_to_string(root().join("examples/passages.txt"))?;
    let words: Vec<&str> = passages.split_whitespace().collect();
    let text = |number: usize| {
        let word = |step: usize| words[(number * step + step) % words.len()];
        format!("{} {number}", [1, 3, 7, 11, 17].map(word).join(" "))
    };
    let texts = |query: usize| (0..TEXTS).map(|i| text(query * 5 + i)).collect::<Vec<_>>();
    let own = |query| serde_json::json!({ "query": text(query), "texts": texts(query) });
    let shared = |query| serde_json::json!({ "query": text(query) });
    let line = |text: String| serde_json::json!({ "text": text });
    write(folder, "my-queries.jsonl", (0..QUERIES).map(own))?;
    write(folder, "queries.jsonl", (0..QUERIES).map(shared))?;
    write(folder, "texts.jsonl", texts(0).into_iter().map(line))
}

/// One value a line.
fn write(folder: &Path, name: &str, values: impl Iterator<Item = serde_json::Value>) -> Result<()> {
    let lines: String = values.map(|value| format!("{value}\n")).collect();
    fs::write(folder.join(name), lines).with_context(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_keep_all_but_weights_and_profile() {
        let here = |command: &str| instead(command, "/p/python".as_ref(), false);
        assert_eq!(here("cargo run --release -- plan"), "grating plan");
        assert_eq!(here("cargo xtask python --release"), format!("{} python", this()));
        assert_eq!(here("grating rerank -q a b.txt"), "grating rerank -q a b.txt");
        assert_eq!(here("cargo test --workspace"), "cargo test --workspace --no-run");
        let model = here("grating rerank --model bge --top-k 3");
        assert!(model.contains(MODEL) && model.ends_with("--top-k 3"), "{model}");
        assert_eq!(
            here("pip install target/wheels/release/*.whl"),
            "'/p/python' -m pip install --quiet --no-deps --force-reinstall target/wheels/dev/*.whl"
        );
        assert_eq!(instead("cargo run --release", "p".as_ref(), true), "cargo run --release");
    }

    #[test]
    fn files_of_readers_are_there() {
        let folder = tempfile::tempdir().unwrap();
        files(folder.path()).unwrap();
        let queries = fs::read_to_string(folder.path().join("my-queries.jsonl")).unwrap();
        assert_eq!(queries.lines().count(), QUERIES);
    }
}
