//! JSON as it is written: what begins as it does, what a value is, halves of surrogate pairs.

use std::borrow::Cow;

use super::error::InputProblem;

/// Whether a line, the first that is not blank, begins as JSON does, and not as prose may. Nothing where that cannot be
/// said before the `whole` line is there.
pub(super) fn begins(line: &str, whole: bool) -> Option<bool> {
    let is_json = || whole.then(|| serde_json::from_str::<serde::de::IgnoredAny>(line).is_ok());
    let mut chars = line.chars();
    let (first, rest) = (chars.next(), chars.as_str().trim_start());
    match (first, rest.chars().next()) {
        (None | Some('{' | '['), None) if !whole => None,
        (Some('{'), None | Some('"' | '\'')) => Some(true),
        (Some('{'), Some('}')) => is_json(),
        (Some('{'), Some(_)) if !whole && rest.len() < LONGEST_NAME => None,
        (Some('{'), Some(_)) => Some(begins_with_a_name(rest)),
        (Some('['), None | Some('"' | '{' | '[')) => Some(true),
        (Some('['), Some(_)) => is_json(),
        _ => Some(false),
    }
}

/// Bytes within which a name without quotes is over.
const LONGEST_NAME: usize = 4096;

/// `name:`, as languages beside JSON allow without quotes.
fn begins_with_a_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let rest = text.trim_start_matches(is_part);
    rest.len() < text.len() && rest.trim_start().starts_with(':')
}

/// The parser's words without its place, which counts from where it began.
pub(super) fn not_json(error: &serde_json::Error) -> InputProblem {
    let reason = error.to_string();
    let reason = reason.split(" at line ").next().unwrap_or_default().to_string();
    InputProblem::NotJson { reason }
}

/// What is wrong with JSON whose line begins so: as other languages write it, or in the parser's words.
pub(super) fn not_json_in(line: &str, error: &serde_json::Error) -> InputProblem {
    let next = line.trim_start_matches(['{', '[', ',', ' ', '\t']).trim_start();
    match next.starts_with('\'') || begins_with_a_name(next) {
        true => {
            let reason = "strings and names stand in double quotes".into();
            InputProblem::NotJson { reason }
        }
        false => not_json(error),
    }
}

/// The beginning of a text, at most so many bytes.
pub(super) fn beginning(mut text: String, bytes: usize) -> String {
    let end = (0..=bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    text.truncate(end.unwrap_or(0));
    text.shrink_to_fit();
    text
}

/// Adds a string as it is written in JSON, without making it first: names may be as long as all that has been read.
pub(super) fn quote(text: &str, to: &mut String) {
    to.reserve(text.len() + 2);
    to.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c < ' ' || matches!(c, '"' | '\\')) {
        let (before, from) = rest.split_at(at);
        let (escaped, behind) = from.split_at(1);
        to.push_str(before);
        let quoted = serde_json::Value::from(escaped).to_string();
        to.push_str(&quoted[1..quoted.len() - 1]);
        rest = behind;
    }
    to.push_str(rest);
    to.push('"');
}

/// What a value is, in words.
pub(super) fn kind(value: &str) -> &'static str {
    match value.bytes().next() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'n') => "null",
        Some(b't' | b'f') => "a truth value",
        _ => "a number",
    }
}

/// JSON with U+FFFD in place of every half of a surrogate pair that has no other half; no byte moves.
pub(crate) fn without_lone_surrogates(json: &str) -> Cow<'_, str> {
    let mut bytes = Cow::Borrowed(json.as_bytes());
    if lone_surrogate(&bytes, 0).is_some() {
        Repair { last: true }.lone_surrogates(bytes.to_mut());
    }
    match bytes {
        Cow::Borrowed(_) => Cow::Borrowed(json),
        // One escape stands in place of another.
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8(bytes).unwrap_or_else(|_| json.into())),
    }
}

/// A piece of JSON to be repaired.
pub(super) struct Repair {
    /// Whether nothing comes behind it.
    pub(super) last: bool,
}

impl Repair {
    /// Writes U+FFFD over every half of a surrogate pair that has no other half; how many bytes can be told by now.
    pub(super) fn lone_surrogates(&self, json: &mut [u8]) -> usize {
        let mut at = 0;
        while let Some(place) = next_escape(json, at) {
            if place + 2 * UNIT > json.len() && !self.last {
                return place;
            }
            at = match escape(json, place) {
                Escape::Lone => {
                    json[place..place + UNIT].copy_from_slice(b"\\ufffd");
                    place + UNIT
                }
                Escape::Of(bytes) => place + bytes,
            };
        }
        // Behind an escape that is cut off by the end.
        json.len()
    }
}

/// Bytes of an escape `\uXXXX`.
const UNIT: usize = 6;

enum Escape {
    /// So many bytes, and in order.
    Of(usize),
    /// Half of a surrogate pair.
    Lone,
}

fn next_escape(json: &[u8], from: usize) -> Option<usize> {
    Some(from + json.get(from..)?.iter().position(|&b| b == b'\\')?)
}

fn escape(json: &[u8], at: usize) -> Escape {
    match (escaped_unit(json, at), escaped_unit(json, at + UNIT)) {
        (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => Escape::Of(2 * UNIT),
        (Some(0xd800..=0xdfff), _) => Escape::Lone,
        _ => Escape::Of(2),
    }
}

fn lone_surrogate(json: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let place = next_escape(json, at)?;
        match escape(json, place) {
            Escape::Lone => return Some(place),
            Escape::Of(bytes) => at = place + bytes,
        }
    }
}

/// The UTF-16 unit of an escape `\uXXXX` that stands at `at`.
fn escaped_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Adds JSON without the white space between its parts, so that it stands on one line.
pub(super) fn compact(json: &str, to: &mut String) {
    let (mut in_string, mut escaped, mut begin) = (false, false, 0);
    for (at, b) in json.bytes().enumerate() {
        if !in_string && b.is_ascii_whitespace() {
            to.push_str(&json[begin..at]);
            begin = at + 1;
        }
        in_string = in_string != (b == b'"' && !escaped);
        escaped = in_string && b == b'\\' && !escaped;
    }
    to.push_str(&json[begin..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Read in pieces, JSON is repaired as it is in one.
        #[test]
        fn surrogates_are_repaired_across_seams(
            parts in prop::collection::vec(
                prop::sample::select(vec!["\\ud83d", "\\ude00", "\\u00e9", "\\\\", "\\n", "x", "é", "\\uD8"]),
                0..20,
            ),
            piece in 1usize..9,
        ) {
            let json = parts.concat();
            let whole = without_lone_surrogates(&json).into_owned();
            let mut bytes = json.clone().into_bytes();
            let (mut done, mut end) = (0, 0);
            while end < bytes.len() {
                end = (end + piece).min(bytes.len());
                let last = end == bytes.len();
                done += Repair { last }.lone_surrogates(&mut bytes[done..end]);
            }
            prop_assert_eq!(done, bytes.len());
            prop_assert_eq!(String::from_utf8(bytes).unwrap(), whole);
        }
    }

    proptest! {
        #[test]
        fn strings_are_quoted_as_by_serde_json(text in "([a-zé\"\\\\/]|[\0-\u{1f}\u{7f}🙂]){0,20}") {
            let mut quoted = String::from("x");
            quote(&text, &mut quoted);
            prop_assert_eq!(&quoted[1..], serde_json::to_string(&text).unwrap());
        }
    }

    #[test]
    fn white_space_outside_of_strings_goes() {
        let mut to = String::new();
        compact("{ \"a \\\" b\" :\n[1, \"é \"] }", &mut to);
        assert_eq!(to, "{\"a \\\" b\":[1,\"é \"]}");
    }
}
