//! The text as pieces see it: a lead and a text as one, without the greater part of long blanks.

use super::marks::Marks;
use super::per_character::PerCharacter;
use crate::tokenize::rules::{Form, Rules, is_simple};

/// Blanks in a row that are kept.
const KEPT: usize = 64;

/// Two texts that are read as one, so that neither is copied whole.
#[derive(Clone, Copy)]
pub(in crate::tokenize) struct Source<'a> {
    pub(in crate::tokenize) lead: &'a str,
    pub(in crate::tokenize) text: &'a str,
}

/// A piece of a source.
pub(super) struct Filled {
    /// The head and what follows it.
    pub(super) text: String,
    /// Where it ends in the source.
    pub(super) end: usize,
    /// Whether long runs of marks are in their final order.
    pub(super) settled: bool,
    /// Where stretches without gaps begin, in `text` and in the source.
    stretches: Vec<(usize, usize)>,
}

impl Filled {
    /// A place behind the head, in the source.
    pub(super) fn in_source(&self, at: usize) -> usize {
        let next = self.stretches.partition_point(|(start, _)| *start <= at);
        let (start, source) = self.stretches[next.saturating_sub(1)];
        source + (at - start)
    }
}

/// What adding a character to a long run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blank {
    /// Something.
    No,
    /// Nothing, if the run has it already.
    Again,
    /// Nothing: no step leaves anything of it.
    Deleted,
}

/// What has been found out about characters.
pub(super) type Blanks = PerCharacter<Blank>;

/// A run of what may be blanks, as it is being read.
#[derive(Default)]
struct Run {
    /// Characters up to here; after some they are looked at.
    length: usize,
    /// Blanks in a row, up to here, of those that were looked at, and the different ones.
    blanks: usize,
    kept: Vec<char>,
    /// Characters in a row, up to here, that are deleted.
    deleted: usize,
}

impl Source<'_> {
    pub(super) fn len(&self) -> usize {
        self.lead.len() + self.text.len()
    }

    /// What of the lead or of the text follows a place.
    fn rest(&self, at: usize) -> &str {
        match at.checked_sub(self.lead.len()) {
            Some(at) => &self.text[at..],
            None => &self.lead[at..],
        }
    }

    /// `bytes` at `at`, or a little less.
    pub(super) fn beginning(&self, at: usize, bytes: usize) -> &str {
        let rest = self.rest(at);
        let end = (0..=bytes.min(rest.len())).rev().find(|&end| rest.is_char_boundary(end));
        &rest[..end.unwrap_or(0)]
    }

    pub(super) fn char_at(&self, at: usize) -> Option<char> {
        self.rest(at).chars().next()
    }

    /// The characters from a place on.
    pub(super) fn chars_at(&self, at: usize) -> impl Iterator<Item = char> {
        let (lead, text) = self.halves(at);
        lead.1.chars().chain(text.1.chars())
    }

    /// The characters before a place, the nearest first.
    pub(super) fn before(&self, at: usize) -> impl Iterator<Item = char> {
        let (lead, text) = self.halves(at);
        text.0.chars().rev().chain(lead.0.chars().rev())
    }

    /// Lead and text, each cut at a place.
    fn halves(&self, at: usize) -> ((&str, &str), (&str, &str)) {
        let in_lead = at.min(self.lead.len());
        (self.lead.split_at(in_lead), self.text.split_at(at - in_lead))
    }

    /// Bytes of a run of one character at `at`, at most `most`. Of a run across lead and text the part in the lead.
    pub(super) fn repeated(&self, at: usize, character: char, most: usize) -> usize {
        /// Characters that are compared at a time.
        const BLOCK: usize = 256;
        let mut buffer = [0; 4];
        let one = &*character.encode_utf8(&mut buffer);
        let rest = self.rest(at).as_bytes();
        let rest = &rest[..rest.len().min(most)];
        let blocks = one.repeat(BLOCK);
        let whole = rest.chunks_exact(blocks.len()).take_while(|c| *c == blocks.as_bytes()).count();
        let tail = &rest[whole * blocks.len()..];
        let ones = tail.chunks_exact(one.len()).take_while(|c| *c == one.as_bytes()).count();
        whole * blocks.len() + ones * one.len()
    }

    /// Bytes of a run of ASCII letters and digits at `at`, at most `most`. Of a run across lead and text the part in the
    /// lead.
    pub(super) fn alphanumeric(&self, at: usize, most: usize) -> usize {
        let rest = self.rest(at).as_bytes();
        rest.iter().take(most).take_while(|byte| byte.is_ascii_alphanumeric()).count()
    }

    /// `head`, and `size` bytes of the source from `at` on, or a little more. With `blanks`, blanks in a row beyond
    /// some are left out if `blank` says that they tell nothing.
    pub(super) fn fill(
        &self,
        at: usize,
        size: usize,
        head: &str,
        mut blanks: Option<&mut Blanks>,
        blank: impl Fn(char) -> Blank,
        marks: Option<(&mut Marks, Form, &Rules)>,
    ) -> Filled {
        let limit = head.len().saturating_add(size);
        let mut text = String::with_capacity(limit.min(head.len() + self.len() - at));
        text.push_str(head);
        let mut stretches = vec![(head.len(), at)];
        let (mut end, mut run, mut gap) = (at, Run::default(), false);
        let (mut settled, mut marks) = (marks.is_some(), marks);
        if let Some((marks, ..)) = &mut marks {
            marks.begin(at);
        }
        loop {
            let character = match &mut marks {
                Some((marks, form, rules)) => marks.char_at(*self, end, *form, rules),
                None => self.char_at(end),
            };
            let Some(character) = character else { break };
            settled &= marks.as_ref().is_some_and(|(marks, ..)| marks.is_settled(end));
            let dropped = match (&mut blanks, may_be_blank(character) || !is_simple(character)) {
                (Some(blanks), true) => run.drops(character, blanks, &blank),
                _ => {
                    run = Run::default();
                    false
                }
            };
            if !dropped {
                if text.len() >= limit {
                    break;
                }
                if gap {
                    stretches.push((text.len(), end));
                }
                text.push(character);
            }
            gap = dropped;
            // What is left out once is left out each time that it follows itself.
            let moves = marks.as_ref().is_some_and(|(marks, ..)| marks.moves(end));
            let next = end + character.len_utf8();
            end = match dropped && !moves && self.char_at(next) == Some(character) {
                true => end + self.repeated(end, character, usize::MAX),
                false => next,
            };
        }
        Filled { text, end, stretches, settled }
    }
}

impl Run {
    /// Whether the run is the same without this character: it is long, and has the character or one that is deleted, too.
    fn drops(
        &mut self,
        character: char,
        blanks: &mut Blanks,
        blank: impl FnOnce(char) -> Blank,
    ) -> bool {
        self.length += 1;
        if self.length <= KEPT {
            return false;
        }
        let kind = blanks.get(character).unwrap_or_else(|| {
            let kind = blank(character);
            blanks.insert(character, kind);
            kind
        });
        // One that is deleted keeps what is beside it apart as long as added tokens are looked for.
        self.deleted = if kind == Blank::Deleted { self.deleted + 1 } else { 0 };
        if kind == Blank::No {
            self.blanks = 0;
            self.kept.clear();
            return false;
        }
        let has = self.kept.contains(&character);
        if !has && self.kept.len() < KEPT {
            self.kept.push(character);
        }
        self.blanks += 1;
        self.deleted > 1 || (has && self.blanks > KEPT)
    }
}

/// What adding a character to a long run of a text does. `words` gives those of a short text.
pub(super) fn blank(
    character: char,
    rules: &Rules,
    words: impl Fn(&str) -> Option<Vec<String>>,
) -> Blank {
    match () {
        () if rules.deletes(character) => Blank::Deleted,
        () if may_be_blank(character) && is_blank(character, words) => Blank::Again,
        () => Blank::No,
    }
}

/// Characters that some tokenizers take together: white space, controls, formats, combining marks.
fn may_be_blank(character: char) -> bool {
    let code = character as u32;
    let other = matches!(code, 0xAD | 0x300..=0x36F | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x206F
        | 0xFE00..=0xFE0F | 0xFE20..=0xFE2F | 0xFEFF | 0xFFF9..=0xFFFD | 0xE000..=0xF8FF);
    character.is_whitespace() || character.is_control() || other
}

/// Whether a long run of a character gives the same words as one that is longer by one, wherever it stands.
fn is_blank(character: char, words: impl Fn(&str) -> Option<Vec<String>>) -> bool {
    let run = |length: usize| character.to_string().repeat(length);
    let same = |(before, after): (&str, &str)| {
        let of = |length: usize| words(&[before, &run(length), after].concat());
        let kept = of(KEPT);
        kept.is_some() && kept == of(KEPT + 1) && kept == of(2 * KEPT)
    };
    [("a", "b"), ("a", ""), ("", "b"), (".", "."), ("a ", " b")].into_iter().all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lead_and_a_text_are_read_as_one() {
        let source = Source { lead: "añb", text: "cdef" };
        let fill = |at, size| source.fill(at, size, "H", None, |_| Blank::No, None);
        assert_eq!(fill(0, 5).text, "Hañbc");
        assert_eq!((fill(1, 3).text.as_str(), fill(1, 3).end), ("Hñb", 4));
        assert_eq!((fill(5, 9).text.as_str(), fill(5, 9).end), ("Hdef", 8));
        assert_eq!(fill(3, 3).in_source(2), 4);
    }

    #[test]
    fn long_blanks_are_left_out_and_places_stay_right() {
        let text =
            ["ab", &" ".repeat(1000), "\n", &" \n".repeat(500), "cd", &"-".repeat(100)].concat();
        let source = Source { lead: "", text: &text };
        let piece = source.fill(
            0,
            300,
            "",
            Some(&mut Blanks::default()),
            |c| match c {
                '-' => Blank::No,
                _ => Blank::Again,
            },
            None,
        );
        let expected = ["ab", &" ".repeat(2 * KEPT), "\ncd", &"-".repeat(100)].concat();
        assert_eq!(piece.text, expected);
        assert_eq!(piece.end, text.len());
        for part in ["ab", "\n", "cd", "d-"] {
            let at = piece.in_source(piece.text.find(part).unwrap());
            assert_eq!(at, text.find(part).unwrap(), "{part:?}");
        }
        let whole = source.fill(0, 9999, "", Some(&mut Blanks::default()), |_| Blank::No, None);
        assert_eq!(whole.text, text);
    }
}
