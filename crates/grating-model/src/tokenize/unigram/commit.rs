//! The first tokens of a word whose end is not known yet.
//!
//! The best way to a place does not depend on what follows it. Whatever follows, the way to the end passes through one
//! of the places that lie less than the longest piece before the end of what is known; where the best ways to all of
//! these have come together, the pieces are certain. The score so far goes on with the rest of the word, so that sums
//! are rounded as in one go.

use std::ops::Range;

use super::{Step, UNKNOWN_PENALTY, Unigram};

/// Places that are tried from the end of a run of unknown characters.
const PLACES: usize = 64;

/// What the rest of a word begins with.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::tokenize) struct Carry {
    /// The score of the best way so far.
    score: f64,
    /// Whether a run of unknown characters has been given its tokens already, and may go on.
    in_unknown: bool,
}

impl Carry {
    /// Whether what was given last is a run of unknown characters.
    pub(in crate::tokenize) fn is_in_unknown(&self) -> bool {
        self.in_unknown
    }
}

impl Unigram {
    /// Whether more unknown characters add nothing to the one token that a run of them is.
    pub(in crate::tokenize) fn fuses_unknown(&self) -> bool {
        self.unknown.is_some() && !self.byte_fallback
    }

    /// Whether some piece has the character, hidden ones included.
    pub(in crate::tokenize) fn has(&self, character: char) -> bool {
        let place = |character: char| (character as usize / 64, 1 << (character as usize % 64));
        let covered = self.covered.get_or_init(|| {
            let mut covered = vec![0_u64; char::MAX as usize / 64 + 1];
            for (word, bit) in self.pieces.text.chars().map(place) {
                covered[word] |= bit;
            }
            covered.into()
        });
        let (word, bit) = place(character);
        covered[word] & bit != 0
    }

    /// Goes on behind so many more characters of an unknown run. The score is what adding each of them makes it.
    pub(in crate::tokenize) fn pass_unknown(&self, characters: usize, carry: &mut Carry) {
        let each = self.worst_score - UNKNOWN_PENALTY;
        (0..characters).for_each(|_| carry.score += each);
    }

    /// The ids of `word` from byte `from` on, where a piece is known to begin.
    pub(in crate::tokenize) fn finish(
        &self,
        word: &str,
        from: usize,
        carry: Carry,
        out: &mut Vec<u32>,
    ) -> Result<(), tokenizers::Error> {
        let best = self.best(word, from, carry.score)?;
        self.push(&word[from..], &self.way(&best, word.len() - from)?, carry, out);
        Ok(())
    }

    /// Appends the ids of `word[from..end]` that are certain whatever follows, as far as the last piece of them ends at
    /// a place that `may_cut` allows. Returns that place, if there is one.
    pub(in crate::tokenize) fn commit(
        &self,
        word: &str,
        from: usize,
        end: usize,
        carry: &mut Carry,
        may_cut: impl Fn(usize) -> bool,
        out: &mut Vec<u32>,
    ) -> Result<Option<usize>, tokenizers::Error> {
        let known = &word[from..end];
        let best = self.best(&word[..end], from, carry.score)?;
        let way = self.way(&best, self.meeting(&best, known)?)?;
        let cut = |(range, id): &(Range<usize>, u32)| match Some(*id) == self.unknown {
            // A run of unknown characters is one token wherever it is cut.
            true => {
                let places = (range.start + 1..=range.end).rev();
                let places = places.filter(|&at| known.is_char_boundary(at)).take(PLACES);
                let is_open = |at: usize| self.is_open(&known[range.start..at]);
                places.filter(|&at| is_open(at)).find(|&at| may_cut(from + at))
            }
            false => Some(range.end).filter(|&at| may_cut(from + at)),
        };
        let pieces = way.iter().enumerate().rev();
        let Some((last, end)) = pieces.filter_map(|(n, piece)| Some((n, cut(piece)?))).next()
        else {
            return Ok(None);
        };
        let mut way = way[..=last].to_vec();
        way[last].0.end = end;
        self.push(known, &way, *carry, out);
        let in_unknown = Some(way[last].1) == self.unknown;
        *carry = Carry { score: best[end].score, in_unknown };
        Ok(Some(from + end))
    }

    /// The last place through which all ways lead.
    fn meeting(&self, best: &[Step], known: &str) -> Result<usize, tokenizers::Error> {
        let end = known.len();
        let tail =
            (end.saturating_sub(self.longest)..=end).filter(|&at| known.is_char_boundary(at));
        let mut places: Vec<usize> = tail.collect();
        // In order; the last one goes back until it meets another.
        while places.len() > 1 {
            let last = places.pop().expect("there is more than one");
            let start = best[last].start.ok_or("no segmentation reaches the end of a word")?;
            if let Err(at) = places.binary_search(&start) {
                places.insert(at, start);
            }
        }
        Ok(places[0])
    }

    /// Whether a run of unknown characters has the same tokens however it goes on: too long for a piece.
    fn is_open(&self, run: &str) -> bool {
        let bytes = || (0..=255_u8).all(|byte| self.id(&format!("<0x{byte:02X}>")).is_some());
        run.len() > self.longest && (!self.byte_fallback || bytes())
    }

    fn push(&self, text: &str, way: &[(Range<usize>, u32)], carry: Carry, out: &mut Vec<u32>) {
        for (range, id) in way {
            let goes_on = range.start == 0 && carry.in_unknown && Some(*id) == self.unknown;
            match goes_on {
                true => out.extend(self.bytes_of(&text[range.clone()]).unwrap_or_default()),
                false => self.ids_of(&text[range.clone()], *id, out),
            }
        }
    }
}
