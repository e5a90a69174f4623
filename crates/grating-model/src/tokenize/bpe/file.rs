//! The model's part of `tokenizer.json`, read without a map of strings.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::merges::Merges;
use super::{Bpe, COMMON, NONE, Options};
use crate::tokenize::strings::{Index, Strings};

/// As written; fields that are null have their default.
#[derive(Deserialize)]
pub(super) struct File {
    #[serde(default)]
    dropout: Option<f32>,
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    fuse_unk: Option<bool>,
    #[serde(default)]
    byte_fallback: Option<bool>,
    #[serde(default)]
    ignore_merges: Option<bool>,
    vocab: Vocab,
    merges: Pairs,
}

/// Why a file's model cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("the vocabulary has two tokens with the id {0}")]
    IdTwice(u32),
    #[error("the vocabulary has {tokens} tokens and the id {id}")]
    IdTooLarge { tokens: usize, id: u32 },
    #[error("the vocabulary has over 4 GB of tokens")]
    TooLarge,
    #[error("the merges have `{0}`, which the vocabulary lacks")]
    NoToken(String),
}

impl TryFrom<File> for Bpe {
    type Error = FileError;

    fn try_from(file: File) -> Result<Self, FileError> {
        let count = file.vocab.ids.len();
        let tokens = file.vocab.by_id()?;
        let index = Index::new(&tokens);
        let prefix = file.continuing_subword_prefix.as_deref().unwrap_or("");
        let merges = file.merges.resolve(&tokens, &index, prefix)?;
        let mut sorted: Vec<u32> = (0..tokens.len() as u32).collect();
        sorted.sort_unstable_by_key(|&id| tokens.get(id));
        let id = |token: &str| index.find(&tokens, token);
        let character =
            |code: u32| char::from_u32(code).and_then(|c| id(c.encode_utf8(&mut [0; 4])));
        let common = (0..COMMON as u32).map(|code| character(code).unwrap_or(NONE)).collect();
        let bytes: Option<Vec<u32>> = (0..256).map(|byte| id(&format!("<{byte:#04X}>"))).collect();
        let longest = (0..tokens.len() as u32).map(|id| tokens.get(id).len()).max().unwrap_or(0);
        let options = Options {
            dropout: file.dropout.filter(|&dropout| dropout != 0.0),
            unknown: file.unk_token,
            prefix: file.continuing_subword_prefix,
            suffix: file.end_of_word_suffix,
            fuse_unknown: file.fuse_unk.unwrap_or(false),
            byte_fallback: file.byte_fallback.unwrap_or(false),
            ignore_merges: file.ignore_merges.unwrap_or(false),
        };
        let bytes = bytes.and_then(|bytes| bytes.into_boxed_slice().try_into().ok());
        Ok(Bpe { tokens, count, index, sorted, longest, merges, common, bytes, options })
    }
}

/// Tokens in the order of the file, with their ids.
#[derive(Default)]
struct Vocab {
    tokens: Strings,
    ids: Vec<u32>,
}

impl Vocab {
    fn by_id(self) -> Result<Strings, FileError> {
        let count = self.ids.len();
        let largest = self.ids.iter().copied().max().unwrap_or(0);
        // Some vocabularies have holes; a table by id must not be made of them alone.
        if largest as usize > 4 * count + 65_536 {
            return Err(FileError::IdTooLarge { tokens: count, id: largest });
        }
        let mut places = vec![NONE; largest as usize + 1];
        for (place, &id) in self.ids.iter().enumerate() {
            if std::mem::replace(&mut places[id as usize], place as u32) != NONE {
                return Err(FileError::IdTwice(id));
            }
        }
        let mut sorted = Strings::default();
        for place in places {
            let token = if place == NONE { "" } else { self.tokens.get(place) };
            sorted.push(token).ok_or(FileError::TooLarge)?;
        }
        Ok(sorted)
    }
}

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(VocabVisitor)
    }
}

struct VocabVisitor;

impl<'de> Visitor<'de> for VocabVisitor {
    type Value = Vocab;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tokens with their ids")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocab, A::Error> {
        let mut vocab = Vocab::default();
        while let Some((Text(token), id)) = map.next_entry::<Text<'_>, u32>()? {
            vocab.tokens.push(&token).ok_or_else(|| A::Error::custom(FileError::TooLarge))?;
            vocab.ids.push(id);
        }
        Ok(vocab)
    }
}

/// A string, borrowed from the file where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Pairs of tokens, two strings each.
#[derive(Default)]
struct Pairs(Strings);

impl Pairs {
    fn resolve(self, tokens: &Strings, index: &Index, prefix: &str) -> Result<Merges, FileError> {
        let Pairs(names) = self;
        let count = names.len() / 2;
        let mut merges = Merges::with_capacity(count);
        let find = |token: &str| {
            index.find(tokens, token).ok_or_else(|| FileError::NoToken(token.to_owned()))
        };
        let mut merged = String::new();
        for rank in 0..count as u32 {
            let (left, right) = (names.get(2 * rank), names.get(2 * rank + 1));
            merged.clear();
            merged.push_str(left);
            // A right part carries the prefix of what is not first in its word.
            merged.push_str(right.get(prefix.len()..).unwrap_or(""));
            merges.insert(find(left)?, find(right)?, rank, find(&merged)?);
        }
        Ok(merges)
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of merges")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Pairs, A::Error> {
        let mut pairs = Pairs::default();
        while let Some(Pair(pair)) = list.next_element()? {
            let Some((left, right)) = &pair else { continue };
            for token in [left, right] {
                pairs.0.push(token).ok_or_else(|| A::Error::custom(FileError::TooLarge))?;
            }
        }
        Ok(pairs)
    }
}

/// `"a b"`, or `["a", "b"]` as newer files have it; nothing for a comment.
struct Pair<'a>(Option<(Cow<'a, str>, Cow<'a, str>)>);

impl<'de> Deserialize<'de> for Pair<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PairVisitor)
    }
}

struct PairVisitor;

impl<'de> Visitor<'de> for PairVisitor {
    type Value = Pair<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("two tokens")
    }

    fn visit_borrowed_str<E: Error>(self, line: &'de str) -> Result<Pair<'de>, E> {
        let pair = two_tokens(line)?;
        Ok(Pair(pair.map(|(left, right)| (left.into(), right.into()))))
    }

    fn visit_str<E: Error>(self, line: &str) -> Result<Pair<'de>, E> {
        let pair = two_tokens(line)?;
        Ok(Pair(pair.map(|(left, right)| (left.to_owned().into(), right.to_owned().into()))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Pair<'de>, A::Error> {
        let mut token = |n| {
            let Text(token) =
                list.next_element()?.ok_or_else(|| A::Error::invalid_length(n, &self))?;
            Ok::<_, A::Error>(token)
        };
        let (left, right) = (token(0)?, token(1)?);
        Ok(Pair(Some((left, right))))
    }
}

fn two_tokens<E: Error>(line: &str) -> Result<Option<(&str, &str)>, E> {
    if line.starts_with("#version") {
        return Ok(None);
    }
    let two = line.split_once(' ').filter(|(_, right)| !right.contains(' '));
    two.map(Some).ok_or_else(|| E::custom(format!("`{line}` is no merge")))
}
