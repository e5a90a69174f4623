//! WordPiece as in BERT (uncased): special tokens, characters and their continuations, words,
//! filler.

use std::collections::HashSet;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::words::{self, ENDINGS};
use super::{AddedToken, Model, TokenizerFile, Vocab, template_processing};
use crate::models::shapes::Shape;

/// Smallest vocabulary: special tokens, then every ASCII character in both positions.
const LEAST: usize = 256;

/// The tokenizer of a BERT shape.
pub(super) fn tokenizer(shape: &Shape) -> Result<TokenizerFile> {
    let size = shape.vocab;
    ensure!(
        size >= LEAST,
        "a vocabulary of {size} is too small for {}: it takes {LEAST} entries at least",
        shape.name
    );
    let mut vocab = Vocabulary::new(size);
    // BERT's own ids where the vocabulary has room for its unused tokens.
    let unused = if size >= 2000 { 99 } else { 0 };
    vocab.push("[PAD]".to_owned());
    for i in 0..unused {
        vocab.push(format!("[unused{i}]"));
    }
    for token in ["[UNK]", "[CLS]", "[SEP]", "[MASK]"] {
        vocab.push(token.to_owned());
    }
    vocab.fill();

    let id = |at: usize| unused + at;
    let special =
        [("[PAD]", 0), ("[UNK]", id(1)), ("[CLS]", id(2)), ("[SEP]", id(3)), ("[MASK]", id(4))];
    Ok(TokenizerFile {
        version: "1.0",
        truncation: Value::Null,
        padding: Value::Null,
        added_tokens: special.iter().map(|&(token, id)| AddedToken::special(id, token)).collect(),
        normalizer: json!({
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": true,
            "strip_accents": null,
            "lowercase": true,
        }),
        pre_tokenizer: json!({"type": "BertPreTokenizer"}),
        post_processor: template_processing(
            &[("[CLS]", 0), ("A", 0), ("[SEP]", 0)],
            &[("[CLS]", 0), ("A", 0), ("[SEP]", 0), ("B", 1), ("[SEP]", 1)],
            &special[2..4],
        ),
        decoder: json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        model: Model::WordPiece {
            unk_token: "[UNK]",
            continuing_subword_prefix: "##",
            max_input_chars_per_word: 100,
            vocab: Vocab(vocab.tokens),
        },
    })
}

/// Distinct tokens up to a size.
struct Vocabulary {
    tokens: Vec<String>,
    seen: HashSet<String>,
    size: usize,
}

impl Vocabulary {
    fn new(size: usize) -> Self {
        Self { tokens: Vec::with_capacity(size), seen: HashSet::new(), size }
    }

    fn push(&mut self, token: String) {
        if self.tokens.len() < self.size && self.seen.insert(token.clone()) {
            self.tokens.push(token);
        }
    }

    fn fill(&mut self) {
        let words = words::words();
        let ascii: Vec<char> = ('!'..='~').filter(|c| !c.is_ascii_uppercase()).collect();
        for c in &ascii {
            self.push(c.to_string());
        }
        for c in ascii.iter().filter(|c| c.is_ascii_alphanumeric()) {
            self.push(format!("##{c}"));
        }
        for word in &words {
            self.push((*word).to_owned());
        }
        for ending in ENDINGS {
            self.push(format!("##{ending}"));
        }
        // The text is lower-cased before it is matched, so capitals would never be used.
        for c in words::letters().filter(|c| c.to_lowercase().eq([*c])) {
            self.push(c.to_string());
            if c.is_alphanumeric() {
                self.push(format!("##{c}"));
            }
        }
        // An English vocabulary knows few ideographs; the others are [UNK], as in the public one.
        for c in words::ideographs().take(self.size / 60) {
            self.push(c.to_string());
        }
        for word in words.iter().filter(|word| word.len() > 1) {
            self.push(format!("##{word}"));
        }
        for word in &words {
            for ending in ENDINGS {
                self.push(format!("{word}{ending}"));
            }
        }
        for (a, b) in words::pairs(words.len()) {
            if self.tokens.len() == self.size {
                return;
            }
            self.push(format!("{}{}", words[a], words[b]));
        }
    }
}
