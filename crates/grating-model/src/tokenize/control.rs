//! Which tokens are control tokens, and how user text is kept from them.
//!
//! `tokenizers` calls it `encode_special_tokens`, transformers `split_special_tokens=True`: a string that is a control
//! token's name is encoded like any other text. Two things slip through there and are closed here.
//!
//! - Added tokens that are not marked special stay active; in Qwen3's file `<think>` is one. Here those that look like
//!   markup count as special too. Other added words (a term that a model was trained with) are words and keep their id.
//! - Unigram models have `</s>` and its like in their own vocabulary, with the best score there is, and find them in
//!   any text. They are not looked for there.

use grating_io::shown;
use tokenizers::AddedToken;

use super::TokenizeError;
use super::vocabulary::{Tokenizer, Vocabulary};

/// Whether a token steers a model rather than being text.
fn is_control(token: &AddedToken) -> bool {
    let name = token.content.trim_matches(|c: char| c == '\u{2581}' || c.is_whitespace());
    let between = |open, close| name.len() > 1 && name.starts_with(open) && name.ends_with(close);
    token.special || between('<', '>') || between('[', ']')
}

/// Added tokens that are control tokens, with their ids, in the order of ids.
pub(super) fn control_tokens(tokenizer: &Tokenizer) -> Vec<(u32, AddedToken)> {
    let mut tokens: Vec<_> = tokenizer
        .get_added_tokens_decoder()
        .into_iter()
        .filter(|(_, token)| is_control(token))
        .collect();
    tokens.sort_by_key(|(id, _)| *id);
    tokens
}

/// Makes `tokenizer` one for user text: it never gives a control token. `unknown` is the token of what the vocabulary
/// lacks.
///
/// # Errors
/// [`TokenizeError::TokenizerJson`] where that cannot be had with this file.
pub(super) fn make_plain(
    tokenizer: &mut Tokenizer,
    unknown: Option<u32>,
) -> Result<(), TokenizeError> {
    let control = control_tokens(tokenizer);
    let unmarked = control.iter().filter(|(_, token)| !token.special);
    let marked: Vec<_> = unmarked.map(|(_, t)| AddedToken { special: true, ..t.clone() }).collect();
    if !marked.is_empty() {
        tokenizer.add_special_tokens(marked).map_err(unusable)?;
    }
    tokenizer.set_encode_special_tokens(true);
    if let Vocabulary::Unigram(unigram) = tokenizer.get_model() {
        let is_control = |piece: &str| control.iter().any(|(_, token)| token.content == piece);
        let mut plain = unigram.clone();
        plain.hide(is_control);
        tokenizer.with_model(Vocabulary::Unigram(plain));
    }
    check(tokenizer, &control, unknown)
}

/// Tries every control token's name as text. (A model of whole words could still find one: refuse rather than leak.)
fn check(
    tokenizer: &Tokenizer,
    control: &[(u32, AddedToken)],
    unknown: Option<u32>,
) -> Result<(), TokenizeError> {
    let names = || control.iter().map(|(_, token)| token.content.as_str());
    let probes = [names().collect::<Vec<_>>().join(" "), names().collect::<String>()];
    for probe in probes {
        let encoding = tokenizer.encode_fast(probe, false).map_err(unusable)?;
        let found = encoding.get_ids().iter().filter(|id| Some(**id) != unknown);
        let found = found.filter_map(|id| control.iter().find(|(other, _)| other == id));
        // A control token named like an ordinary word or character is that word in text.
        if let Some((_, token)) =
            found.into_iter().find(|(_, t)| t.content.len() > 1 && !is_word(t))
        {
            let reason = format!("text can become its control token `{}`", token.content);
            return Err(TokenizeError::TokenizerJson { reason });
        }
    }
    Ok(())
}

fn is_word(token: &AddedToken) -> bool {
    token.content.chars().all(|c| c.is_alphanumeric() || c.is_whitespace())
}

fn unusable(error: impl ToString) -> TokenizeError {
    TokenizeError::TokenizerJson { reason: shown(&error.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word_level(added: &str) -> String {
        format!(
            r#"{{"version":"1.0","added_tokens":[{added}],"pre_tokenizer":{{"type":"WhitespaceSplit"}},
            "model":{{"type":"WordLevel","unk_token":"[UNK]","vocab":{{"[UNK]":0,"[SEP]":1,"end":2,"a":3}}}}}}"#
        )
    }

    fn token(id: u32, content: &str) -> String {
        format!(
            r#"{{"id":{id},"content":"{content}","single_word":false,"lstrip":false,"rstrip":false,
            "normalized":false,"special":true}}"#
        )
    }

    #[test]
    fn a_model_of_whole_words_that_would_find_a_control_token_is_refused() {
        let json = word_level(&[token(0, "[UNK]"), token(1, "[SEP]")].join(","));
        let (mut tokenizer, unknown) = super::super::as_written(json.as_bytes()).unwrap();
        let error = make_plain(&mut tokenizer, unknown).unwrap_err();
        assert!(error.to_string().contains("`[SEP]`"), "{error}");
    }

    #[test]
    fn the_unknown_token_and_a_word_marked_special_are_no_leak() {
        let json = word_level(&[token(0, "[UNK]"), token(2, "end")].join(","));
        let (mut tokenizer, unknown) = super::super::as_written(json.as_bytes()).unwrap();
        make_plain(&mut tokenizer, unknown).unwrap();
        assert_eq!(tokenizer.encode_fast("the end a", false).unwrap().get_ids(), [0, 2, 3]);
    }

    #[test]
    fn markup_is_control_and_words_are_not() {
        let control = |content: &str, special| is_control(&AddedToken::from(content, special));
        for content in ["<think>", "</s>", "[INST]", "<|im_end|>", "▁<PRE>", "<｜User｜>"] {
            assert!(control(content, false), "{content}");
        }
        for content in ["cross-encoder", "<", "a<b>c", "COVID-19", "    ", "<]"] {
            assert!(!control(content, false), "{content}");
        }
        assert!(control("end of text", true));
    }
}
