//! What can be wrong with a tokenizer, a template or a query.

use grating_io::shown;

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
    /// The `tokenizers` crate panicked.
    #[error(
        "the `tokenizers` crate cannot cope with this tokenizer.json or text, and panicked: {reason}; \
         take tokenizer.json from the model's own repository, complete"
    )]
    Panicked {
        /// The panic's message.
        reason: String,
    },
    /// The tokenizer's class is one for another kind of vocabulary.
    #[error(
        "tokenizer.json holds a {kind} vocabulary, and transformers would read it as `{class}` ({}), which has another \
         kind; take the tokenizer from the model's own repository, or name its class as `tokenizer_class` in \
         tokenizer_config.json (`PreTrainedTokenizerFast` takes tokenizer.json as it is)",
        match .named {
            true => "named by its files",
            false => "this kind of model's, where its files name none",
        }
    )]
    OtherClass {
        /// The class in transformers.
        class: &'static str,
        /// The vocabulary's type.
        kind: &'static str,
        /// Whether a file names the class.
        named: bool,
    },
    /// `vocab.txt` cannot stand in for `tokenizer.json`.
    #[error(
        "vocab.txt cannot stand in for tokenizer.json: {reason}; save the tokenizer with transformers \
         (AutoTokenizer.from_pretrained(folder).save_pretrained(folder))"
    )]
    VocabTxt {
        /// Why.
        reason: String,
    },
    /// A file beside `tokenizer.json` cannot be used.
    #[error(
        "{name} beside tokenizer.json cannot be used: {reason}; take it from the model's own repository"
    )]
    Settings {
        /// The file, or what it sets.
        name: String,
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
        "tokenizer.json has no token `{}`, which the model's template needs; \
         take the tokenizer from the model's own repository",
        shown(token)
    )]
    MissingToken {
        /// The token.
        token: String,
    },
    /// An answer is not one token.
    #[error(
        "the answer `{}` is {tokens} tokens in this tokenizer and must be one; \
         choose other words for `yes` and `no` in grating.json, or take the model's own tokenizer.json",
        shown(answer)
    )]
    AnswerNotOneToken {
        /// The answer.
        answer: String,
        /// How many tokens it is.
        tokens: usize,
    },
    /// Both answers are the same token.
    #[error(
        "the answers `{}` and `{}` are the same token; a score is the difference of two",
        shown(yes),
        shown(no)
    )]
    AnswersEqual {
        /// The answer that means relevant.
        yes: String,
        /// The answer that means not.
        no: String,
    },
    /// The query would have to be cut, which the options refuse.
    #[error(
        "the query takes {tokens} tokens, instruction included, and {limit} are left for it beside the template and the \
         text: shorten it, raise the maximum length, or let it be cut"
    )]
    QueryTooLong {
        /// Tokens of the query; for decoders of everything between prefix and text.
        tokens: usize,
        /// The most that there is room for.
        limit: usize,
    },
    /// The template alone fills the maximum length.
    #[error(
        "a maximum length of {max_tokens} tokens leaves no room for a query and a text: \
         the template takes {template}; use at least {least}"
    )]
    LimitTooSmall {
        /// As set.
        max_tokens: usize,
        /// Tokens that are there whatever query and text are.
        template: usize,
        /// The least that would do.
        least: usize,
    },
    /// The model's texts are cut at their beginning.
    #[error(
        "a text is too long, and tokenizer_config.json cuts texts at their beginning (`truncation_side`), which is not \
         supported; raise the maximum length or shorten the text"
    )]
    CutsTheStart,
    /// The answer was no longer wanted ([`TextEncoder::encode_while`](super::TextEncoder::encode_while)).
    #[error("a text was left before its tokens were found: the answer is no longer wanted")]
    Unwanted,
    /// Query, text and what the tokenizer puts around them are empty together.
    #[error("query and text are empty, and the model's tokenizer puts nothing around them")]
    NothingToRead,
    /// The tokenizer failed on a text.
    #[error("the tokenizer failed on a text: {reason}")]
    Encode {
        /// The tokenizer's own words.
        reason: String,
    },
}
