//! What code of the workspace does not say: the environment in a library, exports without names, tests that pass by
//! failing anywhere, names that gave way to others.

/// The one function of the libraries that reads the environment: where the hub's cache and token are, as Python's
/// `huggingface_hub` finds them. Whoever wants something else passes it.
const READS_THE_ENVIRONMENT: &[&str] = &["crates/grating/src/hub/options.rs"];

/// Crates that are programs: what the user set in the environment is theirs to read and to pass on.
const PROGRAMS: &[&str] = &["crates/grating-cli/"];

/// Names that gave way to another one, so that a thing has one name (docs/glossary.md), and that other name.
const RETIRED: &[(&str, &str)] = &[
    ("overlap_at_k", "agreement_at_k"),
    ("mean_overlap", "mean_agreement"),
    ("Place", "Reservation"),
    ("prompt_because", "prompt_reason"),
    ("said_by", "stated_by"),
    ("slot_capacity", "slot_bytes"),
    ("take_in", "observe"),
    ("Turn", "Claim"),
];

/// Findings in one file of Rust.
pub(super) fn check(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let reasons = [
            catches_any_panic(code),
            reads_the_environment(path, code),
            exports_without_names(path, code),
        ];
        let found = reasons.into_iter().flatten();
        findings.extend(found.map(|reason| format!("{path}:{}: {reason}", number + 1)));
        findings.extend(retired(path, code).map(|(old, new)| {
            format!("{path}:{}: `{old}` is `{new}` now (docs/glossary.md)", number + 1)
        }));
    }
    findings
}

/// A test that is to panic passes wherever it panics: the setup, an index, another assertion.
fn catches_any_panic(code: &str) -> Option<&'static str> {
    // In two pieces, for this file is checked as well.
    code.contains(concat!("#[should", "_panic"))
        .then_some("a test that is to panic passes wherever it does: use `catch_unwind` or `is_err` on the one call")
}

fn reads_the_environment(path: &str, code: &str) -> Option<&'static str> {
    let library = is_library(path) && !PROGRAMS.iter().any(|program| path.starts_with(program));
    let reads = ["env::var", "env::home_dir"].iter().any(|name| code.contains(name));
    (library && reads && !READS_THE_ENVIRONMENT.contains(&path)).then_some(
        "a library reads the environment: take it as an argument, and let the program read it",
    )
}

fn exports_without_names(path: &str, code: &str) -> Option<&'static str> {
    let code = code.trim();
    (is_library(path) && code.starts_with("pub use ") && code.ends_with("::*;"))
        .then_some("an export without names: list what users may use")
}

/// The retired names in a line of code, whole words.
fn retired(path: &str, code: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let words: Vec<&str> = code.split(|c| !is_word(c)).collect();
    let here = !path.starts_with("xtask/src/tidy/");
    RETIRED.iter().copied().filter(move |(old, _)| here && words.contains(old))
}

/// Whether the path is code of a crate, its tests, examples and build script left out.
fn is_library(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.next() == Some("crates") && parts.nth(1) == Some("src")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, line: &str) -> usize {
        check(path, &format!("//! A.\n{line}\n")).len()
    }

    #[test]
    fn tests_say_which_call_panics() {
        let line = concat!("#[should", "_panic(expected = \"a\")]");
        let found = check("crates/a/tests/it.rs", &format!("//! A.\n{line}\n"));
        assert!(found[0].starts_with("crates/a/tests/it.rs:2: "), "{found:?}");
        assert_eq!(count("crates/a/tests/it.rs", "let refused = build().is_err();"), 0);
    }

    #[test]
    fn libraries_do_not_read_the_environment() {
        for line in ["let a = std::env::var_os(\"A\");", "env::var(name)", "std::env::home_dir()"] {
            assert_eq!(count("crates/a/src/b.rs", line), 1, "{line}");
            assert_eq!(count("crates/grating-cli/src/b.rs", line), 0, "{line}");
            assert_eq!(count("crates/grating/src/hub/options.rs", line), 0, "{line}");
            assert_eq!(count("crates/a/tests/b.rs", line), 0, "{line}");
        }
        assert_eq!(count("crates/a/src/b.rs", "/// As [`std::env::var`]."), 0);
        assert_eq!(count("crates/a/src/b.rs", "let file = env!(\"OUT_DIR\");"), 0);
    }

    #[test]
    fn retired_names_do_not_come_back() {
        let found = check("crates/a/src/b.rs", "let a = overlap_at_k(&b);\n");
        assert_eq!(
            found,
            ["crates/a/src/b.rs:1: `overlap_at_k` is `agreement_at_k` now (docs/glossary.md)"]
        );
        assert_eq!(count("crates/a/src/b.rs", "let overlap_at_kinds = 1; // overlap_at_k"), 0);
    }

    #[test]
    fn exports_have_names() {
        assert_eq!(count("crates/a/src/lib.rs", "pub use tokens::*;"), 1);
        assert_eq!(count("crates/a/src/lib.rs", "    pub use tokens::{A, B};"), 0);
        assert_eq!(count("crates/a/src/b.rs", "use super::*;"), 0);
    }
}
