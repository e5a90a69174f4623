//! Texts and queries as people keep them: lines, JSON lines, arrays, request bodies of other servers.
//!
//! # Brief overview
//!
//! [`Input::parse`] reads the texts of one request, [`parse_queries`] the queries of many. Both take bytes, tell the
//! format themselves ([`InputFormat`]) and say in an [`InputError`] which line is wrong and why: what looks like JSON and
//! cannot be used is never ranked as if it were text.
//!
//! # What is read
//!
//! - Lines: one text a line, an empty line is an empty text.
//! - JSON: strings, or objects, one a line or in one array, also spread over several lines. Of an object the text is the
//!   field `text`, or else the one of [`TEXT_FIELDS`] that it has, in all objects the same; a `title` beside it comes
//!   first, with a space between them, as BEIR has it. Its id is the field `id` or `_id`.
//! - Request bodies: `{"query": …, "texts": […]}` (text-embeddings-inference) and `{"query": …, "documents": […]}`
//!   (Cohere, Jina, vLLM), the elements strings or objects.
//!
//! Half of a surrogate pair in a JSON string (`\ud83d` alone) becomes U+FFFD.
//!
//! # Example
//!
//! ```
//! use grating::input::{Input, InputOptions};
//!
//! let input = Input::parse(br#"{"_id": 7, "title": "Paris", "text": "A city."}"#, &InputOptions::default())?;
//! assert_eq!(input.texts[0].text, "Paris A city.");
//! assert_eq!(input.texts[0].id.as_ref().map(|id| id.get()), Some("7"));
//! # Ok::<(), grating::input::InputError>(())
//! ```

mod error;
mod fields;
mod json;
mod queries;

use serde_json::value::RawValue;

pub use self::error::{InputError, InputProblem};
pub(crate) use self::fields::passage;
use self::fields::{Fields, Object};
pub(crate) use self::json::without_lone_surrogates;
pub use self::queries::{QueryInput, parse_queries};

/// Fields that are taken for the text where there is no `text`.
pub const TEXT_FIELDS: [&str; 5] = ["content", "contents", "passage", "document", "body"];

/// How bytes are to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InputOptions {
    /// Lines or JSON.
    pub format: InputFormat,
    /// The fields that are the text, joined by a space; `a.b` is the field `b` of the object `a`. Where they are named
    /// no `title` comes first. Empty: found as the [module](self) says.
    pub text_fields: Vec<String>,
    /// The field that is the id; by default `id` or `_id`.
    pub id_field: Option<String>,
    /// Whether the objects' other fields are kept ([`Text::fields`]).
    pub keep_fields: bool,
}

impl InputOptions {
    /// Replaces [`InputOptions::format`].
    #[must_use]
    pub fn format(mut self, format: InputFormat) -> Self {
        self.format = format;
        self
    }

    /// Replaces [`InputOptions::text_fields`].
    #[must_use]
    pub fn text_fields(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.text_fields = names.into_iter().collect();
        self
    }

    /// Replaces [`InputOptions::id_field`].
    #[must_use]
    pub fn id_field(mut self, name: Option<String>) -> Self {
        self.id_field = name;
        self
    }

    /// Replaces [`InputOptions::keep_fields`].
    #[must_use]
    pub fn keep_fields(mut self, keep: bool) -> Self {
        self.keep_fields = keep;
        self
    }
}

/// Lines or JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InputFormat {
    /// JSON if the first line that is not blank begins as JSON does: with `{` or `[` and then what JSON has there (a
    /// quote, a name with a colon, a bracket, the line's end). `[1] A citation`, `[link](url)`, `{name} wrote` and a line
    /// in quotes are lines.
    #[default]
    Auto,
    /// One text a line, whatever it looks like.
    Lines,
    /// JSON: objects or strings one a line, an array of them, or a request body.
    Json,
}

/// A text with what came with it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Text {
    /// A JSON value, as written.
    pub id: Option<Box<RawValue>>,
    /// What is ranked.
    pub text: String,
    /// The object's other fields, as written, as one object; none where there are none or they are not kept.
    pub fields: Option<Box<RawValue>>,
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

/// The texts of one request, with what a request body says beside them.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Input {
    /// The texts, in their order.
    pub texts: Vec<Text>,
    /// `query` of a request body.
    pub query: Option<String>,
    /// `top_n` of a request body.
    pub top_n: Option<usize>,
}

impl Input {
    /// Reads texts. No bytes are no texts.
    ///
    /// # Errors
    /// An [`InputError`] with the line, for what is not UTF-8, and for JSON that is none or has no text.
    pub fn parse(bytes: &[u8], options: &InputOptions) -> Result<Input, InputError> {
        let text = utf8(bytes)?;
        if !is_json(text, options.format) {
            let plain = |line: &str| Text { id: None, text: line.to_string(), fields: None };
            let texts = text.lines().map(plain).collect();
            return Ok(Input { texts, ..Input::default() });
        }
        let text = without_lone_surrogates(text);
        let mut fields = Fields::new(options);
        let values = json::values(&text)?;
        let error = |at: &RawValue, problem| InputError { line: json::line_of(&text, at), problem };
        if let [one] = values[..] {
            match json::kind(one) {
                "an array" => return fields.texts(&text, one).map(Input::of),
                "an object" => {
                    let object = Object::parse(&text, one)?;
                    if let Some(list) = object.list_of_texts() {
                        return Ok(Input {
                            query: object.optional_string("query")?,
                            top_n: object.get("top_n").and_then(|n| n.get().parse().ok()),
                            texts: fields.texts(&text, list)?,
                        });
                    }
                }
                _ => {}
            }
        }
        let text_of = |value| match json::kind(value) {
            "an array" => Err(error(value, InputProblem::Several)),
            _ => fields.text(&text, value),
        };
        values.into_iter().map(text_of).collect::<Result<_, _>>().map(Input::of)
    }

    fn of(texts: Vec<Text>) -> Input {
        Input { texts, ..Input::default() }
    }
}

/// UTF-8 without a byte order mark.
fn utf8(bytes: &[u8]) -> Result<&str, InputError> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|&&b| b == b'\n').count() + 1;
        InputError { line, problem: InputProblem::NotUtf8 }
    })
}

fn is_json(text: &str, format: InputFormat) -> bool {
    match format {
        InputFormat::Lines => false,
        InputFormat::Json => true,
        InputFormat::Auto => json::begins(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(format: InputFormat) -> InputOptions {
        InputOptions { format, keep_fields: true, ..InputOptions::default() }
    }

    fn texts(input: &str) -> Vec<String> {
        let input = Input::parse(input.as_bytes(), &options(InputFormat::Auto)).unwrap();
        input.texts.into_iter().map(|t| t.text).collect()
    }

    fn problem(input: &str) -> (usize, InputProblem) {
        let error = Input::parse(input.as_bytes(), &options(InputFormat::Auto)).unwrap_err();
        (error.line, error.problem)
    }

    #[test]
    fn lines_keep_their_numbers_even_when_empty() {
        assert_eq!(texts("a\r\n\nb\n"), ["a", "", "b"]);
        assert_eq!(texts("\u{feff}a"), ["a"]);
        assert!(texts("").is_empty() && texts("[]").is_empty());
        let lines = Input::parse(b"{\"text\":\"a\"}\n[", &options(InputFormat::Lines)).unwrap();
        assert_eq!((lines.texts.len(), lines.texts[1].as_ref()), (2, "["));
    }

    #[test]
    fn prose_that_begins_like_json_is_prose() {
        for prose in [
            "[1] Lipton, 2010",
            "東京は首都",
            "é",
            "{é",
            "[é",
            "[link](url) text",
            "[INST] a",
            "[] to do",
            "[x] done",
            "{name} wrote",
            "{{ name }}",
            "{% if %}",
            "\"Hello,\" she said.",
            "[1, 2",
            "{}{}",
            "null",
            "12",
        ] {
            assert_eq!(texts(prose), [prose]);
        }
    }

    #[test]
    fn every_layout_gives_the_same_texts() {
        for input in [
            "{\"text\":\"a\\nb\"}\n\n{\"text\":\"\"}\n",
            "[{\"text\":\"a\\nb\"},{\"text\":\"\"}]",
            "[\n  {\n    \"text\": \"a\\nb\"\n  },\n  {\"text\": \"\"}\n]\n",
            "{\n  \"text\": \"a\\nb\"\n}\n{\n  \"text\": \"\"\n}\n",
            "{\"text\":\"a\\nb\"}\n{\n  \"text\": \"\"\n}\n",
            "[\"a\\nb\", \"\"]",
            "{\"query\":\"q\",\"texts\":[\"a\\nb\",\"\"]}",
            "{\n\"query\":\"q\",\"documents\":[{\"text\":\"a\\nb\"},\"\"]}",
            "{\"contents\":\"a\\nb\"}\n{\"contents\":\"\"}",
            "{\"title\":\"a\\nb\",\"text\":\"\"}\n{\"title\":\"\",\"text\":\"\"}",
        ] {
            assert_eq!(texts(input), ["a\nb", ""], "{input}");
        }
    }

    #[test]
    fn a_request_body_brings_its_query() {
        let body = br#"{"model":"m","query":"q","documents":["a"],"top_n":3}"#;
        let input = Input::parse(body, &options(InputFormat::Auto)).unwrap();
        assert_eq!((input.query.as_deref(), input.top_n), (Some("q"), Some(3)));
        assert_eq!(
            problem("{\"query\":1,\"texts\":[]}").1.to_string(),
            "`query` is a number, not a string"
        );
        assert_eq!(problem("{\"texts\":[\"a\"]}\n{\"texts\":[\"b\"]}"), (1, InputProblem::Several));
        assert_eq!(problem("{\"text\":\"a\"}\n[\"b\"]"), (2, InputProblem::Several));
    }

    #[test]
    fn ids_and_other_fields_are_kept_as_they_are_written() {
        let input =
            b"{\"id\":[\"x\",1],\"text\":\"a\",\"n\":1.50,\"o\":{\"p\" :\n[ \" \\\" \"]}}\n\
            {\"_id\":123456789012345678901234567890,\"text\":\"b\"}\n{\"id\":null,\"text\":\"c\"}";
        let input = Input::parse(input, &options(InputFormat::Json)).unwrap();
        let raw = |value: &Option<Box<RawValue>>| value.as_ref().map(|v| v.get().to_string());
        let ids: Vec<_> = input.texts.iter().map(|t| raw(&t.id)).collect();
        let expected = [Some("[\"x\",1]"), Some("123456789012345678901234567890"), None];
        assert_eq!(ids, expected.map(|id| id.map(str::to_string)));
        let fields = raw(&input.texts[0].fields);
        assert_eq!(fields.as_deref(), Some(r#"{"n":1.50,"o":{"p":[" \" "]}}"#));
        assert!(input.texts[1].fields.is_none());
    }

    #[test]
    fn half_of_a_surrogate_pair_becomes_the_replacement_character() {
        assert_eq!(texts(r#"{"text":"a \ud83d b"}"#), ["a \u{fffd} b"]);
        assert_eq!(
            texts(r#"{"text":"\ud83d\ude00 \uDE00\\ud83d"}"#),
            ["\u{1f600} \u{fffd}\\ud83d"]
        );
        assert_eq!(
            texts(r#"["\ud83d\ud83d\ude00", "\ud83d\n"]"#),
            ["\u{fffd}\u{1f600}", "\u{fffd}\n"]
        );
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_line() {
        let message = |input: &str| {
            let (line, problem) = problem(input);
            format!("{line}: {problem}")
        };
        for (input, expected) in [
            ("\n{\"id\":\"a\",\"text\":null}", "2: `text` is null, not a string"),
            ("{\"text\":\"a\"}\n{\"text\":7}", "2: `text` is a number, not a string"),
            (
                "{\"text\":\"a\"}\n{\"content\":\"b\"}",
                "2: there is no `text`; the fields are `content`",
            ),
            (
                "{\"content\":\"a\",\"body\":\"b\"}",
                "1: `content` and `body` could both be the text",
            ),
            ("{\"content\":null}", "1: `content` is null, not a string"),
            ("[\"a\",\n\n7]", "3: a number is neither a string nor an object"),
            ("{\"text\":\"a\"}\n{\"text\":\"b\"", "2: it is no JSON: EOF while parsing an object"),
            ("{\"text\":\"a\",\"title\":[]}", "1: `title` is an array, not a string"),
            (
                "{}",
                "1: there is no `text` (nor `content`, `contents`, `passage`, `document`, `body`)",
            ),
            ("{'text': 'a'}", "1: it is no JSON: strings and names stand in double quotes"),
            ("{text: \"a\"}", "1: it is no JSON: strings and names stand in double quotes"),
            ("[\n{\"text\": \"a\"},\n{\"text\": }\n]", "3: it is no JSON: expected value"),
        ] {
            assert_eq!(message(input), expected);
        }
        let bytes = Input::parse(b"a\nb\xff\n", &InputOptions::default()).unwrap_err();
        assert_eq!((bytes.line, bytes.problem), (2, InputProblem::NotUtf8));
    }

    #[test]
    fn fields_can_be_named() {
        let named = |input: &str, text: &[&str], id: Option<&str>| {
            let text_fields = text.iter().map(|name| name.to_string()).collect();
            let id_field = id.map(str::to_string);
            let options = InputOptions { text_fields, id_field, ..InputOptions::default() };
            Input::parse(input.as_bytes(), &options)
        };
        let input = r#"{"key":1,"title":"t","text":"a","doc":{"text":"inner"}}"#;
        let text = |fields: &[&str]| named(input, fields, None).unwrap().texts[0].text.clone();
        assert_eq!(text(&["text"]), "a");
        assert_eq!(text(&["title", "text"]), "t a");
        assert_eq!(text(&["title", "missing", "text"]), "t a");
        assert_eq!(text(&["doc.text"]), "inner");
        let with_id = named(input, &["text"], Some("key")).unwrap();
        assert_eq!(with_id.texts[0].id.as_ref().unwrap().get(), "1");
        let error = named(input, &["none"], None).unwrap_err().to_string();
        assert!(
            error.starts_with("line 1: there is no `none`; the fields are `key`, `title`"),
            "{error}"
        );
        let error = named(input, &["text"], Some("none")).unwrap_err();
        assert_eq!(error.problem, InputProblem::NoField { field: "none".into() });
    }
}
