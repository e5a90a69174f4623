//! Output as a good Unix tool prints it: tables for people, tabs and JSON for programs.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::{Result, bail};
use serde::Serialize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Standard output, whose errors say that it is what cannot be written.
pub(crate) fn stdout() -> impl Write {
    struct Stdout(std::io::StdoutLock<'static>);

    fn named(error: std::io::Error) -> std::io::Error {
        // Of its kind: a closed pipe must be known for what it is.
        let words = format!("the output cannot be written: {error}");
        std::io::Error::new(error.kind(), words)
    }

    impl Write for Stdout {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.write(bytes).map_err(named)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            self.0.flush().map_err(named)
        }
    }

    Stdout(std::io::stdout().lock())
}

/// Whether a file may be written there, as far as that can be told before there is anything to write.
pub(crate) fn check_file(file: &Path) -> Result<()> {
    match file.parent() {
        _ if file.is_dir() => bail!("cannot write {}: it is a folder; name a file", file.display()),
        Some(folder) if folder != Path::new("") && !folder.is_dir() => {
            bail!("cannot write {}: there is no folder {}", file.display(), folder.display())
        }
        _ => Ok(()),
    }
}

/// Columns of the terminal that standard output goes to, if it goes to one.
pub(crate) fn terminal_width() -> Option<usize> {
    let columns = || terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0));
    std::io::stdout().is_terminal().then(columns)
}

/// One pretty-printed JSON value and a newline.
pub(crate) fn json(out: &mut impl Write, value: &impl Serialize) -> Result<()> {
    // As the writer's own error where it is one: a closed pipe must be known for what it is.
    serde_json::to_writer_pretty(&mut *out, value).map_err(std::io::Error::from)?;
    Ok(writeln!(out)?)
}

/// One JSON value on one line.
pub(crate) fn json_line(out: &mut impl Write, value: &impl Serialize) -> Result<()> {
    serde_json::to_writer(&mut *out, value).map_err(std::io::Error::from)?;
    Ok(writeln!(out)?)
}

/// A text as a field between tabs: `\t`, `\n`, `\r` and `\\` stand for tab, line feed, carriage return and backslash, so
/// that it can be told from its escapes and had back. Written as it goes: a text may be as long as memory has room for.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['\t', '\n', '\r', '\\']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'\t' => "\\t",
                b'\n' => "\\n",
                b'\r' => "\\r",
                _ => "\\\\",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

/// On one line and without control characters: a text cannot move the cursor or start a new row.
pub(crate) fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_whitespace() && !line.ends_with(' ') => line.push(' '),
            c if c.is_whitespace() => {}
            c if c.is_control() => line.push('\u{fffd}'),
            c => line.push(c),
        }
    }
    line.trim().to_string()
}

/// An error's message, [`printable`] and no longer than a screen holds, whatever names it quotes out of files.
pub(crate) fn message(text: &str) -> String {
    const BEGINNING: usize = 1600;
    const END: usize = 800;
    let line = printable(text);
    let chars = line.chars().count();
    if chars <= BEGINNING + END {
        return line;
    }
    let beginning = line.chars().take(BEGINNING);
    let end = line.chars().skip(chars - END);
    beginning.chain(" ... ".chars()).chain(end).collect()
}

/// Aligned columns; the last one is cut to the terminal's width.
pub(crate) fn table<const N: usize>(
    out: &mut impl Write,
    header: [&str; N],
    rows: &[[String; N]],
    width: usize,
) -> Result<()> {
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter()
            .map(|row| row[column].width())
            .chain([header[column].width()])
            .max()
            .unwrap_or(0)
    });
    let header = header.map(str::to_string);
    for row in std::iter::once(&header).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths).take(N - 1) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.width() + 2));
        }
        let room = width.saturating_sub(line.width()).max(10);
        line.push_str(&cut(&row[N - 1], room));
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// At most `width` columns, with an ellipsis where something is missing.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_string();
    }
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used < width
    };
    let mut line: String = text.chars().take_while(fits).collect();
    line.push('…');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_between_tabs_can_be_had_back() {
        assert_eq!(Escaped(" a  b \u{7}").to_string(), " a  b \u{7}");
        assert_eq!(Escaped("a\tb\nc\r\n\\n").to_string(), r"a\tb\nc\r\n\\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\n\tb \u{1b}[31mred\u{7}"), "a b \u{fffd}[31mred\u{fffd}");
    }

    #[test]
    fn a_long_message_keeps_its_beginning_and_end() {
        assert_eq!(message("a: b; c"), "a: b; c");
        let long = message(&format!("file: {}; do this", "é".repeat(100_000)));
        assert!(long.starts_with("file: é") && long.ends_with("; do this"), "{long}");
        assert!(long.chars().count() < 2500);
    }

    #[test]
    fn wide_characters_are_cut_by_columns() {
        assert_eq!(cut("東京タワー", 5), "東京…");
        assert_eq!(cut("short", 5), "short");
        let mut out = Vec::new();
        let rows = [["0.9".into(), "a long text".into()], ["10.25".into(), "b".into()]];
        table(&mut out, ["score", "text"], &rows, 17).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "score  text\n0.9    a long te…\n10.25  b\n");
    }
}
