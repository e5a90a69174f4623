//! The text as pieces see it: a lead and a text as one, without the greater part of long blanks.

/// Blanks in a row that are kept.
const KEPT: usize = 64;

/// Two texts that are read as one, so that neither is copied whole.
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

    fn chars_from(&self, at: usize) -> impl Iterator<Item = char> {
        let lead = self.lead.get(at..).unwrap_or("");
        let text = &self.text[at.saturating_sub(self.lead.len())..];
        lead.chars().chain(text.chars())
    }

    /// The last `keep` bytes of a run of ASCII letters and digits at `at` that is longer than twice that, and where they
    /// begin; otherwise `at` and the run.
    pub(super) fn behind_run(&self, at: usize, keep: usize) -> (usize, &str) {
        let text = at.checked_sub(self.lead.len()).map_or("", |at| &self.text[at..]);
        let run = text.bytes().take_while(u8::is_ascii_alphanumeric).count();
        match run > 2 * keep {
            true => (at + run - keep, &text[run - keep..run]),
            false => (at, &text[..run]),
        }
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
        for character in self.chars_from(at) {
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
            end += character.len_utf8();
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
