//! The form of manifests and source files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::metadata::Metadata;
use super::{length, refused};
use crate::process::{command, stdout_of};

/// Largest file that may be in the repository.
const MAX_FILE_BYTES: u64 = 50 << 20;

/// Words that mark unfinished work.
const UNFINISHED: [&str; 2] = ["TODO", "FIXME"];

/// All findings, in words.
pub(super) fn check(root: &Path, paths: &[String], metadata: &Metadata) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for package in metadata.members() {
        let manifest = fs::read_to_string(&package.manifest_path)
            .with_context(|| format!("cannot read {}", package.manifest_path.display()))?;
        if !takes_workspace_lints(&manifest) {
            findings
                .push(format!("{}: its Cargo.toml lacks `lints.workspace = true`", package.name));
        }
    }
    for path in paths {
        let full = root.join(path);
        // A file that git still names and the working tree has lost is git's matter.
        let Ok(about) = fs::symlink_metadata(&full) else { continue };
        if about.len() > MAX_FILE_BYTES {
            findings.push(format!(
                "{path}: {} MB, more than a repository should hold",
                about.len() >> 20
            ));
        }
        if about.is_file() && path.ends_with(".rs") {
            let text = fs::read_to_string(&full).with_context(|| format!("cannot read {path}"))?;
            findings.extend(length::long_file(path, &text));
            findings.extend(length::long_functions(path, &text));
            findings.extend(refused::check(path, &text));
            if is_source(path) {
                findings.extend(source(path, &text));
                findings.extend(included_from_outside(path, &text));
            }
        }
    }
    Ok(findings)
}

/// Paths that git tracks or would track, relative to the root.
pub(super) fn files(root: &Path) -> Result<Vec<String>> {
    let mut git = command("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    git.current_dir(root);
    let listed = stdout_of(git).context("tidy checks the files that git knows")?;
    let paths = listed.split(|&byte| byte == 0).filter(|path| !path.is_empty());
    Ok(paths.map(|path| String::from_utf8_lossy(path).into_owned()).collect())
}

/// Whether the path is Rust code of a package, its tests and examples left out.
fn is_source(path: &str) -> bool {
    path.ends_with(".rs") && path.split('/').any(|part| part == "src")
}

fn source(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    if !text.starts_with("//!") {
        findings.push(format!("{path}: its first line does not say what it is about (`//! ...`)"));
    }
    if path.starts_with("crates/") {
        for (i, line) in text.lines().enumerate() {
            if let Some(word) = UNFINISHED.iter().find(|word| line.contains(*word)) {
                findings.push(format!("{path}:{}: {word}", i + 1));
            }
        }
    }
    findings
}

/// Files that a macro includes from outside of the crate: `cargo package` leaves them behind, and the packaged crate
/// does not build. The crate's folder is the one above `src`.
fn included_from_outside(path: &str, text: &str) -> Vec<String> {
    const MACROS: [&str; 3] = ["include_bytes!(", "include_str!(", "include!("];
    let parts: Vec<&str> = path.split('/').collect();
    let Some(src) = parts.iter().position(|&part| part == "src") else { return Vec::new() };
    // From `src/a/b.rs`, two steps up are the crate's folder, three are outside.
    let steps_within = parts.len() - src - 1;
    let starts = MACROS.iter().flat_map(|name| text.match_indices(name));
    let mut included: Vec<&str> = starts
        .filter_map(|(at, name)| text[at + name.len()..].split('"').nth(1))
        .filter(|file| file.split('/').take_while(|&part| part == "..").count() > steps_within)
        .collect();
    included.dedup();
    let finding = |file| {
        format!(
            "{path}: includes {file}, which lies outside of its crate and is not packaged with it"
        )
    };
    included.into_iter().map(finding).collect()
}

/// Whether a manifest says `[lints] workspace = true`, in either spelling.
fn takes_workspace_lints(manifest: &str) -> bool {
    let mut lines = manifest
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().replace([' ', '\t'], ""))
        .filter(|line| !line.is_empty());
    while let Some(line) = lines.next() {
        if line == "lints.workspace=true" {
            return true;
        }
        if line == "[lints]" {
            return lines.next().is_some_and(|next| next == "workspace=true");
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_the_lints_count() {
        assert!(takes_workspace_lints(
            "[package]\nname = 'a'\n\n[lints] # shared\nworkspace = true\n"
        ));
        assert!(takes_workspace_lints("lints.workspace = true\n[package]\n"));
        assert!(!takes_workspace_lints("[package]\nversion.workspace = true\n"));
        assert!(!takes_workspace_lints("[lints]\n[dependencies]\nworkspace = true\n"));
        assert!(!takes_workspace_lints("# [lints]\n# workspace = true\n"));
    }

    #[test]
    fn what_a_crate_includes_is_its_own() {
        let include = |path: &str, file: &str| {
            let name = "include_bytes"; // in two pieces, for this file is checked as well
            included_from_outside(
                path,
                &format!("const A: &[u8] = {name}!(concat!(\"{file}\", $name));"),
            )
        };
        assert!(include("crates/a/src/lib.rs", "../README.md").is_empty());
        assert_eq!(include("crates/a/src/lib.rs", "../../b/README.md").len(), 1);
        assert!(include("xtask/src/b/c.rs", "../../words.txt").is_empty());
        assert_eq!(include("xtask/src/b/c.rs", "../../../models/default/").len(), 1);
        assert!(include("crates/a/src/b.rs", "c.txt").is_empty());
    }

    #[test]
    fn sources_say_their_subject_and_are_finished() {
        assert!(source("crates/a/src/lib.rs", "//! A.\n").is_empty());
        assert_eq!(source("crates/a/src/lib.rs", "use std::fs;\n").len(), 1);
        let found = source("crates/a/src/lib.rs", "//! A.\n\n// FIXME later\n");
        assert_eq!(found, ["crates/a/src/lib.rs:3: FIXME"]);
        assert!(is_source("crates/a/src/b/c.rs"));
        assert!(!is_source("crates/a/tests/it/main.rs"));
        assert!(!is_source("crates/a/src/words.txt"));
    }
}
