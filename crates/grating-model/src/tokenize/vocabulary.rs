//! The tokenizer of a `tokenizer.json`: all of it is `tokenizers`' own but the vocabularies of BPE and unigram models,
//! and that vocabularies are read straight from the file, without a tree of JSON values in between.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::{
    DecoderWrapper, Model, ModelWrapper, NormalizerWrapper, PostProcessorWrapper,
    PreTokenizerWrapper, Token, TokenizerImpl,
};

use super::bpe::Bpe;
use super::unigram::Unigram;

/// `tokenizers::Tokenizer` with another vocabulary.
pub(crate) type Tokenizer = TokenizerImpl<
    Vocabulary,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// How words become tokens.
#[derive(Debug, Clone)]
pub(crate) enum Vocabulary {
    Unigram(Unigram),
    Bpe(Bpe),
    Other(ModelWrapper),
}

impl Vocabulary {
    /// The type's name in `tokenizer.json`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Vocabulary::Unigram(_) | Vocabulary::Other(ModelWrapper::Unigram(_)) => "Unigram",
            Vocabulary::Bpe(_) | Vocabulary::Other(ModelWrapper::BPE(_)) => "BPE",
            Vocabulary::Other(ModelWrapper::WordPiece(_)) => "WordPiece",
            Vocabulary::Other(ModelWrapper::WordLevel(_)) => "WordLevel",
        }
    }
}

impl Model for Vocabulary {
    type Trainer = <ModelWrapper as Model>::Trainer;

    fn tokenize(&self, word: &str) -> tokenizers::Result<Vec<Token>> {
        match self {
            Vocabulary::Unigram(model) => model.tokenize(word),
            Vocabulary::Bpe(model) => model.tokenize(word),
            Vocabulary::Other(model) => model.tokenize(word),
        }
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        match self {
            Vocabulary::Unigram(model) => model.id(token),
            Vocabulary::Bpe(model) => model.id(token),
            Vocabulary::Other(model) => model.token_to_id(token),
        }
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        match self {
            Vocabulary::Unigram(model) => model.piece(id).map(str::to_owned),
            Vocabulary::Bpe(model) => model.token(id).map(str::to_owned),
            Vocabulary::Other(model) => model.id_to_token(id),
        }
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        match self {
            Vocabulary::Unigram(model) => model.iter().map(|(p, id)| (p.to_owned(), id)).collect(),
            Vocabulary::Bpe(model) => model.iter().map(|(t, id)| (t.to_owned(), id)).collect(),
            Vocabulary::Other(model) => model.get_vocab(),
        }
    }

    fn get_vocab_size(&self) -> usize {
        match self {
            Vocabulary::Unigram(model) => model.len(),
            Vocabulary::Bpe(model) => model.len(),
            Vocabulary::Other(model) => model.get_vocab_size(),
        }
    }

    fn save(&self, folder: &Path, prefix: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        match self {
            Vocabulary::Unigram(_) | Vocabulary::Bpe(_) => {
                Err("a compact vocabulary is not written".into())
            }
            Vocabulary::Other(model) => model.save(folder, prefix),
        }
    }

    fn get_trainer(&self) -> Self::Trainer {
        match self {
            // None of ours is ever trained.
            Vocabulary::Unigram(_) => tokenizers::models::unigram::UnigramTrainer::default().into(),
            Vocabulary::Bpe(_) => BpeTrainer::default().into(),
            Vocabulary::Other(model) => model.get_trainer(),
        }
    }
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(VocabularyVisitor)
    }
}

struct VocabularyVisitor;

impl<'de> Visitor<'de> for VocabularyVisitor {
    type Value = Vocabulary;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tokenizer's model")
    }

    /// Nearly all files begin with the type. Of those that do not, or name none, a tree of JSON values is made first.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocabulary, A::Error> {
        let Some(key) = map.next_key::<String>()? else {
            return Err(serde::de::Error::custom("the tokenizer's model is empty"));
        };
        if key != "type" {
            let mut fields = serde_json::Map::new();
            fields.insert(key, map.next_value()?);
            while let Some((key, value)) = map.next_entry()? {
                fields.insert(key, value);
            }
            return from_fields(fields).map_err(serde::de::Error::custom);
        }
        let kind: String = map.next_value()?;
        of_kind(&kind, MapAccessDeserializer::new(map))
    }
}

/// The model of that type, from its other fields.
fn of_kind<'de, D: Deserializer<'de>>(kind: &str, rest: D) -> Result<Vocabulary, D::Error> {
    match kind {
        "Unigram" => Unigram::deserialize(rest).map(Vocabulary::Unigram),
        "BPE" => Bpe::deserialize(rest).map(Vocabulary::Bpe),
        "WordPiece" => WordPiece::deserialize(rest).map(|m| Vocabulary::Other(m.into())),
        "WordLevel" => tokenizers::models::wordlevel::WordLevel::deserialize(rest)
            .map(|m| Vocabulary::Other(m.into())),
        other => Err(serde::de::Error::unknown_variant(
            other,
            &["BPE", "WordPiece", "WordLevel", "Unigram"],
        )),
    }
}

/// A model whose type is among its fields, or, in files of before tokenizers 0.13, to be told by them: merges are a BPE
/// model's, and a vocabulary that is a list of pieces and scores is a unigram model's; the others are left to
/// `tokenizers`.
fn from_fields(mut fields: serde_json::Map<String, Value>) -> serde_json::Result<Vocabulary> {
    let kind = match fields.get("type").and_then(Value::as_str) {
        Some(kind) => Some(kind.to_owned()),
        None if fields.contains_key("merges") => Some("BPE".to_owned()),
        None if fields.get("vocab").is_some_and(Value::is_array) => Some("Unigram".to_owned()),
        None => None,
    };
    // Some models of `tokenizers` read their type from text only.
    if kind.is_some() {
        fields.remove("type");
    }
    let fields = Value::Object(fields);
    match kind {
        Some(kind) => of_kind(&kind, fields),
        None => ModelWrapper::deserialize(fields).map(Vocabulary::Other),
    }
}
