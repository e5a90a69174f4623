//! Long runs of characters that add no token to the word that they are in: of a word that is too long for its model, or
//! of characters that the vocabulary lacks.
//!
//! The steps match runs of one class of characters (`rules.rs`), so of a run within a word a part may be missing: it
//! stays one word, with the same characters before and behind. What is left of the run is longer than any step looks.

use tokenizers::ModelWrapper;

use super::per_character::PerCharacter;
use super::{Reader, words};
use crate::tokenize::rules::is_starter;
use crate::tokenize::vocabulary::Vocabulary;

/// Different characters that are looked at in a text; one more ends a run. (Letters and digits of ASCII are looked at
/// together.)
const DIFFERENT: usize = 1 << 14;

/// Characters that are tried from where a run would be taken up again.
const PLACES: usize = 64;

/// Characters that can be in one run, and how many characters the model gets of each; none where one ends the run.
#[derive(Default)]
pub(super) struct Members {
    /// One of them, which tells the kind of word.
    first: Option<char>,
    known: PerCharacter<Option<u8>>,
    /// All that they are, as written and as the model gets them.
    spelt: PerCharacter<()>,
}

/// One run of a text.
struct Run<'a, 'r> {
    reader: &'a Reader<'r>,
    members: Members,
    /// Whether letters and digits of ASCII are members, all of them.
    ascii: bool,
}

impl Reader<'_> {
    /// Goes on near the end of the run at `at`, which is inside a word, where the rest of it adds no token.
    pub(super) fn skip_run(&mut self) {
        let adds_nothing = match self.tokenizer.get_model() {
            Vocabulary::Unigram(model) => self.carry.is_in_unknown() && model.fuses_unknown(),
            Vocabulary::Bpe(model) => model.passes_unknown(),
            Vocabulary::Other(ModelWrapper::WordPiece(_)) => self.given == 0,
            Vocabulary::Other(_) => false,
        };
        // Marks that are sorted are not read as they are written.
        if !adds_nothing || self.marks.moves(self.at) {
            return;
        }
        let Some(first) = self.source.char_at(self.at) else { return };
        let members = std::mem::take(&mut self.members);
        let mut run = Run { reader: self, members, ascii: false };
        let skipped = run.skipped(first);
        self.members = run.members;
        let Some((at, characters)) = skipped.filter(|(at, _)| !self.is_moved(*at)) else { return };
        if let Vocabulary::Unigram(model) = self.tokenizer.get_model() {
            model.pass_unknown(characters, &mut self.carry);
        }
        self.at = at;
    }

    /// Whether a place is among marks that are sorted.
    fn is_moved(&mut self, at: usize) -> bool {
        let Some(form) = self.rules.orders_marks else { return false };
        self.marks.char_at(self.source, at, form, self.rules);
        self.marks.moves(at)
    }

    /// Whether the model makes no more of a word with this character than without it. WordPiece makes one token of any
    /// word that is too long.
    fn lacks(&self, character: char) -> bool {
        match self.tokenizer.get_model() {
            Vocabulary::Unigram(model) => !model.has(character),
            Vocabulary::Bpe(model) => model.lacks(character),
            Vocabulary::Other(_) => true,
        }
    }
}

impl Run<'_, '_> {
    /// Where to go on in the run that begins with `first`, and how many characters the model would get of what is left
    /// out. Nothing where it is short or an added token may be in it.
    fn skipped(&mut self, first: char) -> Option<(usize, usize)> {
        // What is known holds for words of the same kind.
        let other = self.members.first.is_none() || self.member(first).is_none();
        // With many different characters finding them out again each time would take longer than reading them.
        if other && self.members.known.len() >= DIFFERENT {
            return None;
        }
        if other {
            self.members = Members { first: Some(first), ..Members::default() };
        }
        self.ascii = self.have_ascii();
        let (end, _) = self.walk(usize::MAX);
        let rules = self.reader.rules;
        let keep = 2 * rules.margin;
        if end - self.reader.at <= 2 * keep || self.may_be_added() {
            return None;
        }
        let (mut at, mut characters) = self.walk(end - keep);
        for _ in 0..PLACES {
            let (head, after) = (&self.reader.head, self.reader.source.beginning(at, keep));
            if self.reader.is_seam(head, after) && !rules.joins(head, after) {
                return Some((at, characters));
            }
            let character = after.chars().next()?;
            at += character.len_utf8();
            characters += self.member(character)?;
        }
        None
    }

    /// Where the run ends, or a place in it at `limit` or just before, and how many characters the model gets.
    fn walk(&mut self, limit: usize) -> (usize, usize) {
        let source = self.reader.source;
        let (mut at, mut characters) = (self.reader.at, 0);
        while let Some(character) = source.char_at(at).filter(|c| at + c.len_utf8() <= limit) {
            if self.ascii && character.is_ascii_alphanumeric() {
                at += source.alphanumeric(at, limit - at);
                continue;
            }
            let Some(each) = self.member(character) else { break };
            at += character.len_utf8();
            characters += each;
            if source.char_at(at) == Some(character) {
                let bytes = source.repeated(at, character, limit - at);
                at += bytes;
                characters += bytes / character.len_utf8() * each;
            }
        }
        (at, characters)
    }

    /// How many characters the model gets of a member.
    fn member(&mut self, character: char) -> Option<usize> {
        if let Some(each) = self.members.known.get(character) {
            return each.map(usize::from);
        }
        if self.members.known.len() >= DIFFERENT {
            return None;
        }
        let each = self.of(character);
        self.members.known.insert(character, each);
        each.map(usize::from)
    }

    fn of(&mut self, character: char) -> Option<u8> {
        let (reader, first) = (self.reader, self.members.first?);
        let (model, deleted) = (reader.tokenizer.get_model(), reader.rules.deletes(character));
        // Marks may change places with each other: for WordPiece that is the same word.
        let order = reader.rules.orders_marks.filter(|_| matches!(model, Vocabulary::Other(_)));
        let is_mark = order.is_some_and(|form| !is_starter(character, form));
        let alone = deleted || is_mark || reader.rules.is_apart(character);
        if character.is_whitespace() || !alone {
            return None;
        }
        let one = |characters: &[char]| -> Option<String> {
            let text: String = characters.iter().collect();
            let mut words = words(reader.tokenizer, &text)?;
            (words.len() == 1).then(|| words.pop()).flatten()
        };
        let (with, without) = (one(&[first, character, first])?, one(&[first, first])?);
        let spelt = with.trim_start_matches('\u{2581}');
        if spelt.is_empty() || !spelt.chars().all(|c| reader.lacks(c)) {
            return None;
        }
        for part in with.chars().chain([character]) {
            self.members.spelt.insert(part, ());
        }
        let each = with.chars().count().checked_sub(without.chars().count());
        each.filter(|each| deleted || *each > 0).and_then(|each| u8::try_from(each).ok())
    }

    /// Whether letters and digits of ASCII go on in the word, for a model that does not look at them.
    fn have_ascii(&mut self) -> bool {
        matches!(self.reader.tokenizer.get_model(), Vocabulary::Other(_))
            && self.reader.rules.keeps_runs()
            && self.member('a').is_some()
            && self.member('0').is_some()
    }

    /// Whether an added token is made of nothing but members.
    fn may_be_added(&self) -> bool {
        let is_member = |c: char| {
            (self.ascii && c.is_ascii_alphanumeric()) || self.members.spelt.get(c).is_some()
        };
        self.reader.rules.added().any(|token| token.chars().all(is_member))
    }
}
