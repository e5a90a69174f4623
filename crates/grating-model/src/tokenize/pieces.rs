//! A long text, piece by piece: as much of it is read as its room needs, and a piece at a time is in memory.
//!
//! Each piece goes through the tokenizer's own steps. Of what comes out as much is kept as is certain whatever follows,
//! and the next piece begins where that ends: at a word that could begin a text ([`Rules::may_begin`]), or, where a word
//! is longer than a piece, inside it. There the beginning of the word is kept in front of the next piece, so that the
//! steps see a word of the same kind (all of them match runs of one class of characters, from which a part of the middle
//! may be missing), and its model goes on where it was. Where neither can be had, the piece grows.

mod inside;
mod marks;
mod overlap;
mod per_character;
mod runs;
mod source;
#[cfg(test)]
mod tests;

use tokenizers::{
    Model, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, PreTokenizerWrapper,
};

use self::source::Filled;
pub(super) use self::source::Source;
use super::rules::Rules;
use super::unigram::Carry;
use super::vocabulary::{Tokenizer, Vocabulary};
use super::{TokenizeError, Wanted, failed};

/// Bytes of a piece; a step takes some hundred times as much while it runs (300 where each character is a word).
const PIECE: usize = 2048;
/// Pieces up to this size are usual: what is read of each text beside the others.
const USUAL: usize = 2 * PIECE;
/// Bytes of the first piece for each token of room: more than words of any language take on average.
const BYTES_PER_TOKEN: usize = 8;
/// Words behind a seam that make it certain: no known step looks further.
const WORDS_BEHIND: usize = 8;
/// Bytes in front of the word that a piece is most of.
const AHEAD: usize = 768;
/// A word of so many bytes makes the seam before it certain, too.
const LONG_WORD: usize = 64;
/// The same for steps that are not known, with bytes. Such tokenizers read a text from its start.
const UNKNOWN_WORDS_BEHIND: usize = 64;
const UNKNOWN_BYTES_BEHIND: usize = 2048;

/// The first `room` ids of a text, and whether there are more.
pub(super) fn first_ids(
    tokenizer: &Tokenizer,
    rules: &Rules,
    source: Source<'_>,
    room: usize,
    wanted: Wanted<'_>,
) -> Result<(Vec<u32>, bool), TokenizeError> {
    read_first(Reader::new(tokenizer, rules, source, room, PIECE), room, wanted)
}

fn read_first(
    mut reader: Reader<'_>,
    room: usize,
    wanted: Wanted<'_>,
) -> Result<(Vec<u32>, bool), TokenizeError> {
    let mut ids = Vec::new();
    while ids.len() <= room && !reader.is_done() {
        if !wanted(reader.beyond_usual()) {
            return Err(TokenizeError::Unwanted);
        }
        reader.read(room, &mut ids)?;
    }
    let more = ids.len() > room;
    ids.truncate(room);
    ids.shrink_to_fit();
    Ok((ids, more))
}

/// How many ids a text has, however many these are.
pub(super) fn count_ids(
    tokenizer: &Tokenizer,
    rules: &Rules,
    text: &str,
    wanted: Wanted<'_>,
) -> Result<usize, TokenizeError> {
    let (mut ids, mut count) = (Vec::new(), 0);
    let mut reader = Reader::new(tokenizer, rules, Source { lead: "", text }, PIECE, PIECE);
    while !reader.is_done() {
        if !wanted(reader.beyond_usual()) {
            return Err(TokenizeError::Unwanted);
        }
        reader.read(usize::MAX, &mut ids)?;
        count += ids.len();
        ids.clear();
    }
    Ok(count)
}

/// Where reading stands.
struct Reader<'a> {
    tokenizer: &'a Tokenizer,
    rules: &'a Rules,
    source: Source<'a>,
    /// Bytes of the source that are read, and whose ids have been given.
    at: usize,
    /// Bytes of the next piece, and of pieces that need not be larger.
    size: usize,
    piece: usize,
    /// The beginning of the word that goes on at `at`; empty where a word begins there.
    head: String,
    /// Bytes of that word, in the model's terms, whose ids have been given: what comes of `head`, or a little more.
    given: usize,
    carry: Carry,
    /// Whether the text's beginning is behind, so that the next word is not the first.
    begun: bool,
    /// Words of the next piece that have been given.
    overlap: usize,
    /// Characters of which many in a row are the same as fewer.
    blanks: source::Blanks,
    /// Characters of runs that add no token.
    members: runs::Members,
    marks: marks::Marks,
    /// Whether long runs of marks are in their final order in the piece that is being read.
    settled: bool,
}

/// A word of a piece, or an added token.
struct Word<'p> {
    text: &'p str,
    /// Where it is in the piece.
    start: usize,
    end: usize,
    /// The ids of an added token.
    added: Option<Vec<u32>>,
}

impl<'a> Reader<'a> {
    fn new(
        tokenizer: &'a Tokenizer,
        rules: &'a Rules,
        source: Source<'a>,
        room: usize,
        piece: usize,
    ) -> Self {
        let size = room.saturating_add(8).saturating_mul(BYTES_PER_TOKEN).min(piece);
        Reader {
            tokenizer,
            rules,
            source,
            at: 0,
            size,
            piece,
            head: String::new(),
            given: 0,
            carry: Carry::default(),
            begun: false,
            overlap: 0,
            blanks: source::Blanks::default(),
            members: runs::Members::default(),
            marks: marks::Marks::default(),
            settled: false,
        }
    }

    fn is_done(&self) -> bool {
        self.at == self.source.len() && self.head.is_empty()
    }

    /// Bytes by which the next piece is longer than usual ones.
    fn beyond_usual(&self) -> usize {
        let left = self.source.len().saturating_sub(self.at);
        self.size.min(left).saturating_sub(USUAL)
    }

    /// Reads a piece, and appends the ids of it that are certain. Stops at `room` ids and one, or soon after.
    fn read(&mut self, room: usize, out: &mut Vec<u32>) -> Result<(), TokenizeError> {
        self.skip_deleted();
        let blanks = self.rules.known.then_some(&mut self.blanks);
        let (tokenizer, rules) = (self.tokenizer, self.rules);
        let blank = |c| source::blank(c, rules, |text| words(tokenizer, text));
        let marks = rules.orders_marks.map(|form| (&mut self.marks, form, rules));
        let piece = self.source.fill(self.at, self.size, &self.head, blanks, blank, marks);
        self.settled = piece.settled;
        let pre = pre_tokenized(self.tokenizer, self.splitter(self.begun), &piece.text)?;
        let all = of(&pre);
        let words = all.get(self.overlap..).unwrap_or_default();
        if piece.end == self.source.len() {
            self.give(words, room, out)?;
            self.finish();
            return Ok(());
        }
        if !self.rules.known {
            return self.read_from_the_start(&piece, words, room, out);
        }
        if let Some(next) = self.seam(&piece, words) {
            self.give(&words[..next], usize::MAX, out)?;
            self.go_on(piece.in_source(words[next].start), 0);
            return Ok(());
        }
        let long = words.first().filter(|word| self.is_long(&piece, word)).map(|word| word.start);
        let could = match long {
            // The splits' strings are had from what is not tokenized yet: added tokens are.
            Some(start) => {
                let before = all[..self.overlap].iter().filter(|word| word.added.is_none());
                let number = before.count();
                self.read_inside(&piece, pre, (number, start), out)?
            }
            None => self.read_with_overlap(&piece, words, room, out)?,
        };
        if could {
            return Ok(());
        }
        self.size = self.size.saturating_mul(2);
        Ok(())
    }

    /// Goes on behind characters that are left out, where a stretch begins with them.
    fn skip_deleted(&mut self) {
        let rules = self.rules;
        while rules.misplaces && rules.known && self.head.is_empty() && self.overlap == 0 {
            let next = self.source.char_at(self.at);
            let Some(deleted) = next.filter(|&c| rules.deletes(c)) else { return };
            self.at += self.source.repeated(self.at, deleted, usize::MAX);
        }
    }

    /// The steps that split into words.
    fn splitter(&self, begun: bool) -> Option<&'a PreTokenizerWrapper> {
        match &self.rules.splits_on {
            Some(splitter) if begun => Some(splitter),
            _ => self.tokenizer.get_pre_tokenizer(),
        }
    }

    /// Goes on with the word at a place of the source, or behind the next few, which have been given.
    fn go_on(&mut self, at: usize, overlap: usize) {
        (self.at, self.overlap) = (at, overlap);
        self.head.clear();
        self.begun = true;
        self.size = self.size.min(self.piece);
        (self.given, self.carry) = (0, Carry::default());
    }

    /// All that is wanted has been given.
    fn finish(&mut self) {
        (self.at, self.head) = (self.source.len(), String::new());
    }

    /// Appends the ids of whole words; of the first one those that have not been given yet.
    fn give(
        &self,
        words: &[Word<'_>],
        room: usize,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizeError> {
        for (n, word) in words.iter().enumerate() {
            let (from, carry) =
                if n == 0 { (self.given, self.carry) } else { (0, Carry::default()) };
            if !word.text.is_char_boundary(from) {
                let reason = "a word changed while it was read piece by piece".into();
                return Err(TokenizeError::Encode { reason });
            }
            match (&word.added, self.tokenizer.get_model()) {
                (Some(ids), _) => out.extend(ids),
                (None, Vocabulary::Bpe(model)) => {
                    model.finish(word.text, from, out).map_err(failed)?;
                }
                (None, Vocabulary::Unigram(model)) => {
                    model.finish(word.text, from, carry, out).map_err(failed)?;
                }
                (None, Vocabulary::Other(model)) => {
                    let tokens = model.tokenize(word.text).map_err(failed)?;
                    out.extend(tokens.iter().map(|token| token.id));
                }
            }
            if out.len() > room {
                break;
            }
        }
        Ok(())
    }

    /// The last word that is certain to begin where it does, and could begin a text.
    fn seam(&self, piece: &Filled, words: &[Word<'_>]) -> Option<usize> {
        let starts = |n: usize| {
            let word = &words[n];
            let free = match n.checked_sub(1) {
                Some(last) => words[last].end <= word.start,
                None => self.overlap == 0,
            };
            free && word.added.is_none()
                && word.start > self.head.len()
                && self.may_begin(piece, words, n)
        };
        let certain = |n: usize| starts(n) && self.is_certain(&piece.text, words, n);
        (0..words.len()).rev().find(|&n| certain(n) && self.is_placed(piece, &words[n..]))
    }

    /// Whether a word begins where it does whatever follows the piece.
    fn is_certain(&self, text: &str, words: &[Word<'_>], n: usize) -> bool {
        let margin = self.rules.margin;
        // What is summed up is short: margins are, and words in front of the margin end the search.
        let behind = || words[n..].iter().map(|word| word.text.len()).sum::<usize>();
        let long = words.len() - 1 - n >= WORDS_BEHIND || begins_long(text, &words[n]);
        long && text.len() - words[n].start >= margin && behind() >= margin
    }

    /// Whether the words are those that the piece has from where the first of them is said to begin.
    fn is_placed(&self, piece: &Filled, words: &[Word<'_>]) -> bool {
        if !self.rules.misplaces {
            return true;
        }
        let rest = &piece.text[words[0].start..];
        let pre = pre_tokenized(self.tokenizer, self.splitter(true), rest);
        pre.is_ok_and(|pre| {
            of(&pre).iter().map(|word| word.text).eq(words.iter().map(|word| word.text))
        })
    }

    fn may_begin(&self, piece: &Filled, words: &[Word<'_>], n: usize) -> bool {
        let (before, after) = piece.text.split_at(words[n].start);
        let Some(first) = after.chars().next() else { return false };
        let behind_added = self.rules.begins_behind_added()
            && n > 0
            && words[n - 1].added.is_some()
            && words[n - 1].end == words[n].start;
        let begins = behind_added || self.rules.may_begin(first, words[n].text);
        begins && self.is_seam(before, after)
    }

    /// Whether no step but the splitting into words looks across a place of the piece.
    fn is_seam(&self, before: &str, after: &str) -> bool {
        self.rules.is_seam(before, after, self.settled)
    }

    /// Whether most of a piece is this one word.
    fn is_long(&self, piece: &Filled, word: &Word<'_>) -> bool {
        word.start <= AHEAD && word.added.is_none() && word.end > piece.text.len() / 2
    }

    /// For steps that are not known: ids from the start of the text, enough of them or none.
    fn read_from_the_start(
        &mut self,
        piece: &Filled,
        words: &[Word<'_>],
        room: usize,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizeError> {
        let certain = words.len().saturating_sub(UNKNOWN_WORDS_BEHIND);
        let behind = piece.text.len().saturating_sub(UNKNOWN_BYTES_BEHIND);
        let certain = words[..certain].partition_point(|word| word.end <= behind);
        let mut ids = Vec::new();
        self.give(&words[..certain], room, &mut ids)?;
        match ids.len() > room {
            true => {
                *out = ids;
                self.finish();
            }
            false => self.size = self.size.saturating_mul(2),
        }
        Ok(())
    }
}

/// Whether a word shows by itself that it begins where it does: it is long, and if the white space before it could go
/// on in it, it does not.
fn begins_long(piece: &str, word: &Word<'_>) -> bool {
    let start = || word.text.chars().take(LONG_WORD / 4);
    let blank = |c: char| c.is_whitespace() || matches!(c, '\u{2581}' | 'Ġ' | 'Ċ' | 'ĉ' | 'č');
    let before = piece[..word.start].chars().next_back();
    let apart = before.is_none_or(|c| !c.is_whitespace()) || start().any(|c| !blank(c));
    word.text.len() >= LONG_WORD && apart
}

/// The tokenizer's steps up to words.
fn pre_tokenized(
    tokenizer: &Tokenizer,
    splitter: Option<&PreTokenizerWrapper>,
    text: &str,
) -> Result<PreTokenizedString, TokenizeError> {
    let added = tokenizer.get_added_vocabulary();
    let mut pre = added.extract_and_normalize(tokenizer.get_normalizer(), text);
    if let Some(splitter) = splitter {
        splitter.pre_tokenize(&mut pre).map_err(failed)?;
    }
    Ok(pre)
}

fn of(pre: &PreTokenizedString) -> Vec<Word<'_>> {
    let splits = pre.get_splits(OffsetReferential::Original, OffsetType::Byte);
    let words = splits.into_iter().map(|(text, (start, end), tokens)| {
        let added = tokens.as_ref().map(|tokens| tokens.iter().map(|token| token.id).collect());
        Word { text, start, end, added }
    });
    words.collect()
}

/// The words of a short text; nothing where the tokenizer fails on it.
fn words(tokenizer: &Tokenizer, text: &str) -> Option<Vec<String>> {
    let pre = pre_tokenized(tokenizer, tokenizer.get_pre_tokenizer(), text).ok()?;
    Some(of(&pre).into_iter().map(|word| word.text.to_owned()).collect())
}
