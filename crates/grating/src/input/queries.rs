//! Files of queries, with or without texts of their own.

use serde_json::value::RawValue;

use super::error::{InputError, InputProblem};
use super::fields::{Fields, Object};
use super::{InputOptions, Text, is_json, json, utf8, without_lone_surrogates};

/// One query of a file.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct QueryInput {
    /// Where it stands, counted from 1.
    pub line: usize,
    /// A JSON value, as written: `id`, `_id` or `query_id`.
    pub id: Option<Box<RawValue>>,
    /// What is asked: `query`, or else `text` or `question`.
    pub query: String,
    /// Texts of its own: `texts` or `documents`.
    pub texts: Option<Vec<Text>>,
    /// How relevant people found those, one for each: `grades`.
    pub grades: Option<Vec<u32>>,
}

impl QueryInput {
    /// A query alone, on line 1.
    pub fn new(query: impl Into<String>) -> Self {
        QueryInput { line: 1, id: None, query: query.into(), texts: None, grades: None }
    }
}

/// Reads queries: one a line (blank lines are none), or JSON: strings or objects, one a line or in one array.
///
/// `options` say which fields of the texts are text and id.
///
/// # Errors
/// An [`InputError`] with the line.
pub fn parse_queries(bytes: &[u8], options: &InputOptions) -> Result<Vec<QueryInput>, InputError> {
    let text = utf8(bytes)?;
    if !is_json(text, options.format) {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        return Ok(lines.map(|(at, line)| plain(at + 1, line.to_string())).collect());
    }
    let text = without_lone_surrogates(text);
    let mut values = json::values(&text)?;
    if let [one] = values[..]
        && json::kind(one) == "an array"
    {
        let reason = |e: serde_json::Error| InputProblem::NotJson { reason: e.to_string() };
        values = serde_json::from_str(one.get())
            .map_err(|e| InputError { line: json::line_of(&text, one), problem: reason(e) })?;
    }
    let mut fields = Fields::new(options);
    let mut lines = json::Lines::new(&text);
    values.into_iter().map(|value| query(&text, value, lines.of(value), &mut fields)).collect()
}

fn plain(line: usize, query: String) -> QueryInput {
    QueryInput { line, ..QueryInput::new(query) }
}

fn query(
    text: &str,
    value: &RawValue,
    line: usize,
    fields: &mut Fields<'_>,
) -> Result<QueryInput, InputError> {
    const QUERY: [&str; 3] = ["query", "text", "question"];
    if json::kind(value) == "a string" {
        return Ok(plain(line, fields.text(text, value)?.text));
    }
    if json::kind(value) != "an object" {
        let problem = InputProblem::NotAText { found: json::kind(value) };
        return Err(InputError { line, problem });
    }
    let object = Object::parse(text, value)?;
    let found = QUERY.into_iter().find_map(|name| Some((name, object.get(name)?)));
    let (name, query) = found.ok_or_else(|| object.no_text(&QUERY))?;
    let lists = ["texts", "documents"].map(|name| object.get(name));
    let texts = match lists {
        [None, None] => None,
        [Some(list), None] | [None, Some(list)] if json::kind(list) == "an array" => {
            Some(fields.texts(text, list)?)
        }
        _ => return Err(object.wrong(InputProblem::NotAList)),
    };
    let grades = grades(&object)?;
    if let (Some(grades), texts) = (&grades, texts.as_ref().map_or(0, Vec::len))
        && grades.len() != texts
    {
        return Err(object.wrong(InputProblem::Grades { grades: grades.len(), texts }));
    }
    let ids = ["id", "_id", "query_id"].into_iter().find_map(|name| object.get(name));
    Ok(QueryInput {
        line,
        id: ids.filter(|id| json::kind(id) != "null").map(ToOwned::to_owned),
        query: object.string(name, query)?,
        texts,
        grades,
    })
}

fn grades(object: &Object<'_>) -> Result<Option<Vec<u32>>, InputError> {
    let Some(grades) = object.get("grades").filter(|v| json::kind(v) != "null") else {
        return Ok(None);
    };
    let not_grades = |e: serde_json::Error| {
        object.wrong(InputProblem::NotJson { reason: format!("`grades`: {e}") })
    };
    serde_json::from_str(grades.get()).map(Some).map_err(not_grades)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queries(input: &str) -> Result<Vec<QueryInput>, InputError> {
        parse_queries(input.as_bytes(), &InputOptions::default())
    }

    #[test]
    fn lines_and_json_are_read() {
        for input in [
            "a\n\nb\n",
            "{\"query\":\"a\"}\n{\"query\":\"b\"}",
            "[\"a\", \"b\"]",
            "[{\"_id\":\"1\",\"text\":\"a\"},\n{\"text\":\"b\"}]",
        ] {
            let found = queries(input).unwrap();
            assert_eq!(found.iter().map(|q| q.query.as_str()).collect::<Vec<_>>(), ["a", "b"]);
            assert!(found.iter().all(|q| q.texts.is_none() && q.grades.is_none()));
        }
    }

    #[test]
    fn queries_may_have_texts_of_their_own() {
        let found = queries(
            "{\"id\":7,\"query\":\"a\",\"texts\":[\"x\",{\"_id\":3,\"content\":\"\\ud800\"}],\"grades\":[1,0]}\n\
             {\"query\":\"b\",\"documents\":[]}",
        )
        .unwrap();
        assert_eq!(found[0].id.as_ref().unwrap().get(), "7");
        let texts = found[0].texts.as_ref().unwrap();
        assert_eq!((texts[0].as_ref(), texts[1].as_ref()), ("x", "\u{fffd}"));
        assert_eq!(found[0].grades, Some(vec![1, 0]));
        assert!(found[1].texts.as_ref().unwrap().is_empty());
    }

    #[test]
    fn errors_name_the_line() {
        for (input, expected) in [
            (
                "{\"query\":\"a\"}\n{\"q\":\"b\"}",
                "line 2: there is no `query` (nor `text`, `question`); the fields are `q`",
            ),
            ("[\"a\",\n1]", "line 2: a number is neither a string nor an object"),
            ("{\"query\":null}", "line 1: `query` is null, not a string"),
            (
                "{\"query\":\"a\",\"texts\":\"b\"}",
                "line 1: `texts` or `documents` must be one array of strings or objects",
            ),
            (
                "{\"query\":\"a\",\"texts\":[\"b\"],\"grades\":[1,2]}",
                "line 1: 2 grades for 1 texts",
            ),
        ] {
            assert_eq!(queries(input).unwrap_err().to_string(), expected);
        }
    }
}
