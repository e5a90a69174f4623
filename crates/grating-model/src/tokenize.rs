//! Text to ids, as the reference tokenizes it; user text stays text.
//!
//! Template and user text meet in [`TextEncoder`]: the template's own parts may hold control tokens, while query,
//! instruction and texts never become one (`tokenize/control.rs` says how, and where that is more than transformers'
//! `split_special_tokens=True`), unless [`EncodeOptions::special_tokens_in_text`] asks for the reference's default.

mod control;
mod error;
mod guard;
mod pair;
mod prompt;
mod unigram;
mod vocabulary;
mod window;

pub use self::error::TokenizeError;
use self::guard::guarded;
use self::pair::Pair;
use self::prompt::Prompt;
use self::vocabulary::Tokenizer;
use crate::head::Answers;
use crate::template::Template;

/// One candidate, ready to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids, control tokens included.
    pub ids: Vec<u32>,
    /// Type of each token (0 up to the text, 1 from there), as long as `ids`; empty for models without types.
    pub type_ids: Vec<u8>,
    /// Whether the text was cut.
    pub truncated: bool,
}

/// What a caller may decide about texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Most tokens of a candidate, control tokens and template included.
    pub max_tokens: usize,
    /// Lets names of control tokens in user text become control tokens, as the reference does by default. For
    /// comparisons: with it a text can rewrite the prompt.
    pub special_tokens_in_text: bool,
    /// Cuts a query that is too long (see [`TokenizeError::QueryTooLong`]) instead of refusing it.
    pub allow_query_truncation: bool,
}

/// A query with its instruction, encoded as far as that does not depend on the text.
#[derive(Debug, Clone)]
pub struct EncodedQuery {
    /// Ids with which every candidate begins.
    certain: Vec<u32>,
    /// Words before the text, tokenized together with it because a token may span the seam; empty for pairs.
    lead: String,
    /// Tokens that are left for `lead` and the text.
    room: usize,
}

impl EncodedQuery {
    /// Tokens with which every candidate of this query is certain to begin: everything before the text for pairs, the
    /// prefix and what the body has up to its last control token for decoders.
    ///
    /// Candidates of a decoder nearly always share the query's tokens too, but the last of them can merge with the
    /// text's first letters; the exact number is found by comparing ids.
    pub fn shared_prefix_tokens(&self) -> usize {
        self.certain.len()
    }
}

/// Turns queries and texts into ids under one model's template. `Send + Sync`; texts may be encoded in parallel.
///
/// # Example
///
/// ```no_run
/// use grating_model::{EncodeOptions, Template, TextEncoder};
///
/// let json = std::fs::read("path/to/model/tokenizer.json")?;
/// let options = EncodeOptions { max_tokens: 512, special_tokens_in_text: false, allow_query_truncation: false };
/// let encoder = TextEncoder::new(&json, Template::qwen3_reranker(), options)?;
/// let query = encoder.encode_query("what is a window", None)?;
/// let candidate = encoder.encode(&query, "an opening in a wall")?;
/// assert!(candidate.ids.len() <= 512 && !candidate.truncated);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct TextEncoder {
    /// For user text. (The template's own parts are ids by now.)
    tokenizer: Tokenizer,
    /// Whether a long text may be tokenized as far as it is needed.
    local: bool,
    vocab_size: usize,
    options: EncodeOptions,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Prompt(Prompt),
    Pair(Pair),
}

impl TextEncoder {
    /// Reads a `tokenizer.json` and prepares the template. The file's own truncation, padding and post-processor do
    /// not count.
    ///
    /// # Errors
    /// [`TokenizeError::TokenizerJson`], [`TokenizeError::Panicked`], [`TokenizeError::GratingJson`] for a template whose body lacks a place,
    /// [`TokenizeError::MissingToken`] where the tokenizer does not have the template's control tokens, and
    /// [`TokenizeError::LimitTooSmall`].
    pub fn new(
        tokenizer_json: &[u8],
        template: Template,
        options: EncodeOptions,
    ) -> Result<Self, TokenizeError> {
        guarded(|| Self::prepare(tokenizer_json, template, options))
    }

    fn prepare(
        tokenizer_json: &[u8],
        template: Template,
        options: EncodeOptions,
    ) -> Result<Self, TokenizeError> {
        let mut tokenizer = control::read(tokenizer_json)?;
        let vocab_size = tokenizer.get_vocab_size(true);
        let plain = !options.special_tokens_in_text;
        let form = match template {
            Template::YesNo(template) => Form::Prompt(Prompt::new(&tokenizer, template, plain)?),
            Template::Pair(template) => Form::Pair(Pair::new(&tokenizer, template)?),
        };
        if plain {
            control::make_plain(&mut tokenizer, tokenizer_json)?;
        }
        let local = window::is_local(&tokenizer);
        let encoder = TextEncoder { tokenizer, local, vocab_size, options, form };
        encoder.check_limit()?;
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

    /// The ids of a yes/no template's two answers.
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
    /// [`TokenizeError::QueryTooLong`], unless the options allow the query to be cut and that is enough.
    pub fn encode_query(
        &self,
        query: &str,
        instruction: Option<&str>,
    ) -> Result<EncodedQuery, TokenizeError> {
        guarded(|| match &self.form {
            Form::Prompt(prompt) => {
                let instruction = instruction.unwrap_or(&prompt.default_instruction);
                self.prompt_query(prompt, query, instruction)
            }
            Form::Pair(pair) => self.pair_query(pair, query),
        })
    }

    /// Encodes one candidate of a query of this encoder. Where it is too long the text is cut at its end; nothing else
    /// ever is.
    ///
    /// # Errors
    /// [`TokenizeError::Encode`] or [`TokenizeError::Panicked`] if the tokenizer fails.
    pub fn encode(&self, query: &EncodedQuery, text: &str) -> Result<Encoding, TokenizeError> {
        guarded(|| self.encode_text(query, text))
    }

    fn encode_text(&self, query: &EncodedQuery, text: &str) -> Result<Encoding, TokenizeError> {
        let (end, types) = match &self.form {
            Form::Prompt(prompt) => (prompt.suffix.as_slice(), false),
            Form::Pair(pair) => (std::slice::from_ref(&pair.end), pair.types),
        };
        let before = query.certain.len();
        let first = |text| window::first_ids(&self.tokenizer, self.local, text, query.room);
        let (text_ids, truncated) = match query.lead.as_str() {
            "" => first(text)?,
            lead => first(&[lead, text].concat())?,
        };
        let ids = [&query.certain, text_ids.as_slice(), end].concat();
        let type_ids = match types {
            true => (0..ids.len()).map(|position| u8::from(position >= before)).collect(),
            false => Vec::new(),
        };
        Ok(Encoding { ids, type_ids, truncated })
    }

    fn prompt_query(
        &self,
        prompt: &Prompt,
        query: &str,
        instruction: &str,
    ) -> Result<EncodedQuery, TokenizeError> {
        let room = self.options.max_tokens - prompt.frame();
        let limit = room * 3 / 4;
        let mut query = query.to_string();
        loop {
            let (certain, lead) = prompt.before_text(&self.tokenizer, instruction, &query)?;
            let body = certain.len() - prompt.prefix.len();
            let tokens = body + ids(&self.tokenizer, &lead)?.len();
            if tokens <= limit {
                return Ok(EncodedQuery { certain, lead, room: room - body });
            }
            if !self.options.allow_query_truncation || query.is_empty() {
                return Err(TokenizeError::QueryTooLong { tokens, limit });
            }
            // The cut can change the tokens around it, so they are counted anew.
            query = self.without_last_tokens(&query, tokens - limit)?;
        }
    }

    fn pair_query(&self, pair: &Pair, query: &str) -> Result<EncodedQuery, TokenizeError> {
        let max_tokens = self.options.max_tokens;
        // In a very small limit three quarters and the control tokens would leave nothing for the text.
        let limit = (max_tokens * 3 / 4).min(max_tokens - pair.frame() - 1);
        let mut query = ids(&self.tokenizer, query)?;
        if query.len() > limit && !self.options.allow_query_truncation {
            return Err(TokenizeError::QueryTooLong { tokens: query.len(), limit });
        }
        query.truncate(limit);
        let certain = [&[pair.start], query.as_slice(), &pair.between].concat();
        let room = max_tokens - certain.len() - 1;
        Ok(EncodedQuery { certain, lead: String::new(), room })
    }

    /// `text` less its last `tokens` tokens, and less one character at least.
    fn without_last_tokens(&self, text: &str, tokens: usize) -> Result<String, TokenizeError> {
        let encoding = self.tokenizer.encode_char_offsets(text, false).map_err(failed)?;
        let kept = encoding.len().saturating_sub(tokens);
        let end = encoding.get_offsets()[..kept].last().map_or(0, |offsets| offsets.1);
        let chars = text.chars().count();
        Ok(text.chars().take(end.min(chars.saturating_sub(1))).collect())
    }

    /// Room for the template, one token of a query and one of a text.
    fn check_limit(&self) -> Result<(), TokenizeError> {
        let (template, least) = match &self.form {
            Form::Prompt(prompt) => {
                let (certain, lead) =
                    prompt.before_text(&self.tokenizer, &prompt.default_instruction, "")?;
                let body = certain.len() - prompt.prefix.len() + ids(&self.tokenizer, &lead)?.len();
                (prompt.frame() + body, prompt.frame() + ((body + 1) * 4).div_ceil(3))
            }
            Form::Pair(pair) => (pair.frame(), pair.frame() + 2),
        };
        let max_tokens = self.options.max_tokens;
        if max_tokens < least {
            return Err(TokenizeError::LimitTooSmall { max_tokens, template, least });
        }
        Ok(())
    }
}

/// Ids of a string, without control tokens around it.
fn ids(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, TokenizeError> {
    Ok(tokenizer.encode_fast(text, false).map_err(failed)?.get_ids().to_vec())
}

fn failed(error: tokenizers::Error) -> TokenizeError {
    TokenizeError::Encode { reason: error.to_string() }
}
