//! tokenizer.json: working tokenizers of the public kinds, sizes and special tokens, made from a
//! word list instead of a corpus.
//!
//! They do not depend on the seed: the same shape and vocabulary size give the same file.

mod bpe;
mod sentencepiece;
mod unigram;
mod wordpiece;
mod words;

use std::collections::HashMap;
use std::io::Write;

use anyhow::Result;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::shapes::{Family, Shape};

pub(crate) use bpe::special_ids;

/// Writes the shape's tokenizer.json.
pub(crate) fn write(shape: &Shape, out: &mut impl Write) -> Result<()> {
    let file = tokenizer(shape)?;
    serde_json::to_writer_pretty(&mut *out, &file)?;
    out.write_all(b"\n")?;
    Ok(())
}

fn tokenizer(shape: &Shape) -> Result<TokenizerFile> {
    match shape.family {
        Family::Qwen3 | Family::Qwen2 | Family::Llama => bpe::tokenizer(shape),
        Family::MiniCpm | Family::Gemma | Family::Gemma2 => sentencepiece::tokenizer(shape),
        Family::XlmRoberta | Family::Gte => unigram::tokenizer(shape),
        _ => wordpiece::tokenizer(shape),
    }
}

/// Common English words, distinct, most frequent first.
pub(crate) fn common_words() -> Vec<&'static str> {
    words::words()
}

/// What a shape's tokenizer keeps whole.
pub(crate) struct KnownWords {
    /// Common words that are one token after a space, with its id, most frequent first.
    pub(crate) words: Vec<(&'static str, usize)>,
    /// The tokens `yes` and `no` of a decoder.
    pub(crate) answers: Option<(usize, usize)>,
    /// The token `Yes` of a decoder whose score is its logit.
    pub(crate) lone: Option<usize>,
}

/// Finds the common words in the shape's vocabulary.
pub(crate) fn known_words(shape: &Shape) -> Result<KnownWords> {
    let (tokens, start): (Vec<String>, &str) = match tokenizer(shape)?.model {
        Model::Bpe { vocab, byte_fallback: true, .. } => (vocab.0, "\u{2581}"),
        Model::Bpe { vocab, .. } => (vocab.0, "\u{120}"),
        Model::WordPiece { vocab, .. } => (vocab.0, ""),
        Model::Unigram { vocab, .. } => {
            (vocab.into_iter().map(|(piece, _)| piece).collect(), "\u{2581}")
        }
    };
    let ids: HashMap<&str, usize> = tokens.iter().map(String::as_str).zip(0..).collect();
    let whole = |word: &'static str| Some((word, *ids.get(format!("{start}{word}").as_str())?));
    let answers = match (shape.family.is_decoder(), ids.get("yes"), ids.get("no")) {
        (true, Some(&yes), Some(&no)) => Some((yes, no)),
        _ => None,
    };
    let lone = ids.get("Yes").copied().filter(|_| shape.family == Family::Gemma);
    Ok(KnownWords { words: words::words().into_iter().filter_map(whole).collect(), answers, lone })
}

/// The parts of a tokenizer.json, in the order in which the `tokenizers` crate writes them.
#[derive(Serialize)]
struct TokenizerFile {
    version: &'static str,
    truncation: Value,
    padding: Value,
    added_tokens: Vec<AddedToken>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
    model: Model,
}

/// A token that is matched in the text before the model sees it.
#[derive(Serialize)]
struct AddedToken {
    id: usize,
    content: String,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

impl AddedToken {
    fn special(id: usize, content: &str) -> Self {
        let content = content.to_owned();
        Self {
            id,
            content,
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
            special: true,
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Model {
    #[serde(rename = "BPE")]
    Bpe {
        dropout: Value,
        unk_token: Value,
        continuing_subword_prefix: Value,
        end_of_word_suffix: Value,
        fuse_unk: bool,
        byte_fallback: bool,
        ignore_merges: bool,
        vocab: Vocab,
        merges: Vec<String>,
    },
    WordPiece {
        unk_token: &'static str,
        continuing_subword_prefix: &'static str,
        max_input_chars_per_word: usize,
        vocab: Vocab,
    },
    Unigram {
        unk_id: usize,
        vocab: Vec<(String, f64)>,
        byte_fallback: bool,
    },
}

/// Tokens by id, written as the map from token to id, in the order of the ids.
struct Vocab(Vec<String>);

impl Serialize for Vocab {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (id, token) in self.0.iter().enumerate() {
            map.serialize_entry(token, &id)?;
        }
        map.end()
    }
}

/// A `TemplateProcessing` post-processor; each template is a list of special tokens (by name) and
/// of the sequences `A` and `B`, with their type ids.
fn template_processing(
    single: &[(&str, u8)],
    pair: &[(&str, u8)],
    special: &[(&str, usize)],
) -> Value {
    let pieces = |template: &[(&str, u8)]| -> Vec<Value> {
        let piece = |&(name, type_id): &(&str, u8)| match name {
            "A" | "B" => json!({"Sequence": {"id": name, "type_id": type_id}}),
            _ => json!({"SpecialToken": {"id": name, "type_id": type_id}}),
        };
        template.iter().map(piece).collect()
    };
    let special: serde_json::Map<String, Value> = special
        .iter()
        .map(|&(name, id)| (name.to_owned(), json!({"id": name, "ids": [id], "tokens": [name]})))
        .collect();
    json!({
        "type": "TemplateProcessing",
        "single": pieces(single),
        "pair": pieces(pair),
        "special_tokens": special,
    })
}

#[cfg(test)]
mod tests;
