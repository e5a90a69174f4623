//! Commands at a prompt, and what a page says that they print.

use anyhow::{Result, ensure};

/// Stands for any text of a line, and alone for any lines.
const ANY: &str = "…";

/// A command of a block.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown<'t> {
    pub(super) words: &'t str,
    /// The lines below it; none where the page does not show what is printed.
    pub(super) printed: Vec<&'t str>,
}

/// The commands behind `$ `, where a line that ends in `\` goes on in the next.
pub(super) fn commands(block: &str) -> Result<Vec<Shown<'_>>> {
    let mut commands: Vec<Shown<'_>> = Vec::new();
    let mut at = 0;
    while at < block.len() {
        let line = block[at..].lines().next().unwrap_or_default();
        let mut end = at + line.len();
        if let Some(words) = line.strip_prefix("$ ") {
            while block[..end].ends_with('\\') {
                let more = block[end + 1..].lines().next().unwrap_or_default();
                end += 1 + more.len();
            }
            let start = at + line.len() - words.len();
            commands.push(Shown { words: &block[start..end], printed: Vec::new() });
        } else {
            let last = commands.last_mut();
            ensure!(last.is_some(), "`{line}` stands before the first command");
            last.into_iter().for_each(|command| command.printed.push(line));
        }
        at = end + 1;
    }
    ensure!(!commands.is_empty(), "it has no command");
    Ok(commands)
}

/// Whether what was printed is what the page shows, where it shows something.
pub(super) fn compare(shown: &[&str], printed: &str) -> Result<()> {
    let printed: Vec<&str> = printed.lines().map(str::trim_end).collect();
    let matches = shown.is_empty() || lines_match(shown, &printed);
    ensure!(
        matches,
        "it printed\n{}\nand the page shows\n{}",
        printed.join("\n"),
        shown.join("\n")
    );
    Ok(())
}

fn lines_match(shown: &[&str], printed: &[&str]) -> bool {
    match shown {
        [] => printed.is_empty(),
        [first, rest @ ..] if *first == ANY => {
            (0..=printed.len()).any(|skipped| lines_match(rest, &printed[skipped..]))
        }
        [first, rest @ ..] => printed.split_first().is_some_and(|(line, others)| {
            line_matches(first.trim_end(), line) && lines_match(rest, others)
        }),
    }
}

/// Whether the pieces between the marks are in the line in their order, the first at its start and the last at its end.
fn line_matches(shown: &str, line: &str) -> bool {
    let Some((first, rest)) = shown.split_once(ANY) else { return shown == line };
    let Some(mut line) = line.strip_prefix(first) else { return false };
    let pieces: Vec<&str> = rest.split(ANY).collect();
    let (last, between) = pieces.split_last().expect("a split has a piece");
    for piece in between {
        let Some(at) = line.find(piece) else { return false };
        line = &line[at + piece.len()..];
    }
    line.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_what_they_print_below_them() {
        let block = "$ a \\\n    b\nc\n$ d\n";
        let expected = [
            Shown { words: "a \\\n    b", printed: vec!["c"] },
            Shown { words: "d", printed: Vec::new() },
        ];
        assert_eq!(commands(block).unwrap(), expected);
        assert!(commands("c\n$ a\n").is_err());
        assert!(commands("").is_err());
    }

    #[test]
    fn marks_stand_for_any_text_and_any_lines() {
        assert!(compare(&[], "anything\n").is_ok());
        assert!(compare(&["a", "b"], "a\nb \n").is_ok());
        assert!(compare(&["a"], "a\nb\n").is_err());
        assert!(compare(&["a", "…"], "a\nb\nc\n").is_ok());
        assert!(compare(&["…", "c"], "a\nb\nc\n").is_ok());
        assert!(compare(&["0.… s, … MiB"], "0.5 s, 3 MiB\n").is_ok());
        assert!(compare(&["0.… s, … MiB"], "0.5 s, 3 KiB\n").is_err());
    }
}
