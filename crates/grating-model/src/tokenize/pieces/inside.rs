//! Words that are longer than a piece.

use std::cell::RefCell;

use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizer::Range;
use tokenizers::{ModelWrapper, NormalizedString, PreTokenizedString};

use super::{Filled, Reader};
use crate::tokenize::unigram::Carry;
use crate::tokenize::vocabulary::Vocabulary;
use crate::tokenize::{TokenizeError, failed};

/// Bytes of a word that are kept in front of the rest of it: more than the characters before a run.
const HEAD: usize = 16;

/// Seams that are tried from the end of a word.
const SEAMS: usize = 64;

/// The first word of a piece, and what of it is known.
struct Giant<'a, 'r> {
    reader: &'a Reader<'r>,
    piece: &'a str,
    word: &'a NormalizedString,
    /// Where it is certain to go on, in the piece.
    end: usize,
}

/// Where the rest of a word begins.
struct Rest {
    /// In the piece.
    at: usize,
    /// What is kept in front of it, in the piece and in the model's terms.
    head: usize,
    given: usize,
    carry: Carry,
}

impl Reader<'_> {
    /// Appends ids of the first word, which takes most of the piece, and goes on inside it. Says whether it could.
    pub(super) fn read_inside(
        &mut self,
        piece: &Filled,
        mut pre: PreTokenizedString,
        out: &mut Vec<u32>,
    ) -> Result<bool, TokenizeError> {
        // The splits' strings with their alignments are shown to this function only; the first one is wanted.
        let rest = RefCell::new(None);
        let ids = RefCell::new(Vec::new());
        pre.tokenize(|word| {
            if rest.borrow().is_none() {
                let found = self.rest(&piece.text, word, &mut ids.borrow_mut())?;
                *rest.borrow_mut() = Some(found);
            }
            Ok(Vec::new())
        })
        .map_err(failed)?;
        let Some(Some(rest)) = rest.into_inner() else { return Ok(false) };
        out.append(&mut ids.into_inner());
        self.at = piece.in_source(rest.at);
        if self.head.is_empty() {
            self.head = piece.text[..rest.head].to_owned();
        }
        (self.given, self.carry) = (rest.given, rest.carry);
        self.skip_run();
        self.size = self.size.min(self.piece);
        Ok(true)
    }

    /// What is left of the word when the ids that are certain have been given.
    fn rest(
        &self,
        piece: &str,
        word: &NormalizedString,
        out: &mut Vec<u32>,
    ) -> tokenizers::Result<Option<Rest>> {
        let last = word.len_original().min(piece.len().saturating_sub(self.rules.margin));
        let mut giant = Giant { reader: self, piece, word, end: last };
        let seams = (1..last).rev().filter(|&at| self.is_seam_in(piece, at));
        let known = seams.take(SEAMS).find_map(|at| Some((at, giant.model_place(at)?)));
        let Some((end, known)) = known else { return Ok(None) };
        giant.end = end;
        match self.tokenizer.get_model() {
            Vocabulary::Bpe(model) => {
                giant.commit(|may_cut, _| model.commit(word.get(), self.given, known, may_cut, out))
            }
            Vocabulary::Unigram(model) => giant.commit(|may_cut, carry| {
                model.commit(word.get(), self.given, known, carry, may_cut, out)
            }),
            Vocabulary::Other(ModelWrapper::WordPiece(model)) => Ok(giant.shorten(model)),
            Vocabulary::Other(_) => Ok(None),
        }
    }

    fn is_seam_in(&self, piece: &str, at: usize) -> bool {
        let Some((before, after)) = piece.split_at_checked(at) else { return false };
        let pair = before.chars().next_back().zip(after.chars().next());
        pair.is_some_and(|(before, after)| self.rules.is_seam(before, after))
    }
}

impl Giant<'_, '_> {
    /// Lets a model give the ids that are certain: of the word's first bytes, as far as a place that it may be cut at.
    fn commit(
        &self,
        give: impl FnOnce(&dyn Fn(usize) -> bool, &mut Carry) -> tokenizers::Result<Option<usize>>,
    ) -> tokenizers::Result<Option<Rest>> {
        let Some((head, given)) = self.head(HEAD, |_| true) else { return Ok(None) };
        let may_cut = |place: usize| self.piece_place(place).is_some_and(|at| self.joins(head, at));
        let mut carry = self.reader.carry;
        let cut = give(&may_cut, &mut carry)?;
        let at = cut.and_then(|place| self.piece_place(place));
        Ok(at.map(|at| Rest { at, head, given, carry }))
    }

    /// A word that is too long for the model is one unknown token, however long it is: its middle is left out.
    fn shorten(&self, model: &WordPiece) -> Option<Rest> {
        let most = model.max_input_chars_per_word;
        let too_long = |text: &str| text.chars().nth(most + 1).is_some();
        let (head, _) = self.head(HEAD, too_long)?;
        let at = (head + 1..=self.end).rev().find(|&at| self.joins(head, at))?;
        Some(Rest { at, head, given: 0, carry: Carry::default() })
    }

    /// The head as it is, or the least of at least so many bytes that `is_enough` for: its end in the piece and in the
    /// model's terms.
    fn head(&self, least: usize, is_enough: impl Fn(&str) -> bool) -> Option<(usize, usize)> {
        let old = self.reader.head.len();
        let places = if old > 0 { old..=old } else { least..=self.end / 2 };
        let is_seam = |&at: &usize| self.reader.is_seam_in(self.piece, at);
        let place = |at: usize| Some((at, self.model_place(at)?));
        let enough = |&(_, place): &(usize, usize)| is_enough(&self.word.get()[..place]);
        places.filter(is_seam).filter_map(place).find(enough)
    }

    /// Whether the head and what follows a place stand together as they stood apart.
    fn joins(&self, head: usize, at: usize) -> bool {
        let rules = self.reader.rules;
        if at <= head || at > self.end || !self.reader.is_seam_in(self.piece, at) {
            return false;
        }
        let (before, after) = (&self.piece[..head], &self.piece[at..]);
        let pair = before.chars().next_back().zip(after.chars().next());
        pair.is_some_and(|(before, after)| rules.is_seam(before, after))
            && !rules.joins(before, after)
    }

    /// A place of the word in the piece, where what the model gets changes there, too.
    fn piece_place(&self, place: usize) -> Option<usize> {
        if place == 0 || !self.word.get().is_char_boundary(place) {
            return None;
        }
        let at = self.word.convert_offsets(Range::Normalized(place - 1..place))?.end;
        let next = self.word.convert_offsets(Range::Normalized(place..place + 1))?.start;
        (next >= at && self.piece.is_char_boundary(at)).then_some(at)
    }

    /// A place of the piece in the model's terms.
    fn model_place(&self, at: usize) -> Option<usize> {
        let place = self.word.convert_offsets(Range::Original(0..at))?.end;
        (self.piece_place(place) == Some(at)).then_some(place)
    }
}
