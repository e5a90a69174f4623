//! Texts to rank, from a file or standard input.

use std::io::{IsTerminal, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::args::Format;

/// A text with the id that the user gave it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Text {
    /// A JSON string or number, as given.
    pub(crate) id: Option<Value>,
    pub(crate) text: String,
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

/// Reads all texts; `-` and nothing are standard input.
pub(crate) fn read(file: Option<&Path>, format: Format) -> Result<Vec<Text>> {
    let (name, bytes) = match file.filter(|path| *path != Path::new("-")) {
        Some(path) => {
            let bytes =
                self::bytes(path).with_context(|| format!("cannot read {}", path.display()))?;
            (path.display().to_string(), bytes)
        }
        None => {
            let mut stdin = std::io::stdin();
            if file.is_none() && stdin.is_terminal() {
                bail!("no texts: name a FILE, or pipe texts in (`-` reads what you type)");
            }
            let mut bytes = Vec::new();
            stdin.read_to_end(&mut bytes).context("cannot read standard input")?;
            ("standard input".to_string(), bytes)
        }
    };
    let texts = parse(&bytes, format).with_context(|| name.clone())?;
    if texts.is_empty() {
        bail!("{name}: there are no texts to rank");
    }
    Ok(texts)
}

/// All bytes of a regular file, or of an open descriptor by its path, as `<(command)` of a shell is one.
///
/// # Errors
/// The system's; named pipes and devices are refused, since they may wait forever or never end.
pub(crate) fn bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let kind = std::fs::metadata(path)?;
    if !kind.is_file() && (kind.is_dir() || !is_descriptor(path)) {
        let kind = if kind.is_dir() { "a folder" } else { "a pipe or device" };
        let words = format!("it is {kind}, not a regular file; pipes can be read as `-`");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, words));
    }
    std::fs::read(path)
}

/// `/dev/stdin`, `/dev/fd/63`, `/proc/self/fd/0`.
fn is_descriptor(path: &Path) -> bool {
    let parent = path.parent().unwrap_or(Path::new(""));
    path == Path::new("/dev/stdin")
        || parent == Path::new("/dev/fd")
        || parent.starts_with("/proc") && parent.ends_with("fd")
}

fn parse(bytes: &[u8], format: Format) -> Result<Vec<Text>> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let line = bytes[..error.valid_up_to()].iter().filter(|&&b| b == b'\n').count() + 1;
            bail!("line {line} is not valid UTF-8; convert the file, e.g. with iconv");
        }
    };
    let json_lines = match format {
        Format::Lines => false,
        Format::Jsonl => true,
        Format::Auto => {
            text.lines().find(|l| !l.trim().is_empty()).is_some_and(|l| json_line(l).is_ok())
        }
    };
    if !json_lines {
        return Ok(text.lines().map(|line| Text { id: None, text: line.to_string() }).collect());
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(i, line)| json_line(line).with_context(|| format!("line {}", i + 1))).collect()
}

fn json_line(line: &str) -> Result<Text> {
    let value: Value = serde_json::from_str(line).context("it is no JSON object")?;
    let Value::Object(mut object) = value else { bail!("it is no JSON object") };
    let text = match object.remove("text") {
        Some(Value::String(text)) => text,
        Some(_) => bail!("`text` is no string"),
        None => bail!("`text` is missing"),
    };
    let id = match object.remove("id") {
        None | Some(Value::Null) => None,
        Some(id @ (Value::String(_) | Value::Number(_))) => Some(id),
        Some(_) => bail!("`id` is neither a string nor a number"),
    };
    Ok(Text { id, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(input: &str, format: Format) -> Vec<String> {
        parse(input.as_bytes(), format).unwrap().into_iter().map(|t| t.text).collect()
    }

    #[test]
    fn lines_keep_their_numbers_even_when_empty() {
        assert_eq!(texts("a\r\n\nb\n", Format::Auto), ["a", "", "b"]);
        assert_eq!(texts("\u{feff}a", Format::Auto), ["a"]);
        assert!(texts("", Format::Auto).is_empty());
    }

    #[test]
    fn json_lines_are_detected_and_can_be_refused() {
        let input = "{\"id\": 7, \"text\": \"a\\nb\"}\n\n{\"text\": \"\"}\n";
        assert_eq!(texts(input, Format::Auto), ["a\nb", ""]);
        assert_eq!(texts(input, Format::Lines).len(), 3);
        assert_eq!(parse(input.as_bytes(), Format::Auto).unwrap()[0].id, Some(7.into()));
        assert_eq!(texts("{not json}\nb", Format::Auto), ["{not json}", "b"]);
    }

    #[test]
    fn errors_name_the_line() {
        let error = |bytes: &[u8], format| format!("{:#}", parse(bytes, format).unwrap_err());
        assert!(error(b"a\nb\xff\n", Format::Auto).starts_with("line 2 is not valid UTF-8"));
        assert!(
            error(b"{\"text\":\"a\"}\n{\"txt\":1}", Format::Auto)
                .contains("line 2: `text` is missing")
        );
        assert!(error(b"{\"text\":1}", Format::Jsonl).contains("`text` is no string"));
        assert!(error(b"[]", Format::Jsonl).contains("no JSON object"));
    }
}
