//! What a GGUF file says of itself, as the files that models in other formats have beside their weights:
//! `config.json`, `tokenizer.json`, `tokenizer_config.json` and, for a prompt, `grating.json`.
//!
//! llama.cpp's conversion keeps all that its own engine needs in the file's metadata. Here it becomes the same files
//! again, which take the same way as any others; ids are those of the tokenizer that was converted. What the
//! conversion does not keep is told from what it does (a vocabulary without upper case is one of lower case), and
//! where that cannot be, the file is refused by the key that is missing.

mod byte_level;
mod config;
mod prompt;
mod sentencepiece;
mod tokens;
mod unigram;
mod wordpiece;

use grating_io::{Checkpoint, GgufList, GgufValue};

use crate::error::{ModelError, Result};
pub use config::names_an_architecture;
use tokens::Tokens;

/// The metadata of a GGUF file that llama.cpp's conversion wrote.
#[derive(Debug, Clone, Copy)]
pub struct GgufFiles<'a> {
    checkpoint: &'a Checkpoint,
    architecture: &'a str,
}

/// A tokenizer's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufTokenizer {
    /// `tokenizer.json`.
    pub tokenizer: Vec<u8>,
    /// `tokenizer_config.json`, where the tokenizer needs one.
    pub config: Option<Vec<u8>>,
}

/// What files of our own making say; their names of tensors are the original ones.
const OWN_ARCHITECTURE: &str = "grating";

impl<'a> GgufFiles<'a> {
    /// `None` for checkpoints in other formats and for GGUF files of our own making, which have the files beside them.
    pub fn of(checkpoint: &'a Checkpoint) -> Option<Self> {
        match checkpoint.metadata().get("general.architecture") {
            Some(GgufValue::Text(architecture)) if architecture != OWN_ARCHITECTURE => {
                Some(GgufFiles { checkpoint, architecture })
            }
            _ => None,
        }
    }

    /// A `config.json` with the model's sizes.
    ///
    /// # Errors
    /// [`ModelError::Gguf`] naming the key that is missing or cannot be used.
    pub fn config(&self) -> Result<Vec<u8>> {
        config::write(self)
    }

    /// The tokenizer, token for token.
    ///
    /// # Errors
    /// [`ModelError::Gguf`] naming the key that is missing or cannot be used.
    pub fn tokenizer(&self) -> Result<GgufTokenizer> {
        let kind = self.tokenizer_kind()?;
        if !["bert", "t5", "gpt2", "llama"].contains(&kind) {
            let problem = format!("is `{kind}`, expected bert, t5, gpt2 or llama");
            return Err(unusable(tokens::MODEL, problem));
        }
        let tokens = Tokens::read(self)?;
        let (tokenizer, config) = match kind {
            "bert" => wordpiece::write(self, &tokens)?,
            "t5" => (unigram::write(self, tokens)?, None),
            "gpt2" => (byte_level::write(self, &tokens)?, None),
            _ => (sentencepiece::write(self, &tokens)?, None),
        };
        Ok(GgufTokenizer { tokenizer, config })
    }

    /// A `grating.json` with the prompt, if the file has one for pairs.
    ///
    /// # Errors
    /// [`ModelError::Gguf`] for a prompt without places for query and text.
    pub fn grating(&self) -> Result<Option<Vec<u8>>> {
        prompt::write(self)
    }

    fn tokenizer_kind(&self) -> Result<&'a str> {
        match self.value(tokens::MODEL) {
            Some(GgufValue::Text(kind)) => Ok(kind),
            Some(other) => Err(unusable(tokens::MODEL, format!("is {other}, expected a name"))),
            None => Err(unusable(
                tokens::MODEL,
                "is missing: the file has no tokenizer in it".to_string(),
            )),
        }
    }

    fn value(&self, key: &str) -> Option<&'a GgufValue> {
        self.checkpoint.metadata().get(key)
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        match self.value(key) {
            Some(GgufValue::Text(text)) => Some(text),
            _ => None,
        }
    }

    fn flag(&self, key: &str) -> Option<bool> {
        match self.value(key) {
            Some(GgufValue::Bool(flag)) => Some(*flag),
            _ => None,
        }
    }

    /// A whole number that is not negative.
    fn number(&self, key: &str) -> Result<Option<u64>> {
        match self.value(key) {
            None => Ok(None),
            Some(GgufValue::Unsigned(n)) => Ok(Some(*n)),
            Some(other) => match other {
                GgufValue::Signed(n) if *n >= 0 => Ok(Some(n.unsigned_abs())),
                _ => Err(unusable(key, format!("is {other}, expected a number of at least 0"))),
            },
        }
    }

    fn float(&self, key: &str) -> Result<Option<f64>> {
        match self.value(key) {
            None => Ok(None),
            Some(GgufValue::Float(x)) if x.is_finite() => Ok(Some(*x)),
            Some(other) => Err(unusable(key, format!("is {other}, expected a finite number"))),
        }
    }

    /// A key of the model's architecture.
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn texts(&self, key: &str) -> Result<Option<Vec<String>>> {
        match self.checkpoint.metadata_list(key)? {
            None => Ok(None),
            Some(GgufList::Texts(texts)) => Ok(Some(texts)),
            Some(_) => Err(unusable(key, "is no list of texts".to_string())),
        }
    }

    fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>> {
        match self.checkpoint.metadata_list(key)? {
            None => Ok(None),
            Some(GgufList::Numbers(numbers)) => Ok(Some(numbers)),
            Some(_) => Err(unusable(key, "is no list of numbers".to_string())),
        }
    }

    /// Rows of a matrix; GGML does not tell one of one row from a vector.
    fn rows(&self, tensor: &str) -> Option<usize> {
        let shape = &self.checkpoint.get(tensor)?.shape;
        Some(if shape.len() < 2 { 1 } else { shape[0] })
    }
}

fn unusable(key: &str, problem: String) -> ModelError {
    ModelError::Gguf { key: key.to_string(), problem }
}
