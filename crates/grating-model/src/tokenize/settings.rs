//! What the files beside a `tokenizer.json` say: `tokenizer_config.json`, the older `special_tokens_map.json` and
//! `added_tokens.json`, and `sentence_bert_config.json`. In transformers they win over `tokenizer.json`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::TokenizeError;

/// The files that decide which ids a text becomes.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokenizerFiles<'a> {
    /// `tokenizer.json`.
    pub tokenizer: &'a [u8],
    /// `tokenizer_config.json`.
    pub config: Option<&'a [u8]>,
    /// `special_tokens_map.json`, as transformers wrote it before version 5.
    pub special_tokens_map: Option<&'a [u8]>,
    /// `added_tokens.json`, as transformers wrote it before version 4.34.
    pub added_tokens: Option<&'a [u8]>,
    /// `sentence_bert_config.json`, where the folder is a `CrossEncoder` that sentence-transformers saved; elsewhere it
    /// is not read there either.
    pub sentence_config: Option<&'a [u8]>,
}

impl<'a> TokenizerFiles<'a> {
    /// Names of the files beside `tokenizer.json` that are looked at.
    pub const BESIDE: [&'static str; 6] = [
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "sentence_bert_config.json",
        "modules.json",
        "config_sentence_transformers.json",
    ];

    /// A model's files: `tokenizer` is its `tokenizer.json`, `beside` gives the content of another file by its name.
    pub fn of(tokenizer: &'a [u8], beside: impl Fn(&str) -> Option<&'a [u8]>) -> Self {
        #[derive(Deserialize)]
        struct SentenceTransformers {
            model_type: Option<String>,
        }
        let saved_by = beside("config_sentence_transformers.json");
        let saved_by = saved_by.and_then(|json| serde_json::from_slice(json).ok());
        let is_cross_encoder = beside("modules.json").is_some()
            && saved_by.is_some_and(|file: SentenceTransformers| {
                file.model_type.as_deref() == Some("CrossEncoder")
            });
        TokenizerFiles {
            tokenizer,
            config: beside("tokenizer_config.json"),
            special_tokens_map: beside("special_tokens_map.json"),
            added_tokens: beside("added_tokens.json"),
            sentence_config: beside("sentence_bert_config.json").filter(|_| is_cross_encoder),
        }
    }
}

impl<'a> From<&'a [u8]> for TokenizerFiles<'a> {
    fn from(tokenizer: &'a [u8]) -> Self {
        TokenizerFiles { tokenizer, ..TokenizerFiles::default() }
    }
}

impl<'a> From<&'a Vec<u8>> for TokenizerFiles<'a> {
    fn from(tokenizer: &'a Vec<u8>) -> Self {
        tokenizer.as_slice().into()
    }
}

/// Names of the attributes that hold control tokens, in the order in which transformers adds them
/// (`PreTrainedTokenizerBase.SPECIAL_TOKENS_ATTRIBUTES`).
pub(super) const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// From here on a length says nothing (`LARGE_INTEGER`; files hold 1e30 where nobody set one).
const LARGE: f64 = 1e20;

/// The settings of a tokenizer, from all of its files but `tokenizer.json`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// `tokenizer_config.json` with `special_tokens_map.json` on top.
    fields: Map<String, Value>,
    /// Added tokens by id, if `tokenizer_config.json` lists them: then `tokenizer.json`'s own do not count.
    listed: Option<BTreeMap<u32, AddedToken>>,
    /// Those of `added_tokens.json`.
    legacy: BTreeMap<u32, AddedToken>,
    sentence: SentenceConfig,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct SentenceConfig {
    max_seq_length: Option<f64>,
    #[serde(default)]
    do_lower_case: Option<bool>,
}

/// A control token as it is written: its name, or all of it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Name(String),
    Token(Flags),
}

#[derive(Deserialize)]
struct Flags {
    content: String,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    single_word: bool,
    normalized: Option<bool>,
    special: Option<bool>,
}

impl Flags {
    /// `special` where the file does not say.
    fn token(self, special: bool) -> AddedToken {
        let special = self.special.unwrap_or(special);
        AddedToken::from(self.content, special)
            .lstrip(self.lstrip)
            .rstrip(self.rstrip)
            .single_word(self.single_word)
            .normalized(self.normalized.unwrap_or(!special))
    }
}

impl Written {
    fn token(self) -> AddedToken {
        match self {
            Written::Name(name) => AddedToken::from(name, true),
            Written::Token(flags) => flags.token(true),
        }
    }
}

impl Settings {
    /// Reads the files that are there.
    ///
    /// # Errors
    /// [`TokenizeError::Settings`] naming the file.
    pub(crate) fn read(files: &TokenizerFiles<'_>) -> Result<Self, TokenizeError> {
        const CONFIG: &str = "tokenizer_config.json";
        let mut fields: Map<String, Value> = optional(CONFIG, files.config)?.unwrap_or_default();
        let listed = match fields.remove("added_tokens_decoder") {
            None | Some(Value::Null) => None,
            Some(value) => {
                let tokens: BTreeMap<u32, Flags> = parsed(CONFIG, value)?;
                Some(tokens.into_iter().map(|(id, flags)| (id, flags.token(false))).collect())
            }
        };
        let mut settings = Settings { fields, listed, ..Settings::default() };
        if settings.listed.is_none() {
            settings.read_legacy(files)?;
        }
        settings.sentence =
            optional("sentence_bert_config.json", files.sentence_config)?.unwrap_or_default();
        Ok(settings)
    }

    /// The older files count only where `tokenizer_config.json` does not list the added tokens.
    fn read_legacy(&mut self, files: &TokenizerFiles<'_>) -> Result<(), TokenizeError> {
        const MAP: &str = "special_tokens_map.json";
        const ADDED: &str = "added_tokens.json";
        let map: Map<String, Value> = optional(MAP, files.special_tokens_map)?.unwrap_or_default();
        self.fields.extend(map);
        let added: BTreeMap<String, u32> = optional(ADDED, files.added_tokens)?.unwrap_or_default();
        let named: Vec<String> = self.specials()?.into_iter().map(|(_, t)| t.content).collect();
        let token = |(name, id): (String, u32)| {
            let special = named.contains(&name);
            (id, AddedToken::from(name, special).normalized(!special))
        };
        self.legacy = added.into_iter().map(token).collect();
        Ok(())
    }

    /// The added tokens of these files, by id, and whether those of `tokenizer.json` count as well.
    pub(super) fn added_tokens(&self) -> (&BTreeMap<u32, AddedToken>, bool) {
        match &self.listed {
            Some(listed) => (listed, false),
            None => (&self.legacy, true),
        }
    }

    /// Control tokens that these files name, under their attributes' names; further ones without.
    pub(super) fn specials(&self) -> Result<Vec<(&str, AddedToken)>, TokenizeError> {
        let mut found = Vec::new();
        for name in NAMED {
            found.extend(self.special(name)?.map(|token| (name, token)));
        }
        for key in ["extra_special_tokens", "additional_special_tokens"] {
            let Some(Value::Array(tokens)) = self.fields.get(key) else { continue };
            for token in tokens {
                let token: Written = parsed(key, token.clone())?;
                found.push(("", token.token()));
            }
        }
        Ok(found)
    }

    /// Whether the files say anything of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.get(name).is_some_and(|value| !value.is_null())
    }

    /// Whether the files have all of a control token, and not its name alone.
    pub(super) fn spells(&self, name: &str) -> bool {
        self.fields.get(name).is_some_and(Value::is_object)
    }

    /// One named control token.
    pub(super) fn special(&self, name: &'static str) -> Result<Option<AddedToken>, TokenizeError> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => parsed(name, value.clone()).map(|token: Written| Some(token.token())),
        }
    }

    /// A yes or no; `None` where the files do not say.
    pub(super) fn flag(&self, name: &'static str) -> Result<Option<bool>, TokenizeError> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => parsed(name, value.clone()).map(Some),
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(Value::as_str)
    }

    /// `tokenizer_class`.
    pub(super) fn class(&self) -> Option<&str> {
        self.text("tokenizer_class")
    }

    /// Whether texts that are too long lose their beginning.
    pub(super) fn cuts_the_start(&self) -> bool {
        self.text("truncation_side") == Some("left")
    }

    /// Whether the model gets token types, where the files say.
    pub(super) fn gives_types(&self) -> Option<bool> {
        let names = self.fields.get("model_input_names")?.as_array()?;
        Some(names.iter().any(|name| name == "token_type_ids"))
    }

    /// Whether texts are made lower-case before anything else (`sentence_bert_config.json`).
    pub(super) fn lowers_first(&self) -> bool {
        self.sentence.do_lower_case == Some(true)
    }

    /// Most tokens of a candidate as these files have it: `max_seq_length` of sentence-transformers, or else
    /// `model_max_length`. `None` where they do not say.
    pub(crate) fn max_tokens(&self) -> Result<Option<usize>, TokenizeError> {
        if let Some(tokens) = self.sentence.max_seq_length {
            return whole("max_seq_length", tokens);
        }
        let said = ["model_max_length", "max_len"].into_iter().find_map(|name| {
            let value = self.fields.get(name)?;
            (!value.is_null()).then_some((name, value))
        });
        match said {
            None => Ok(None),
            Some((name, value)) => match value.as_f64() {
                Some(tokens) => whole(name, tokens),
                None => Err(unusable(name, format!("expected a number, found {value}"))),
            },
        }
    }
}

/// A length in tokens; huge ones say nothing.
fn whole(name: &str, tokens: f64) -> Result<Option<usize>, TokenizeError> {
    match tokens {
        tokens if tokens >= LARGE => Ok(None),
        tokens if tokens >= 1.0 => Ok(Some(tokens as usize)),
        tokens => Err(unusable(name, format!("expected at least 1, found {tokens}"))),
    }
}

fn optional<T: for<'de> Deserialize<'de>>(
    file: &str,
    json: Option<&[u8]>,
) -> Result<Option<T>, TokenizeError> {
    let parse = |json| serde_json::from_slice(json).map_err(|e| unusable(file, e));
    json.map(parse).transpose()
}

fn parsed<T: for<'de> Deserialize<'de>>(name: &str, value: Value) -> Result<T, TokenizeError> {
    serde_json::from_value(value).map_err(|e| unusable(name, e))
}

fn unusable(name: &str, reason: impl ToString) -> TokenizeError {
    TokenizeError::Settings { name: name.into(), reason: grating_io::shown(&reason.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(config: &str, sentence: Option<&str>) -> Result<Option<usize>, TokenizeError> {
        let files = TokenizerFiles {
            config: Some(config.as_bytes()),
            sentence_config: sentence.map(str::as_bytes),
            ..TokenizerFiles::default()
        };
        Settings::read(&files)?.max_tokens()
    }

    #[test]
    fn a_length_is_the_models_own_and_a_huge_one_says_nothing() {
        for (config, expected) in [
            (r#"{"model_max_length": 64}"#, Some(64)),
            (r#"{"model_max_length": 8192.0}"#, Some(8192)),
            (r#"{"max_len": 512}"#, Some(512)),
            (r#"{"model_max_length": null, "max_len": 32}"#, Some(32)),
            (r#"{"model_max_length": 1000000000000000019884624838656}"#, None),
            (r#"{"model_max_length": 1e30}"#, None),
            (r#"{}"#, None),
        ] {
            assert_eq!(limit(config, None).unwrap(), expected, "{config}");
        }
        assert!(limit(r#"{"model_max_length": "long"}"#, None).is_err());
        assert!(limit(r#"{"model_max_length": 0}"#, None).is_err());
        let sentence = Some(r#"{"max_seq_length": 128, "transformer_task": "x"}"#);
        assert_eq!(limit(r#"{"model_max_length": 64}"#, sentence).unwrap(), Some(128));
        let silent = Some(r#"{"max_seq_length": null}"#);
        assert_eq!(limit(r#"{"model_max_length": 64}"#, silent).unwrap(), Some(64));
    }

    #[test]
    fn older_files_count_where_the_newer_lists_no_tokens() {
        let files = |config: &'static str| TokenizerFiles {
            config: Some(config.as_bytes()),
            special_tokens_map: Some(br#"{"sep_token": {"content": "</s>", "lstrip": true}}"#),
            added_tokens: Some(br#"{"</s>": 7, "word": 8}"#),
            ..TokenizerFiles::default()
        };
        let settings = Settings::read(&files(r#"{"sep_token": "[SEP]"}"#)).unwrap();
        let sep = settings.special("sep_token").unwrap().unwrap();
        assert_eq!(sep, AddedToken::from("</s>", true).lstrip(true));
        let (added, with_json) = settings.added_tokens();
        assert!(with_json && added[&7].special && added[&8].normalized);

        let listing =
            r#"{"sep_token": "[SEP]", "added_tokens_decoder": {"3": {"content": "[SEP]"}}}"#;
        let settings = Settings::read(&files(listing)).unwrap();
        assert_eq!(settings.special("sep_token").unwrap().unwrap().content, "[SEP]");
        let (added, with_json) = settings.added_tokens();
        assert!(!with_json && added.len() == 1 && added[&3].content == "[SEP]");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let bad = TokenizerFiles { config: Some(b"{"), ..TokenizerFiles::default() };
        let error = Settings::read(&bad).unwrap_err().to_string();
        assert!(error.contains("tokenizer_config.json"), "{error}");
    }
}
