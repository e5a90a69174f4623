//! A JSON object as it streams by: of its fields those that are wanted.

use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::error::{InputError, InputProblem, ReadError};
use super::json;
use super::memory::Meter;

/// Names that an error lists, and bytes of each.
const LISTED: usize = 64;
const LISTED_BYTES: usize = 256;
/// A larger buffer is given back.
const KEEP: usize = 256 << 10;

/// An object's fields as they are written, in their order, without white space; one object's after another's.
#[derive(Debug, Default)]
pub(super) struct Object {
    pub(super) line: usize,
    /// `"name":value,` of each field that is kept.
    written: String,
    wanted: Vec<Field>,
    /// The first names.
    names: Vec<String>,
    /// Names of the lists that were read.
    pub(super) lists: Vec<String>,
}

#[derive(Debug)]
struct Field {
    name: String,
    /// Where in `written`.
    whole: Range<usize>,
    value: Range<usize>,
}

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It is looked for.
    Wanted,
    /// A list of texts, where it is a list.
    List,
    /// It may be passed through.
    Other,
}

/// Reads the elements of a list as they come.
pub(super) trait Lists {
    fn element<'de, D: Deserializer<'de>>(&mut self, element: D) -> Result<(), D::Error>;
}

impl Object {
    /// Reads an object's fields.
    pub(super) fn read<'de, A: MapAccess<'de>>(
        &mut self,
        meter: &Meter<'_, '_>,
        keep: bool,
        uses: impl Fn(&str, &Object) -> Use,
        lists: &mut impl Lists,
        mut map: A,
    ) -> Result<(), A::Error> {
        self.clear(meter.line.get());
        while let Some(name) = map.next_key::<String>()? {
            let found = uses(&name, self);
            if found != Use::Other && self.has(&name) {
                return Err(fail(meter, self.wrong(InputProblem::Twice { field: name })));
            }
            match found {
                Use::List => {
                    let value = map.next_value_seed(List { lists: &mut *lists })?;
                    self.add(&name, value.as_deref().unwrap_or("[]"), true);
                    if value.is_none() {
                        self.lists.push(name.clone());
                    }
                }
                Use::Wanted => {
                    let value: Box<RawValue> = map.next_value()?;
                    self.add(&name, value.get(), true);
                }
                Use::Other if keep => {
                    let value: Box<RawValue> = map.next_value()?;
                    self.add(&name, value.get(), false);
                }
                Use::Other => _ = meter.skip(|| map.next_value::<IgnoredAny>())?,
            }
            if self.names.len() < LISTED {
                self.names.push(json::beginning(name, LISTED_BYTES));
            }
        }
        Ok(())
    }

    fn clear(&mut self, line: usize) {
        self.line = line;
        self.written.clear();
        self.written.shrink_to(KEEP);
        self.wanted.clear();
        self.names.clear();
        self.lists.clear();
    }

    fn add(&mut self, name: &str, value: &str, wanted: bool) {
        let start = self.written.len();
        json::quote(name, &mut self.written);
        self.written.push(':');
        let from = self.written.len();
        json::compact(value, &mut self.written);
        let value = from..self.written.len();
        self.written.push(',');
        if wanted {
            let whole = start..self.written.len();
            self.wanted.push(Field { name: name.into(), whole, value });
        }
    }

    /// Whether it has such a field, of those that are wanted.
    pub(super) fn has(&self, name: &str) -> bool {
        self.wanted.iter().any(|field| field.name == name)
    }

    /// A field by its name, or by a path with dots.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        if let Some(field) = self.wanted.iter().find(|field| field.name == name) {
            return Some(&self.written[field.value.clone()]);
        }
        let (outer, inner) = name.split_once('.')?;
        inside(self.get(outer)?, inner)
    }

    pub(super) fn optional_string(&self, name: &str) -> Result<Option<String>, InputError> {
        match self.get(name).filter(|value| json::kind(value) != "null") {
            Some(value) => self.string(name, value).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn string(&self, name: &str, value: &str) -> Result<String, InputError> {
        match json::kind(value) {
            "a string" => serde_json::from_str(value).map_err(|e| self.wrong(json::not_json(&e))),
            found => Err(self.wrong(InputProblem::NotAString { field: name.into(), found })),
        }
    }

    /// The kept fields but for those named, as the parts of one object on one line; none where there are none. They may be
    /// as long as all that has been read, so they are not put together here.
    pub(super) fn without(&self, named: impl Fn(&str) -> bool) -> Vec<&str> {
        let mut parts = vec!["{"];
        let mut from = 0;
        for field in self.wanted.iter().filter(|field| named(&field.name)) {
            parts.push(&self.written[from..field.whole.start]);
            from = field.whole.end;
        }
        parts.push(&self.written[from..]);
        parts.retain(|part| !part.is_empty());
        // The comma behind the last one.
        match parts
            .last_mut()
            .and_then(|last| last.strip_suffix(',').map(|without| *last = without))
        {
            Some(()) => parts.push("}"),
            None => parts.clear(),
        }
        parts
    }

    pub(super) fn wrong(&self, problem: InputProblem) -> InputError {
        InputError { line: self.line, problem }
    }

    pub(super) fn no_field(&self, field: &str) -> InputError {
        self.wrong(InputProblem::NoField { field: field.into(), fields: self.names.clone() })
    }

    pub(super) fn no_text(&self, looked_for: &[&str]) -> InputError {
        self.wrong(InputProblem::NoText {
            looked_for: looked_for.iter().map(|name| name.to_string()).collect(),
            fields: self.names.clone(),
        })
    }
}

/// A field of an object inside of another.
fn inside<'j>(json: &'j str, name: &str) -> Option<&'j str> {
    let value = |name: &str| {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        (&mut deserializer).deserialize_map(Find(name)).ok().flatten().map(RawValue::get)
    };
    if json::kind(json) != "an object" {
        return None;
    }
    value(name).or_else(|| {
        let (outer, inner) = name.split_once('.')?;
        inside(value(outer)?, inner)
    })
}

/// Of an object the last field of a name.
struct Find<'n>(&'n str);

impl<'de> Visitor<'de> for Find<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<String>()? {
            match name == self.0 {
                true => found = Some(map.next_value()?),
                false => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(found)
    }
}

/// A list, element by element, or another value as JSON.
struct List<'l, L> {
    lists: &'l mut L,
}

impl<'de, L: Lists> DeserializeSeed<'de> for List<'_, L> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, L: Lists> Visitor<'de> for List<'_, L> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        each(seq, self.lists)?;
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let map = serde::de::value::MapAccessDeserializer::new(map);
        let value: serde_json::Value = serde::Deserialize::deserialize(map)?;
        Ok(Some(value.to_string()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(serde_json::Value::from(text).to_string()))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Some("null".into()))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(serde_json::Value::from(value).to_string()))
    }
}

/// The elements of an array, one after another.
pub(super) fn each<'de, A: SeqAccess<'de>>(
    mut seq: A,
    lists: &mut impl Lists,
) -> Result<(), A::Error> {
    struct Element<'l, L>(&'l mut L);
    impl<'de, L: Lists> DeserializeSeed<'de> for Element<'_, L> {
        type Value = ();
        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            self.0.element(deserializer)
        }
    }
    while seq.next_element_seed(Element(lists))?.is_some() {}
    Ok(())
}

/// Keeps what is wrong, which the parser's error cannot carry.
pub(super) fn fail<E: Error>(meter: &Meter<'_, '_>, problem: impl Into<ReadError>) -> E {
    meter.stash(problem.into());
    E::custom("see the meter")
}
