//! What the documents say of the command line, against its own help.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::grating;

const COMMANDS: [&str; 7] =
    ["rerank", "plan", "calibrate", "inspect", "doctor", "quantize", "serve"];

/// The README, the documents, and the READMEs of the crates.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let entries = |folder: &str| {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let crates = entries("crates").into_iter().map(|folder| folder.join("README.md"));
    let documents = ["docs", "docs/measurements"].into_iter().flat_map(entries);
    let documents = documents.filter(|path| path.extension() == Some("md".as_ref()));
    let all = documents.chain(crates).chain([root.join("README.md")]);
    all.filter(|path| path.is_file()).collect()
}

/// The long options in the help of a command.
fn options(command: &str) -> BTreeSet<String> {
    let help = grating(&[command, "--help"], b"");
    assert!(help.status.success(), "{command}");
    named(&String::from_utf8(help.stdout).unwrap())
}

/// Every `--option` of a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let options = words.filter(|word| word.starts_with("--") && word.len() > 2);
    options.map(|word| word.trim_end_matches('-').to_owned()).collect()
}

/// The calls of `grating` in a document, at a prompt or between backticks: command and rest of the line.
fn calls(text: &str) -> Vec<(&str, &str)> {
    let prompts = text.lines().filter_map(|line| {
        let line = line.strip_prefix("$ ")?;
        line.strip_prefix("grating ")
            .or_else(|| Some(line.split_once("cargo run --release -- ")?.1))
    });
    let spans = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let spans = spans.filter_map(|span| span.strip_prefix("grating "));
    let calls = prompts.chain(spans).filter_map(|call| {
        let (command, rest) = call.split_once(' ')?;
        COMMANDS.contains(&command).then(|| (command, rest.split('#').next().unwrap_or_default()))
    });
    calls.collect()
}

#[test]
fn options_in_the_documents_are_in_the_help() {
    let known: Vec<(&str, BTreeSet<String>)> =
        COMMANDS.iter().map(|&command| (command, options(command))).collect();
    let mut checked = 0;
    let mut wrong = Vec::new();
    for path in documents() {
        let text = std::fs::read_to_string(&path).unwrap();
        for (command, rest) in calls(&text) {
            let (_, known) = known.iter().find(|(name, _)| *name == command).unwrap();
            checked += named(rest).len();
            for option in named(rest).difference(known).filter(|option| *option != "--help") {
                wrong.push(format!("{}: {command} has no {option}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked > 30, "only {checked} options were found to check");
}

#[test]
fn calls_and_options_are_found_in_a_document() {
    let text = "$ grating rerank --query TEXT [--json]  # no --comment\n`grating plan --tokens 5`, `--other`\n";
    let found = calls(text);
    assert_eq!(found.iter().map(|call| call.0).collect::<Vec<_>>(), ["rerank", "plan"]);
    assert_eq!(named(found[0].1), BTreeSet::from(["--query".into(), "--json".into()]));
    assert_eq!(named(found[1].1), BTreeSet::from(["--tokens".into()]));
}
