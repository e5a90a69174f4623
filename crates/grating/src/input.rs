//! Texts and queries as people keep them: lines, JSON lines, arrays, request bodies of other servers.
//!
//! # Brief overview
//!
//! [`Input::parse`] reads the texts of one request, [`QueryList::parse`] the queries of many; [`Input::read`] and
//! [`QueryList::read`] do so as bytes come, within a [`MemoryRoom`]. They tell the format themselves ([`InputFormat`])
//! and say in an [`InputError`] which line is wrong and why: what looks like JSON and cannot be used is never ranked as if
//! it were text. The texts lie in a [`TextList`], in few buffers.
//!
//! # What is read
//!
//! - Lines: one text a line, an empty line is an empty text.
//! - JSON: strings, or objects, one a line or in one array, also spread over several lines. Of an object the text is the
//!   field `text`, or else the one of [`TEXT_FIELDS`] that it has, in all objects the same; a `title` beside it comes
//!   first, with a space between them, as BEIR has it. Its id is the field `id` or `_id`.
//! - Request bodies: `{"query": …, "texts": […]}` (text-embeddings-inference) and `{"query": …, "documents": […]}`
//!   (Cohere, Jina, vLLM), the elements strings or objects, with the [`BodyOptions`]; fields of other names are not read.
//!
//! A field that is read and stands twice in its object is an error. Others are passed through as they are written, both
//! of two.
//!
//! Half of a surrogate pair in a JSON string (`\ud83d` alone) becomes U+FFFD.
//!
//! # Example
//!
//! ```
//! use grating::input::{Input, InputOptions};
//!
//! let input = Input::parse(br#"{"_id": 7, "title": "Paris", "text": "A city."}"#, &InputOptions::default())?;
//! assert_eq!(input.texts.text(0), "Paris A city.");
//! assert_eq!(input.texts.get(0).id.map(|id| id.get()), Some("7"));
//! # Ok::<(), grating::input::InputError>(())
//! ```

/// Of a visitor of strings and objects: every other value is refused, by its `refuse`, which names what it is.
macro_rules! refuse_other_values {
    () => {
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
            Err(self.refuse("an array"))
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
            Err(self.refuse("null"))
        }

        fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
            Err(self.refuse("a truth value"))
        }

        fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
            Err(self.refuse("a number"))
        }

        fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
            Err(self.refuse("a number"))
        }

        fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
            Err(self.refuse("a number"))
        }
    };
}

mod body;
mod bytes;
mod error;
mod fields;
mod json;
mod memory;
mod object;
mod queries;
mod strings;
mod text_list;
mod top;

use std::io::Read;

pub use self::body::BodyOptions;
use self::bytes::{ByteReader, values};
pub use self::error::{InputError, InputProblem, ReadError};
use self::fields::Fields;
pub(crate) use self::fields::passage;
pub(crate) use self::json::without_lone_surrogates;
pub use self::memory::MemoryRoom;
use self::memory::Meter;
pub use self::queries::{Query, QueryList};
pub use self::text_list::{Text, TextList};

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

/// The texts of one request, with what a request body says beside them.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Input {
    /// The texts, in their order.
    pub texts: TextList,
    /// `query` of a request body.
    pub query: Option<String>,
    /// What else it asks for.
    pub options: BodyOptions,
}

impl Input {
    /// Reads texts. No bytes are no texts.
    ///
    /// # Errors
    /// An [`InputError`] with the line, for what is not UTF-8, and for JSON that is none or has no text.
    pub fn parse(bytes: &[u8], options: &InputOptions) -> Result<Input, InputError> {
        without_room(Input::read(bytes, options, &mut MemoryRoom::unlimited()))
    }

    /// Reads texts as they come, in no more memory than there is room for: neither the file nor an array is in memory
    /// as a whole.
    ///
    /// # Errors
    /// A [`ReadError`]: as [`Self::parse`], the reader's own, and [`InputProblem::OverBudget`].
    pub fn read(
        from: impl Read,
        options: &InputOptions,
        room: &mut MemoryRoom<'_>,
    ) -> Result<Input, ReadError> {
        let meter = Meter::new(room);
        let mut source = ByteReader::new(from, &meter)?;
        let mut fields = Fields::new(options, &meter);
        if source.is_json(options.format)? {
            let mut top = top::Reader::new(fields);
            values(source.json(), |json| top.value(json))?;
            return Ok(top.input());
        }
        let mut line = |line: &str, _: &Meter<'_, '_>| {
            fields.texts.push(line, None, &[]);
            fields.keep()
        };
        while source.line(&mut line)? {}
        Ok(Input { texts: fields.texts, ..Input::default() })
    }
}

/// What is read from memory, in memory that nobody bounds.
fn without_room<T>(read: Result<T, ReadError>) -> Result<T, InputError> {
    read.map_err(|error| match error {
        ReadError::Input(error) => error,
        ReadError::Io(error) => {
            InputError { line: 1, problem: InputProblem::NotJson { reason: error.to_string() } }
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn options(format: InputFormat) -> InputOptions {
        InputOptions { format, keep_fields: true, ..InputOptions::default() }
    }

    fn texts(input: &str) -> Vec<String> {
        let input = Input::parse(input.as_bytes(), &options(InputFormat::Auto)).unwrap();
        input.texts.iter().map(|t| t.text.to_string()).collect()
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
        assert_eq!((lines.texts.len(), lines.texts.text(1)), (2, "["));
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
        assert_eq!((input.query.as_deref(), input.options.top_n), (Some("q"), Some(3)));
        assert_eq!(
            problem("{\"query\":1,\"texts\":[]}").1.to_string(),
            "`query` is a number, not a string"
        );
        assert_eq!(problem("{\"texts\":[\"a\"]}\n{\"texts\":[\"b\"]}"), (1, InputProblem::Several));
        assert_eq!(problem("{\"text\":\"a\"}\n[\"b\"]"), (2, InputProblem::Several));
    }

    #[test]
    fn what_a_request_body_asks_for_is_honoured_or_refused() {
        let parse = |beside: &str| {
            let body = format!("{{\"texts\":[\"a\"],{beside}}}");
            Input::parse(body.as_bytes(), &options(InputFormat::Auto))
        };
        let asked = |beside: &str| parse(beside).unwrap().options;
        assert_eq!(asked("\"top_k\":2").top_n, Some(2));
        assert_eq!(asked("\"top_n\":2,\"top_k\":2").top_n, Some(2));
        assert_eq!(asked("\"top_n\":null,\"return_documents\":null"), BodyOptions::default());
        assert_eq!(asked("\"return_documents\":true").return_text, Some(true));
        assert_eq!(asked("\"return_text\":false").return_text, Some(false));
        assert_eq!(asked("\"raw_scores\":true").raw_scores, Some(true));
        assert_eq!(asked("\"model\":\"m\",\"truncate\":true"), BodyOptions::default());
        for (beside, expected) in [
            ("\"top_n\":1.5", "`top_n` is 1.5, not a whole number, at least 1"),
            ("\"top_k\":\"1\"", "`top_k` is \"1\", not a whole number, at least 1"),
            ("\"top_n\":-3", "`top_n` is -3, not a whole number, at least 1"),
            ("\"top_n\":0", "`top_n` is 0, not a whole number, at least 1"),
            ("\"top_n\":[2]", "`top_n` is an array, not a whole number, at least 1"),
            ("\"top_n\":1e99", "`top_n` is 1e99, not a whole number, at least 1"),
            ("\"top_n\":2,\"top_k\":3", "`top_n` and `top_k` say different things"),
            ("\"return_documents\":1", "`return_documents` is 1, not true or false"),
            ("\"return_text\":\"yes\"", "`return_text` is \"yes\", not true or false"),
            ("\"raw_scores\":{}", "`raw_scores` is an object, not true or false"),
            ("\"documents\":[]", "`texts` or `documents` must be one array of strings or objects"),
            (
                "\"top_n\":1,\"top_n\":1",
                "`top_n` is there twice, and nothing says which one counts",
            ),
        ] {
            let error = parse(beside).unwrap_err();
            assert_eq!((error.line, error.problem.to_string().as_str()), (1, expected), "{beside}");
            let queries = format!("{{\"query\":\"q\",\"texts\":[\"a\"],{beside}}}");
            let error = QueryList::parse(queries.as_bytes(), &InputOptions::default()).unwrap_err();
            assert_eq!(error.problem.to_string(), expected, "{beside}");
        }
        let queries =
            b"{\"query\":\"a\",\"top_n\":7}\n{\"query\":\"b\"}\n{\"query\":\"c\",\"top_k\":1}";
        let queries = QueryList::parse(queries, &InputOptions::default()).unwrap();
        let top_n: Vec<_> = queries.iter().map(|query| query.options.top_n).collect();
        assert_eq!(top_n, [Some(7), None, Some(1)]);
    }

    #[test]
    fn a_field_that_is_there_twice_is_refused_where_it_is_read() {
        for input in [
            "{\"text\":\"a\",\"text\":\"b\"}",
            "[{\"text\":\"a\",\"id\":1,\"id\":2}]",
            "{\"texts\":[\"a\"],\"texts\":[\"b\"]}",
            "{\"query\":\"a\",\"query\":\"a\",\"texts\":[\"b\"]}",
            "{\"text\":\"a\",\"title\":\"t\",\"title\":\"\"}",
        ] {
            let (line, problem) = problem(input);
            assert!(
                line == 1 && matches!(problem, InputProblem::Twice { .. }),
                "{input}: {problem}"
            );
        }
        let query = b"{\"query\":\"a\",\"query\":\"b\"}";
        let error = QueryList::parse(query, &InputOptions::default()).unwrap_err();
        assert_eq!(error.problem, InputProblem::Twice { field: "query".into() });
        // What is passed through is passed through.
        let input = b"{\"text\":\"a\",\"n\":1,\"n\":2}";
        let input = Input::parse(input, &options(InputFormat::Auto)).unwrap();
        assert_eq!(input.texts.get(0).fields.unwrap().get(), "{\"n\":1,\"n\":2}");
    }

    #[test]
    fn a_list_beside_a_text_is_another_field() {
        for input in ["{\"text\":\"a\",\"texts\":[\"b\"]}", "{\"texts\":[\"b\"],\"text\":\"a\"}"] {
            let input = Input::parse(input.as_bytes(), &InputOptions::default()).unwrap();
            assert_eq!(input.texts.iter().map(|t| t.text).collect::<Vec<_>>(), ["a"]);
        }
        let before = problem("{\"texts\":[\"b\"],\"text\":\"a\"}").1.to_string();
        assert_eq!(before, "`text` and `texts` could both be the text");
    }

    /// Whatever the reader hands out at a time.
    #[test]
    fn input_in_pieces_is_what_it_is_as_a_whole() {
        struct Pieces<'b>(&'b [u8], usize);
        impl Read for Pieces<'_> {
            fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
                let count = self.1.min(self.0.len()).min(to.len());
                to[..count].copy_from_slice(&self.0[..count]);
                self.0 = &self.0[count..];
                Ok(count)
            }
        }
        for input in [
            "\u{feff}a\r\n\n b\u{e9}\n",
            "[\"\\ud83d\\ude00 \u{e9}\", {\"text\": \"\\ud83d\"}]",
            "\n\n {\"text\":\"a\"}\n{\"text\":\"b\"}",
            "[1] prose\n",
            "{name}\n",
        ] {
            for piece in [1, 2, 5] {
                let read = Input::read(
                    Pieces(input.as_bytes(), piece),
                    &InputOptions::default(),
                    &mut MemoryRoom::unlimited(),
                );
                let read = read.unwrap();
                let read: Vec<&str> = read.texts.iter().map(|t| t.text).collect();
                assert_eq!(read, texts(input), "{input:?}");
            }
        }
    }

    #[test]
    fn ids_and_other_fields_are_kept_as_they_are_written() {
        let input =
            b"{\"id\":[\"x\",1],\"text\":\"a\",\"n\":1.50,\"o\":{\"p\" :\n[ \" \\\" \"]}}\n\
            {\"_id\":123456789012345678901234567890,\"text\":\"b\"}\n{\"id\":null,\"text\":\"c\"}";
        let input = Input::parse(input, &options(InputFormat::Json)).unwrap();
        let raw = |value: Option<&RawValue>| value.map(|v| v.get().to_string());
        let ids: Vec<_> = input.texts.iter().map(|t| raw(t.id)).collect();
        let expected = [Some("[\"x\",1]"), Some("123456789012345678901234567890"), None];
        assert_eq!(ids, expected.map(|id| id.map(str::to_string)));
        let fields = raw(input.texts.get(0).fields);
        assert_eq!(fields.as_deref(), Some(r#"{"n":1.50,"o":{"p":[" \" "]}}"#));
        assert!(input.texts.get(1).fields.is_none());
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
        for (bytes, word) in [(&b"\x1f\x8b\x08"[..], "gzip"), (b"PK\x03\x04\x14", "zip")] {
            let error = Input::parse(bytes, &InputOptions::default()).unwrap_err();
            assert!(error.to_string().starts_with(&format!("line 1: it is compressed ({word})")));
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
        let text = |fields: &[&str]| named(input, fields, None).unwrap().texts.text(0).to_string();
        assert_eq!(text(&["text"]), "a");
        assert_eq!(text(&["title", "text"]), "t a");
        assert_eq!(text(&["title", "missing", "text"]), "t a");
        assert_eq!(text(&["doc.text"]), "inner");
        let with_id = named(input, &["text"], Some("key")).unwrap();
        assert_eq!(with_id.texts.get(0).id.unwrap().get(), "1");
        let error = named(input, &["none"], None).unwrap_err().to_string();
        assert!(
            error.starts_with("line 1: there is no `none`; the fields are `key`, `title`"),
            "{error}"
        );
        let error = named(input, &["text"], Some("none")).unwrap_err();
        let fields = ["key", "title", "text", "doc"].map(String::from).to_vec();
        assert_eq!(error.problem, InputProblem::NoField { field: "none".into(), fields });
    }
}
