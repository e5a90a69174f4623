//! JSON as it is written: values one a line or one after another, where each stands, and what it is.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::error::{InputError, InputProblem};

/// Whether the first line that is not blank begins as JSON does, and not as prose may.
pub(super) fn begins(text: &str) -> bool {
    let Some(line) = text.lines().map(str::trim).find(|line| !line.is_empty()) else {
        return false;
    };
    let whole = || serde_json::from_str::<serde::de::IgnoredAny>(line).is_ok();
    let mut chars = line.chars();
    let (first, rest) = (chars.next(), chars.as_str().trim_start());
    match (first, rest.chars().next()) {
        (Some('{'), None | Some('"' | '\'')) => true,
        (Some('{'), Some('}')) => whole(),
        (Some('{'), Some(_)) => begins_with_a_name(rest),
        (Some('['), None | Some('"' | '{' | '[')) => true,
        (Some('['), Some(_)) => whole(),
        _ => false,
    }
}

/// `name:`, as languages beside JSON allow without quotes.
fn begins_with_a_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let rest = text.trim_start_matches(is_part);
    rest.len() < text.len() && rest.trim_start().starts_with(':')
}

/// The values of a text: one a line, or else one after another.
pub(super) fn values(text: &str) -> Result<Vec<&RawValue>, InputError> {
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match serde_json::from_str(line) {
            Ok(value) => lines.push(value),
            // Where whole values came before, the line is wrong, unless all is right when read without lines.
            Err(error) => {
                let values: Result<Vec<&RawValue>, _> =
                    serde_json::Deserializer::from_str(text).into_iter::<&RawValue>().collect();
                return values.map_err(|of_all| match lines.is_empty() {
                    true => not_json(of_all.line(), &of_all, text),
                    false => not_json(at + 1, &error, text),
                });
            }
        }
    }
    Ok(lines)
}

/// The parser's words without its place, which counts from where it began.
fn not_json(line: usize, error: &serde_json::Error, text: &str) -> InputError {
    let reason = error.to_string();
    let reason = reason.split(" at line ").next().unwrap_or_default();
    let line_text = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let next = line_text.trim_start_matches(['{', '[', ',', ' ', '\t']).trim_start();
    let foreign = next.starts_with('\'') || begins_with_a_name(next);
    let reason = match foreign {
        true => "strings and names stand in double quotes".into(),
        false => reason.into(),
    };
    InputError { line: line.max(1), problem: InputProblem::NotJson { reason } }
}

/// What a value is, in words.
pub(super) fn kind(value: &RawValue) -> &'static str {
    match value.get().bytes().next() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'n') => "null",
        Some(b't' | b'f') => "a truth value",
        _ => "a number",
    }
}

/// The line, from 1, on which a value that was read from `text` begins.
pub(super) fn line_of(text: &str, value: &RawValue) -> usize {
    Lines::new(text).of(value)
}

/// [`line_of`] for values in the order in which they stand, without counting anew for each.
pub(super) struct Lines<'t> {
    text: &'t str,
    /// Lines that end before this byte are counted.
    seen: usize,
    line: usize,
}

impl<'t> Lines<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Lines { text, seen: 0, line: 1 }
    }

    pub(super) fn of(&mut self, value: &RawValue) -> usize {
        let at = (value.get().as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        let between = self.text.as_bytes().get(self.seen..at).unwrap_or_default();
        self.line += between.iter().filter(|&&b| b == b'\n').count();
        self.seen = self.seen.max(at);
        self.line
    }
}

/// JSON with U+FFFD in place of every half of a surrogate pair that has no other half; no byte moves.
pub(crate) fn without_lone_surrogates(json: &str) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    let mut lone = Vec::new();
    let mut at = 0;
    while let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|&b| b == b'\\')) {
        at += found;
        at += match (escaped_unit(bytes, at), escaped_unit(bytes, at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                lone.push(at);
                6
            }
            _ => 2,
        };
    }
    if lone.is_empty() {
        return Cow::Borrowed(json);
    }
    let mut repaired = String::with_capacity(json.len());
    let mut copied = 0;
    for at in lone {
        repaired.push_str(&json[copied..at]);
        repaired.push_str("\\ufffd");
        copied = at + 6;
    }
    repaired.push_str(&json[copied..]);
    Cow::Owned(repaired)
}

/// The UTF-16 unit of an escape `\uXXXX` that stands at `at`.
fn escaped_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// JSON without the white space between its parts, so that it stands on one line.
pub(super) fn compact(json: &str) -> String {
    let mut compact = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        if in_string || !c.is_ascii_whitespace() {
            compact.push(c);
        }
        in_string = in_string != (c == '"' && !escaped);
        escaped = in_string && c == '\\' && !escaped;
    }
    compact
}
