//! Text to ids, as the reference tokenizes it; user text stays text.
//!
//! Template and user text meet in [`TextEncoder`]: the template's own parts may hold control tokens, while query,
//! instruction and texts never become one (`tokenize/control.rs` says how, and where that is more than transformers'
//! `split_special_tokens=True`), unless [`EncodeOptions::special_tokens_in_text`] asks for the reference's default.

mod bpe;
mod class;
mod control;
mod differences;
mod error;
mod frame;
mod guard;
mod options;
mod pair;
mod passages;
mod pieces;
mod prompt;
mod rules;
mod settings;
mod strings;
mod unigram;
mod vocab_txt;
mod vocabulary;

use std::ops::Range;

pub(crate) use self::class::TokenizerClass;
use self::class::{Assembled, TokenizerJson};
pub use self::differences::tokenizer_differences;
pub use self::error::TokenizeError;
use self::frame::Frame;
use self::guard::guarded;
pub use self::options::{EncodeOptions, TokenLimits};
use self::pair::{Pair, PairQuery};
pub use self::passages::{Passage, PassageLimits, PassageReader};
use self::pieces::Source;
use self::prompt::{Prompt, PromptQuery};
use self::rules::Rules;
pub(crate) use self::settings::Settings;
pub use self::settings::TokenizerFiles;
pub use self::vocab_txt::wordpiece_json;
use self::vocabulary::Tokenizer;
use crate::config::ModelConfig;
use crate::head::Answers;
use crate::template::{PairTemplate, Template, YesNoTemplate};

/// One candidate, ready to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids, control tokens included.
    pub ids: Vec<u32>,
    /// Type of each token, as long as `ids` (as a rule 0 up to the text and 1 from there); empty where the model gets
    /// none.
    pub type_ids: Vec<u8>,
    /// Which of the tokens are the query's, where that stands before the text; as exact as [`Self::text`].
    pub query: Range<u32>,
    /// Which of the tokens are the text's; one that spans a seam may be counted on either side.
    pub text: Range<u32>,
    /// Which of them are the passage's: the text's, and of a prompt the template's words right before it in the same string.
    pub passage: Range<u32>,
    /// Whether the text was cut.
    pub truncated: bool,
    /// Whether the query was cut.
    pub query_truncated: bool,
}

/// A query with its instruction, encoded as far as that does not depend on the text.
#[derive(Debug, Clone)]
pub struct EncodedQuery {
    before: Before,
    /// Tokens that it has together with a text.
    room: usize,
    /// Most tokens of a text.
    text_tokens: usize,
}

#[derive(Debug, Clone)]
enum Before {
    Prompt(PromptQuery),
    Pair(PairQuery),
}

impl EncodedQuery {
    /// Tokens with which every candidate of this query is certain to begin: for pairs everything before the text, or
    /// what of a long query no text can take the room of; for decoders the prefix and what the body has up to its last
    /// control token.
    ///
    /// Candidates of a decoder nearly always share the query's tokens too, but the last of them can merge with the
    /// text's first letters; the exact number is found by comparing ids.
    pub fn shared_prefix_tokens(&self) -> usize {
        match &self.before {
            Before::Prompt(query) => query.certain.len(),
            Before::Pair(query) => query.shared,
        }
    }
}

/// Whether to read on: asked before each piece, with the bytes by which it is longer than usual, where a text cannot be cut.
pub type Wanted<'a> = &'a dyn Fn(usize) -> bool;

/// Turns queries and texts into ids under one model's template. `Send + Sync`; texts may be encoded in parallel.
///
/// # Example
///
/// ```no_run
/// use grating_model::{EncodeOptions, Template, TextEncoder};
///
/// let json = std::fs::read("path/to/model/tokenizer.json")?;
/// let encoder = TextEncoder::new(&json, Template::qwen3_reranker(), EncodeOptions::new(512))?;
/// let query = encoder.encode_query("what is a window", None)?;
/// let candidate = encoder.encode(&query, "an opening in a wall")?;
/// assert!(candidate.ids.len() <= 512 && !candidate.truncated);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct TextEncoder {
    /// For user text. (The template's own parts are ids by now.)
    tokenizer: Tokenizer,
    /// Where a text can be read in pieces.
    rules: Rules,
    vocab_size: usize,
    options: EncodeOptions,
    form: Form,
    /// Tokens of the template, and what it takes with one of a query and one of a text.
    least: (usize, usize),
}

#[derive(Debug, Clone)]
enum Form {
    Prompt(Prompt),
    Pair(Pair),
}

impl TextEncoder {
    /// Takes a `tokenizer.json` as it is written and prepares the template. The file's own truncation and padding do
    /// not count; its post-processor frames a pair, the template does where it has none.
    ///
    /// # Errors
    /// [`TokenizeError::TokenizerJson`], [`TokenizeError::Panicked`], [`TokenizeError::GratingJson`] for a template whose body lacks
    /// a place, [`TokenizeError::MissingToken`] where the tokenizer lacks its control tokens, and [`TokenizeError::LimitTooSmall`].
    pub fn new(
        tokenizer_json: &[u8],
        template: Template,
        options: EncodeOptions,
    ) -> Result<Self, TokenizeError> {
        guarded(|| Self::as_written(tokenizer_json, template, options))
    }

    fn as_written(
        tokenizer_json: &[u8],
        template: Template,
        options: EncodeOptions,
    ) -> Result<Self, TokenizeError> {
        let settings = Settings::default();
        let json = TokenizerJson::parse(tokenizer_json)?;
        let parts = json.assemble(TokenizerClass::AsWritten, &settings)?;
        let form = match template {
            Template::YesNo(template) => Ok(template),
            Template::Pair(template) => {
                let frame = match &parts.post_processor {
                    Some(processor) => Frame::of(processor)?,
                    None => Frame::usual(&parts.tokenizer, template)?,
                };
                let types = template == PairTemplate::Bert;
                Err(Pair { frame, types, cuts_the_start: false })
            }
        };
        Self::build(parts, form, options)
    }

    /// Reads a model's tokenizer as transformers does: `tokenizer_config.json` and the tokenizer's class, which it or
    /// `config.json` names, win over `tokenizer.json` where they differ; they decide on the frame of a pair too.
    ///
    /// # Errors
    /// As [`Self::new`], and [`TokenizeError::Settings`].
    pub fn of_model(
        files: &TokenizerFiles<'_>,
        config: &ModelConfig,
        template: Template,
        options: EncodeOptions,
    ) -> Result<Self, TokenizeError> {
        guarded(|| Self::as_the_reference(files, config, template, options))
    }

    fn as_the_reference(
        files: &TokenizerFiles<'_>,
        config: &ModelConfig,
        template: Template,
        options: EncodeOptions,
    ) -> Result<Self, TokenizeError> {
        let settings = Settings::read(files)?;
        let json = TokenizerJson::parse(files.tokenizer)?;
        let class = TokenizerClass::of(config, &settings, &json)?;
        let parts = json.assemble(class, &settings)?;
        let form = match template {
            Template::YesNo(template) => Ok(template),
            Template::Pair(_) => {
                let frame = match (&parts.frame, &parts.post_processor) {
                    (Some(frame), _) => frame.clone(),
                    (None, Some(processor)) => Frame::of(processor)?,
                    // The reference joins the two with nothing in between.
                    (None, None) => Frame::typed(&[], &[], &[]),
                };
                let types = settings.gives_types().unwrap_or_else(|| class.gives_types());
                Err(Pair { frame, types, cuts_the_start: settings.cuts_the_start() })
            }
        };
        Self::build(parts, form, options)
    }

    /// `form` is a prompt's template, or else the pair.
    fn build(
        parts: Assembled,
        form: Result<YesNoTemplate, Pair>,
        options: EncodeOptions,
    ) -> Result<Self, TokenizeError> {
        let Assembled { mut tokenizer, unknown, .. } = parts;
        let vocab_size = tokenizer.get_vocab_size(true);
        let plain = !options.special_tokens_in_text;
        let form = match form {
            Ok(template) => Form::Prompt(Prompt::new(&tokenizer, template, plain)?),
            Err(pair) => Form::Pair(pair),
        };
        if plain {
            control::make_plain(&mut tokenizer, unknown)?;
        }
        let rules = Rules::of(&tokenizer);
        let mut encoder =
            TextEncoder { tokenizer, rules, vocab_size, options, form, least: (0, 0) };
        encoder.least = encoder.least()?;
        encoder.room(None)?;
        Ok(encoder)
    }

    /// Entries of the tokenizer, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Most tokens of a candidate.
    pub fn max_tokens(&self) -> usize {
        self.options.max_tokens
    }

    /// Whether query and text stand in a prompt; otherwise they are a pair.
    pub fn is_prompt(&self) -> bool {
        matches!(self.form, Form::Prompt(_))
    }

    /// Whether the template has a place for an instruction.
    pub fn has_instruction(&self) -> bool {
        matches!(&self.form, Form::Prompt(prompt) if prompt.has_instruction())
    }

    /// The id of a token by its name in the vocabulary (`Ġyes`, `[SEP]`).
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// The id of an answer: the single token that the words are, or else the token of that name.
    ///
    /// # Errors
    /// [`TokenizeError::AnswerNotOneToken`].
    pub fn answer_id(&self, answer: &str) -> Result<u32, TokenizeError> {
        guarded(|| prompt::answer_id(&self.tokenizer, answer))
    }

    /// The ids of a yes/no template's answers.
    ///
    /// # Errors
    /// [`TokenizeError::AnswerNotOneToken`] or [`TokenizeError::AnswersEqual`]; [`TokenizeError::GratingJson`] for a
    /// template without answers.
    pub fn answers(&self) -> Result<Answers, TokenizeError> {
        match &self.form {
            Form::Prompt(prompt) => prompt.answers.clone(),
            Form::Pair(_) => {
                Err(TokenizeError::GratingJson { reason: "a pair template has no answers".into() })
            }
        }
    }

    /// Encodes a query. `instruction` replaces the template's own; models whose template has no place for one ignore
    /// it.
    ///
    /// # Errors
    /// [`TokenizeError::QueryTooLong`] where the options refuse a query that fills a prompt without any text, or the
    /// prompt has its place behind the text, where it is never cut.
    pub fn encode_query(
        &self,
        query: &str,
        instruction: Option<&str>,
    ) -> Result<EncodedQuery, TokenizeError> {
        self.encode_query_while(query, instruction, TokenLimits::default(), &|_| true)
    }

    /// As [`Self::encode_query`] for texts within `limits`, as long as the answer is `wanted`, which is asked before each
    /// piece of a long query.
    ///
    /// # Errors
    /// As [`Self::encode_query`], [`TokenizeError::LimitTooSmall`], and [`TokenizeError::Unwanted`].
    pub fn encode_query_while(
        &self,
        query: &str,
        instruction: Option<&str>,
        limits: TokenLimits,
        wanted: Wanted<'_>,
    ) -> Result<EncodedQuery, TokenizeError> {
        let (room, text_tokens) = (self.room(limits.max_tokens)?, limits.text());
        let before = guarded(|| match &self.form {
            Form::Prompt(prompt) => {
                let instruction = instruction.unwrap_or(&prompt.default_instruction);
                let known = self.beginning(query, 2 * room + 64, wanted)?;
                let all = |text: &str| self.all_ids(text, wanted);
                let instruction = self.beginning(instruction, 2 * room + 64, wanted)?;
                let mut encoded = prompt.query(&all, (instruction, known), room, text_tokens)?;
                let refuses = self.options.refuse_long_query || prompt.asks_behind_text();
                if known.len() < query.len() && refuses {
                    let count = |text| self.count(text, wanted);
                    encoded.tokens += count(query)?.saturating_sub(count(known)?);
                }
                if encoded.truncated && refuses {
                    let tokens = encoded.tokens;
                    return Err(TokenizeError::QueryTooLong { tokens, limit: room });
                }
                Ok(Before::Prompt(encoded))
            }
            Form::Pair(pair) => {
                let (mut first, more) = self.first_ids("", query, PairQuery::most(room), wanted)?;
                let tokens = match more && self.options.refuse_long_query {
                    true => self.count(query, wanted)?,
                    false => first.len() + usize::from(more),
                };
                first.truncate(room);
                Ok(Before::Pair(pair.query(first, tokens, room)))
            }
        })?;
        Ok(EncodedQuery { before, room, text_tokens })
    }

    /// Encodes one candidate of a query of this encoder, cut as the reference does where it is too long: of a pair the
    /// longer side at its end, until it fits (`longest_first`); of a prompt what stands between prefix and suffix, at
    /// its end, so that a query is cut only where no token of the text is left.
    ///
    /// # Errors
    /// [`TokenizeError::Encode`] or [`TokenizeError::Panicked`] if the tokenizer fails, [`TokenizeError::QueryTooLong`]
    /// where the options refuse to cut the query.
    pub fn encode(&self, query: &EncodedQuery, text: &str) -> Result<Encoding, TokenizeError> {
        self.encode_while(query, text, &|_| true)
    }

    /// As [`Self::encode`], as long as the answer is `wanted`, which is asked before each piece of a long text.
    ///
    /// # Errors
    /// As [`Self::encode`], and [`TokenizeError::Unwanted`].
    pub fn encode_while(
        &self,
        query: &EncodedQuery,
        text: &str,
        wanted: Wanted<'_>,
    ) -> Result<Encoding, TokenizeError> {
        guarded(|| self.encode_text(query, text, wanted))
    }

    fn encode_text(
        &self,
        query: &EncodedQuery,
        text: &str,
        wanted: Wanted<'_>,
    ) -> Result<Encoding, TokenizeError> {
        let (room, text_tokens) = (query.room, query.text_tokens);
        match (&self.form, &query.before) {
            (Form::Prompt(_), Before::Prompt(query)) => {
                let most = query.room.saturating_add(PromptQuery::MARGIN);
                let text_ids = self.first_ids(&query.lead, text, most, wanted)?;
                let whole = |room| {
                    let text = [text, &query.tail].concat();
                    let (ids, more) = self.first_ids(&query.lead, &text, room, wanted)?;
                    Ok((!more).then_some(ids))
                };
                let (ids, cut) = query.candidate(text_ids, whole)?;
                Ok(query.encoding(ids, cut && !text.is_empty()))
            }
            (Form::Pair(pair), Before::Pair(query)) => {
                let sought = query.sought(room);
                let (text_ids, more) = self.first_ids("", text, sought.min(text_tokens), wanted)?;
                // What a limit of its own leaves of a text is all that counts of it.
                let limited = more && text_tokens <= sought;
                let (mut encoding, kept) = pair.encode(query, &text_ids, more && !limited, room);
                encoding.truncated |= limited;
                self.refuse(encoding.query_truncated, query.tokens, kept)?;
                if pair.cuts_the_start && (encoding.truncated || encoding.query_truncated) {
                    return Err(TokenizeError::CutsTheStart);
                }
                if encoding.ids.is_empty() {
                    return Err(TokenizeError::NothingToRead);
                }
                Ok(encoding)
            }
            _ => Err(TokenizeError::Encode { reason: "the query is another encoder's".into() }),
        }
    }

    /// The first `room` ids of `lead` and `text` as one text, and whether there are more. What that costs depends on
    /// `room`, not on the text's length.
    fn first_ids(
        &self,
        lead: &str,
        text: &str,
        room: usize,
        wanted: Wanted<'_>,
    ) -> Result<(Vec<u32>, bool), TokenizeError> {
        pieces::first_ids(&self.tokenizer, &self.rules, Source { lead, text }, room, wanted)
    }

    fn all_ids(&self, text: &str, wanted: Wanted<'_>) -> Result<Vec<u32>, TokenizeError> {
        Ok(self.first_ids("", text, usize::MAX, wanted)?.0)
    }

    fn count(&self, text: &str, wanted: Wanted<'_>) -> Result<usize, TokenizeError> {
        pieces::count_ids(&self.tokenizer, &self.rules, text, wanted)
    }

    /// As much of a text as has `tokens` tokens for sure, perhaps more; all of it where it has fewer.
    fn beginning<'t>(
        &self,
        text: &'t str,
        tokens: usize,
        wanted: Wanted<'_>,
    ) -> Result<&'t str, TokenizeError> {
        let mut bytes = 4 * tokens;
        loop {
            let end = (bytes..text.len()).find(|&at| text.is_char_boundary(at));
            let part = &text[..end.unwrap_or(text.len())];
            if part.len() == text.len() || self.first_ids("", part, tokens, wanted)?.1 {
                return Ok(part);
            }
            bytes = bytes.saturating_mul(2);
        }
    }

    /// Tokens of a candidate that query and text share, at most `max_tokens` with the control tokens of a pair, or a
    /// prompt's prefix and suffix, which are not theirs.
    fn room(&self, max_tokens: Option<usize>) -> Result<usize, TokenizeError> {
        let frame = match &self.form {
            Form::Prompt(prompt) => prompt.frame(),
            Form::Pair(pair) => pair.frame.len(),
        };
        let own = self.options.max_tokens;
        let max_tokens = max_tokens.map_or(own, |tokens| tokens.min(own));
        let (template, least) = self.least;
        match max_tokens < least {
            true => Err(TokenizeError::LimitTooSmall { max_tokens, template, least }),
            false => Ok(max_tokens - frame),
        }
    }

    fn refuse(&self, cut: bool, tokens: usize, limit: usize) -> Result<(), TokenizeError> {
        match cut && self.options.refuse_long_query {
            true => Err(TokenizeError::QueryTooLong { tokens, limit }),
            false => Ok(()),
        }
    }

    /// Tokens of the template, and with them one of a query and one of a text.
    fn least(&self) -> Result<(usize, usize), TokenizeError> {
        Ok(match &self.form {
            Form::Prompt(prompt) => {
                let ids = |text: &str| self.all_ids(text, &|_| true);
                let words = (prompt.default_instruction.as_str(), "");
                let body = prompt.query(&ids, words, usize::MAX, usize::MAX)?.tokens;
                (prompt.frame() + body, prompt.frame() + body + 2)
            }
            Form::Pair(pair) => (pair.frame.len(), pair.frame.len() + 2),
        })
    }
}

/// A tokenizer as its file has it, and the id of what its vocabulary lacks.
#[cfg(test)]
fn as_written(json: &[u8]) -> Result<(Tokenizer, Option<u32>), TokenizeError> {
    let parts =
        TokenizerJson::parse(json)?.assemble(TokenizerClass::AsWritten, &Settings::default())?;
    Ok((parts.tokenizer, parts.unknown))
}

/// Ids of a string, without control tokens around it.
fn ids(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, TokenizeError> {
    Ok(tokenizer.encode_fast(text, false).map_err(failed)?.get_ids().to_vec())
}

fn failed(error: tokenizers::Error) -> TokenizeError {
    TokenizeError::Encode { reason: error.to_string() }
}
