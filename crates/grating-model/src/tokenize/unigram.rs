//! Unigram models (SentencePiece, as in XLM-RoBERTa) in a few bytes a piece.
//!
//! `tokenizers` keeps such a vocabulary in a trie of hash maps: half a gigabyte for 250,000 pieces, more than the
//! layers that GRATING holds of the model itself. Here pieces lie in one buffer and are found through a sorted index,
//! and the best segmentation is the same: same scores, same order of comparisons.

mod commit;

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use tokenizers::Token;

pub(super) use self::commit::Carry;
use super::TokenizeError;

/// Added to the worst score for a character that no piece covers, as SentencePiece does.
const UNKNOWN_PENALTY: f64 = 10.0;

/// A vocabulary with scores.
#[derive(Clone, Deserialize)]
#[serde(from = "File")]
pub(crate) struct Unigram {
    pieces: Pieces,
    /// Ids in the order of their pieces' bytes; of equal pieces the last id, as in a map that is filled in order.
    sorted: Vec<u32>,
    /// Where in `sorted` the pieces with each first byte begin, and the end.
    first_byte: Vec<u32>,
    worst_score: f64,
    /// Bytes of the longest piece.
    longest: usize,
    unknown: Option<u32>,
    byte_fallback: bool,
    /// Which characters some piece has, a bit each by code point; made when it is first asked for.
    covered: OnceLock<Box<[u64]>>,
}

/// The model's part of `tokenizer.json`.
#[derive(Deserialize)]
struct File {
    vocab: Pieces,
    #[serde(default)]
    unk_id: Option<u32>,
    #[serde(default)]
    byte_fallback: bool,
}

/// Pieces and scores by id.
#[derive(Clone, Default)]
struct Pieces {
    text: String,
    /// Where each piece ends in `text`.
    ends: Vec<u32>,
    scores: Vec<f64>,
}

/// The best way to reach a place in a word.
#[derive(Clone, Copy)]
struct Step {
    id: u32,
    score: f64,
    /// Where its last piece starts; nothing where no way leads here yet.
    start: Option<usize>,
}

impl From<File> for Unigram {
    fn from(file: File) -> Self {
        let File { vocab: pieces, unk_id: unknown, byte_fallback } = file;
        let mut sorted: Vec<u32> = (0..pieces.ends.len() as u32).collect();
        sorted.sort_unstable_by_key(|&id| (pieces.get(id), id));
        // Of equal pieces the last one stays.
        let mut kept: Vec<u32> = Vec::with_capacity(sorted.len());
        for id in sorted {
            match kept.last_mut().filter(|last| pieces.get(**last) == pieces.get(id)) {
                Some(last) => *last = id,
                None => kept.push(id),
            }
        }
        let worst_score = pieces.scores.iter().copied().fold(f64::INFINITY, f64::min);
        let longest = kept.iter().map(|&id| pieces.get(id).len()).max().unwrap_or(0);
        let (sorted, first_byte) = (kept, Vec::new());
        let covered = OnceLock::new();
        let mut model = Unigram {
            pieces,
            sorted,
            first_byte,
            worst_score,
            longest,
            unknown,
            byte_fallback,
            covered,
        };
        model.index();
        model
    }
}

impl Unigram {
    fn index(&mut self) {
        let first = |&id: &u32| self.pieces.get(id).as_bytes().first().copied();
        // An empty piece covers nothing and is never found; it sorts first.
        let place = |byte: u32| {
            self.sorted.partition_point(|id| first(id).is_none_or(|b| u32::from(b) < byte))
        };
        self.first_byte = (0..=256).map(|byte| place(byte) as u32).collect();
    }

    /// Takes pieces out of the text's reach; ids and scores stay.
    pub(super) fn hide(&mut self, is_hidden: impl Fn(&str) -> bool) {
        let pieces = &self.pieces;
        self.sorted.retain(|&id| !is_hidden(pieces.get(id)));
        self.index();
    }

    /// The piece of characters that no other covers.
    pub(super) fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    /// Sets that piece, and whether its bytes are tokens instead.
    ///
    /// # Errors
    /// [`TokenizeError::TokenizerJson`] where there is no such piece.
    pub(super) fn set_unknown(
        &mut self,
        unknown: u32,
        byte_fallback: bool,
    ) -> Result<(), TokenizeError> {
        if unknown as usize >= self.len() {
            let reason =
                format!("its vocabulary has {} pieces and none for unknown text", self.len());
            return Err(TokenizeError::TokenizerJson { reason });
        }
        (self.unknown, self.byte_fallback) = (Some(unknown), byte_fallback);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.pieces.ends.len()
    }

    pub(super) fn id(&self, piece: &str) -> Option<u32> {
        let found = self.sorted.binary_search_by(|&id| self.pieces.get(id).cmp(piece));
        found.ok().map(|at| self.sorted[at])
    }

    pub(super) fn piece(&self, id: u32) -> Option<&str> {
        ((id as usize) < self.len()).then(|| self.pieces.get(id))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.sorted.iter().map(|&id| (self.pieces.get(id), id))
    }

    /// The pieces that `text` begins with, shortest first.
    fn prefixes(&self, text: &[u8], mut each: impl FnMut(usize, u32)) {
        let Some(&first) = text.first() else { return };
        let first = usize::from(first);
        let mut low = self.first_byte[first] as usize;
        let mut high = self.first_byte[first + 1] as usize;
        for length in 1..=text.len() {
            // Within low..high all pieces begin with text[..length]; one that is just that comes first.
            let byte = |at: usize| self.pieces.get(self.sorted[at]).as_bytes().get(length).copied();
            if low == high {
                return;
            }
            if self.pieces.get(self.sorted[low]).len() == length {
                each(length, self.sorted[low]);
                low += 1;
            }
            let Some(&next) = text.get(length) else { return };
            let range = &self.sorted[low..high];
            let below = |limit: Option<u8>| {
                range.partition_point(|&id| {
                    self.pieces.get(id).as_bytes().get(length).copied() < limit
                })
            };
            if range.len() == 1 {
                // Common at the end of a long piece; saves the searches.
                if byte(low) != Some(next) {
                    return;
                }
                continue;
            }
            let start = below(Some(next));
            let end = match next.checked_add(1) {
                Some(after) => below(Some(after)),
                None => range.len(),
            };
            (low, high) = (low + start, low + end);
        }
    }

    /// The best ways to all places of `word[from..]`, by the bytes since `from`, where the best way has `score`.
    fn best(&self, word: &str, from: usize, score: f64) -> Result<Vec<Step>, tokenizers::Error> {
        let word = &word[from..];
        let mut best = vec![Step { id: 0, score: 0.0, start: None }; word.len() + 1];
        best[0].score = score;
        let reach = |best: &mut [Step], start: usize, end: usize, id: u32, score: f64| {
            let (score, there) = (score + best[start].score, &mut best[end]);
            if there.start.is_none() || score > there.score {
                *there = Step { id, score, start: Some(start) };
            }
        };
        for (start, character) in word.char_indices() {
            let mut covered = false;
            self.prefixes(&word.as_bytes()[start..], |length, id| {
                covered |= length == character.len_utf8();
                reach(&mut best, start, start + length, id, self.pieces.scores[id as usize]);
            });
            if !covered {
                let id = self.unknown.ok_or("a character is unknown, and there is no unk_id")?;
                let score = self.worst_score - UNKNOWN_PENALTY;
                reach(&mut best, start, start + character.len_utf8(), id, score);
            }
        }
        Ok(best)
    }

    /// The pieces on the best way to `end`, runs of unknown characters as one.
    fn way(
        &self,
        best: &[Step],
        mut end: usize,
    ) -> Result<Vec<(std::ops::Range<usize>, u32)>, tokenizers::Error> {
        let mut found: Vec<(std::ops::Range<usize>, u32)> = Vec::new();
        while end > 0 {
            let Step { id, start, .. } = best[end];
            let start = start.ok_or("no segmentation reaches the end of a word")?;
            match found.last_mut().filter(|(_, last)| *last == id && Some(id) == self.unknown) {
                Some((range, _)) => range.start = start,
                None => found.push((start..end, id)),
            }
            end = start;
        }
        found.reverse();
        Ok(found)
    }

    /// A word's tokens.
    pub(super) fn tokenize(&self, word: &str) -> Result<Vec<Token>, tokenizers::Error> {
        let best = self.best(word, 0, 0.0)?;
        let mut tokens = Vec::new();
        for (range, id) in self.way(&best, word.len())? {
            let (text, offsets) = (&word[range.clone()], (range.start, range.end));
            let mut ids = Vec::new();
            self.ids_of(text, id, &mut ids);
            let byte_or = |of: u32| match of == id {
                true => text.to_owned(),
                false => self.pieces.get(of).to_owned(),
            };
            tokens.extend(ids.into_iter().map(|of| Token::new(of, byte_or(of), offsets)));
        }
        Ok(tokens)
    }

    /// The ids of a piece; of what no piece covers, a piece after all when the run of it is one, bytes where the model
    /// has them.
    fn ids_of(&self, text: &str, id: u32, out: &mut Vec<u32>) {
        if Some(id) != self.unknown {
            return out.push(id);
        }
        match self.id(text) {
            Some(piece) => out.push(piece),
            None => match self.bytes_of(text) {
                Some(bytes) => out.extend(bytes),
                None => out.push(id),
            },
        }
    }

    /// The pieces of a text's bytes, where the model has them.
    fn bytes_of(&self, text: &str) -> Option<Vec<u32>> {
        let byte = |byte: u8| self.id(&format!("<0x{byte:02X}>"));
        self.byte_fallback.then(|| text.bytes().map(byte).collect())?
    }
}

impl fmt::Debug for Unigram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unigram").field("pieces", &self.len()).finish_non_exhaustive()
    }
}

impl Pieces {
    fn get(&self, id: u32) -> &str {
        let id = id as usize;
        let start = if id == 0 { 0 } else { self.ends[id - 1] as usize };
        &self.text[start..self.ends[id] as usize]
    }
}

/// Reads pieces one by one: the list is never in memory as such.
impl<'de> Deserialize<'de> for Pieces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(PiecesVisitor)
    }
}

struct PiecesVisitor;

impl<'de> Visitor<'de> for PiecesVisitor {
    type Value = Pieces;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of pieces with their scores")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Pieces, A::Error> {
        #[derive(Deserialize)]
        struct Piece<'a>(#[serde(borrow)] Cow<'a, str>, f64);

        let mut pieces = Pieces::default();
        while let Some(Piece(text, score)) = list.next_element()? {
            pieces.text.push_str(&text);
            let end = u32::try_from(pieces.text.len());
            pieces.ends.push(end.map_err(|_| serde::de::Error::custom("over 4 GB of pieces"))?);
            pieces.scores.push(score);
        }
        Ok(pieces)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokenizers::Model;
    use tokenizers::models::unigram::Unigram as Reference;

    use super::*;

    /// The same model twice, `tokenizers`' own and ours.
    fn both(vocab: &[(String, f64)], unk: Option<usize>, bytes: bool) -> (Reference, Unigram) {
        let json = serde_json::json!({"vocab": vocab, "unk_id": unk, "byte_fallback": bytes});
        let ours = serde_json::from_str(&json.to_string()).unwrap();
        (Reference::from(vocab.to_vec(), unk, bytes).unwrap(), ours)
    }

    fn pieces() -> impl Strategy<Value = Vec<(String, f64)>> {
        let piece = prop_oneof![
            8 => "[abc東é]{1,4}",
            1 => (0..256_u32).prop_map(|byte| format!("<0x{byte:02X}>")),
            1 => Just("<unk>".to_owned()),
        ];
        // Few different scores, so that ties are met.
        let score = (0..12).prop_map(|n| -f64::from(n) * 0.75);
        prop::collection::vec((piece, score), 1..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        #[test]
        fn segments_as_the_reference_does(
            mut vocab in pieces(),
            word in "[abcx東京é🙂]{0,24}",
            bytes: bool,
        ) {
            vocab.insert(0, ("<unk>".into(), 0.0));
            let (reference, ours) = both(&vocab, Some(0), bytes);
            prop_assert_eq!(reference.tokenize(&word).unwrap(), ours.tokenize(&word).unwrap());
            for (piece, _) in &vocab {
                prop_assert_eq!(reference.token_to_id(piece), ours.id(piece));
            }
        }
    }

    #[test]
    fn without_an_unknown_piece_a_strange_character_is_an_error() {
        let (reference, ours) = both(&[("a".into(), 0.0)], None, false);
        assert!(reference.tokenize("ab").is_err() && ours.tokenize("ab").is_err());
        assert_eq!(reference.tokenize("aa").unwrap(), ours.tokenize("aa").unwrap());
    }

    #[test]
    fn a_hidden_piece_is_not_found_in_text_and_keeps_its_id() {
        let vocab =
            [("<unk>", 0.0), ("</s>", 0.0), ("<", -1.0), ("/", -1.0), ("s", -1.0), (">", -1.0)];
        let vocab = vocab.map(|(piece, score)| (piece.to_owned(), score));
        let (_, mut ours) = both(&vocab, Some(0), false);
        let ids = |model: &Unigram| -> Vec<u32> {
            model.tokenize("</s>").unwrap().iter().map(|token| token.id).collect()
        };
        assert_eq!(ids(&ours), [1]);
        ours.hide(|piece| piece == "</s>");
        assert_eq!(ids(&ours), [2, 3, 4, 5]);
        assert_eq!((ours.piece(1), ours.len()), (Some("</s>"), 6));
    }
}
