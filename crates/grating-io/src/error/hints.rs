//! The parts of messages that depend on what was found.

use std::fmt;
use std::path::Path;

/// Characters of a name from a file that a message shows.
const SHOWN_CHARS: usize = 120;

/// Quotes, escapes and shortens a name that came from a file.
pub(crate) fn quote(name: &str) -> impl fmt::Display + '_ {
    Quoted(name)
}

/// Text that came from a file, or that quotes one, as a message holds it: control characters are escaped, and a long
/// one has its beginning and its end (where parsers put the line).
///
/// ```
/// assert_eq!(grating_io::shown("unknown field `\u{1b}[2J`"), "unknown field `\\u{1b}[2J`");
/// assert!(grating_io::shown(&"a".repeat(1 << 20)).len() < 400);
/// ```
pub fn shown(text: &str) -> String {
    let chars = text.chars().count();
    let escaped = |c: char| -> String {
        if c.is_control() { c.escape_default().collect() } else { c.into() }
    };
    if chars <= SHOWN_BEGINNING + SHOWN_END {
        return text.chars().map(escaped).collect();
    }
    let beginning = text.chars().take(SHOWN_BEGINNING).map(escaped);
    let end = text.chars().skip(chars - SHOWN_END).map(escaped);
    beginning.chain(["...".to_string()]).chain(end).collect()
}

/// Characters of a text that a message shows.
const SHOWN_BEGINNING: usize = 240;
const SHOWN_END: usize = 80;

struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0;
        let cut = name.char_indices().nth(SHOWN_CHARS).map_or(name.len(), |(at, _)| at);
        let ellipsis = if cut < name.len() { "..." } else { "" };
        write!(f, "{:?}{ellipsis}", &name[..cut])
    }
}

/// Names shown of the files that can be chosen from.
const SHOWN_CANDIDATES: usize = 12;

pub(super) fn candidates_hint(folder: &Path, candidates: &[String]) -> String {
    match candidates {
        [] => "name the folder that holds one of them, or a .safetensors or .gguf file".to_string(),
        [one] => format!("it holds {}: name that file itself to open it", quote(one)),
        [first, ..] => {
            let shown = candidates.iter().take(SHOWN_CANDIDATES);
            let list: Vec<String> = shown.map(|name| quote(name).to_string()).collect();
            let more = match candidates.len() - list.len() {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            format!(
                "it holds several models: {}{more}; name one by its file, as in {}",
                list.join(", "),
                folder.join(first).display()
            )
        }
    }
}

pub(super) fn similar_hint(similar: &Option<String>) -> String {
    match similar {
        Some(name) => format!("; did you mean {}?", quote(name)),
        None => "; check that this is the checkpoint you meant, and list its tensors".to_string(),
    }
}

pub(super) fn found_in_hint(found_in: &Option<String>) -> String {
    match found_in {
        Some(shard) => format!("lacks it ({} holds it)", quote(shard)),
        None => "lacks it, as do all other shards".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IoError;

    #[test]
    fn names_from_files_are_escaped_and_shortened() {
        assert_eq!(quote("a.weight").to_string(), "\"a.weight\"");
        assert_eq!(quote("\u{1b}[2J\n").to_string(), "\"\\u{1b}[2J\\n\"");
        let long = quote(&"é".repeat(5000)).to_string();
        assert_eq!(long.chars().count(), SHOWN_CHARS + 2 + 3);
    }

    #[test]
    fn a_folder_without_a_checkpoint_says_what_could_be_opened() {
        let message = |candidates: &[&str]| {
            IoError::NoCheckpoint {
                folder: "m".into(),
                looked_for: vec!["a", "b"],
                candidates: candidates.iter().map(|c| c.to_string()).collect(),
            }
            .to_string()
        };
        assert!(message(&[]).starts_with("m: no checkpoint: looked for a and b; name the folder"));
        assert!(message(&["x.safetensors"]).contains("holds \"x.safetensors\": name that file"));
        let several = message(&["x.gguf", "y.gguf"]);
        assert!(
            several.contains("\"x.gguf\", \"y.gguf\"; name one by its file, as in m"),
            "{several}"
        );
    }
}
