//! What a caller may decide about texts.

#[cfg(doc)]
use super::TokenizeError;

/// What a caller may decide about texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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

impl EncodeOptions {
    /// At most so many tokens; names of control tokens are text, and long queries are cut.
    pub fn new(max_tokens: usize) -> Self {
        EncodeOptions { max_tokens, special_tokens_in_text: false, refuse_long_query: false }
    }

    /// Replaces [`EncodeOptions::special_tokens_in_text`].
    #[must_use]
    pub fn special_tokens_in_text(mut self, allowed: bool) -> Self {
        self.special_tokens_in_text = allowed;
        self
    }

    /// Replaces [`EncodeOptions::refuse_long_query`].
    #[must_use]
    pub fn refuse_long_query(mut self, refuse: bool) -> Self {
        self.refuse_long_query = refuse;
        self
    }
}

/// What one query's candidates are kept to, below what the encoder allows. By default nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TokenLimits {
    /// Most tokens of a candidate, as [`EncodeOptions::max_tokens`], which counts where it is less.
    pub max_tokens: Option<usize>,
    /// Most tokens of a text by itself, without query, template and control tokens.
    pub max_text_tokens: Option<usize>,
}

impl TokenLimits {
    /// Replaces [`TokenLimits::max_tokens`].
    #[must_use]
    pub fn max_tokens(mut self, tokens: Option<usize>) -> Self {
        self.max_tokens = tokens;
        self
    }

    /// Replaces [`TokenLimits::max_text_tokens`].
    #[must_use]
    pub fn max_text_tokens(mut self, tokens: Option<usize>) -> Self {
        self.max_text_tokens = tokens;
        self
    }

    pub(super) fn text(&self) -> usize {
        self.max_text_tokens.unwrap_or(usize::MAX)
    }
}
