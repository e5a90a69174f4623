//! What transformers 5 makes of a `tokenizer.json`.
//!
//! A general class (`TokenizersBackend`, once `PreTrainedTokenizerFast`) takes the file as it is. A class of its own
//! (`BertTokenizer`) takes vocabulary and post-processor, and sets up all else by itself, from `tokenizer_config.json`
//! and its defaults: what the file says of upper case does not count there. Which class it is depends on the model and
//! on what the files name (`AutoTokenizer.from_pretrained`).

use serde::Deserialize;
use serde_json::{Value, json};
use tokenizers::models::ModelWrapper;
use tokenizers::{AddedToken, Model, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper};

use super::settings::{NAMED, Settings};
use super::vocabulary::{Tokenizer, Vocabulary};
use super::{TokenizeError, bpe::Options, frame::Frame};
use crate::config::ModelConfig;

/// The classes that are followed. Any other is taken for [`TokenizerClass::AsWritten`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenizerClass {
    /// `tokenizer.json` as it is.
    AsWritten,
    /// `BertTokenizer`, and under other names for ELECTRA, MobileBERT and LayoutLM.
    Bert,
    /// `DistilBertTokenizer`: the same without token types.
    DistilBert,
    /// `XLMRobertaTokenizer`.
    XlmRoberta,
    /// `CamembertTokenizer`.
    Camembert,
    /// `DebertaV2Tokenizer`.
    DebertaV2,
    /// `RobertaTokenizer`.
    Roberta,
    /// `Qwen2Tokenizer`.
    Qwen2,
    /// `LlamaTokenizer`.
    Llama,
    /// `GemmaTokenizer`.
    Gemma,
}

/// Qwen's pattern (`PRETOKENIZE_REGEX` in `tokenization_qwen2.py`).
const QWEN2_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl TokenizerClass {
    /// The class for a model: the one that the files name, or else the model type's. Models of type `qwen2` always have
    /// their type's (`MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS`), and a `LlamaTokenizer` over bytes is taken as written.
    ///
    /// # Errors
    /// [`TokenizeError::OtherClass`] where the class cannot be built over the file's vocabulary: transformers fails to
    /// load it then.
    pub(crate) fn of(
        config: &ModelConfig,
        settings: &Settings,
        file: &TokenizerJson,
    ) -> Result<Self, TokenizeError> {
        let named = settings.class().or(config.tokenizer_class.as_deref());
        let family = config.family.definition();
        let class = match named.filter(|_| !family.always_that_tokenizer) {
            Some(name) => Self::named(name),
            None => family.tokenizer,
        };
        if class == TokenizerClass::Llama && file.is_byte_level() {
            return Ok(TokenizerClass::AsWritten);
        }
        match class.fits(&file.model) {
            true => Ok(class),
            false => Err(TokenizeError::OtherClass {
                class: class.name(),
                kind: file.model.kind(),
                named: named.is_some(),
            }),
        }
    }

    pub(super) fn named(name: &str) -> Self {
        match name.strip_suffix("Fast").unwrap_or(name) {
            "BertTokenizer" | "ElectraTokenizer" | "MobileBertTokenizer" | "LayoutLMTokenizer" => {
                TokenizerClass::Bert
            }
            "DistilBertTokenizer" => TokenizerClass::DistilBert,
            "XLMRobertaTokenizer" => TokenizerClass::XlmRoberta,
            "CamembertTokenizer" => TokenizerClass::Camembert,
            "DebertaV2Tokenizer" => TokenizerClass::DebertaV2,
            "RobertaTokenizer" => TokenizerClass::Roberta,
            "Qwen2Tokenizer" => TokenizerClass::Qwen2,
            "LlamaTokenizer" => TokenizerClass::Llama,
            "GemmaTokenizer" => TokenizerClass::Gemma,
            _ => TokenizerClass::AsWritten,
        }
    }

    /// Its name in transformers.
    pub(super) fn name(self) -> &'static str {
        match self {
            TokenizerClass::AsWritten => "TokenizersBackend",
            TokenizerClass::Bert => "BertTokenizer",
            TokenizerClass::DistilBert => "DistilBertTokenizer",
            TokenizerClass::XlmRoberta => "XLMRobertaTokenizer",
            TokenizerClass::Camembert => "CamembertTokenizer",
            TokenizerClass::DebertaV2 => "DebertaV2Tokenizer",
            TokenizerClass::Roberta => "RobertaTokenizer",
            TokenizerClass::Qwen2 => "Qwen2Tokenizer",
            TokenizerClass::Llama => "LlamaTokenizer",
            TokenizerClass::Gemma => "GemmaTokenizer",
        }
    }

    /// Whether the class can be built over such a vocabulary.
    fn fits(self, model: &Vocabulary) -> bool {
        match self {
            TokenizerClass::AsWritten => true,
            TokenizerClass::XlmRoberta | TokenizerClass::Camembert | TokenizerClass::DebertaV2 => {
                model.kind() == "Unigram"
            }
            TokenizerClass::Bert | TokenizerClass::DistilBert => model.kind() == "WordPiece",
            TokenizerClass::Qwen2
            | TokenizerClass::Roberta
            | TokenizerClass::Llama
            | TokenizerClass::Gemma => model.kind() == "BPE",
        }
    }

    /// The control tokens that a class has where the files name none.
    fn defaults(self) -> [Option<&'static str>; 7] {
        match self {
            TokenizerClass::AsWritten => [None; 7],
            TokenizerClass::Bert | TokenizerClass::DistilBert => {
                ["", "", "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"].map(some)
            }
            TokenizerClass::XlmRoberta | TokenizerClass::Camembert | TokenizerClass::Roberta => {
                ["<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>"].map(some)
            }
            TokenizerClass::DebertaV2 => {
                ["[CLS]", "[SEP]", "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"].map(some)
            }
            TokenizerClass::Qwen2 => {
                let end = "<|endoftext|>";
                ["", end, end, "", end, "", ""].map(some)
            }
            TokenizerClass::Llama => ["<s>", "</s>", "<unk>", "", "", "", ""].map(some),
            TokenizerClass::Gemma => {
                ["<bos>", "<eos>", "<unk>", "", "<pad>", "", "<mask>"].map(some)
            }
        }
    }

    /// Whether the model gets the post-processor's token types where the files do not say (`model_input_names`).
    pub(super) fn gives_types(self) -> bool {
        matches!(self, TokenizerClass::Bert | TokenizerClass::DebertaV2)
    }
}

fn some(name: &'static str) -> Option<&'static str> {
    Some(name).filter(|name| !name.is_empty())
}

/// A `tokenizer.json` in its parts, less truncation, padding and decoder: what they do is done here, from ids.
#[derive(Deserialize)]
pub(crate) struct TokenizerJson {
    #[serde(default)]
    added_tokens: Vec<WithId>,
    #[serde(default)]
    normalizer: Option<NormalizerWrapper>,
    #[serde(default)]
    pre_tokenizer: Option<PreTokenizerWrapper>,
    #[serde(default)]
    pub(super) post_processor: Option<PostProcessorWrapper>,
    model: Vocabulary,
}

#[derive(Deserialize)]
struct WithId {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

/// A tokenizer as transformers would have it.
pub(super) struct Assembled {
    pub(super) tokenizer: Tokenizer,
    /// The class's own frame of a pair; without one the file's post-processor counts.
    pub(super) frame: Option<Frame>,
    pub(super) post_processor: Option<PostProcessorWrapper>,
    /// The token of characters that the vocabulary lacks.
    pub(super) unknown: Option<u32>,
}

impl TokenizerJson {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, TokenizeError> {
        serde_json::from_slice(json).map_err(unusable)
    }

    fn is_byte_level(&self) -> bool {
        let steps = serde_json::to_string(&self.pre_tokenizer).unwrap_or_default();
        steps.contains("\"ByteLevel\"")
    }

    /// Puts the parts together.
    pub(super) fn assemble(
        mut self,
        class: TokenizerClass,
        settings: &Settings,
    ) -> Result<Assembled, TokenizeError> {
        self.rebuild(class, settings)?;
        if settings.lowers_first() {
            self.lower_first()?;
        }
        let added = self.tokens_to_add(class, settings)?;
        let mut tokenizer = Tokenizer::new(self.model);
        tokenizer.with_normalizer(self.normalizer).map_err(unusable)?;
        tokenizer.with_pre_tokenizer(self.pre_tokenizer);
        for tokens in added {
            tokenizer.add_tokens(tokens).map_err(unusable)?;
        }
        let frame = own_frame(class, settings, &tokenizer)?;
        let unknown = unknown(&tokenizer);
        Ok(Assembled { tokenizer, frame, post_processor: self.post_processor, unknown })
    }

    /// Sets up what the class sets up by itself.
    fn rebuild(&mut self, class: TokenizerClass, settings: &Settings) -> Result<(), TokenizeError> {
        match class {
            TokenizerClass::AsWritten => Ok(()),
            TokenizerClass::Bert | TokenizerClass::DistilBert => self.rebuild_bert(settings),
            TokenizerClass::XlmRoberta | TokenizerClass::Camembert => {
                self.rebuild_xlm_roberta(class, settings)
            }
            TokenizerClass::DebertaV2 => self.rebuild_deberta_v2(settings),
            TokenizerClass::Roberta => {
                let space = settings.flag("add_prefix_space")?.unwrap_or(false);
                self.normalizer = None;
                self.pre_tokenizer = step(byte_level(space, true))?;
                self.rebuild_bpe(false, false);
                Ok(())
            }
            TokenizerClass::Qwen2 => {
                let space = settings.flag("add_prefix_space")?.unwrap_or(false);
                let split = json!({"type": "Split", "pattern": {"Regex": QWEN2_PATTERN},
                    "behavior": "Isolated", "invert": false});
                let steps = [split, byte_level(space, false)];
                self.normalizer = step(json!({"type": "NFC"}))?;
                self.pre_tokenizer = step(json!({"type": "Sequence", "pretokenizers": steps}))?;
                self.rebuild_bpe(false, false);
                Ok(())
            }
            TokenizerClass::Llama => self.rebuild_llama(settings),
            TokenizerClass::Gemma => {
                self.normalizer = step(json!({"type": "Replace", "pattern": {"String": " "},
                    "content": "\u{2581}"}))?;
                self.pre_tokenizer = step(json!({"type": "Split", "pattern": {"String": " "},
                    "behavior": "MergedWithPrevious", "invert": false}))?;
                self.rebuild_bpe(true, true);
                Ok(())
            }
        }
    }

    fn rebuild_bert(&mut self, settings: &Settings) -> Result<(), TokenizeError> {
        self.normalizer = step(json!({
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": settings.flag("tokenize_chinese_chars")?.unwrap_or(true),
            "strip_accents": settings.flag("strip_accents")?,
            "lowercase": settings.flag("do_lower_case")?.unwrap_or(true),
        }))?;
        self.pre_tokenizer = step(json!({"type": "BertPreTokenizer"}))?;
        if let Vocabulary::Other(ModelWrapper::WordPiece(model)) = &mut self.model {
            let unknown = settings.special("unk_token")?;
            model.unk_token = unknown.map_or_else(|| "[UNK]".into(), |token| token.content);
            model.continuing_subword_prefix = "##".into();
            model.max_input_chars_per_word = 100;
        }
        Ok(())
    }

    /// Of the file's normalizer only sentencepiece's own table is kept.
    fn rebuild_xlm_roberta(
        &mut self,
        class: TokenizerClass,
        settings: &Settings,
    ) -> Result<(), TokenizeError> {
        let table = match self.normalizer.take() {
            Some(NormalizerWrapper::Sequence(steps)) => {
                steps.as_ref().iter().find(|step| is_table(step)).cloned()
            }
            other => other.filter(is_table),
        };
        self.normalizer = table;
        let scheme = match settings.flag("add_prefix_space")?.unwrap_or(true) {
            true => "always",
            false => "never",
        };
        let metaspace = json!({"type": "Metaspace", "replacement": "\u{2581}",
            "prepend_scheme": scheme, "split": true});
        let steps = [json!({"type": "WhitespaceSplit"}), metaspace];
        self.pre_tokenizer = step(json!({"type": "Sequence", "pretokenizers": steps}))?;
        if let Vocabulary::Unigram(model) = &mut self.model {
            let unknown = match class {
                TokenizerClass::Camembert => {
                    let token = settings.special("unk_token")?;
                    let token = token.map_or_else(|| "<unk>".into(), |token| token.content);
                    model.id(&token).unwrap_or(0)
                }
                // Fixed in `tokenization_xlm_roberta.py`.
                _ => 3,
            };
            model.set_unknown(unknown, false)?;
        }
        Ok(())
    }

    /// Nothing of the file's normalizer is kept, not even sentencepiece's table.
    fn rebuild_deberta_v2(&mut self, settings: &Settings) -> Result<(), TokenizeError> {
        let set = |name, default| settings.flag(name).map(|flag| flag.unwrap_or(default));
        let mut steps = Vec::new();
        if set("do_lower_case", false)? {
            steps.push(json!({"type": "Lowercase"}));
        }
        let blanks = json!({"Regex": r"\s{2,}|[\n\r\t]"});
        steps.push(json!({"type": "Replace", "pattern": blanks, "content": " "}));
        steps.push(json!({"type": "NFC"}));
        steps.push(json!({"type": "Strip", "strip_left": false, "strip_right": true}));
        self.normalizer = step(json!({"type": "Sequence", "normalizers": steps}))?;
        let mut steps = Vec::new();
        if set("split_by_punct", false)? {
            steps.push(json!({"type": "Punctuation", "behavior": "Isolated"}));
        }
        let scheme = if set("add_prefix_space", true)? { "always" } else { "first" };
        steps.push(json!({"type": "Metaspace", "replacement": "\u{2581}",
            "prepend_scheme": scheme, "split": true}));
        self.pre_tokenizer = step(json!({"type": "Sequence", "pretokenizers": steps}))?;
        if let Vocabulary::Unigram(model) = &mut self.model {
            let unknown = settings.special("unk_token")?;
            let unknown = unknown.map_or_else(|| "[UNK]".into(), |token| token.content);
            model.set_unknown(model.id(&unknown).unwrap_or(1), false)?;
        }
        Ok(())
    }

    fn rebuild_llama(&mut self, settings: &Settings) -> Result<(), TokenizeError> {
        let legacy = settings.flag("legacy")?.unwrap_or(false);
        let scheme = match settings.flag("add_prefix_space")?.unwrap_or(true) {
            true if legacy => "always",
            true => "first",
            false => "never",
        };
        self.normalizer = None;
        self.pre_tokenizer = step(json!({"type": "Metaspace", "replacement": "\u{2581}",
            "prepend_scheme": scheme, "split": false}))?;
        self.rebuild_bpe(true, true);
        Ok(())
    }

    /// All of a BPE model but its vocabulary and merges.
    fn rebuild_bpe(&mut self, fuse_unk: bool, byte_fallback: bool) {
        if let Vocabulary::Bpe(model) = &mut self.model {
            model.options = Options { fuse_unknown: fuse_unk, byte_fallback, ..Options::default() };
        }
    }

    /// As `Transformer` of sentence-transformers does it: nothing where the normalizer is `Lowercase` already.
    fn lower_first(&mut self) -> Result<(), TokenizeError> {
        let is_lowercase =
            |step: &NormalizerWrapper| matches!(step, NormalizerWrapper::Lowercase(_));
        let mut steps = match self.normalizer.take() {
            Some(NormalizerWrapper::Sequence(steps)) => steps.as_ref().to_vec(),
            other => other.into_iter().collect(),
        };
        if !steps.iter().any(is_lowercase) {
            steps
                .insert(0, serde_json::from_value(json!({"type": "Lowercase"})).map_err(unusable)?);
        }
        self.normalizer = Some(tokenizers::normalizers::Sequence::new(steps).into());
        Ok(())
    }

    /// Added tokens in the order in which they are added. One whose content has an id keeps it, others are numbered on.
    fn tokens_to_add(
        &mut self,
        class: TokenizerClass,
        settings: &Settings,
    ) -> Result<Vec<Vec<AddedToken>>, TokenizeError> {
        let own = std::mem::take(&mut self.added_tokens);
        let (listed, with_own) = settings.added_tokens();
        let mut by_id = listed.clone();
        if with_own {
            by_id.extend(own.iter().map(|entry| (entry.id, entry.token.clone())));
        }
        let own: Vec<AddedToken> = match class {
            TokenizerClass::AsWritten => own.into_iter().map(|entry| entry.token).collect(),
            _ => Vec::new(),
        };
        let mut further: Vec<AddedToken> = by_id.into_values().collect();
        let mut specials = settings.specials()?;
        for (name, default) in NAMED.into_iter().zip(class.defaults()) {
            let is_named = specials.iter().any(|(other, _)| *other == name);
            if let (Some(default), false) = (default, is_named) {
                specials.push((name, AddedToken::from(default, true)));
            }
        }
        if class == TokenizerClass::Camembert {
            as_camembert(settings, &mut specials);
        }
        for (name, special) in &specials {
            let is_it = |token: &AddedToken| token.content == special.content;
            match further.iter_mut().find(|token| is_it(token)) {
                Some(token) => token.special |= !name.is_empty(),
                None if own.iter().any(is_it) => {}
                None => further.push(special.clone()),
            }
        }
        let mut groups = vec![own, further];
        if class == TokenizerClass::Qwen2 {
            let plain = |(_, token): (_, AddedToken)| AddedToken::from(token.content, true);
            groups.push(specials.into_iter().map(plain).collect());
        }
        Ok(groups)
    }
}

/// What `tokenization_camembert.py` adds where the files do not say: spaces before a mask that is no more than named, and
/// the names of pieces that nothing uses.
fn as_camembert<'s>(settings: &'s Settings, specials: &mut Vec<(&'s str, AddedToken)>) {
    for (name, token) in specials.iter_mut() {
        if *name == "mask_token" && !settings.spells(name) {
            token.lstrip = true;
        }
    }
    if !settings.has("additional_special_tokens") {
        let unused = ["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"];
        specials.extend(unused.map(|token| ("", AddedToken::from(token, true))));
    }
}

fn is_table(step: &NormalizerWrapper) -> bool {
    matches!(step, NormalizerWrapper::Precompiled(_))
}

fn byte_level(add_prefix_space: bool, use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true,
        "use_regex": use_regex})
}

fn step<T: for<'de> Deserialize<'de>>(step: Value) -> Result<Option<T>, TokenizeError> {
    serde_json::from_value(step).map(Some).map_err(unusable)
}

/// The frame that a class sets up by itself, whatever the file's post-processor is.
fn own_frame(
    class: TokenizerClass,
    settings: &Settings,
    tokenizer: &Tokenizer,
) -> Result<Option<Frame>, TokenizeError> {
    let id = |name: &'static str, default: &str| {
        let token = settings.special(name)?;
        let token = token.map_or_else(|| default.to_owned(), |token| token.content);
        let missing = || TokenizeError::MissingToken { token: token.clone() };
        tokenizer.token_to_id(&token).ok_or_else(missing)
    };
    Ok(match class {
        TokenizerClass::Bert | TokenizerClass::DistilBert | TokenizerClass::DebertaV2 => {
            let (cls, sep) = (id("cls_token", "[CLS]")?, id("sep_token", "[SEP]")?);
            Some(Frame::typed(&[cls], &[sep], &[sep]))
        }
        TokenizerClass::XlmRoberta | TokenizerClass::Camembert => {
            let (bos, eos) = (id("bos_token", "<s>")?, id("eos_token", "</s>")?);
            Some(Frame::untyped(&[bos], &[eos, eos], &[eos]))
        }
        TokenizerClass::Roberta => {
            let (cls, sep) = (id("cls_token", "<s>")?, id("sep_token", "</s>")?);
            Some(Frame::untyped(&[cls], &[sep, sep], &[sep]))
        }
        TokenizerClass::AsWritten
        | TokenizerClass::Qwen2
        | TokenizerClass::Llama
        | TokenizerClass::Gemma => None,
    })
}

fn unknown(tokenizer: &Tokenizer) -> Option<u32> {
    let model = tokenizer.get_model();
    let id = |token: &str| model.token_to_id(token);
    match model {
        Vocabulary::Unigram(model) => model.unknown(),
        Vocabulary::Other(ModelWrapper::WordPiece(model)) => id(&model.unk_token),
        Vocabulary::Other(ModelWrapper::WordLevel(model)) => id(&model.unk_token),
        Vocabulary::Bpe(model) => model.options.unknown.as_deref().and_then(id),
        // Never made: BPE models are ours.
        Vocabulary::Other(ModelWrapper::BPE(model)) => model.unk_token.as_deref().and_then(id),
        // `tokenizers` does not say which piece it is; all that are published have this name.
        Vocabulary::Other(ModelWrapper::Unigram(_)) => id("<unk>"),
    }
}

fn unusable(error: impl ToString) -> TokenizeError {
    TokenizeError::TokenizerJson { reason: grating_io::shown(&error.to_string()) }
}
