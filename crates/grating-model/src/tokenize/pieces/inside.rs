//! Words that are longer than a piece.

use std::cell::{Cell, RefCell};

use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizer::Range;
use tokenizers::{ModelWrapper, NormalizedString, PreTokenizedString};

use super::{Filled, Reader, of, pre_tokenized};
use crate::tokenize::bpe::Bpe;
use crate::tokenize::rules::is_starter;
use crate::tokenize::unigram::Carry;
use crate::tokenize::vocabulary::Vocabulary;
use crate::tokenize::{TokenizeError, failed};

/// Bytes of a word that are kept in front of the rest of it: more than the characters before a run.
const HEAD: usize = 16;

/// Bytes of a word that may have been given already where its rest begins.
const BEHIND: usize = 40;

/// Bytes of a run of unknown characters that are worth leaving out.
const LONG_RUN: usize = 128;

/// Seams that are tried from the end of a word.
const SEAMS: usize = 64;

/// The first word of a piece, and what of it is known.
struct Giant<'a, 'r> {
    reader: &'a Reader<'r>,
    piece: &'a str,
    word: &'a NormalizedString,
    /// Where it begins in the piece.
    start: usize,
    /// Where it is certain to go on, in the piece.
    end: usize,
}

/// Where the rest of a word begins.
struct Rest {
    /// In the piece.
    at: usize,
    /// What is kept in front of it, in the piece.
    head: usize,
    /// What has been given of the two together, and of the rest alone, in the model's terms.
    given: usize,
    behind: usize,
    carry: Carry,
}

impl Reader<'_> {
    /// Appends ids of a word that takes most of the piece, and goes on inside it. Says whether it could. The word is the
    /// one of that number, and begins there in the piece.
    pub(super) fn read_inside(
        &mut self,
        piece: &Filled,
        mut pre: PreTokenizedString,
        (number, start): (usize, usize),
        out: &mut Vec<u32>,
    ) -> Result<bool, TokenizeError> {
        // The splits' strings with their alignments are shown to this function only.
        let rest = RefCell::new(None);
        let ids = RefCell::new(Vec::new());
        let numbers = Cell::new(0);
        pre.tokenize(|word| {
            if numbers.replace(numbers.get() + 1) == number {
                let found = self.rest(&piece.text, word, start, &mut ids.borrow_mut())?;
                *rest.borrow_mut() = Some(found);
            }
            Ok(Vec::new())
        })
        .map_err(failed)?;
        let Some(Some(rest)) = rest.into_inner() else { return Ok(false) };
        out.append(&mut ids.into_inner());
        self.at = piece.in_source(rest.at);
        self.head = piece.text[..rest.head].to_owned();
        (self.given, self.carry) = (rest.given, rest.carry);
        if rest.behind == 0 {
            self.skip_run();
        }
        self.size = self.size.min(self.piece);
        Ok(true)
    }

    /// What is left of the word when the ids that are certain have been given.
    fn rest(
        &self,
        piece: &str,
        word: &NormalizedString,
        start: usize,
        out: &mut Vec<u32>,
    ) -> tokenizers::Result<Option<Rest>> {
        let last = start + word.len_original();
        let last = last.min(piece.len().saturating_sub(self.rules.margin));
        let mut giant = Giant { reader: self, piece, word, start, end: last };
        let seams = (start + 1..last).rev().filter(|&at| self.is_seam_in(piece, at));
        let known = seams.take(SEAMS).find_map(|at| Some((at, giant.model_place(at)?)));
        let Some((end, known)) = known else { return Ok(None) };
        // What is certain may end within what has been given: of a run of marks whose order later ones change.
        if known <= self.given {
            return Ok(None);
        }
        giant.end = end;
        match self.tokenizer.get_model() {
            Vocabulary::Bpe(model) => {
                let give = |may_cut: &dyn Fn(usize) -> bool, _: &mut Carry| {
                    model.commit(word.get(), self.given, known, may_cut, out)
                };
                Ok(giant.commit(give)?.or_else(|| giant.leave_out(model, known)))
            }
            Vocabulary::Unigram(model) => giant.commit(|may_cut, carry| {
                model.commit(word.get(), self.given, known, carry, may_cut, out)
            }),
            Vocabulary::Other(ModelWrapper::WordPiece(model)) => Ok(giant.shorten(model)),
            Vocabulary::Other(_) => Ok(None),
        }
    }

    fn is_seam_in(&self, piece: &str, at: usize) -> bool {
        piece.split_at_checked(at).is_some_and(|(before, after)| self.is_seam(before, after))
    }
}

impl Giant<'_, '_> {
    /// Lets a model give the ids that are certain: of the word's first bytes, as far as a place that it may be cut at.
    fn commit(
        &self,
        give: impl FnOnce(&dyn Fn(usize) -> bool, &mut Carry) -> tokenizers::Result<Option<usize>>,
    ) -> tokenizers::Result<Option<Rest>> {
        let Some((head, given)) = self.head(HEAD, |_| true) else { return Ok(None) };
        let may_cut = |place: usize| self.cut((head, given), place).is_some();
        let mut carry = self.reader.carry;
        let cut = give(&may_cut, &mut carry)?.and_then(|place| self.cut((head, given), place));
        Ok(cut.map(|(at, behind)| Rest { at, head, given: given + behind, behind, carry }))
    }

    /// Where in the piece the rest begins if so much of the word has been given, and how much of that is in the rest: a
    /// token may end within what one character becomes.
    fn cut(&self, head: (usize, usize), place: usize) -> Option<(usize, usize)> {
        let places = (place.saturating_sub(BEHIND).max(head.1 + 1)..=place).rev();
        let mut places = places.filter_map(|before| Some((before, self.piece_place(before)?)));
        let found = places
            .find(|&(before, at)| self.joins(head.0, at) && self.is_placed(head, (at, before)));
        found.map(|(before, at)| (at, place - before))
    }

    /// A word that is too long for the model is one unknown token, however long it is: its middle is left out.
    fn shorten(&self, model: &WordPiece) -> Option<Rest> {
        let most = model.max_input_chars_per_word;
        let too_long = |text: &str| text.chars().nth(most + 1).is_some();
        let (head, _) = self.head(HEAD, too_long)?;
        let at = (head + 1..=self.end).rev().find(|&at| self.joins(head, at))?;
        Some(Rest { at, head, given: 0, behind: 0, carry: Carry::default() })
    }

    /// Unknown characters that are one token, or none, however many they are: most of the run that ends at `known` is left
    /// out, and its beginning kept with what is before it.
    fn leave_out(&self, model: &Bpe, known: usize) -> Option<Rest> {
        let word = &self.word.get()[..known];
        let run = word.rfind(|c| !model.lacks(c)).map_or(0, |at| at + 1);
        let run = (run..known).find(|&at| word.is_char_boundary(at))?.max(self.reader.given);
        if !model.passes_unknown() || known - run < LONG_RUN {
            return None;
        }
        let heads = (run + 1..known).filter_map(|place| self.piece_place(place));
        let mut heads = heads.take(SEAMS).filter(|&at| self.reader.is_seam_in(self.piece, at));
        let head = heads.next()?;
        let places = || (head.max(self.reader.head.len()) + 1..=self.end).rev();
        // Before a run of marks that is not the head's, where the piece ends with one.
        let before_marks = |&at: &usize| {
            let next = self.piece.get(at..).and_then(|rest| rest.chars().next());
            next.is_some_and(|next| !self.is_mark(next))
        };
        let further = places().skip(SEAMS).filter(before_marks).take(SEAMS);
        let at = places().take(SEAMS).chain(further).find(|&at| self.joins(head, at))?;
        let (given, carry) = (self.reader.given, Carry::default());
        Some(Rest { at, head, given, behind: 0, carry })
    }

    /// The head as it is, or the least of at least so many bytes that `is_enough` for: its end in the piece and in the
    /// model's terms.
    fn head(&self, least: usize, is_enough: impl Fn(&str) -> bool) -> Option<(usize, usize)> {
        let old = self.reader.head.len();
        let places = if old > 0 { old..=old } else { self.start + least..=self.end / 2 };
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
        self.is_within_run(head, at)
            && self.reader.is_seam(before, after)
            && !rules.joins(before, after)
    }

    /// Whether marks that would stand behind those of the head belong to the same run. Its base has been composed with
    /// what it is composed with of that run, which stands at the run's beginning ([`marks`](super::marks)), and so in the
    /// head; with the marks of another run it may be composed anew.
    fn is_within_run(&self, head: usize, at: usize) -> bool {
        let goes_on = self.piece[at..].chars().next().is_some_and(|next| self.is_mark(next));
        let of_run = |c: char| self.is_mark(c) || self.reader.rules.deletes_before_marks(c);
        !goes_on || self.piece[head..at].chars().all(of_run)
    }

    /// Whether a character is moved among others when marks are ordered.
    fn is_mark(&self, character: char) -> bool {
        self.reader.rules.orders_marks.is_some_and(|form| !is_starter(character, form))
    }

    /// Whether the head, to so much of the word, and what follows a place are the word less what is between.
    fn is_placed(&self, head: (usize, usize), rest: (usize, usize)) -> bool {
        let reader = self.reader;
        if !reader.rules.misplaces {
            return true;
        }
        let text = [&self.piece[..head.0], &self.piece[rest.0..]].concat();
        let pre = pre_tokenized(reader.tokenizer, reader.splitter(reader.begun), &text);
        let word = [&self.word.get()[..head.1], &self.word.get()[rest.1..]].concat();
        pre.is_ok_and(|pre| of(&pre).get(reader.overlap).is_some_and(|found| found.text == word))
    }

    /// A place of the word in the piece, where what the model gets changes there, too. What the model gets nothing of is
    /// before it: the marks of a composed letter, among others.
    fn piece_place(&self, place: usize) -> Option<usize> {
        let (end, at) = self.gap(place)?;
        // What is replaced by one character is that of its first or of its last, as it happens.
        let mut places = [at, end].into_iter();
        places.find(|&place| end == at || self.reader.is_seam_in(self.piece, place))
    }

    /// A seam of the piece in the model's terms. Among characters that are left out it may be any.
    fn model_place(&self, at: usize) -> Option<usize> {
        let end = at.checked_sub(self.start)?;
        let place = self.word.convert_offsets(Range::Original(0..end))?.end;
        let (end, next) = self.gap(place)?;
        (end..=next).contains(&at).then_some(place)
    }

    /// Where in the piece ends what is before a place of the word, and where what is behind it begins: between them is what
    /// the model gets nothing of.
    fn gap(&self, place: usize) -> Option<(usize, usize)> {
        if place == 0 || !self.word.get().is_char_boundary(place) {
            return None;
        }
        let end = self.word.convert_offsets(Range::Normalized(place - 1..place))?.end;
        let next = self.word.convert_offsets(Range::Normalized(place..place + 1))?.start;
        (end <= next).then_some((self.start + end, self.start + next))
    }
}
