//! The values of a file of texts: texts one after another, one array of them, or one request body.

use std::io::Read;

use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::body;
use super::bytes::Json;
use super::error::{InputError, InputProblem};
use super::fields::{Fields, TextVisitor, uses};
use super::object::{Object, Use, each, fail};
use super::{BodyOptions, Input};

/// Reads value after value.
pub(super) struct Reader<'o, 'c, 'm, 'a> {
    fields: Fields<'o, 'c, 'm, 'a>,
    query: Option<String>,
    options: BodyOptions,
    /// Whether there was a value.
    any: bool,
    /// The line of an array or a request body, which must be alone.
    alone: Option<usize>,
}

impl<'o, 'c, 'm, 'a> Reader<'o, 'c, 'm, 'a> {
    pub(super) fn new(fields: Fields<'o, 'c, 'm, 'a>) -> Self {
        let options = BodyOptions::default();
        Reader { fields, query: None, options, any: false, alone: None }
    }

    pub(super) fn value<R: Read>(
        &mut self,
        json: &mut Json<'_, '_, '_, R>,
    ) -> serde_json::Result<()> {
        if let Some(line) = self.alone {
            let error = InputError { line, problem: InputProblem::Several };
            return Err(fail(self.fields.meter, error));
        }
        let line = self.fields.meter.line.get();
        let first = !std::mem::replace(&mut self.any, true);
        json.deserialize_any(Top { reader: self, line, first })
    }

    pub(super) fn input(self) -> Input {
        Input { texts: self.fields.texts, query: self.query, options: self.options }
    }

    /// The first object: a request body, or a text.
    fn first_object<'de, A: MapAccess<'de>>(&mut self, map: A) -> Result<(), A::Error> {
        let (meter, options) = (self.fields.meter, self.fields.options);
        let uses = |name: &str, object: &Object| match name {
            "texts" | "documents" if !object.has("text") => Use::List,
            "query" | "text" => Use::Wanted,
            name if body::uses(name) == Use::Wanted => Use::Wanted,
            name => uses(options, None, name),
        };
        let mut object = Object::default();
        object.read(meter, options.keep_fields, uses, &mut self.fields, map)?;
        match object.lists.is_empty() || object.has("text") {
            true => self.first_text(&object),
            false => self.body(&object).map_err(|error| fail(meter, error)),
        }
    }

    fn first_text<E: Error>(&mut self, object: &Object) -> Result<(), E> {
        // Texts of a list beside which there was a text: they are another field of it.
        self.fields.texts.truncate(0);
        self.fields.text = None;
        if let (Some(list), true) = (object.lists.first(), self.fields.options.keep_fields) {
            let fields = vec!["text".into(), list.clone()];
            let error = object.wrong(InputProblem::Ambiguous { fields });
            return Err(fail(self.fields.meter, error));
        }
        self.fields.push_object(object)
    }

    fn body(&mut self, object: &Object) -> Result<(), InputError> {
        if object.lists.len() > 1 {
            return Err(object.wrong(InputProblem::NotAList));
        }
        self.alone = Some(object.line);
        self.query = object.optional_string("query")?;
        self.options = body::options(object)?;
        Ok(())
    }
}

/// A value of the file.
struct Top<'r, 'o, 'c, 'm, 'a> {
    reader: &'r mut Reader<'o, 'c, 'm, 'a>,
    line: usize,
    first: bool,
}

impl<'r, 'o, 'c, 'm, 'a> Top<'r, 'o, 'c, 'm, 'a> {
    fn text(self) -> TextVisitor<'r, 'o, 'c, 'm, 'a> {
        TextVisitor { fields: &mut self.reader.fields, line: self.line }
    }
}

impl<'de> Visitor<'de> for Top<'_, '_, '_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a text, an array of texts or a request body")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        let Top { reader, line, first } = self;
        if !first {
            let error = InputError { line, problem: InputProblem::Several };
            return Err(fail(reader.fields.meter, error));
        }
        reader.alone = Some(line);
        each(seq, &mut reader.fields)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        match self.first {
            true => self.reader.first_object(map),
            false => self.text().visit_map(map),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.text().visit_str(text)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.text().visit_unit()
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.text().visit_bool(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.text().visit_u64(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.text().visit_i64(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.text().visit_f64(value)
    }
}
