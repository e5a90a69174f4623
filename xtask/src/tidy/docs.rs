//! What the documents say of the workspace: its crates, its files, and the options of `cargo xtask`.
//!
//! The options of `grating` are compared with its `--help` by a test of the command line.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};

use super::metadata::Metadata;

/// Documents whose tables list the crates of the workspace.
const LISTS_OF_CRATES: [&str; 1] = ["docs/architecture.md"];

/// Folders of the repository: a path that begins with one is taken for a path from the root.
const FOLDERS: [&str; 9] = [
    "crates/",
    "docs/",
    "xtask/",
    "benches/",
    "examples/",
    "models/",
    "training/",
    ".ci/",
    "packaging/",
];

/// Findings in the documents among `paths`, which git knows. `tools` need not be in the lists of crates.
pub(super) fn check(
    root: &Path,
    paths: &[String],
    metadata: &Metadata,
    tools: &[&str],
) -> Result<Vec<String>> {
    let crates: BTreeSet<&str> =
        metadata.members().map(|p| p.name.as_str()).filter(|name| !tools.contains(name)).collect();
    let task_runner = crate::Task::command();
    let exists = |path: &str| known(paths, path);
    let mut findings = Vec::new();
    for path in paths.iter().filter(|path| path.ends_with(".md")) {
        let Ok(text) = fs::read_to_string(root.join(path)) else { continue };
        if LISTS_OF_CRATES.contains(&path.as_str()) {
            findings.extend(crates_listed(path, &text, &crates));
        }
        let read = |target: &str| fs::read_to_string(root.join(target)).ok();
        findings.extend(links(path, &text, &exists, &read));
        // What the changelog says of a version was true of that version.
        if path != "CHANGELOG.md" {
            findings.extend(paths_named(path, &text, &exists));
            findings.extend(options(path, &text, &task_runner));
        }
    }
    for path in LISTS_OF_CRATES {
        fs::metadata(root.join(path)).with_context(|| format!("{path} lists the crates"))?;
    }
    Ok(findings)
}

/// Whether git knows a file of that path or a folder.
fn known(paths: &[String], path: &str) -> bool {
    let path = path.trim_end_matches('/');
    paths.iter().any(|known| {
        known.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// The crates that begin a row of a table, against those of the workspace.
fn crates_listed(path: &str, text: &str, crates: &BTreeSet<&str>) -> Vec<String> {
    let name = |line: &'_ str| {
        let rest = line.strip_prefix("| ")?.trim_start_matches('[').strip_prefix('`')?;
        let name = rest.split('`').next()?;
        let is_crate = name == "grating" || name.starts_with("grating-");
        is_crate.then(|| name.to_owned())
    };
    let listed: BTreeSet<String> = text.lines().filter_map(name).collect();
    let missing = crates.iter().filter(|name| !listed.contains(**name));
    let gone = listed.iter().filter(|name| !crates.contains(name.as_str()));
    missing
        .map(|name| format!("{path}: its table of crates lacks {name}"))
        .chain(gone.map(|name| format!("{path}: its table has {name}, which is no crate here")))
        .collect()
}

/// Links to files and headings that are not there.
fn links(
    path: &str,
    text: &str,
    exists: &dyn Fn(&str) -> bool,
    read: &dyn Fn(&str) -> Option<String>,
) -> Vec<String> {
    let mut findings = Vec::new();
    for target in without_code(text).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        if target.contains("://") || target.contains(char::is_whitespace) {
            continue;
        }
        let (file, heading) = target.split_once('#').unwrap_or((target, ""));
        let file = if file.is_empty() { path.to_owned() } else { joined(path, file) };
        if !exists(&file) {
            findings.push(format!("{path}: links to {target}, which is not there"));
        } else if !heading.is_empty()
            && read(&file).is_some_and(|text| !headings(&text).contains(heading))
        {
            findings.push(format!("{path}: links to {target}, and there is no such heading"));
        }
    }
    findings
}

/// `target` as seen from the folder of `path`.
fn joined(path: &str, target: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            ".." => _ = parts.pop(),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchors of a document's headings, as GitHub makes them.
fn headings(text: &str) -> BTreeSet<String> {
    let anchor = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    text.lines().filter(|line| line.starts_with('#')).map(anchor).collect()
}

/// The text without code, between backticks or fences: what looks like a link there is none.
fn without_code(text: &str) -> String {
    let prose: Vec<&str> = outside_fences(text).collect();
    prose.join("\n").split('`').step_by(2).collect()
}

/// The lines of a text that are in no fenced block.
pub(crate) fn outside_fences(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fence && !fenced
    })
}

/// Code between backticks, line by line.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// Paths from the root, between backticks, that are not there.
fn paths_named(path: &str, text: &str, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let is_path = |span: &&str| {
        FOLDERS.iter().any(|folder| span.starts_with(folder))
            && span.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
    };
    // What lies under `models/` beside the default model is made by tools and ignored by git.
    let made = |span: &&str| span.starts_with("models/") && !span.starts_with("models/default");
    let gone = spans(text).filter(is_path).filter(|span| !made(span) && !exists(span));
    gone.map(|span| format!("{path}: names `{span}`, which is not there")).collect()
}

/// Options of `cargo xtask COMMAND` that the task runner does not have, in code between backticks or at a prompt.
fn options(path: &str, text: &str, task_runner: &Command) -> Vec<String> {
    const NAME: &str = "cargo xtask ";
    let lines = text.lines().filter_map(|line| line.trim_start_matches("$ ").strip_prefix(NAME));
    let spans = spans(text).filter_map(|span| span.strip_prefix(NAME));
    let mut findings = BTreeSet::new();
    for words in lines.chain(spans) {
        let words = words.split('#').next().unwrap_or_default();
        let mut command = task_runner;
        for word in words.split_whitespace() {
            if let Some(below) = command.find_subcommand(word) {
                command = below;
            }
            let Some(option) = word.strip_prefix("--") else { continue };
            let option = option.split(['=', '`', ',', ')']).next().unwrap_or_default();
            if command.get_arguments().all(|known| known.get_long() != Some(option)) {
                let name = command.get_name();
                findings.insert(format!("{path}: `cargo xtask {words}`: {name} has no --{option}"));
            }
        }
    }
    findings.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> Vec<String> {
        ["README.md", "docs/a.md", "crates/grating-io/src/lib.rs"].map(String::from).to_vec()
    }

    #[test]
    fn tables_of_crates_are_those_of_the_workspace() {
        let crates = BTreeSet::from(["grating", "grating-io"]);
        let both = "| crate | for |\n| --- | --- |\n| [`grating`](crates/grating) | a |\n| `grating-io` | b |\n";
        assert!(crates_listed("README.md", both, &crates).is_empty());
        let other = both.replace("grating-io", "grating-cuda");
        let found = crates_listed("README.md", &other, &crates);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("lacks grating-io") && found[1].contains("grating-cuda"));
    }

    #[test]
    fn links_lead_to_files_and_headings() {
        let paths = paths();
        let exists = |path: &str| known(&paths, path);
        let read = |_: &str| Some("# What a file's words say\n".to_owned());
        let found = |text: &str| links("docs/a.md", text, &exists, &read);
        assert!(found("[a](../README.md) [b](https://x.org) [c](../crates/grating-io)").is_empty());
        assert!(found("[a](#what-a-files-words-say) `[link](url)`\n```\n[x](y)\n```\n").is_empty());
        assert_eq!(found("[a](../READYOU.md)").len(), 1);
        assert_eq!(found("[a](../README.md#elsewhere)").len(), 1);
    }

    #[test]
    fn paths_between_backticks_are_there() {
        let paths = paths();
        let exists = |path: &str| known(&paths, path);
        let found = |text: &str| paths_named("README.md", text, &exists);
        assert!(
            found("`crates/grating-io/src/lib.rs`, `docs/`, `models/x`, `docs/*.md`").is_empty()
        );
        assert_eq!(found("see `crates/grating-io/src/gone.rs`").len(), 1);
    }

    #[test]
    fn options_of_the_task_runner_are_its_own() {
        let task_runner = crate::Task::command();
        let found = |text: &str| options("README.md", text, &task_runner);
        assert!(found("```console\n$ cargo xtask bench --quick  # --not-one\n```").is_empty());
        assert!(found("`cargo xtask models random --shape a --out DIR`, `--own`").is_empty());
        let wrong = found("$ cargo xtask bench --quickly\n`cargo xtask tidy --quick`\n");
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].contains("bench has no --quickly"), "{wrong:?}");
    }
}
