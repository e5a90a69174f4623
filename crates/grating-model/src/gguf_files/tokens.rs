//! A vocabulary in a GGUF file: texts, kinds and scores of tokens by id.

use serde_json::{Value, json};

use super::{GgufFiles, unusable};
use crate::error::Result;

pub(super) const MODEL: &str = "tokenizer.ggml.model";
const TEXTS: &str = "tokenizer.ggml.tokens";
const KINDS: &str = "tokenizer.ggml.token_type";
pub(super) const SCORES: &str = "tokenizer.ggml.scores";

/// Keys of the tokens around an encoder's texts: the conversion stores them under the first or the second.
pub(super) const CLS: [&str; 2] = ["cls", "bos"];
/// As [`CLS`]; llama.cpp spells it so.
pub(super) const SEP: [&str; 2] = ["seperator", "eos"];

/// What a token is (`llama_token_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    /// Padding of the embedding table; the tokenizer does not have it.
    Unused,
    Byte,
}

/// Texts and kinds of tokens, both by id.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) texts: Vec<String>,
    pub(super) kinds: Vec<Kind>,
}

impl Tokens {
    pub(super) fn read(files: &GgufFiles<'_>) -> Result<Self> {
        let texts = files.texts(TEXTS)?.unwrap_or_default();
        if texts.is_empty() {
            return Err(unusable(TEXTS, "is missing: the file has no tokenizer in it".into()));
        }
        let kinds = match files.numbers(KINDS)? {
            None => vec![Kind::Normal; texts.len()],
            Some(numbers) => numbers.into_iter().map(Kind::of).collect::<Result<_>>()?,
        };
        if kinds.len() != texts.len() {
            let problem = format!("has {} entries for {} tokens", kinds.len(), texts.len());
            return Err(unusable(KINDS, problem));
        }
        Ok(Tokens { texts, kinds })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &str, Kind)> {
        let both = self.texts.iter().zip(&self.kinds).enumerate();
        both.map(|(id, (text, kind))| (id as u32, text.as_str(), *kind))
    }

    /// The id under a key, if the vocabulary has it.
    pub(super) fn id(&self, files: &GgufFiles<'_>, name: &str) -> Result<Option<u32>> {
        let key = format!("tokenizer.ggml.{name}_token_id");
        match files.number(&key)? {
            None => Ok(None),
            Some(id) if id < self.texts.len() as u64 => Ok(Some(id as u32)),
            Some(id) => {
                let problem = format!("is {id}, and there are {} tokens", self.texts.len());
                Err(unusable(&key, problem))
            }
        }
    }

    /// The id under the first of the keys `names` that there is, else of the token whose text is `default`.
    pub(super) fn special(
        &self,
        files: &GgufFiles<'_>,
        names: &[&str],
        default: &str,
    ) -> Result<u32> {
        for name in names {
            if let Some(id) = self.id(files, name)? {
                return Ok(id);
            }
        }
        let found = self.texts.iter().position(|text| text == default);
        found.map(|id| id as u32).ok_or_else(|| {
            let problem = format!("is missing, and there is no token {default}");
            unusable(&format!("tokenizer.ggml.{}_token_id", names[0]), problem)
        })
    }

    /// Control and added tokens as `tokenizer.json` lists them; `text` is a token's text there.
    pub(super) fn added(&self, text: impl Fn(u32, &str) -> String) -> Vec<Value> {
        let added = self.iter().filter_map(|(id, own, kind)| {
            let special = match kind {
                Kind::Control | Kind::Unknown => true,
                Kind::UserDefined => false,
                _ => return None,
            };
            let content = text(id, own);
            // Markup is found in the text as it is written, words after normalization: transformers' defaults.
            let markup = content.starts_with(['<', '[']) && content.ends_with(['>', ']']);
            Some(added_token(id, &content, special, !special && !markup, false))
        });
        added.collect()
    }
}

/// An entry of `added_tokens`.
pub(super) fn added_token(
    id: u32,
    content: &str,
    special: bool,
    normalized: bool,
    lstrip: bool,
) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": lstrip, "rstrip": false,
        "normalized": normalized, "special": special})
}

impl Kind {
    fn of(number: f64) -> Result<Self> {
        match number as i64 {
            // 0 is "undefined"; early conversions wrote it.
            0 | 1 => Ok(Kind::Normal),
            2 => Ok(Kind::Unknown),
            3 => Ok(Kind::Control),
            4 => Ok(Kind::UserDefined),
            5 => Ok(Kind::Unused),
            6 => Ok(Kind::Byte),
            other => Err(unusable(KINDS, format!("holds {other}, expected 1 to 6"))),
        }
    }
}

/// A `tokenizer.json` of these parts. `model` is JSON text: a vocabulary is too long for a tree of values.
pub(super) fn tokenizer_json(
    added: &[Value],
    normalizer: &Value,
    pre_tokenizer: &Value,
    post_processor: &Value,
    model: &str,
) -> Vec<u8> {
    let added = Value::from(added.to_vec());
    format!(
        r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":{added},"normalizer":{normalizer},"pre_tokenizer":{pre_tokenizer},"post_processor":{post_processor},"decoder":null,"model":{model}}}"#
    )
    .into_bytes()
}

/// Appends `"text":id` for each token, with commas in between.
pub(super) fn write_vocabulary<'t>(
    tokens: impl Iterator<Item = (u32, std::borrow::Cow<'t, str>)>,
    out: &mut String,
) {
    for (number, (id, text)) in tokens.enumerate() {
        if number > 0 {
            out.push(',');
        }
        out.push_str(&quoted(&text));
        out.push(':');
        out.push_str(&id.to_string());
    }
}

/// As JSON text.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The post-processor of a pair: start, query, ends, text, end; `types` where the text has its own.
pub(super) fn pair_processor(
    start: (&str, u32),
    end: (&str, u32),
    between: usize,
    types: bool,
) -> Value {
    let second = u8::from(types);
    let token = |name: &str, kind: u8| json!({"SpecialToken": {"id": name, "type_id": kind}});
    let sequence = |name: &str, kind: u8| json!({"Sequence": {"id": name, "type_id": kind}});
    let single = [token(start.0, 0), sequence("A", 0), token(end.0, 0)];
    let mut pair = single[..2].to_vec();
    pair.extend(std::iter::repeat_n(token(end.0, 0), between));
    pair.extend([sequence("B", second), token(end.0, second)]);
    let special = |(name, id): (&str, u32)| {
        (name.to_string(), json!({"id": name, "ids": [id], "tokens": [name]}))
    };
    let tokens: serde_json::Map<String, Value> =
        [special(start), special(end)].into_iter().collect();
    json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens})
}
