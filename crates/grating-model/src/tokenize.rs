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
use self::pair::{Pair, PairQuery};
use self::prompt::{Prompt, PromptQuery};
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
    /// Whether the query was cut.
    pub query_truncated: bool,
}

/// What a caller may decide about texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Most tokens of a candidate, control tokens and template included.
    pub max_tokens: usize,
    /// Lets names of control tokens in user text become control tokens, as the reference does by default. For
    /// comparisons: with it a text can rewrite the prompt.
    pub special_tokens_in_text: bool,
    /// Refuses a query that would have to be cut ([`TokenizeError::QueryTooLong`]) instead of cutting it as the
    /// reference does.
    pub refuse_long_query: bool,
}

/// A query with its instruction, encoded as far as that does not depend on the text.
#[derive(Debug, Clone)]
pub struct EncodedQuery(Before);

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
        match &self.0 {
            Before::Prompt(query) => query.certain.len(),
            Before::Pair(query) => query.shared,
        }
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
/// let options = EncodeOptions { max_tokens: 512, special_tokens_in_text: false, refuse_long_query: false };
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
    /// [`TokenizeError::QueryTooLong`] where the options refuse a query that fills a prompt without any text.
    pub fn encode_query(
        &self,
        query: &str,
        instruction: Option<&str>,
    ) -> Result<EncodedQuery, TokenizeError> {
        let room = self.room();
        guarded(|| match &self.form {
            Form::Prompt(prompt) => {
                let instruction = instruction.unwrap_or(&prompt.default_instruction);
                let query = prompt.query(&self.tokenizer, instruction, query, room)?;
                self.refuse(query.truncated, query.tokens, room)?;
                Ok(EncodedQuery(Before::Prompt(query)))
            }
            Form::Pair(pair) => {
                let query = pair.query(ids(&self.tokenizer, query)?, room);
                Ok(EncodedQuery(Before::Pair(query)))
            }
        })
    }

    /// Encodes one candidate of a query of this encoder, cut as the reference does where it is too long: of a pair the
    /// longer side at its end, until it fits (`longest_first`); of a prompt what stands between prefix and suffix, at
    /// its end, so that a query is cut only where no token of the text is left.
    ///
    /// # Errors
    /// [`TokenizeError::Encode`] or [`TokenizeError::Panicked`] if the tokenizer fails, [`TokenizeError::QueryTooLong`]
    /// where the options refuse to cut the query.
    pub fn encode(&self, query: &EncodedQuery, text: &str) -> Result<Encoding, TokenizeError> {
        guarded(|| self.encode_text(query, text))
    }

    fn encode_text(&self, query: &EncodedQuery, text: &str) -> Result<Encoding, TokenizeError> {
        let first = |text: &str, room| window::first_ids(&self.tokenizer, self.local, text, room);
        match (&self.form, &query.0) {
            (Form::Prompt(prompt), Before::Prompt(query)) => {
                let (text_ids, more) = match query.lead.as_str() {
                    "" => first(text, query.room)?,
                    lead => first(&[lead, text].concat(), query.room)?,
                };
                Ok(Encoding {
                    ids: [&query.certain, text_ids.as_slice(), &prompt.suffix].concat(),
                    type_ids: Vec::new(),
                    truncated: more && !text.is_empty(),
                    query_truncated: query.truncated,
                })
            }
            (Form::Pair(pair), Before::Pair(query)) => {
                let room = self.room();
                let (text_ids, more) = first(text, query.sought(room))?;
                let (encoding, kept) = pair.encode(query, &text_ids, more, room);
                self.refuse(encoding.query_truncated, query.tokens, kept)?;
                Ok(encoding)
            }
            _ => Err(TokenizeError::Encode { reason: "the query is another encoder's".into() }),
        }
    }

    /// Tokens of a candidate that query and text share: all but the control tokens of a pair, or a prompt's prefix and
    /// suffix.
    fn room(&self) -> usize {
        let frame = match &self.form {
            Form::Prompt(prompt) => prompt.frame(),
            Form::Pair(pair) => pair.frame(),
        };
        self.options.max_tokens.saturating_sub(frame)
    }

    fn refuse(&self, cut: bool, tokens: usize, limit: usize) -> Result<(), TokenizeError> {
        match cut && self.options.refuse_long_query {
            true => Err(TokenizeError::QueryTooLong { tokens, limit }),
            false => Ok(()),
        }
    }

    /// Room for the template, one token of a query and one of a text.
    fn check_limit(&self) -> Result<(), TokenizeError> {
        let (template, least) = match &self.form {
            Form::Prompt(prompt) => {
                let (certain, lead) =
                    prompt.before_text(&self.tokenizer, &prompt.default_instruction, "")?;
                let body = certain.len() - prompt.prefix.len() + ids(&self.tokenizer, &lead)?.len();
                (prompt.frame() + body, prompt.frame() + body + 2)
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
