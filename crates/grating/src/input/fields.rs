//! Which fields of an object are its text and its id.

use std::borrow::Cow;

use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::error::{InputError, InputProblem};
use super::memory::Meter;
use super::object::{Lists, Object, Use, fail};
use super::{InputOptions, TEXT_FIELDS, TextList, json};

/// Makes texts of strings and objects; the first object decides which field is the text of all.
pub(super) struct Fields<'o, 'c, 'm, 'a> {
    pub(super) options: &'o InputOptions,
    pub(super) meter: &'c Meter<'m, 'a>,
    /// The field that is the text, once that is known.
    pub(super) text: Option<String>,
    pub(super) texts: TextList,
    /// What others than the texts take.
    pub(super) beside: usize,
    /// Reused.
    object: Object,
}

impl<'o, 'c, 'm, 'a> Fields<'o, 'c, 'm, 'a> {
    pub(super) fn new(options: &'o InputOptions, meter: &'c Meter<'m, 'a>) -> Self {
        let (texts, object) = (TextList::default(), Object::default());
        Fields { options, meter, text: None, texts, beside: 0, object }
    }

    /// Keeps a text.
    fn push<E: Error>(&mut self, text: &str, id: Option<&str>, fields: &[&str]) -> Result<(), E> {
        self.texts.push(text, id, fields);
        self.keep().map_err(|problem| fail(self.meter, problem))
    }

    pub(super) fn keep(&self) -> Result<(), super::ReadError> {
        self.meter.keep(self.texts.len(), self.texts.memory_bytes() + self.beside)
    }

    /// Keeps the text of an object.
    pub(super) fn push_object<E: Error>(&mut self, object: &Object) -> Result<(), E> {
        let wrong = |meter, error: InputError| fail(meter, error);
        let text = self.text_of(object).map_err(|error| wrong(self.meter, error))?;
        let (id, id_field) = self.id_of(object).map_err(|error| wrong(self.meter, error))?;
        let fields = self.options.keep_fields.then(|| {
            let is_text = |name: &str| match self.options.text_fields.as_slice() {
                [] => self.text.as_deref() == Some(name),
                named => named.iter().any(|field| field == name),
            };
            object.without(|name| is_text(name) || id_field == Some(name))
        });
        self.push(&text, id, &fields.unwrap_or_default())
    }

    fn text_of<'j>(&mut self, object: &'j Object) -> Result<Cow<'j, str>, InputError> {
        let named = &self.options.text_fields;
        if !named.is_empty() {
            return joined(object, named).map(Cow::Owned);
        }
        let list = |name| object.get(name).is_some_and(|value| json::kind(value) == "an array");
        let field = match &self.text {
            Some(field) => field.clone(),
            None if !object.has("text") && (list("texts") || list("documents")) => {
                return Err(object.wrong(InputProblem::Several));
            }
            None => self.text.insert(guess(object)?).clone(),
        };
        let value = object.get(&field).ok_or_else(|| object.no_text(&[&field]))?;
        // Without escapes it is what is written.
        let text = match serde_json::from_str::<&str>(value) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(object.string(&field, value)?),
        };
        let title = object.optional_string("title")?.unwrap_or_default();
        Ok(if title.is_empty() { text } else { Cow::Owned(passage(&title, text.into_owned())) })
    }

    fn id_of<'j>(
        &self,
        object: &'j Object,
    ) -> Result<(Option<&'j str>, Option<&'o str>), InputError> {
        let some = |value: &'j str| (json::kind(value) != "null").then_some(value);
        if let Some(field) = &self.options.id_field {
            let problem = || object.no_field(field);
            return Ok((some(object.get(field).ok_or_else(problem)?), Some(field)));
        }
        let found = ["id", "_id"].into_iter().find_map(|name| Some((object.get(name)?, name)));
        Ok(found.map_or((None, None), |(value, name)| (some(value), Some(name))))
    }
}

/// What becomes of a field of an object that is one text, whose field `text` is if that is known.
pub(super) fn uses(options: &InputOptions, text: Option<&str>, name: &str) -> Use {
    let is = |named: &str| {
        let within = || named.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        named == name || within()
    };
    let is_id = match &options.id_field {
        Some(field) => is(field),
        None => matches!(name, "id" | "_id"),
    };
    let is_text = match (options.text_fields.as_slice(), text) {
        ([], Some(field)) => name == "title" || name == field,
        ([], None) => {
            matches!(name, "text" | "title" | "texts" | "documents") || TEXT_FIELDS.contains(&name)
        }
        (named, _) => named.iter().any(|field| is(field)),
    };
    if is_id || is_text { Use::Wanted } else { Use::Other }
}

/// Texts of a list, or one after another.
impl Lists for Fields<'_, '_, '_, '_> {
    fn element<'de, D: Deserializer<'de>>(&mut self, element: D) -> Result<(), D::Error> {
        let line = self.meter.line.get();
        element.deserialize_any(TextVisitor { fields: self, line })
    }
}

/// No lists in there.
pub(super) struct NoLists;

impl Lists for NoLists {
    fn element<'de, D: Deserializer<'de>>(&mut self, _: D) -> Result<(), D::Error> {
        Err(D::Error::custom("a list that nobody asked for"))
    }
}

/// A string or an object is a text.
pub(super) struct TextVisitor<'f, 'o, 'c, 'm, 'a> {
    pub(super) fields: &'f mut Fields<'o, 'c, 'm, 'a>,
    pub(super) line: usize,
}

impl TextVisitor<'_, '_, '_, '_, '_> {
    fn refuse<E: Error>(self, found: &'static str) -> E {
        fail(self.fields.meter, not_a_text(self.line, found))
    }
}

pub(super) fn not_a_text(line: usize, found: &'static str) -> InputError {
    InputError { line, problem: InputProblem::NotAText { found } }
}

impl<'de> Visitor<'de> for TextVisitor<'_, '_, '_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string or an object")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.fields.push(text, None, &[])
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let mut object = std::mem::take(&mut self.fields.object);
        let fields = &*self.fields;
        let keep = fields.options.keep_fields;
        let uses = |name: &str, _: &Object| uses(fields.options, fields.text.as_deref(), name);
        object.read(fields.meter, keep, uses, &mut NoLists, map)?;
        self.fields.push_object(&object)?;
        self.fields.object = object;
        Ok(())
    }

    refuse_other_values!();
}

/// Title, space, text, without white space around them (BEIR's `rerank.py`); the text as it is where there is no title.
pub(crate) fn passage(title: &str, text: String) -> String {
    match title.is_empty() {
        true => text,
        false => format!("{title} {text}").trim().to_string(),
    }
}

/// Those of the named fields that there are, joined.
fn joined(object: &Object, named: &[String]) -> Result<String, InputError> {
    let mut parts = Vec::new();
    for name in named {
        // One that is missing among several is left out, a lone one that is null is named.
        match object.get(name) {
            Some(value) if named.len() == 1 => parts.push(object.string(name, value)?),
            Some(_) => parts.extend(object.optional_string(name)?),
            None => {}
        }
    }
    if parts.is_empty() {
        return Err(object.no_text(&named.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    Ok(parts.join(" "))
}

/// The field of an object that is its text.
fn guess(object: &Object) -> Result<String, InputError> {
    if object.has("text") {
        return Ok("text".into());
    }
    let is_string = |name: &str| object.get(name).is_some_and(|v| json::kind(v) == "a string");
    let there: Vec<&str> = TEXT_FIELDS.into_iter().filter(|name| object.has(name)).collect();
    let strings: Vec<&str> = there.iter().copied().filter(|name| is_string(name)).collect();
    match (strings.as_slice(), there.first()) {
        ([one], _) => Ok(one.to_string()),
        ([], Some(first)) => Ok(first.to_string()),
        ([], None) => Err(object.no_text(&[&["text"][..], &TEXT_FIELDS].concat())),
        (several, _) => Err(object.wrong(InputProblem::Ambiguous {
            fields: several.iter().map(|name| name.to_string()).collect(),
        })),
    }
}
