//! Text to ids, as the reference tokenizes it; user text stays text.
//!
//! Two tokenizers are made of one `tokenizer.json`. The template's own parts go through the file as it is. Query,
//! instruction and texts go through a copy without added tokens, so that no string in them becomes a control token.
//! That is what `split_special_tokens=True` does in transformers, and more: there, added tokens that are not marked
//! special (`<think>` in Qwen3) stay active, and Unigram models (XLM-RoBERTa) still find `</s>` in their vocabulary.

mod plain;

use tokenizers::Tokenizer;

use crate::head::Answers;
use crate::template::{BodyPart, PairTemplate, Template, YesNoTemplate};

/// Why a text cannot be encoded, or a tokenizer not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizeError {
    /// `tokenizer.json` cannot be used.
    #[error("tokenizer.json cannot be used: {reason}; take it from the model's own repository")]
    TokenizerJson {
        /// Why.
        reason: String,
    },
    /// `grating.json` cannot be used.
    #[error("grating.json cannot be used: {reason}")]
    GratingJson {
        /// Why.
        reason: String,
    },
    /// The tokenizer lacks a control token of the template.
    #[error(
        "tokenizer.json has no token `{token}`, which the model's template needs; it belongs to another model"
    )]
    MissingToken {
        /// The token.
        token: String,
    },
    /// An answer is not one token.
    #[error(
        "the answer `{answer}` is {tokens} tokens in this tokenizer, it must be one; see `yes` and `no` in grating.json"
    )]
    AnswerNotOneToken {
        /// The answer.
        answer: String,
        /// How many it is.
        tokens: usize,
    },
    /// The query leaves too little room.
    #[error(
        "the query has {tokens} tokens with its template, at most {limit} are allowed \
         (three quarters of the maximum length); shorten it, raise the maximum length, or allow it to be cut"
    )]
    QueryTooLong {
        /// Tokens of query, instruction and what of the template goes with them.
        tokens: usize,
        /// Three quarters of the maximum length.
        limit: usize,
    },
    /// The template alone fills the maximum length.
    #[error(
        "a maximum length of {max_tokens} tokens leaves no room for a text; this template takes {template}, use at least {least}"
    )]
    LimitTooSmall {
        /// As set.
        max_tokens: usize,
        /// Tokens that are there whatever the text is.
        template: usize,
        /// What would do.
        least: usize,
    },
    /// The tokenizer failed on a text.
    #[error("the tokenizer failed: {reason}")]
    Encode {
        /// The library's words.
        reason: String,
    },
}

/// One candidate, ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Segment of each token (0 query, 1 text); empty for models without segments.
    pub type_ids: Vec<u8>,
    /// Whether the text was cut.
    pub truncated: bool,
}

/// What a caller may decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Most tokens of a candidate, template included.
    pub max_tokens: usize,
    /// Lets strings of control tokens in user text become control tokens, as the reference does by default.
    pub special_tokens_in_text: bool,
    /// Cuts a query that takes more than three quarters of `max_tokens` there, instead of refusing it.
    pub allow_query_truncation: bool,
}

/// A query with its instruction, checked and encoded as far as it does not depend on the text.
#[derive(Debug, Clone)]
pub struct EncodedQuery(Query);

#[derive(Debug, Clone)]
enum Query {
    /// The body is tokenized as one string with the text, since tokens may span the seam.
    Decoder { instruction: String, query: String, prefix_tokens: usize },
    /// Control tokens and query, up to the text.
    Encoder { ids: Vec<u32> },
}

impl EncodedQuery {
    /// Tokens that every candidate of this query is certain to start with: the template's prefix for decoders,
    /// everything before the text for pairs. (Candidates of a decoder share the query's tokens as well, up to the
    /// seam; a caller finds the exact number by comparing ids.)
    pub fn shared_prefix_tokens(&self) -> usize {
        match &self.0 {
            Query::Decoder { prefix_tokens, .. } => *prefix_tokens,
            Query::Encoder { ids } => ids.len(),
        }
    }
}

/// Turns queries and texts into ids under one model's template.
#[derive(Debug, Clone)]
pub struct TextEncoder {
    /// For user text; the template's own words are ids by now.
    text: Tokenizer,
    vocab_size: usize,
    options: EncodeOptions,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Decoder {
        prefix: Vec<u32>,
        suffix: Vec<u32>,
        body: Vec<Piece>,
        default_instruction: String,
        /// Looked at only where the head needs them.
        answers: Result<[u32; 2], TokenizeError>,
    },
    Encoder {
        start: u32,
        separators: Vec<u32>,
        end: u32,
        segments: bool,
    },
}

/// A stretch of a decoder's body.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// A control token among the template's words; a hard seam for the tokenizer.
    Control(u32),
    /// Tokenized as one string.
    Run(Vec<BodyPart>),
}

impl TextEncoder {
    /// Reads a `tokenizer.json` and prepares the template. Truncation and padding settings of the file are ignored.
    ///
    /// # Errors
    /// [`TokenizeError`] when the file cannot be read or does not have the template's tokens.
    pub fn new(
        tokenizer_json: &[u8],
        template: Template,
        options: EncodeOptions,
    ) -> Result<Self, TokenizeError> {
        let whole = plain::read(tokenizer_json)?;
        let vocab_size = whole.get_vocab_size(true);
        let form = match template {
            Template::YesNo(template) => decoder_form(&whole, template)?,
            Template::Pair(template) => encoder_form(&whole, template)?,
        };
        let text = match options.special_tokens_in_text {
            true => whole,
            false => {
                drop(whole); // large vocabularies take tens of megabytes
                plain::without_added_tokens(tokenizer_json)?
            }
        };
        let encoder = TextEncoder { text, vocab_size, options, form };
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

    /// The ids of a yes/no template's two answers.
    ///
    /// # Errors
    /// [`TokenizeError::AnswerNotOneToken`]; [`TokenizeError::GratingJson`] for a template without answers.
    pub fn answers(&self) -> Result<Answers, TokenizeError> {
        match &self.form {
            Form::Decoder { answers, .. } => answers.clone().map(|[yes, no]| Answers { yes, no }),
            Form::Encoder { .. } => {
                Err(TokenizeError::GratingJson { reason: "a pair template has no answers".into() })
            }
        }
    }

    /// Encodes a query. Models whose template has no instruction ignore it.
    ///
    /// # Errors
    /// [`TokenizeError::QueryTooLong`], unless the options allow the query to be cut.
    pub fn encode_query(
        &self,
        query: &str,
        instruction: Option<&str>,
    ) -> Result<EncodedQuery, TokenizeError> {
        let limit = self.options.max_tokens * 3 / 4;
        Ok(EncodedQuery(match &self.form {
            Form::Decoder { prefix, suffix, default_instruction, .. } => {
                let instruction = instruction.unwrap_or(default_instruction).to_string();
                let prefix_tokens = prefix.len();
                let mut query = query.to_string();
                let fixed = prefix.len() + suffix.len();
                let mut tokens = fixed + self.body(&instruction, &query, "")?.len();
                // Cutting at a token's end can change the tokens before it, so the count is taken anew.
                while tokens > limit {
                    let over = tokens - limit;
                    if !self.options.allow_query_truncation || query.is_empty() {
                        return Err(TokenizeError::QueryTooLong { tokens, limit });
                    }
                    query = self.cut(&query, over)?;
                    tokens = fixed + self.body(&instruction, &query, "")?.len();
                }
                Query::Decoder { instruction, query, prefix_tokens }
            }
            Form::Encoder { start, separators, .. } => {
                let mut query = ids(&self.text, query)?;
                if query.len() > limit {
                    if !self.options.allow_query_truncation {
                        return Err(TokenizeError::QueryTooLong { tokens: query.len(), limit });
                    }
                    query.truncate(limit);
                }
                let mut ids = vec![*start];
                ids.extend(query);
                ids.extend(separators);
                // Three quarters and the control tokens can still fill a very small limit.
                if ids.len() + 1 > self.options.max_tokens {
                    return Err(TokenizeError::QueryTooLong { tokens: ids.len() + 1, limit });
                }
                Query::Encoder { ids }
            }
        }))
    }

    /// Encodes one candidate; its end is cut where it is too long, nothing else ever is.
    ///
    /// # Errors
    /// [`TokenizeError::Encode`] if the tokenizer fails.
    pub fn encode(&self, query: &EncodedQuery, text: &str) -> Result<Encoding, TokenizeError> {
        let max = self.options.max_tokens;
        match (&query.0, &self.form) {
            (Query::Decoder { instruction, query, .. }, Form::Decoder { prefix, suffix, .. }) => {
                let mut body = self.body(instruction, query, text)?;
                let room = max - prefix.len() - suffix.len();
                let truncated = body.len() > room;
                body.truncate(room);
                let ids = [prefix.as_slice(), &body, suffix].concat();
                Ok(Encoding { ids, type_ids: Vec::new(), truncated })
            }
            (Query::Encoder { ids: query }, Form::Encoder { end, segments, .. }) => {
                let mut text = ids(&self.text, text)?;
                let room = max - query.len() - 1;
                let truncated = text.len() > room;
                text.truncate(room);
                let ids = [query.as_slice(), &text, &[*end]].concat();
                let type_ids = match segments {
                    true => (0..ids.len()).map(|i| u8::from(i >= query.len())).collect(),
                    false => Vec::new(),
                };
                Ok(Encoding { ids, type_ids, truncated })
            }
            _ => Err(TokenizeError::Encode {
                reason: "the query was encoded for another model".into(),
            }),
        }
    }

    /// Ids of a decoder's body.
    fn body(
        &self,
        instruction: &str,
        query: &str,
        document: &str,
    ) -> Result<Vec<u32>, TokenizeError> {
        let Form::Decoder { body, .. } = &self.form else { return Ok(Vec::new()) };
        let mut out = Vec::new();
        for piece in body {
            match piece {
                Piece::Control(id) => out.push(*id),
                Piece::Run(parts) => {
                    let words = parts.iter().map(|part| match part {
                        BodyPart::Literal(text) => text.as_str(),
                        BodyPart::Instruction => instruction,
                        BodyPart::Query => query,
                        BodyPart::Document => document,
                    });
                    out.extend(ids(&self.text, &words.collect::<String>())?);
                }
            }
        }
        Ok(out)
    }

    /// Cuts about `tokens` tokens (at least one character) off the end of a query.
    fn cut(&self, query: &str, tokens: usize) -> Result<String, TokenizeError> {
        let encoding = self.text.encode_char_offsets(query, false).map_err(failed)?;
        let keep = encoding.len().saturating_sub(tokens);
        let end = encoding.get_offsets()[..keep].last().map_or(0, |offsets| offsets.1);
        let all = query.chars().count();
        Ok(query.chars().take(end.min(all - 1)).collect())
    }

    /// Room for the template, a short query and one token of text.
    fn check_limit(&self) -> Result<(), TokenizeError> {
        let template = match &self.form {
            Form::Decoder { prefix, suffix, default_instruction, .. } => {
                prefix.len() + suffix.len() + self.body(default_instruction, "", "")?.len()
            }
            Form::Encoder { separators, .. } => 2 + separators.len(),
        };
        let max_tokens = self.options.max_tokens;
        let least = (template * 4).div_ceil(3) + 2;
        match max_tokens < least {
            true => Err(TokenizeError::LimitTooSmall { max_tokens, template, least }),
            false => Ok(()),
        }
    }
}

fn decoder_form(whole: &Tokenizer, template: YesNoTemplate) -> Result<Form, TokenizeError> {
    Ok(Form::Decoder {
        prefix: ids(whole, &template.prefix)?,
        suffix: ids(whole, &template.suffix)?,
        body: pieces(whole, template.body_parts()?),
        default_instruction: template.default_instruction,
        answers: answer(whole, &template.yes)
            .and_then(|yes| answer(whole, &template.no).map(|no| [yes, no])),
    })
}

/// The id of an answer, which must be a single token.
fn answer(whole: &Tokenizer, answer: &str) -> Result<u32, TokenizeError> {
    match ids(whole, answer)?.as_slice() {
        [id] => Ok(*id),
        many => Err(TokenizeError::AnswerNotOneToken { answer: answer.into(), tokens: many.len() }),
    }
}

/// Cuts the template's own words in a body at added tokens.
fn pieces(whole: &Tokenizer, parts: Vec<BodyPart>) -> Vec<Piece> {
    let added: Vec<(u32, String)> = whole
        .get_added_tokens_decoder()
        .into_iter()
        .map(|(id, token)| (id, token.content))
        .collect();
    let mut pieces = Vec::new();
    let mut run = Vec::new();
    for part in parts {
        let BodyPart::Literal(text) = part else {
            run.push(part);
            continue;
        };
        let mut rest = text.as_str();
        // The leftmost one wins, and of those that begin there the longest.
        while let Some((at, id, token)) = added
            .iter()
            .filter_map(|(id, token)| Some((rest.find(token.as_str())?, *id, token)))
            .min_by_key(|(at, _, token)| (*at, usize::MAX - token.len()))
        {
            if at > 0 {
                run.push(BodyPart::Literal(rest[..at].to_string()));
            }
            pieces.extend([Piece::Run(std::mem::take(&mut run)), Piece::Control(id)]);
            rest = &rest[at + token.len()..];
        }
        if !rest.is_empty() {
            run.push(BodyPart::Literal(rest.to_string()));
        }
    }
    pieces.push(Piece::Run(run));
    pieces.retain(|piece| *piece != Piece::Run(Vec::new()));
    pieces
}

fn encoder_form(whole: &Tokenizer, template: PairTemplate) -> Result<Form, TokenizeError> {
    let id = |token: &str| {
        whole.token_to_id(token).ok_or_else(|| TokenizeError::MissingToken { token: token.into() })
    };
    Ok(match template {
        PairTemplate::Bert => {
            let end = id("[SEP]")?;
            Form::Encoder { start: id("[CLS]")?, separators: vec![end], end, segments: true }
        }
        PairTemplate::XlmRoberta => {
            let end = id("</s>")?;
            Form::Encoder { start: id("<s>")?, separators: vec![end, end], end, segments: false }
        }
    })
}

/// Ids of a string, without the file's own control tokens around it.
fn ids(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, TokenizeError> {
    Ok(tokenizer.encode_fast(text, false).map_err(failed)?.get_ids().to_vec())
}

fn failed(error: tokenizers::Error) -> TokenizeError {
    TokenizeError::Encode { reason: error.to_string() }
}
