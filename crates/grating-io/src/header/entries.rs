//! The header's JSON text, parsed as a stream so that equal names are seen.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::error::{HeaderError, IoError, Result, shown};

/// The one entry that is not a tensor: free text about the file.
const METADATA: &str = "__metadata__";
/// More dimensions than any tensor library supports; bounds what a hostile shape can allocate.
const MAX_RANK: usize = 64;

/// A tensor as the header describes it; nothing is checked but the JSON types.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) dtype: String,
    pub(super) shape: Vec<usize>,
    /// Counted from the end of the header.
    pub(super) begin: u64,
    pub(super) end: u64,
}

/// The entries in the order of the text. Equal tensor names are kept, for the caller to refuse.
pub(super) fn parse(file: &str, text: &str) -> Result<Vec<Entry>> {
    let mut collector = Collector::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let outcome = json.deserialize_map(&mut collector).and_then(|()| json.end());
    let Err(error) = outcome else { return Ok(collector.entries) };

    let file = file.to_string();
    Err(match collector.culprit {
        Some(Culprit::Duplicate(tensor)) => {
            IoError::Header(HeaderError::DuplicateTensor { file, tensor })
        }
        Some(Culprit::Malformed(tensor)) if error.is_data() => {
            IoError::Header(HeaderError::Entry { file, tensor, reason: shown(&error.to_string()) })
        }
        _ => IoError::Header(HeaderError::NotJson { file, reason: shown(&error.to_string()) }),
    })
}

#[derive(Default)]
struct Collector {
    entries: Vec<Entry>,
    /// Serde's errors are text, so which entry failed is kept beside them.
    culprit: Option<Culprit>,
}

enum Culprit {
    Duplicate(String),
    Malformed(String),
}

impl<'de> Visitor<'de> for &mut Collector {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut metadata_seen = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA {
                if std::mem::replace(&mut metadata_seen, true) {
                    self.culprit = Some(Culprit::Duplicate(name));
                    return Err(A::Error::custom("duplicate entry"));
                }
                if let Err(error) = map.next_value::<Metadata>() {
                    self.culprit = Some(Culprit::Malformed(name));
                    return Err(error);
                }
                continue;
            }
            match map.next_value::<Description>() {
                Ok(Description { dtype, shape, offsets: [begin, end] }) => {
                    self.entries.push(Entry { name, dtype, shape, begin, end });
                }
                Err(error) => {
                    self.culprit = Some(Culprit::Malformed(name));
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Serde's derive refuses repeated and missing fields. Unknown ones are ignored, as the reference
/// implementation does, so that the format can grow.
#[derive(serde::Deserialize)]
struct Fields {
    dtype: String,
    shape: List<usize, MAX_RANK>,
    data_offsets: List<u64, 2>,
}

/// `Fields` from an object only; the derive alone would take an array of the values as well.
struct Description {
    dtype: String,
    shape: Vec<usize>,
    offsets: [u64; 2],
}

impl<'de> Deserialize<'de> for Description {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectOnly;
        impl<'de> Visitor<'de> for ObjectOnly {
            type Value = Description;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with dtype, shape and data_offsets")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Description, A::Error> {
                let fields = Fields::deserialize(MapAccessDeserializer::new(map))?;
                let offsets = <[u64; 2]>::try_from(fields.data_offsets.0)
                    .map_err(|list| A::Error::invalid_length(list.len(), &"two data_offsets"))?;
                Ok(Description { dtype: fields.dtype, shape: fields.shape.0, offsets })
            }
        }
        deserializer.deserialize_map(ObjectOnly)
    }
}

/// A list of numbers that stops to grow at `MAX`.
struct List<T, const MAX: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Bounded<T, MAX> {
            type Value = List<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX} numbers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T, MAX>, A::Error> {
                let mut list = Vec::new();
                while let Some(number) = seq.next_element()? {
                    if list.len() == MAX {
                        return Err(A::Error::invalid_length(MAX + 1, &self));
                    }
                    list.push(number);
                }
                Ok(List(list))
            }
        }
        deserializer.deserialize_seq(Bounded(PhantomData))
    }
}

/// The metadata's texts are checked to be texts and not kept.
struct Metadata;

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Metadata;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
                while map.next_entry::<IgnoredAny, String>()?.is_some() {}
                Ok(Metadata)
            }
        }
        deserializer.deserialize_map(Texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(text: &str) -> IoError {
        parse("f", text).unwrap_err()
    }

    #[test]
    fn entries_come_in_the_order_of_the_text() {
        let text = r#"{"b":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},
                       "__metadata__":{"format":"pt"},
                       "a":{"data_offsets":[24,25],"new":[{}],"shape":[],"dtype":"U8"}}   "#;
        let entries = parse("f", text).unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].name.as_str(), entries[0].shape.as_slice()), ("b", &[2, 3][..]));
        assert_eq!((entries[1].dtype.as_str(), entries[1].begin, entries[1].end), ("U8", 24, 25));
    }

    #[test]
    fn an_entry_of_the_wrong_shape_is_named() {
        for value in [
            "7",
            "null",
            r#"["F32",[1],[0,4]]"#,
            r#"{"dtype":"F32","shape":[1]}"#,
            r#"{"dtype":5,"shape":[1],"data_offsets":[0,4]}"#,
            r#"{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}"#,
            r#"{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}"#,
            r#"{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}"#,
            r#"{"dtype":"F32","shape":[1],"data_offsets":[0]}"#,
            r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}"#,
            r#"{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}"#,
        ] {
            let error = fails(&format!(r#"{{"x":{value}}}"#));
            assert!(
                matches!(&error, IoError::Header(HeaderError::Entry { tensor, .. }) if tensor == "x"),
                "{value}: {error:?}"
            );
        }
    }

    #[test]
    fn ranks_are_bounded() {
        let entry = |rank: usize| {
            let ones = vec!["1"; rank].join(",");
            format!(r#"{{"x":{{"dtype":"U8","shape":[{ones}],"data_offsets":[0,1]}}}}"#)
        };
        assert_eq!(parse("f", &entry(MAX_RANK)).unwrap()[0].shape.len(), MAX_RANK);
        assert!(matches!(fails(&entry(MAX_RANK + 1)), IoError::Header(HeaderError::Entry { .. })));
    }

    #[test]
    fn metadata_is_one_object_of_texts() {
        assert!(parse("f", r#"{"__metadata__":{}}"#).unwrap().is_empty());
        for value in ["1", "null", "[]", r#"{"a":1}"#, r#"{"a":{}}"#] {
            let error = fails(&format!(r#"{{"__metadata__":{value}}}"#));
            assert!(
                matches!(error, IoError::Header(HeaderError::Entry { .. })),
                "{value}: {error:?}"
            );
        }
        let twice = fails(r#"{"__metadata__":{},"__metadata__":{}}"#);
        assert!(matches!(twice, IoError::Header(HeaderError::DuplicateTensor { .. })));
    }

    #[test]
    fn text_that_is_not_one_object_is_not_json() {
        for text in ["{", "[]", "{}x", "{}{}", r#"{"a""#, r#"{"a":{"dtype":"F3"#, "{,}"] {
            assert!(matches!(fails(text), IoError::Header(HeaderError::NotJson { .. })), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_not_a_stack_overflow() {
        let deep = "[".repeat(1_000_000);
        let text = format!(r#"{{"x":{{"unknown":{deep}"#);
        assert!(matches!(fails(&text), IoError::Header(HeaderError::NotJson { .. })));
    }
}
