//! Pieces that overlap, where no word of a piece could begin a text as it is within one.
//!
//! A tokenizer that puts a space before each text makes another word of the first one; and where one character becomes
//! several words, no word may begin where a character does. Read from such a place, the first words are others than
//! they are in the text. But the steps go from left to right and look at nothing behind them, so that from the first
//! word on that begins where it does in the text all are the same. Those before are left out.

use super::source::Filled;
use super::{Reader, WORDS_BEHIND, Word, of, pre_tokenized};
use crate::tokenize::TokenizeError;

/// Places that are tried from the end of a piece.
const PLACES: usize = 256;
/// Those of them from which the piece is read again.
const READINGS: usize = 4;
/// Characters back from where a word begins.
const CHARACTERS: usize = 200;

/// Where the next piece begins.
struct Overlap {
    /// In the piece.
    at: usize,
    /// Words of this piece that are before the first common one, and of the next piece.
    given: usize,
    skipped: usize,
}

impl Reader<'_> {
    /// Appends the ids of words that are certain, and goes on at a place before the end of the last of them. Where there
    /// is no such place, gives them only if they fill the room. Says whether it could.
    pub(super) fn read_with_overlap(
        &mut self,
        piece: &Filled,
        words: &[Word<'_>],
        room: usize,
        out: &mut Vec<u32>,
    ) -> Result<bool, TokenizeError> {
        if let Some(next) = self.overlap(&piece.text, words)? {
            self.give(&words[..next.given], usize::MAX, out)?;
            self.go_on(piece.in_source(next.at), next.skipped);
            return Ok(true);
        }
        let (given, certain) = (out.len(), self.certain(&piece.text, words));
        self.give(&words[..certain], room, out)?;
        let fills = out.len() > room;
        match fills {
            true => self.finish(),
            false => out.truncate(given),
        }
        Ok(fills)
    }

    fn overlap(&self, text: &str, words: &[Word<'_>]) -> Result<Option<Overlap>, TokenizeError> {
        let certain = (1..words.len()).rev().filter(|&n| {
            let added = words[n].added.is_some() || words[n - 1].added.is_some();
            !added && self.is_certain(text, words, n)
        });
        let (mut places, mut readings) = (0, 0);
        for n in certain {
            // Marks belong to what is before them.
            let start = words[n].start;
            let before = text[..start].char_indices().rev().map(|(at, _)| at);
            for at in std::iter::once(start).chain(before).take(CHARACTERS) {
                places += 1;
                if places > PLACES || at <= self.head.len() {
                    return Ok(None);
                }
                if !self.is_seam(&text[..at], &text[at..]) {
                    continue;
                }
                if let Some(skipped) = self.skipped(text, at, &words[n..])? {
                    return Ok(Some(Overlap { at, given: n, skipped }));
                }
                readings += 1;
                if readings == READINGS {
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    /// How many others are in front of these words, if a piece that begins at `at` ends with them.
    fn skipped(
        &self,
        text: &str,
        at: usize,
        words: &[Word<'_>],
    ) -> Result<Option<usize>, TokenizeError> {
        let pre = pre_tokenized(self.tokenizer, self.splitter(true), &text[at..])?;
        let found = of(&pre);
        let Some(skipped) = found.len().checked_sub(words.len()) else { return Ok(None) };
        let same = words.iter().zip(&found[skipped..]).all(|(word, found)| word.is(found, at));
        Ok(Some(skipped).filter(|skipped| same && *skipped < WORDS_BEHIND))
    }

    /// How many words are certain, whatever follows, even if none could begin a text.
    fn certain(&self, text: &str, words: &[Word<'_>]) -> usize {
        let last = text.len().saturating_sub(self.rules.margin);
        let places = (1..=last).rev().filter(|&at| text.is_char_boundary(at));
        let mut seams = places.take(PLACES).filter(|&at| {
            let (before, after) = text.split_at(at);
            self.is_seam(before, after)
        });
        let Some(end) = seams.next() else { return 0 };
        words.partition_point(|word| word.end <= end).saturating_sub(WORDS_BEHIND)
    }
}

impl Word<'_> {
    /// Whether another word is the same, with places that begin at `at`.
    fn is(&self, other: &Word<'_>, at: usize) -> bool {
        (self.start, self.end) == (other.start + at, other.end + at)
            && self.text == other.text
            && self.added == other.added
    }
}
