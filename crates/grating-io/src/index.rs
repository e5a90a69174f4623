//! The index of a sharded checkpoint: `model.safetensors.index.json`, as untrusted as a header.
//!
//! Only `weight_map` counts. `metadata.total_size` is not compared with anything: published
//! checkpoints are known to have it wrong, and nothing is allocated by it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use crate::error::{IndexError, IoError, Result, quote, shown};
use crate::header::MAX_HEADER_BYTES;
use crate::storage::Storage;

/// Which tensor is said to be in which shard.
#[derive(Debug, PartialEq)]
pub(crate) struct Index {
    /// File names, sorted, each once and each a plain file name.
    pub(crate) shards: Vec<String>,
    /// Tensor names, sorted, each once, with the position of their shard in `shards`.
    pub(crate) tensors: Vec<(String, usize)>,
}

impl Index {
    /// Reads and checks an index.
    pub(crate) fn read(storage: &dyn Storage) -> Result<Index> {
        let (file, found) = (storage.name(), storage.len());
        if found > MAX_HEADER_BYTES {
            let expected = MAX_HEADER_BYTES;
            return Err(IoError::Index(IndexError::TooLarge {
                file: file.to_string(),
                expected,
                found,
            }));
        }
        if found == 0 {
            return Err(IoError::EmptyFile { file: file.to_string() });
        }
        let mut text = vec![0; found as usize];
        storage.read_at(0, &mut text)?;
        if text.starts_with(b"version https://git-lfs") {
            return Err(IoError::GitLfsPointer { file: file.to_string(), found });
        }
        Index::parse(file, &text)
    }

    /// A tensor of the shard, for messages.
    pub(crate) fn example(&self, shard: usize) -> &str {
        // Every shard is there because some tensor names it.
        self.tensors.iter().find(|t| t.1 == shard).map_or("", |t| &t.0)
    }

    fn parse(file: &str, text: &[u8]) -> Result<Index> {
        let mut map = WeightMap::default();
        let mut json = serde_json::Deserializer::from_slice(text);
        let outcome = json.deserialize_map(TopLevel(&mut map)).and_then(|()| json.end());
        match outcome {
            Ok(()) => map.into_index(file),
            Err(error) if error.is_data() => {
                let reason = match map.culprit {
                    Some(tensor) => {
                        format!("tensor {}: {}", quote(&tensor), shown(&error.to_string()))
                    }
                    None => shown(&error.to_string()),
                };
                Err(IoError::Index(IndexError::Malformed { file: file.to_string(), reason }))
            }
            Err(error) => {
                let reason = shown(&error.to_string());
                Err(IoError::Index(IndexError::NotJson { file: file.to_string(), reason }))
            }
        }
    }
}

/// What has been read so far.
#[derive(Default)]
struct WeightMap {
    /// Shard name to the order in which it was first seen.
    shards: BTreeMap<String, usize>,
    tensors: Vec<(String, usize)>,
    /// The tensor whose entry is malformed, if that is what failed.
    culprit: Option<String>,
}

impl WeightMap {
    fn into_index(mut self, file: &str) -> Result<Index> {
        let file = || file.to_string();
        let mut position = vec![0; self.shards.len()];
        for (sorted, (name, &seen)) in self.shards.iter().enumerate() {
            if !is_plain_file_name(name) {
                let tensor = self.tensors.iter().find(|t| t.1 == seen);
                let tensor = tensor.map(|t| t.0.clone()).unwrap_or_default();
                return Err(IoError::Index(IndexError::ShardName {
                    file: file(),
                    tensor,
                    shard: name.clone(),
                }));
            }
            position[seen] = sorted;
        }
        for (_, shard) in &mut self.tensors {
            *shard = position[*shard];
        }
        self.tensors.sort_unstable();
        if let Some(pair) = self.tensors.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(IoError::Index(IndexError::DuplicateTensor {
                file: file(),
                tensor: pair[0].0.clone(),
            }));
        }
        Ok(Index { shards: self.shards.into_keys().collect(), tensors: self.tensors })
    }
}

/// Bytes; no file system that checkpoints lie on has longer ones.
const LONGEST_FILE_NAME: usize = 255;

/// Whether the name stays in its folder on every platform: no separators, drives, streams or `..`.
fn is_plain_file_name(name: &str) -> bool {
    let forbidden = |c: char| matches!(c, '/' | '\\' | ':') || c.is_control();
    let length = 1..=LONGEST_FILE_NAME;
    length.contains(&name.len()) && name != "." && name != ".." && !name.contains(forbidden)
}

struct TopLevel<'a>(&'a mut WeightMap);

impl<'de> Visitor<'de> for TopLevel<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a weight_map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = false;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key != "weight_map" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if std::mem::replace(&mut seen, true) {
                return Err(A::Error::duplicate_field("weight_map"));
            }
            map.next_value_seed(&mut *self.0)?;
        }
        match self.0.tensors.is_empty() {
            false => Ok(()),
            true if seen => Err(A::Error::custom("its weight_map is empty")),
            true => Err(A::Error::missing_field("weight_map")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut WeightMap {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut WeightMap {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object from tensor names to shard file names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(tensor) = map.next_key::<String>()? {
            let shard = match map.next_value::<String>() {
                Ok(shard) => shard,
                Err(error) => {
                    self.culprit = Some(tensor);
                    return Err(error);
                }
            };
            let next = self.shards.len();
            let seen = *self.shards.entry(shard).or_insert(next);
            self.tensors.push((tensor, seen));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Index> {
        Index::parse("i", text.as_bytes())
    }

    #[test]
    fn shards_and_tensors_are_sorted() {
        let index = parse(
            r#"{"metadata":{"total_size":-1e99},
                "weight_map":{"c":"2.st","a":"2.st","b":"1.st"},"later":[]}"#,
        )
        .unwrap();
        assert_eq!(index.shards, ["1.st", "2.st"]);
        assert_eq!(index.tensors, [("a".into(), 1), ("b".into(), 0), ("c".into(), 1)]);
        assert_eq!((index.example(0), index.example(1)), ("b", "a"));
    }

    #[test]
    fn plain_file_names() {
        for name in ["model-00001-of-00002.safetensors", "a", "..a", "a..b", "モデル.st", ".x"] {
            assert!(is_plain_file_name(name), "{name}");
        }
        for name in
            ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "C:x", "x:s", "a\0", "a\n"]
        {
            assert!(!is_plain_file_name(name), "{name:?}");
        }
        assert!(is_plain_file_name(&"a".repeat(255)) && !is_plain_file_name(&"a".repeat(256)));
    }

    #[test]
    fn what_is_json_but_no_index() {
        for text in [
            "{}",
            r#"{"weight_map":{}}"#,
            r#"{"weight_map":[]}"#,
            r#"{"weight_map":null}"#,
            r#"{"weight_map":{"a":1}}"#,
            r#"{"weight_map":{"a":"x"},"weight_map":{"b":"x"}}"#,
            "[]",
            "7",
        ] {
            assert!(
                matches!(parse(text), Err(IoError::Index(IndexError::Malformed { .. }))),
                "{text}"
            );
        }
        let error = parse(r#"{"weight_map":{"ok":"x","bad":null}}"#).unwrap_err().to_string();
        assert!(error.contains("tensor \"bad\": invalid type: null"), "{error}");
    }

    #[test]
    fn what_an_error_quotes_is_short_whatever_the_file_holds() {
        let long = "t".repeat(100_000);
        for text in [
            format!(r#""{long}""#),
            format!(r#"{{"weight_map":"{long}"}}"#),
            format!(r#"{{"weight_map":{{"{long}":{{}}}}}}"#),
        ] {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.len() < 1000 && error.contains("line 1"), "{error}");
        }
    }

    #[test]
    fn what_is_not_json() {
        for text in ["", "{", "<html>", r#"{"weight_map":{"a":"x"}} x"#, r#"{"weight_map":{"a":"#] {
            assert!(
                matches!(parse(text), Err(IoError::Index(IndexError::NotJson { .. }))),
                "{text}"
            );
        }
        let not_utf8 = Index::parse("i", b"{\"weight_map\":{\"a\xff\":\"x\"}}");
        assert!(
            matches!(not_utf8, Err(IoError::Index(IndexError::NotJson { .. }))),
            "{not_utf8:?}"
        );
    }
}
