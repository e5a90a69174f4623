//! Unigram as in XLM-RoBERTa: special tokens, words, characters, filler, and `<mask>` at the end.
//!
//! The public models normalize with a compiled table of SentencePiece; NFKC with runs of spaces
//! collapsed, which that table amounts to for nearly all text, stands in for it.

use std::collections::HashSet;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::words::{self, ENDINGS};
use super::{AddedToken, Model, TokenizerFile, template_processing};
use crate::models::shapes::Shape;

/// Smallest vocabulary: special tokens and ASCII, each with and without the word mark.
const LEAST: usize = 256;

/// Log-probability of the characters, which are used where no word fits.
const CHARACTER: f64 = -12.0;
/// Log-probability of the first compound; the next ones fall slowly.
const FILLER: f64 = -14.0;

/// The tokenizer of an XLM-RoBERTa shape.
pub(super) fn tokenizer(shape: &Shape) -> Result<TokenizerFile> {
    let size = shape.vocab;
    ensure!(
        size >= LEAST,
        "a vocabulary of {size} is too small for {}: it takes {LEAST} entries at least",
        shape.name
    );
    let special = [("<s>", 0), ("<pad>", 1), ("</s>", 2), ("<unk>", 3)];
    let mut pieces = Pieces::new(size - 1);
    for (token, _) in special {
        pieces.push(token.to_owned(), 0.0);
    }
    pieces.fill();
    let mut vocab = pieces.list;
    vocab.push(("<mask>".to_owned(), 0.0));

    let mut added_tokens: Vec<AddedToken> =
        special.iter().map(|&(token, id)| AddedToken::special(id, token)).collect();
    added_tokens.push(AddedToken { lstrip: true, ..AddedToken::special(size - 1, "<mask>") });
    Ok(TokenizerFile {
        version: "1.0",
        truncation: Value::Null,
        padding: Value::Null,
        added_tokens,
        normalizer: json!({"type": "Sequence", "normalizers": [
            {"type": "NFKC"},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
        ]}),
        pre_tokenizer: json!({"type": "Sequence", "pretokenizers": [
            {"type": "WhitespaceSplit"},
            {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
        ]}),
        post_processor: template_processing(
            &[("<s>", 0), ("A", 0), ("</s>", 0)],
            &[("<s>", 0), ("A", 0), ("</s>", 0), ("</s>", 0), ("B", 0), ("</s>", 0)],
            &[("<s>", 0), ("</s>", 2)],
        ),
        decoder: json!({
            "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true,
        }),
        model: Model::Unigram { unk_id: 3, vocab, byte_fallback: false },
    })
}

/// Distinct pieces with their log-probabilities, up to a size.
struct Pieces {
    list: Vec<(String, f64)>,
    seen: HashSet<String>,
    size: usize,
}

impl Pieces {
    fn new(size: usize) -> Self {
        Self { list: Vec::with_capacity(size + 1), seen: HashSet::new(), size }
    }

    fn push(&mut self, piece: String, score: f64) {
        if self.list.len() < self.size && self.seen.insert(piece.clone()) {
            self.list.push((piece, score));
        }
    }

    fn fill(&mut self) {
        let words = words::words();
        let total: u64 = (0..words.len()).map(words::zipf).sum();
        let score = |rank: usize| (words::zipf(rank) as f64 / total as f64).ln();
        self.push("▁".to_owned(), -4.0);
        for c in '!'..='~' {
            self.push(c.to_string(), if c.is_alphanumeric() { CHARACTER } else { -6.0 });
        }
        for ending in ENDINGS {
            self.push(ending.to_owned(), -5.0);
        }
        for (rank, word) in words.iter().enumerate() {
            self.push(format!("▁{word}"), score(rank));
        }
        for (rank, word) in words.iter().enumerate() {
            self.push((*word).to_owned(), score(rank) - 2.5);
            let capital = word[..1].to_uppercase() + &word[1..];
            self.push(format!("▁{capital}"), score(rank) - 2.0);
        }
        for c in words::letters().chain(words::ideographs()) {
            self.push(c.to_string(), CHARACTER);
        }
        for (a, b) in words::pairs(words.len()) {
            if self.list.len() == self.size {
                return;
            }
            let score = FILLER - 1e-5 * self.list.len() as f64;
            self.push(format!("▁{}{}", words[a], words[b]), score);
        }
    }
}
