//! A long text as passages: runs of its bytes, each of which is encoded as a text of its own.
//!
//! A passage is as long as fits beside the query, and ends at the end of a sentence or else of a word where there is one
//! in its last quarter. How long that is in bytes is found by counting tokens of beginnings, the first of which is
//! guessed from the passages before: the tokenizer is asked two or three times a passage, and never for more than twice
//! a passage's tokens, however long the text is. (Tokenizers do tell where their tokens are in a text, but not all of
//! them tell it right, and a text that is read piece by piece has no such places.)

use std::ops::Range;

use super::guard::guarded;
use super::{Before, EncodedQuery, Encoding, TextEncoder, TokenizeError, Wanted};

/// How a text that is too long is cut into passages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PassageLimits {
    /// Most tokens of a passage by itself, where that is less than fits beside the query.
    pub tokens: Option<usize>,
    /// Tokens, about, that a passage has of the end of the one before; at most half of it.
    pub overlap: usize,
    /// Most passages of a text, at least 1; what follows them is left out.
    pub most: usize,
}

impl PassageLimits {
    /// Passages as long as fit, without overlap, at most so many of a text.
    pub fn new(most: usize) -> Self {
        PassageLimits { tokens: None, overlap: 0, most }
    }

    /// Replaces [`PassageLimits::tokens`].
    #[must_use]
    pub fn tokens(mut self, tokens: Option<usize>) -> Self {
        self.tokens = tokens;
        self
    }

    /// Replaces [`PassageLimits::overlap`].
    #[must_use]
    pub fn overlap(mut self, tokens: usize) -> Self {
        self.overlap = tokens;
        self
    }
}

/// A passage of a text, ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// What [`TextEncoder::encode`] makes of these bytes of the text.
    pub encoding: Encoding,
    /// Where it is in the text, bytes.
    pub bytes: Range<usize>,
}

/// Gives the passages of one text, one after another.
#[derive(Debug)]
pub struct PassageReader<'a> {
    encoder: &'a TextEncoder,
    query: &'a EncodedQuery,
    text: &'a str,
    limits: PassageLimits,
    /// Of the text's bytes, those that may be read.
    end: usize,
    /// Most tokens of a passage.
    room: usize,
    /// Where the next passage begins.
    at: usize,
    given: usize,
    /// Where the last one ended.
    read: usize,
    /// Whether something of the text, or of a passage, was left out.
    cut: bool,
    bytes_per_token: f64,
}

/// Bytes of a token, before any has been counted.
const BYTES_PER_TOKEN: f64 = 4.0;
/// How often a length is tried, before what fits so far is taken.
const TRIES: usize = 16;
/// A passage is full when less than this part of its room is empty.
const SLACK: usize = 16;
/// The same for the end of a text that has a limit of its own.
const SLACK_OF_TEXT: usize = 256;

impl TextEncoder {
    /// The passages of a text beside a query of this encoder: the text itself, as [`Self::encode`] has it, where it is not
    /// too long. Of a query with a limit for texts ([`TokenLimits::max_text_tokens`](super::TokenLimits)) what a text has
    /// beyond that is left out of all passages.
    ///
    /// Passages follow each other from the text's beginning, each at least a character further than the one before; white
    /// space between two of them is in neither.
    pub fn passages<'a>(
        &'a self,
        query: &'a EncodedQuery,
        text: &'a str,
        limits: PassageLimits,
    ) -> PassageReader<'a> {
        PassageReader {
            encoder: self,
            query,
            text,
            limits,
            end: text.len(),
            room: 0,
            at: 0,
            given: 0,
            read: 0,
            cut: false,
            bytes_per_token: BYTES_PER_TOKEN,
        }
    }

    /// Most tokens of a passage beside a query, by itself.
    fn passage_room(
        &self,
        query: &EncodedQuery,
        wanted: Wanted<'_>,
    ) -> Result<usize, TokenizeError> {
        let room = match &query.before {
            Before::Pair(pair) => pair.passage_room(query.room),
            Before::Prompt(prompt) => {
                prompt.room.saturating_sub(self.all_ids(&prompt.lead, wanted)?.len())
            }
        };
        Ok(room.min(query.text_tokens))
    }
}

impl PassageReader<'_> {
    /// The next passage; nothing where there is none, or there were as many as may be. `wanted` as in
    /// [`TextEncoder::encode_while`].
    ///
    /// # Errors
    /// As [`TextEncoder::encode_while`].
    pub fn next_while(&mut self, wanted: Wanted<'_>) -> Result<Option<Passage>, TokenizeError> {
        guarded(|| match self.given {
            0 => self.first(wanted).map(Some),
            _ => self.following(wanted),
        })
    }

    /// Whether something of the text is in none of the passages so far: because there were as many as may be, or because
    /// of the text's own limit.
    pub fn is_cut(&self) -> bool {
        self.cut || self.rest().is_some()
    }

    /// Where the next passage begins, and all that is left; nothing at the end.
    fn rest(&self) -> Option<(usize, &str)> {
        let left = &self.text[self.at..self.end];
        let words = left.trim_start();
        match self.given {
            0 => Some((self.at, left)),
            _ => (!words.is_empty()).then(|| (self.end - words.len(), words)),
        }
    }

    fn first(&mut self, wanted: Wanted<'_>) -> Result<Passage, TokenizeError> {
        let whole = match self.encoder.encode_text(self.query, self.text, wanted) {
            // Beside a passage nothing may have to be cut.
            Err(TokenizeError::QueryTooLong { .. } | TokenizeError::CutsTheStart) => None,
            read => Some(read?),
        };
        let most = self.limits.tokens.unwrap_or(usize::MAX).max(1);
        self.room = self.encoder.passage_room(self.query, wanted)?.min(most);
        // Where the query leaves a text no room, none of its passages has any.
        if let Some(whole) = whole
            && (self.room == 0 || (!whole.truncated && !self.has_more(self.text, most, wanted)?))
        {
            (self.at, self.given, self.cut) = (self.end, 1, whole.truncated);
            return Ok(Passage { encoding: whole, bytes: 0..self.text.len() });
        }
        let of_text = self.query.text_tokens;
        if self.has_more(self.text, of_text, wanted)? {
            self.end = self.fitting(self.text, of_text, SLACK_OF_TEXT, wanted)?;
            self.cut = true;
        }
        self.following(wanted)?.ok_or(TokenizeError::NothingToRead)
    }

    fn has_more(
        &self,
        text: &str,
        tokens: usize,
        wanted: Wanted<'_>,
    ) -> Result<bool, TokenizeError> {
        Ok(tokens < usize::MAX && self.encoder.first_ids("", text, tokens, wanted)?.1)
    }

    fn following(&mut self, wanted: Wanted<'_>) -> Result<Option<Passage>, TokenizeError> {
        loop {
            let Some((start, _)) = self.rest().filter(|_| self.given < self.limits.most.max(1))
            else {
                return Ok(None);
            };
            let passage = self.passage_at(start, wanted)?;
            // Where words of many tokens follow, an overlap may be all that there is room for.
            if passage.bytes.end <= self.read && start < self.read {
                self.at = self.read;
                continue;
            }
            self.read = passage.bytes.end;
            self.cut |= passage.encoding.truncated;
            self.given += 1;
            self.at = self.next_start(start, self.read);
            return Ok(Some(passage));
        }
    }

    fn passage_at(&mut self, start: usize, wanted: Wanted<'_>) -> Result<Passage, TokenizeError> {
        let text = self.text;
        let rest = &text[start..self.end];
        let mut fits = self.fitting(rest, self.room, SLACK, wanted)?;
        loop {
            let length = border(rest, fits);
            let encoding = self.encoder.encode_text(self.query, &rest[..length], wanted)?;
            // Beside the words around it a passage may take a little more than by itself.
            let shorter = floor(rest, length - length.div_ceil(SLACK));
            if encoding.truncated && shorter > 0 {
                fits = shorter;
                continue;
            }
            return Ok(Passage { encoding, bytes: start..start + length });
        }
    }

    /// Where the passage behind these bytes begins: the overlap before their end, at a word.
    fn next_start(&self, start: usize, end: usize) -> usize {
        if self.text[end..self.end].trim_start().is_empty() {
            return self.end;
        }
        let back = (self.limits.overlap as f64 * self.bytes_per_token) as usize;
        let earliest = end - back.min((end - start) / 2);
        let tail = &self.text[..end];
        let earliest = ceil(tail, earliest);
        let mut before = tail[..earliest].chars().next_back();
        let begins = tail[earliest..].char_indices().find(|&(_, c)| {
            let begins = before.is_none_or(char::is_whitespace) && !c.is_whitespace();
            before = Some(c);
            begins
        });
        match begins {
            Some((at, _)) => earliest + at,
            // One long word.
            None => earliest,
        }
    }

    /// Bytes of the beginning of a text, at least one character, that has at most `tokens` tokens and nearly as many, if
    /// there are so many.
    fn fitting(
        &mut self,
        text: &str,
        tokens: usize,
        slack: usize,
        wanted: Wanted<'_>,
    ) -> Result<usize, TokenizeError> {
        let first = text.chars().next().map_or(0, char::len_utf8);
        let enough = tokens - tokens.div_ceil(slack).min(tokens - 1);
        // So many bytes fit, and so many do not.
        let (mut low, mut high) = (0, text.len() + 1);
        let mut guess = (tokens as f64 * self.bytes_per_token) as usize;
        for _ in 0..TRIES {
            if high - low < 2 {
                break; // Nothing is between them.
            }
            let mut length = floor(text, guess.clamp(low + 1, high - 1));
            if length <= low {
                length = ceil(text, low + 1);
            }
            if length >= high {
                break;
            }
            let counted = tokens.saturating_mul(2);
            let (ids, more) = self.encoder.first_ids("", &text[..length], counted, wanted)?;
            let count = ids.len() + usize::from(more);
            let each = length as f64 / count.max(1) as f64;
            if count <= tokens {
                low = length;
                if count > 0 {
                    self.bytes_per_token = each;
                }
                if length == text.len() || count >= enough {
                    break;
                }
            } else {
                high = length;
            }
            guess = (each * (tokens - tokens.div_ceil(2 * slack).min(tokens - 1)) as f64) as usize;
            if guess <= low || guess >= high {
                guess = low + (high - low) / 2;
            }
        }
        Ok(low.max(first))
    }
}

/// The last place up to `at` between two characters.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// The first place from `at` on between two characters, or the end.
fn ceil(text: &str, at: usize) -> usize {
    (at..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len())
}

/// Where to end a passage that may have `length` bytes: behind the last sentence that ends in its last quarter, or else
/// the last word.
fn border(text: &str, length: usize) -> usize {
    if length == text.len() {
        return length;
    }
    let least = length - length / 4;
    let mut after = text[length..].chars().next();
    let mut word = None;
    for (at, c) in text[..length].char_indices().rev() {
        let place = at + c.len_utf8();
        if place < least {
            break;
        }
        if ends_sentence(c, after) {
            return place;
        }
        if after.is_some_and(char::is_whitespace) && !c.is_whitespace() && word.is_none() {
            word = Some(place);
        }
        after = Some(c);
    }
    word.unwrap_or(length)
}

/// Whether a sentence, or a line, ends between two characters.
fn ends_sentence(c: char, after: Option<char>) -> bool {
    match c {
        '。' | '！' | '？' => true,
        '.' | '!' | '?' | '…' | '।' | '؟' => after.is_some_and(char::is_whitespace),
        _ => !c.is_whitespace() && after.is_some_and(|after| matches!(after, '\n' | '\r')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passage_ends_with_a_sentence_or_a_word_of_its_last_quarter() {
        fn at(text: &str, length: usize) -> &str {
            &text[..border(text, length)]
        }
        assert_eq!(at("One two. Three four five", 12), "One two. Thr");
        assert_eq!(at("A river is wide. It is", 18), "A river is wide.");
        assert_eq!(at("A river is 3.5 wide and", 17), "A river is 3.5");
        assert_eq!(at("A line\nand more", 8), "A line");
        assert_eq!(at("東京は都市です。大阪も", 27), "東京は都市です。");
        assert_eq!(at("one sentence", 12), "one sentence");
        assert_eq!(at("aaaaaaaaaaaaaaaa", 9), "aaaaaaaaa");
        // The word's end is the place itself.
        assert_eq!(at("one two three", 7), "one two");
    }
}
