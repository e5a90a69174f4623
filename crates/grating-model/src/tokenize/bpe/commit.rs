//! The first tokens of a word whose end is not known yet.
//!
//! **Restriction.** If no merge crosses a place of a word, the merges on its two sides are those that each side would
//! have by itself: the order is by rank and then by place, and a side's own pairs keep theirs. So the tokens of a word
//! are those of `word[..cut]` and then those of `word[cut..]` wherever a token ends at `cut`.
//!
//! **Pairs.** The other way round, tokens in a row are the tokens of what they spell if each two neighbours are the
//! tokens of what the two spell: the first merge across the seam of two neighbours would, by restriction, happen
//! between these two alone.
//!
//! **Certainty.** Whatever follows `word[..end]`, some token begins at a place `q` at or before `end` and reaches past
//! it (or begins right there), and up to `q` the tokens are those of `word[..q]`. `q` is less than the longest token
//! away, and `word[q..end]` begins some token of the vocabulary. If for every such `q` the tokens of `word[..q]` have
//! a seam at `cut`, then the whole word has it, and its tokens up to there are those of `word[..cut]`. By pairs, the
//! seam is there if the last token before it and the first of `word[cut..q]` are the tokens of what they spell.
//!
//! A seam that is uncertain depends on what follows through a chain of merges, each blocked by one of lower rank to its
//! right; the chain is no longer than there are ranks, and in real vocabularies a few tokens long.

use super::merges::Scratch;
use super::{Bpe, Stretch, Symbol};

/// Symbols between a seam and the first `q`, to begin with; four times as many each time that is not enough.
const DISTANCE: usize = 24;

/// Tokens that have been found, by their symbols.
struct Found<'a> {
    symbols: &'a [Symbol],
    tokens: &'a [Symbol],
    /// Where each token begins in `symbols`.
    starts: &'a [usize],
}

impl Bpe {
    /// Appends the tokens of `word[from..end]` that are certain whatever follows, as far as the last of them ends at a
    /// place that `may_cut` allows. A token is known to begin at `from`. Returns that place, if there is one.
    pub(in crate::tokenize) fn commit(
        &self,
        word: &str,
        from: usize,
        end: usize,
        may_cut: impl Fn(usize) -> bool,
        out: &mut Vec<u32>,
    ) -> Result<Option<usize>, tokenizers::Error> {
        // A word that may be a token as a whole is not looked at before it ends.
        if end <= self.longest || !self.is_local() {
            return Ok(None);
        }
        let mut symbols = Vec::new();
        self.symbols(Stretch { word, from, end, last: false }, &mut symbols)?;
        let mut scratch = Scratch::default();
        let mut tokens = symbols.clone();
        self.merges.apply(&mut tokens, &mut scratch);
        let starts = starts(&symbols, &tokens);
        let found = Found { symbols: &symbols, tokens: &tokens, starts: &starts };
        let Some(certain) = self.certain(word, end, &found, &mut scratch) else { return Ok(None) };
        let is_cut = |&token: &usize| {
            let symbol = symbols[starts[token]];
            symbol.clear && may_cut(symbol.start as usize)
        };
        let Some(cut) = (1..=certain).rev().find(is_cut) else { return Ok(None) };
        out.extend(tokens[..cut].iter().map(|token| token.id));
        Ok(Some(symbols[starts[cut]].start as usize))
    }

    /// Whether a character's symbols depend on it alone, and stand in its place.
    pub(super) fn is_local(&self) -> bool {
        let empty = |affix: &Option<String>| affix.as_ref().is_none_or(String::is_empty);
        let bytes = !self.options.byte_fallback || self.bytes.is_some();
        empty(&self.options.prefix) && empty(&self.options.suffix) && bytes
    }

    /// How many of the tokens are certain, at least; not all that are.
    fn certain(
        &self,
        word: &str,
        end: usize,
        found: &Found<'_>,
        scratch: &mut Scratch,
    ) -> Option<usize> {
        let count = found.symbols.len();
        let places = self.places(word, end, found.symbols);
        let first = places.iter().copied().min()?;
        let mut distance = DISTANCE;
        while distance < first {
            // The last token that begins so far before all of them.
            let token = found.starts.partition_point(|&start| start + distance <= first) - 1;
            if token == 0 {
                return None;
            }
            let holds = |&place: &usize| self.has_seam(found, token, place.min(count), scratch);
            if places.iter().all(holds) {
                return Some(token);
            }
            distance *= 4;
        }
        None
    }

    /// Where a token may begin that ends behind `end` or at it: indices of symbols, and their number for `end` itself.
    fn places(&self, word: &str, end: usize, symbols: &[Symbol]) -> Vec<usize> {
        let count = symbols.len();
        let tail = count.saturating_sub(self.longest)..count;
        let start = |at: usize| symbols.get(at).map_or(end, |symbol| symbol.start as usize);
        // Symbols that are not named as they are written tell nothing of what a token may begin with.
        let is_named =
            |at: usize| word.get(start(at)..start(at + 1)) == Some(self.tokens.get(symbols[at].id));
        let named = tail.clone().all(is_named);
        let may = |&at: &usize| !named || self.begins(&word[start(at)..end]);
        tail.filter(may).chain([count]).collect()
    }

    /// Whether a token begins with `text` and goes on.
    fn begins(&self, text: &str) -> bool {
        let at = self.sorted.partition_point(|&id| self.tokens.get(id) <= text);
        self.sorted.get(at).is_some_and(|&id| self.tokens.get(id).starts_with(text))
    }

    /// Whether the tokens of the symbols up to `place` have a seam before `token`.
    fn has_seam(
        &self,
        found: &Found<'_>,
        token: usize,
        place: usize,
        scratch: &mut Scratch,
    ) -> bool {
        let cut = found.starts[token];
        let mut after = found.symbols[cut..place].to_vec();
        self.merges.apply(&mut after, scratch);
        let Some(&next) = after.first() else { return true };
        let ends = |symbols: &[Symbol]| symbols.get(1).map(|second| second.start);
        let length = match ends(&after) {
            Some(start) => found.symbols[cut..].partition_point(|symbol| symbol.start < start),
            None => place - cut,
        };
        let mut both = found.symbols[found.starts[token - 1]..cut + length].to_vec();
        self.merges.apply(&mut both, scratch);
        both.iter().map(|symbol| symbol.id).eq([found.tokens[token - 1].id, next.id])
    }
}

/// Where each token begins in the symbols that it was merged from.
fn starts(symbols: &[Symbol], tokens: &[Symbol]) -> Vec<usize> {
    let mut at = 0;
    let start = |token: &Symbol| {
        at += symbols[at..].partition_point(|symbol| symbol.start < token.start);
        at
    };
    tokens.iter().map(start).collect()
}
