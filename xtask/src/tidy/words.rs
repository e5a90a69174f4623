//! Sentences of the README and the pages in `docs`: short ones, which readers of a second language follow.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::docs::outside_fences;

/// Most words of the middle sentence of a page.
const MEDIAN: usize = 16;
/// Most words of nine sentences in ten.
const MOST: usize = 30;
/// Most lines of the README.
const README: usize = 150;

pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for page in pages(root)? {
        let text = fs::read_to_string(root.join(&page)).with_context(|| page.clone())?;
        if page == "README.md" && text.lines().count() > README {
            findings.push(format!("{page}: {} lines, more than {README}", text.lines().count()));
        }
        findings.extend(too_long(&page, &text));
    }
    Ok(findings)
}

/// The README and every page of `docs` itself; below it are tables.
fn pages(root: &Path) -> Result<Vec<String>> {
    let mut pages = vec!["README.md".to_owned()];
    for entry in fs::read_dir(root.join("docs"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        pages.extend(name.ends_with(".md").then(|| format!("docs/{name}")));
    }
    pages.sort_unstable();
    Ok(pages)
}

fn too_long(page: &str, text: &str) -> Option<String> {
    let mut lengths: Vec<usize> = sentences(text).iter().map(|words| words.len()).collect();
    lengths.sort_unstable();
    let at = |part: usize| lengths.get(lengths.len() * part / 10).copied().unwrap_or(0);
    let (median, most) = (at(5), at(9));
    (median > MEDIAN || most > MOST).then(|| {
        format!("{page}: the middle sentence has {median} words, nine in ten have up to {most}; at most {MEDIAN} and {MOST}")
    })
}

/// The words of each sentence, code blocks, tables and headings left out.
fn sentences(text: &str) -> Vec<Vec<String>> {
    let mut prose = String::new();
    for line in outside_fences(text) {
        let bare = line.trim_start();
        // Items and paragraphs end a sentence.
        if bare.is_empty()
            || bare.starts_with("- ")
            || bare.starts_with(|c: char| c.is_ascii_digit())
        {
            prose.push_str(". ");
        }
        if !bare.starts_with(['|', '#']) {
            prose.push_str(bare);
            prose.push(' ');
        }
    }
    let ends = |word: &str| word.ends_with(['.', '!', '?', ':', ';']);
    let mut sentences = vec![Vec::new()];
    for word in prose.split_whitespace() {
        if word.chars().any(char::is_alphanumeric) {
            sentences.last_mut().into_iter().for_each(|sentence| sentence.push(word.to_owned()));
        }
        if ends(word.trim_end_matches(['*', '`', ')', '"'])) {
            sentences.push(Vec::new());
        }
    }
    sentences.retain(|sentence| !sentence.is_empty());
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_what_is_between_their_ends() {
        let text = "# A title\nOne two. Three\nfour!\n\n```\ncode here\n```\n| a | table |\n- five\n- six seven\n";
        let lengths: Vec<usize> = sentences(text).iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 2, 1, 2]);
    }

    #[test]
    fn long_ones_are_found() {
        let long = format!("{}.", "word ".repeat(40).trim());
        assert!(too_long("a.md", &long).is_some());
        assert!(too_long("a.md", "A short one. And another.").is_none());
    }
}
