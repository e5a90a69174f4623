//! Which fields of an object are its text and its id.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::{InputError, InputProblem};
use super::{InputOptions, TEXT_FIELDS, Text, json};

/// A JSON object's fields as they are written, in their order.
pub(super) struct Object<'a> {
    /// What it was read from; where it stands in there is looked for only when something is wrong.
    text: &'a str,
    value: &'a RawValue,
    fields: Vec<(String, &'a RawValue)>,
}

struct RawFields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for RawFields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Vec<(String, &'de RawValue)>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Fields).map(RawFields)
    }
}

impl<'a> Object<'a> {
    /// `value` is an object that was read from `text`.
    pub(super) fn parse(text: &'a str, value: &'a RawValue) -> Result<Self, InputError> {
        let not_json = |error: serde_json::Error| InputError {
            line: json::line_of(text, value),
            problem: InputProblem::NotJson { reason: error.to_string() },
        };
        let RawFields(fields) = serde_json::from_str(value.get()).map_err(not_json)?;
        Ok(Object { text, value, fields })
    }

    /// A field by its name, the last one of that name, or by a path with dots.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let own = self.fields.iter().rev().find(|(field, _)| field == name);
        own.map(|(_, value)| *value).or_else(|| {
            let (outer, inner) = name.split_once('.')?;
            let outer = self.get(outer).filter(|value| json::kind(value) == "an object")?;
            let RawFields(fields) = serde_json::from_str(outer.get()).ok()?;
            Object { fields, ..*self }.get(inner)
        })
    }

    /// `texts` or `documents` of a request body: an array, and no text beside it.
    pub(super) fn list_of_texts(&self) -> Option<&'a RawValue> {
        let lists = ["texts", "documents"].map(|name| self.get(name));
        let list = lists.into_iter().flatten().find(|value| json::kind(value) == "an array")?;
        self.get("text").is_none().then_some(list)
    }

    pub(super) fn optional_string(&self, name: &str) -> Result<Option<String>, InputError> {
        match self.get(name).filter(|value| json::kind(value) != "null") {
            Some(value) => self.string(name, value).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn string(&self, name: &str, value: &RawValue) -> Result<String, InputError> {
        match json::kind(value) {
            "a string" => serde_json::from_str(value.get()).map_err(|e| {
                self.wrong(InputProblem::NotJson { reason: format!("`{name}`: {e}") })
            }),
            found => Err(self.wrong(InputProblem::NotAString { field: name.into(), found })),
        }
    }

    pub(super) fn wrong(&self, problem: InputProblem) -> InputError {
        InputError { line: json::line_of(self.text, self.value), problem }
    }

    pub(super) fn no_text(&self, looked_for: &[&str]) -> InputError {
        self.wrong(InputProblem::NoText {
            looked_for: looked_for.iter().map(|name| name.to_string()).collect(),
            fields: self.fields.iter().map(|(name, _)| name.to_string()).collect(),
        })
    }
}

/// Finds texts and ids; the first object decides which field is the text of all.
pub(super) struct Fields<'o> {
    options: &'o InputOptions,
    text: Option<String>,
}

impl<'o> Fields<'o> {
    pub(super) fn new(options: &'o InputOptions) -> Self {
        Fields { options, text: None }
    }

    /// The elements of an array that was read from `text`.
    pub(super) fn texts(&mut self, text: &str, list: &RawValue) -> Result<Vec<Text>, InputError> {
        let not_json = |error: serde_json::Error| InputError {
            line: json::line_of(text, list),
            problem: InputProblem::NotJson { reason: error.to_string() },
        };
        let elements: Vec<&RawValue> = serde_json::from_str(list.get()).map_err(not_json)?;
        elements.into_iter().map(|element| self.text(text, element)).collect()
    }

    /// A string or an object that was read from `text`.
    pub(super) fn text(&mut self, text: &str, value: &RawValue) -> Result<Text, InputError> {
        let wrong = |problem| InputError { line: json::line_of(text, value), problem };
        match json::kind(value) {
            "a string" => {
                let not_json =
                    |e: serde_json::Error| wrong(InputProblem::NotJson { reason: e.to_string() });
                let text = serde_json::from_str(value.get()).map_err(not_json)?;
                Ok(Text { id: None, text, fields: None })
            }
            "an object" => self.of_object(&Object::parse(text, value)?),
            found => Err(wrong(InputProblem::NotAText { found })),
        }
    }

    fn of_object(&mut self, object: &Object<'_>) -> Result<Text, InputError> {
        let (text, text_fields) = self.text_of(object)?;
        let (id, id_field) = self.id_of(object)?;
        let is_used = |name: &str| text_fields.iter().any(|f| f == name) || id_field == Some(name);
        let rest = object.fields.iter().filter(|(name, _)| !is_used(name));
        let fields = match self.options.keep_fields {
            true => {
                written(rest).map_err(|reason| object.wrong(InputProblem::NotJson { reason }))?
            }
            false => None,
        };
        Ok(Text { id, text, fields })
    }

    /// The text, and the fields that it is made of.
    fn text_of(&mut self, object: &Object<'_>) -> Result<(String, Vec<String>), InputError> {
        let named = &self.options.text_fields;
        if !named.is_empty() {
            return joined(object, named).map(|text| (text, named.clone()));
        }
        let field = match &self.text {
            Some(field) => field.clone(),
            None if object.list_of_texts().is_some() => {
                return Err(object.wrong(InputProblem::Several));
            }
            None => self.text.insert(guess(object)?).clone(),
        };
        let value = object.get(&field).ok_or_else(|| object.no_text(&[&field]))?;
        let text = object.string(&field, value)?;
        let title = object.optional_string("title")?.unwrap_or_default();
        Ok((passage(&title, text), vec![field]))
    }

    fn id_of(
        &self,
        object: &Object<'_>,
    ) -> Result<(Option<Box<RawValue>>, Option<&str>), InputError> {
        let some = |value: &RawValue| (json::kind(value) != "null").then(|| one_line(value));
        if let Some(field) = &self.options.id_field {
            let problem = || object.wrong(InputProblem::NoField { field: field.clone() });
            return Ok((some(object.get(field).ok_or_else(problem)?), Some(field)));
        }
        let found = ["id", "_id"].into_iter().find_map(|name| Some((object.get(name)?, name)));
        Ok(found.map_or((None, None), |(value, name)| (some(value), Some(name))))
    }
}

/// Title, space, text, without white space around them (BEIR's `rerank.py`); the text as it is where there is no title.
pub(crate) fn passage(title: &str, text: String) -> String {
    match title.is_empty() {
        true => text,
        false => format!("{title} {text}").trim().to_string(),
    }
}

/// Those of the named fields that there are, joined.
fn joined(object: &Object<'_>, named: &[String]) -> Result<String, InputError> {
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
fn guess(object: &Object<'_>) -> Result<String, InputError> {
    if object.get("text").is_some() {
        return Ok("text".into());
    }
    let own = |name: &&str| object.fields.iter().any(|(field, _)| field == name);
    let is_string = |name: &str| object.get(name).is_some_and(|v| json::kind(v) == "a string");
    let there: Vec<&str> = TEXT_FIELDS.into_iter().filter(|name| own(name)).collect();
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

/// Fields as one object on one line; nothing where there are none.
fn written<'f>(
    fields: impl Iterator<Item = &'f (String, &'f RawValue)>,
) -> Result<Option<Box<RawValue>>, String> {
    let mut object = String::new();
    for (name, value) in fields {
        object.push(if object.is_empty() { '{' } else { ',' });
        object += &serde_json::to_string(name).map_err(|e| e.to_string())?;
        object.push(':');
        object += &json::compact(value.get());
    }
    if object.is_empty() {
        return Ok(None);
    }
    object.push('}');
    RawValue::from_string(object).map(Some).map_err(|e| e.to_string())
}

fn one_line(value: &RawValue) -> Box<RawValue> {
    match value.get().contains('\n') {
        true => {
            RawValue::from_string(json::compact(value.get())).unwrap_or_else(|_| value.to_owned())
        }
        false => value.to_owned(),
    }
}
