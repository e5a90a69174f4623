//! The text as pieces see it: a lead and a text as one, without the greater part of long blanks.

/// Blanks in a row that are kept.
const KEPT: usize = 64;

/// Two texts that are read as one, so that neither is copied whole.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) lead: &'a str,
    pub(super) text: &'a str,
}

/// A piece of a source.
pub(super) struct Filled {
    /// The head and what follows it.
    pub(super) text: String,
    /// Where it ends in the source.
    pub(super) end: usize,
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

/// What has been found out about characters: whether a long run of them is the same as a longer one.
#[derive(Default)]
pub(super) struct Blanks {
    known: Vec<(char, bool)>,
}

/// A run of blanks that is being read.
#[derive(Default)]
struct Run {
    length: usize,
    /// The different ones of those that were kept.
    kept: Vec<char>,
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
    /// some are left out if `is_blank` says that they tell nothing.
    pub(super) fn fill(
        &self,
        at: usize,
        size: usize,
        head: &str,
        mut blanks: Option<&mut Blanks>,
        is_blank: impl Fn(char) -> bool,
    ) -> Filled {
        let limit = head.len().saturating_add(size);
        let mut text = String::with_capacity(limit.min(head.len() + self.len() - at));
        text.push_str(head);
        let mut stretches = vec![(head.len(), at)];
        let (mut end, mut run, mut gap) = (at, Run::default(), false);
        while let Some(character) = self.char_at(end) {
            let dropped = match (&mut blanks, may_be_blank(character)) {
                (Some(blanks), true) => run.drops(character, |c| blanks.has(c, &is_blank)),
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
            end += match dropped {
                true => self.repeated(end, character, usize::MAX),
                false => character.len_utf8(),
            };
        }
        Filled { text, end, stretches }
    }
}

impl Run {
    /// Whether the run is the same without this character: it is long, has the character, and needs it once only.
    fn drops(&mut self, character: char, is_blank: impl FnOnce(char) -> bool) -> bool {
        let has = self.kept.contains(&character);
        self.length += 1;
        if has && self.length > KEPT && is_blank(character) {
            return true;
        }
        if !has && self.kept.len() < KEPT {
            self.kept.push(character);
        }
        false
    }
}

impl Blanks {
    fn has(&mut self, character: char, is_blank: impl Fn(char) -> bool) -> bool {
        if let Some((_, blank)) = self.known.iter().find(|(known, _)| *known == character) {
            return *blank;
        }
        let blank = is_blank(character);
        self.known.push((character, blank));
        blank
    }
}

/// Characters that some tokenizers leave out or take together: white space, controls, formats, combining marks.
fn may_be_blank(character: char) -> bool {
    let code = character as u32;
    let other = matches!(code, 0xAD | 0x300..=0x36F | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x206F
        | 0xFE00..=0xFE0F | 0xFE20..=0xFE2F | 0xFEFF | 0xFFF9..=0xFFFD | 0xE000..=0xF8FF);
    character.is_whitespace() || character.is_control() || other
}

/// Whether a long run of a character gives the same words as one that is longer by one, wherever it stands.
pub(super) fn is_blank(character: char, words: impl Fn(&str) -> Option<Vec<String>>) -> bool {
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
        let fill = |at, size| source.fill(at, size, "H", None, |_| false);
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
        let piece = source.fill(0, 200, "", Some(&mut Blanks::default()), |c| c != '-');
        let expected = ["ab", &" ".repeat(64), "\ncd", &"-".repeat(100)].concat();
        assert_eq!(piece.text, expected);
        assert_eq!(piece.end, text.len());
        for part in ["ab", "\n", "cd", "d-"] {
            let at = piece.in_source(piece.text.find(part).unwrap());
            assert_eq!(at, text.find(part).unwrap(), "{part:?}");
        }
        let whole = source.fill(0, 9999, "", Some(&mut Blanks::default()), |_| false);
        assert_eq!(whole.text, text);
    }
}
