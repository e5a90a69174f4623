//! Pairs of encoders: control tokens around a query and a text.

use super::TokenizeError;
use super::vocabulary::Tokenizer;
use crate::template::PairTemplate;

/// A pair template in one tokenizer's terms.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) start: u32,
    /// Between query and text.
    pub(super) between: Vec<u32>,
    pub(super) end: u32,
    /// Whether tokens have types: 0 up to the text, 1 from there.
    pub(super) types: bool,
}

impl Pair {
    pub(super) fn new(whole: &Tokenizer, template: PairTemplate) -> Result<Self, TokenizeError> {
        let id = |token: &str| {
            let missing = || TokenizeError::MissingToken { token: token.into() };
            whole.token_to_id(token).ok_or_else(missing)
        };
        Ok(match template {
            PairTemplate::Bert => {
                let (start, end) = (id("[CLS]")?, id("[SEP]")?);
                Pair { start, between: vec![end], end, types: true }
            }
            PairTemplate::XlmRoberta => {
                let (start, end) = (id("<s>")?, id("</s>")?);
                Pair { start, between: vec![end, end], end, types: false }
            }
        })
    }

    /// Control tokens in all.
    pub(super) fn frame(&self) -> usize {
        2 + self.between.len()
    }
}
