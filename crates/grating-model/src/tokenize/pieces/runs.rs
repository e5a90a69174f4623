//! Long runs of characters that add no token to the word that they are in: of a word that is too long for its model, or
//! of characters that no piece covers.
//!
//! The steps match runs of one class of characters (`rules.rs`), so of a run within a word a part may be missing: it
//! stays one word, with the same characters before and behind. What is left of the run is longer than any step looks.

use tokenizers::ModelWrapper;

use super::{Reader, words};
use crate::tokenize::unigram::Unigram;
use crate::tokenize::vocabulary::Vocabulary;

/// Different characters of a run; one more ends it. (Letters and digits of ASCII are looked at together.)
const DIFFERENT: usize = 16;

/// The characters of one run, by the first of them.
struct Members<'a, 'r> {
    reader: &'a Reader<'r>,
    /// The vocabulary, where it must not cover them.
    unigram: Option<&'a Unigram>,
    first: char,
    /// What has been found out: how many characters the model gets of each, none where it ends the run.
    known: Vec<(char, Option<usize>)>,
    /// All that stand in the run, as written and as the model gets them.
    spelt: String,
    /// Whether letters and digits of ASCII are members, all of them.
    ascii: bool,
}

impl Reader<'_> {
    /// Goes on near the end of the run at `at`, which is inside a word, where the rest of it adds no token.
    pub(super) fn skip_run(&mut self) {
        let (tokenizer, rules) = (self.tokenizer, self.rules);
        let unigram = match tokenizer.get_model() {
            Vocabulary::Unigram(model) if self.carry.is_in_unknown() && model.fuses_unknown() => {
                Some(model)
            }
            Vocabulary::Other(ModelWrapper::WordPiece(_)) if self.given == 0 => None,
            _ => return,
        };
        let Some(first) = self.source.char_at(self.at) else { return };
        let (known, spelt) = (Vec::new(), String::new());
        let mut members = Members { reader: self, unigram, first, known, spelt, ascii: false };
        members.ascii = members.have_ascii();
        let (end, _) = members.walk(usize::MAX);
        let keep = rules.margin;
        if end - self.at <= 2 * keep || members.may_be_added() {
            return;
        }
        let (at, characters) = members.walk(end - keep);
        let pair = self.head.chars().next_back().zip(self.source.char_at(at));
        let apart = pair.is_some_and(|(before, after)| rules.is_seam(before, after));
        let (head, after) = (self.head.as_str(), self.source.beginning(at, keep));
        if !apart || rules.joins(head, after) {
            return;
        }
        if let Some(model) = unigram {
            model.pass_unknown(characters, &mut self.carry);
        }
        self.at = at;
    }
}

impl Members<'_, '_> {
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
            let bytes = source.repeated(at, character, limit - at);
            at += bytes;
            characters += bytes / character.len_utf8() * each;
        }
        (at, characters)
    }

    /// How many characters the model gets of a member.
    fn member(&mut self, character: char) -> Option<usize> {
        if let Some((_, each)) = self.known.iter().find(|(known, _)| *known == character) {
            return *each;
        }
        let each = (self.known.len() < DIFFERENT).then(|| self.of(character)).flatten();
        self.known.push((character, each));
        each
    }

    fn of(&mut self, character: char) -> Option<usize> {
        let Members { reader, first, .. } = *self;
        let pairs = [(first, character), (character, first), (character, character)];
        if character.is_whitespace() || !pairs.iter().all(|(a, b)| reader.rules.is_seam(*a, *b)) {
            return None;
        }
        let one = |characters: &[char]| -> Option<String> {
            let text: String = characters.iter().collect();
            let mut words = words(reader.tokenizer, &text)?;
            (words.len() == 1).then(|| words.pop()).flatten()
        };
        let (with, without) = (one(&[first, character, first])?, one(&[first, first])?);
        let spelt = with.trim_start_matches('\u{2581}');
        if self.unigram.is_some_and(|model| spelt.chars().any(|c| model.has(c))) {
            return None;
        }
        self.spelt.push(character);
        self.spelt.push_str(&with);
        let each = with.chars().count().checked_sub(without.chars().count());
        each.filter(|each| *each > 0)
    }

    /// Whether letters and digits of ASCII go on in the word, for a model that does not look at them.
    fn have_ascii(&mut self) -> bool {
        self.unigram.is_none()
            && self.reader.rules.keeps_runs()
            && self.member('a').is_some()
            && self.member('0').is_some()
    }

    /// Whether an added token is made of nothing but members.
    fn may_be_added(&self) -> bool {
        let is_member =
            |c: char| (self.ascii && c.is_ascii_alphanumeric()) || self.spelt.contains(c);
        self.reader.rules.added().any(|token| token.chars().all(is_member))
    }
}
