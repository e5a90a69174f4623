//! Files of queries, with or without texts of their own.

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::body::{self, BodyOptions};
use super::bytes::{ByteReader, values};
use super::error::{InputError, InputProblem, ReadError};
use super::fields::{Fields, not_a_text};
use super::memory::{MemoryRoom, Meter};
use super::object::{Lists, Object, Use, each, fail};
use super::strings::{Chunked, Sparse, Strings};
use super::text_list::raw_value;
use super::{InputOptions, TextList, json, without_room};

/// Queries of a file in their order, with the texts that some of them have.
#[derive(Debug, Clone, Default)]
pub struct QueryList {
    queries: Strings,
    lines: Chunked<usize>,
    ids: Sparse,
    own: Chunked<Own>,
    options: Chunked<(usize, BodyOptions)>,
    grades: Chunked<u32>,
    pool: Arc<TextList>,
}

/// What of the pool belongs to a query.
#[derive(Debug, Clone, Copy)]
struct Own {
    query: usize,
    start: usize,
    end: usize,
    /// Where its grades begin, one for each text.
    grades: Option<usize>,
}

/// One query of a file.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Query<'a> {
    /// Where it stands, counted from 1.
    pub line: usize,
    /// A JSON value, as written: `id`, `_id` or `query_id`.
    pub id: Option<&'a RawValue>,
    /// What is asked: `query`, or else `text` or `question`.
    pub query: &'a str,
    /// Texts of its own, `texts` or `documents`: which of [`QueryList::pool`].
    pub texts: Option<Range<usize>>,
    /// How relevant people found those, one for each: `grades`.
    pub grades: Option<Vec<u32>>,
    /// What it asks for beside.
    pub options: BodyOptions,
}

impl QueryList {
    /// A query alone, on line 1.
    pub fn one(query: &str) -> Self {
        let mut list = QueryList::default();
        list.push(1, query);
        list
    }

    /// Reads queries: one a line (blank lines are none), or JSON: strings or objects, one a line or in one array.
    ///
    /// `options` say which fields of the texts are text and id.
    ///
    /// # Errors
    /// An [`InputError`] with the line.
    pub fn parse(bytes: &[u8], options: &InputOptions) -> Result<QueryList, InputError> {
        without_room(QueryList::read(bytes, options, &mut MemoryRoom::unlimited()))
    }

    /// As [`Self::parse`], as they come, in no more memory than there is room for.
    ///
    /// # Errors
    /// A [`ReadError`]: also [`InputProblem::OverBudget`].
    pub fn read(
        from: impl Read,
        options: &InputOptions,
        room: &mut MemoryRoom<'_>,
    ) -> Result<QueryList, ReadError> {
        let meter = Meter::new(room);
        let mut source = ByteReader::new(from, &meter)?;
        let fields = Fields::new(options, &meter);
        let mut reader = Reader { list: QueryList::default(), fields, alone: None, any: false };
        if source.is_json(options.format)? {
            values(source.json(), |json| json.deserialize_any(Top(&mut reader)))?;
        } else {
            let mut line = |line: &str, meter: &Meter<'_, '_>| {
                if line.trim().is_empty() {
                    return Ok(());
                }
                reader.list.push(meter.line.get(), line);
                reader.keep()
            };
            while source.line(&mut line)? {}
        }
        let Reader { mut list, fields, .. } = reader;
        list.pool = Arc::new(fields.texts);
        Ok(list)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.queries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The texts that queries have of their own.
    pub fn pool(&self) -> &Arc<TextList> {
        &self.pool
    }

    /// One of them.
    ///
    /// # Panics
    /// Where there is no such query.
    pub fn get(&self, index: usize) -> Query<'_> {
        let own = self.own.get(self.own.partition_point(|own| own.query < index));
        let own = own.filter(|own| own.query == index);
        let texts = own.map(|own| own.start..own.end);
        let grades = own.and_then(|own| Some(own.grades?..own.grades? + (own.end - own.start)));
        let options = self.options.get(self.options.partition_point(|(of, _)| of < index));
        Query {
            line: self.lines.get(index).unwrap_or(1),
            id: self.ids.get(index).and_then(raw_value),
            query: self.queries.get(index),
            texts,
            grades: grades.map(|places| places.filter_map(|at| self.grades.get(at)).collect()),
            options: options.filter(|(of, _)| *of == index).map(|(_, o)| o).unwrap_or_default(),
        }
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Query<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    fn push(&mut self, line: usize, query: &str) {
        self.lines.push(line);
        self.queries.push(query);
    }

    /// But for the pool.
    fn memory_bytes(&self) -> usize {
        self.queries.memory_bytes()
            + self.lines.memory_bytes()
            + self.ids.memory_bytes()
            + self.own.memory_bytes()
            + self.options.memory_bytes()
            + self.grades.memory_bytes()
    }
}

/// Fields of which the first that there is, is the query.
const QUERY: [&str; 3] = ["query", "text", "question"];
const ID: [&str; 3] = ["id", "_id", "query_id"];

struct Reader<'o, 'c, 'm, 'a> {
    list: QueryList,
    fields: Fields<'o, 'c, 'm, 'a>,
    /// The line of an array, which must be alone.
    alone: Option<usize>,
    any: bool,
}

impl Reader<'_, '_, '_, '_> {
    fn keep(&mut self) -> Result<(), ReadError> {
        self.fields.beside = self.list.memory_bytes();
        self.fields.keep()
    }

    fn fail<E: Error>(&self, problem: impl Into<ReadError>) -> E {
        fail(self.fields.meter, problem)
    }

    fn push<E: Error>(&mut self, line: usize, query: &str) -> Result<(), E> {
        self.list.push(line, query);
        self.keep().map_err(|problem| self.fail(problem))
    }

    fn push_object(&mut self, object: &Object, first: usize) -> Result<(), InputError> {
        let found = QUERY.into_iter().find_map(|name| Some((name, object.get(name)?)));
        let (name, query) = found.ok_or_else(|| object.no_text(&QUERY))?;
        let texts = match (object.lists.len(), object.has("texts"), object.has("documents")) {
            (0, false, false) => None,
            (1, true, false) | (1, false, true) => Some(self.fields.texts.len() - first),
            _ => return Err(object.wrong(InputProblem::NotAList)),
        };
        let (grades, count) = (grades(object)?, texts.unwrap_or(0));
        if let Some(grades) = grades.as_ref().filter(|grades| grades.len() != count) {
            let grades = grades.len();
            return Err(object.wrong(InputProblem::Grades { grades, texts: count }));
        }
        let options = body::options(object)?;
        let list = &mut self.list;
        let index = list.len();
        list.push(object.line, &object.string(name, query)?);
        let id = ID.into_iter().find_map(|name| object.get(name));
        id.filter(|id| json::kind(id) != "null")
            .into_iter()
            .for_each(|id| list.ids.push(index, &[id]));
        if options != BodyOptions::default() {
            list.options.push((index, options));
        }
        let graded = grades.as_ref().map(|_| list.grades.len());
        grades.into_iter().flatten().for_each(|grade| list.grades.push(grade));
        if texts.is_some() {
            let end = self.fields.texts.len();
            list.own.push(Own { query: index, start: first, end, grades: graded });
        }
        Ok(())
    }
}

fn grades(object: &Object) -> Result<Option<Vec<u32>>, InputError> {
    let Some(grades) = object.get("grades").filter(|v| json::kind(v) != "null") else {
        return Ok(None);
    };
    let not_grades = |e: serde_json::Error| {
        object.wrong(InputProblem::NotJson { reason: format!("`grades`: {e}") })
    };
    serde_json::from_str(grades).map(Some).map_err(not_grades)
}

/// Queries of an array, or one after another.
impl Lists for Reader<'_, '_, '_, '_> {
    fn element<'de, D: Deserializer<'de>>(&mut self, element: D) -> Result<(), D::Error> {
        let line = self.fields.meter.line.get();
        element.deserialize_any(QueryVisitor { reader: self, line })
    }
}

/// A value of the file.
struct Top<'r, 'o, 'c, 'm, 'a>(&'r mut Reader<'o, 'c, 'm, 'a>);

/// A string or an object is a query.
struct QueryVisitor<'r, 'o, 'c, 'm, 'a> {
    reader: &'r mut Reader<'o, 'c, 'm, 'a>,
    line: usize,
}

impl<'r, 'o, 'c, 'm, 'a> Top<'r, 'o, 'c, 'm, 'a> {
    /// A value that may stand beside others.
    fn next<E: Error>(self) -> Result<QueryVisitor<'r, 'o, 'c, 'm, 'a>, E> {
        let Top(reader) = self;
        reader.any = true;
        let line = reader.fields.meter.line.get();
        match reader.alone {
            Some(line) => Err(reader.fail(InputError { line, problem: InputProblem::Several })),
            None => Ok(QueryVisitor { reader, line }),
        }
    }
}

impl<'de> Visitor<'de> for Top<'_, '_, '_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a query")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        let line = self.0.fields.meter.line.get();
        let first = !self.0.any;
        let QueryVisitor { reader, .. } = self.next()?;
        if !first {
            return Err(reader.fail(InputError { line, problem: InputProblem::Several }));
        }
        reader.alone = Some(line);
        each(seq, reader)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.next()?.visit_map(map)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.next()?.visit_str(text)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.next()?.visit_unit()
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.next()?.visit_bool(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.next()?.visit_u64(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.next()?.visit_i64(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.next()?.visit_f64(value)
    }
}

impl QueryVisitor<'_, '_, '_, '_, '_> {
    fn refuse<E: Error>(self, found: &'static str) -> E {
        self.reader.fail(not_a_text(self.line, found))
    }
}

impl<'de> Visitor<'de> for QueryVisitor<'_, '_, '_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a query")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.reader.push(self.line, text)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let uses = |name: &str, _: &Object| match name {
            "texts" | "documents" => Use::List,
            "grades" => Use::Wanted,
            name if QUERY.contains(&name) || ID.contains(&name) => Use::Wanted,
            name => body::uses(name),
        };
        let (reader, mut object) = (self.reader, Object::default());
        let first = reader.fields.texts.len();
        let meter = reader.fields.meter;
        object.read(meter, false, uses, &mut reader.fields, map)?;
        reader.push_object(&object, first).map_err(|error| fail(meter, error))?;
        reader.keep().map_err(|problem| fail(meter, problem))
    }

    refuse_other_values!();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queries(input: &str) -> Result<QueryList, InputError> {
        QueryList::parse(input.as_bytes(), &InputOptions::default())
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
            assert_eq!(found.iter().map(|q| q.query).collect::<Vec<_>>(), ["a", "b"]);
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
        let (first, second) = (found.get(0), found.get(1));
        assert_eq!(first.id.unwrap().get(), "7");
        let texts: Vec<&str> = first.texts.unwrap().map(|index| found.pool().text(index)).collect();
        assert_eq!(texts, ["x", "\u{fffd}"]);
        assert_eq!(first.grades, Some(vec![1, 0]));
        assert!(second.texts.unwrap().is_empty() && second.grades.is_none());
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
