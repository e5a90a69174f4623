//! BPE as in sentencepiece (Llama 2, MiniCPM, Gemma): special tokens, a token for each byte, which stand for what the
//! vocabulary lacks, and words in which U+2581 is the space; what is left of the ids is unused.

use std::collections::HashSet;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{AddedToken, Model, TokenizerFile, Vocab, bpe};
use crate::models::shapes::{Family, Shape};

/// The tokenizer of a MiniCPM or Gemma shape.
pub(super) fn tokenizer(shape: &Shape) -> Result<TokenizerFile> {
    let gemma = matches!(shape.family, Family::Gemma | Family::Gemma2);
    let special: &[&str] = match gemma {
        true => &["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"],
        false => &["<unk>", "<s>", "</s>"],
    };
    // Bytes, printable characters with the space, and the merges of the answer.
    let least = special.len() + 256 + 95 + 2;
    ensure!(
        shape.vocab >= least,
        "a vocabulary of {} is too small for {}: it takes {least} entries at least (256 are bytes)",
        shape.vocab,
        shape.name
    );
    let mut vocab: Vec<String> = special.iter().map(|token| (*token).to_owned()).collect();
    vocab.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    let (tokens, merges) = bpe::printable(shape.vocab, &["Yes"]);
    vocab.extend(tokens.iter().map(|token| marked(token)));
    vocab.truncate(shape.vocab);
    let unused = vocab.len()..shape.vocab;
    vocab.extend(unused.map(|id| format!("<unused{id}>")));
    let known: HashSet<&str> = vocab.iter().map(String::as_str).collect();
    let merges = merges.iter().map(|(a, b)| (marked(a), marked(b)));
    let merges = merges.filter(|(a, b)| known.contains(format!("{a}{b}").as_str()));
    let merges = merges.map(|(a, b)| format!("{a} {b}")).collect();
    let (normalizer, pre_tokenizer) = match gemma {
        true => (
            json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}),
            json!({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false}),
        ),
        false => (
            Value::Null,
            json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": false}),
        ),
    };
    Ok(TokenizerFile {
        version: "1.0",
        truncation: Value::Null,
        padding: Value::Null,
        added_tokens: (0..)
            .zip(special)
            .map(|(id, token)| AddedToken::special(id, token))
            .collect(),
        normalizer,
        pre_tokenizer,
        post_processor: Value::Null,
        decoder: json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
        ]}),
        model: Model::Bpe {
            dropout: Value::Null,
            unk_token: json!("<unk>"),
            continuing_subword_prefix: Value::Null,
            end_of_word_suffix: Value::Null,
            fuse_unk: true,
            byte_fallback: true,
            ignore_merges: false,
            vocab: Vocab(vocab),
            merges,
        },
    })
}

/// With sentencepiece's sign for a space.
fn marked(token: &str) -> String {
    token.replace('\u{120}', "\u{2581}")
}
