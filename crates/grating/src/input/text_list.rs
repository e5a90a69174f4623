//! The texts of a file in few buffers, with what came with them.

use serde_json::value::RawValue;

use super::strings::{Sparse, Strings};

/// Texts in their order, with ids and passed-through fields. A text of one letter takes five bytes.
///
/// A pool for [`Request`](crate::Request)s as an `Arc` of it, whole or in part ([`Texts::part`](crate::Texts::part)).
#[derive(Debug, Clone, Default)]
pub struct TextList {
    texts: Strings,
    ids: Sparse,
    fields: Sparse,
}

/// A text with what came with it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Text<'a> {
    /// A JSON value, as written.
    pub id: Option<&'a RawValue>,
    /// What is ranked.
    pub text: &'a str,
    /// The object's other fields, as written, as one object; none where there are none or they are not kept.
    pub fields: Option<&'a RawValue>,
}

impl TextList {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A text with what came with it.
    ///
    /// # Panics
    /// Where there is no such text.
    pub fn get(&self, index: usize) -> Text<'_> {
        Text {
            id: self.ids.get(index).and_then(raw_value),
            text: self.texts.get(index),
            fields: self.fields.get(index).and_then(raw_value),
        }
    }

    /// The text alone.
    ///
    /// # Panics
    /// Where there is no such text.
    pub fn text(&self, index: usize) -> &str {
        self.texts.get(index)
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Text<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// `id` is JSON, and so are the parts of `fields` together, if there are any.
    pub(super) fn push(&mut self, text: &str, id: Option<&str>, fields: &[&str]) {
        let index = self.len();
        self.texts.push(text);
        id.into_iter().for_each(|id| self.ids.push(index, &[id]));
        if !fields.is_empty() {
            self.fields.push(index, fields);
        }
    }

    /// Forgets all but the first so many.
    pub(super) fn truncate(&mut self, len: usize) {
        self.texts.truncate(len);
        self.ids.truncate(len);
        self.fields.truncate(len);
    }

    /// What it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.texts.memory_bytes() + self.ids.memory_bytes() + self.fields.memory_bytes()
    }
}

/// It was one when it was put in.
pub(super) fn raw_value(json: &str) -> Option<&RawValue> {
    serde_json::from_str(json).ok()
}
