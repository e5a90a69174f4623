//! Equal texts are computed once: from the texts of a request to the distinct ones and back.

use std::hash::{BuildHasher, RandomState};

use crate::error::Error;
use crate::texts::IndexedTexts;

/// Most texts of a request: their places are 32-bit numbers.
pub(crate) const MAX_TEXTS: usize = u32::MAX as usize - 1;

/// Where the texts of a request are among the distinct ones.
#[derive(Debug, PartialEq)]
pub(crate) struct DistinctMap {
    /// For each text of the request, its place among the distinct ones.
    pub(crate) of: Vec<u32>,
    /// The texts of the request by their place, those of a place in the order given.
    texts_of: Vec<u32>,
    /// Where in `texts_of` those of each place begin, and the end of the last.
    starts: Vec<u32>,
}

/// Texts without their repetitions, at most [`MAX_TEXTS`]: the index of the first of each, in order, and where each text
/// is among them. Where `equal` is not wanted, all are taken for different.
///
/// # Errors
/// Those of `reserve`, which is told of so many bytes for so many distinct texts before they are taken.
pub(crate) fn distinct<E>(
    texts: &dyn IndexedTexts,
    equal: bool,
    reserve: impl Fn(usize, usize) -> Result<(), E>,
) -> Result<(Vec<u32>, DistinctMap), E> {
    let count = texts.len() as u32;
    if !equal {
        reserve(texts.len(), texts.len() * TEXT_BYTES)?;
        return Ok(((0..count).collect(), DistinctMap::all(texts.len())));
    }
    let mut seen = Seen::default();
    let mut of = Vec::with_capacity(texts.len());
    for index in 0..count {
        if seen.is_full() {
            // With where each of as many texts as it has room for is.
            let slots = seen.slots();
            reserve(seen.first.len(), slots * size_of::<u32>() + slots * TEXT_BYTES / 2)?;
            seen.grow(texts, slots);
        }
        of.push(seen.place(texts, index));
    }
    let places = DistinctMap::new(seen.first.len(), of);
    Ok((seen.first, places))
}

/// What each distinct text takes in a list of those and in a map.
const TEXT_BYTES: usize = 5 * size_of::<u32>();

/// The distinct texts so far, found by their hash: an open table of places, a power of two, at most three quarters full.
#[derive(Default)]
struct Seen {
    state: RandomState,
    /// Places, or [`NONE`].
    table: Vec<u32>,
    first: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl Seen {
    /// Whether it must grow before another text comes.
    fn is_full(&self) -> bool {
        4 * (self.first.len() + 1) > 3 * self.table.len()
    }

    /// Slots of the next table.
    fn slots(&self) -> usize {
        (2 * self.table.len()).max(16)
    }

    fn grow(&mut self, texts: &dyn IndexedTexts, slots: usize) {
        // The old table goes first: it can be made again.
        self.table = Vec::new();
        self.table.resize(slots, NONE);
        for place in 0..self.first.len() as u32 {
            let (slot, _) = self.find(texts, self.first[place as usize], |_| false);
            self.table[slot] = place;
        }
    }

    /// The place of a text among the distinct ones.
    fn place(&mut self, texts: &dyn IndexedTexts, index: u32) -> u32 {
        let text = texts.text(index as usize);
        let same = |first: u32| texts.text(first as usize) == text;
        match self.find(texts, index, same) {
            (_, Some(place)) => place,
            (slot, None) => {
                self.table[slot] = self.first.len() as u32;
                self.first.push(index);
                self.table[slot]
            }
        }
    }

    /// Where a text's place is in the table or would be, and the place.
    fn find(
        &self,
        texts: &dyn IndexedTexts,
        index: u32,
        same: impl Fn(u32) -> bool,
    ) -> (usize, Option<u32>) {
        let mask = self.table.len() - 1;
        let mut slot = self.state.hash_one(texts.text(index as usize)) as usize & mask;
        loop {
            match self.table[slot] {
                NONE => return (slot, None),
                place if same(self.first[place as usize]) => return (slot, Some(place)),
                _ => slot = (slot + 1) & mask,
            }
        }
    }
}

impl DistinctMap {
    /// Of `texts` texts that are taken for different.
    pub(crate) fn all(texts: usize) -> Self {
        Self::new(texts, (0..texts as u32).collect())
    }

    /// Where the texts are among so many distinct ones.
    #[cfg(test)]
    pub(crate) fn of(distinct: usize, of: Vec<u32>) -> Self {
        Self::new(distinct, of)
    }

    /// Counting sort of the request's indices by place.
    fn new(places: usize, of: Vec<u32>) -> Self {
        let mut starts = vec![0; places + 1];
        of.iter().for_each(|&place| starts[place as usize + 1] += 1);
        (0..places).for_each(|place| starts[place + 1] += starts[place]);
        let mut next = starts.clone();
        let mut texts_of = vec![0; of.len()];
        for (index, &place) in (0..).zip(&of) {
            let next = &mut next[place as usize];
            texts_of[*next as usize] = index;
            *next += 1;
        }
        DistinctMap { of, texts_of, starts }
    }

    /// How many distinct texts there are.
    pub(crate) fn distinct(&self) -> usize {
        self.starts.len() - 1
    }

    /// The request's indices of distinct texts, in the order given; equal texts follow each other. Takes as many steps
    /// as there are indices in the answer and in `distinct`, however large the request is.
    pub(crate) fn expand(&self, distinct: &[usize]) -> Vec<usize> {
        let range = |d: usize| self.starts[d] as usize..self.starts[d + 1] as usize;
        let indices = |&d: &usize| &self.texts_of[range(d)];
        distinct.iter().flat_map(indices).map(|&index| index as usize).collect()
    }

    /// Scores of every text, `[layer][text]`.
    pub(crate) fn trace(&self, trace: &[Vec<f32>]) -> Vec<Vec<f32>> {
        trace.iter().map(|scores| self.of.iter().map(|&d| scores[d as usize]).collect()).collect()
    }

    /// What is said of each distinct text, of every text.
    pub(crate) fn each<T: Clone>(&self, distinct: &[T]) -> Vec<T> {
        self.of.iter().map(|&d| distinct[d as usize].clone()).collect()
    }

    /// How many texts of the request are marked.
    pub(crate) fn count(&self, marked: &[bool]) -> usize {
        self.of.iter().filter(|&&d| marked[d as usize]).count()
    }

    /// The engine counts distinct candidates, the caller their own.
    pub(crate) fn in_terms_of_the_request(&self, error: Error) -> Error {
        match error {
            Error::NotFinite { candidate, layer, score } => {
                let first = self.expand(&[candidate]).first().copied();
                Error::NotFinite { candidate: first.unwrap_or(candidate), layer, score }
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn all(texts: &dyn IndexedTexts, equal: bool) -> (Vec<u32>, DistinctMap) {
        distinct(texts, equal, |_, _| Ok::<_, Infallible>(())).unwrap()
    }

    #[test]
    fn what_is_taken_is_told_before_and_may_be_refused() {
        let texts: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
        let told = std::cell::Cell::new(0);
        let tell = |most: usize| {
            let reserve = |count: usize, bytes: usize| {
                told.set(told.get() + bytes);
                if told.get() <= most { Ok(()) } else { Err(count) }
            };
            let outcome = distinct(&texts, true, reserve).map(drop);
            (outcome, told.replace(0))
        };
        let (outcome, bytes) = tell(usize::MAX);
        // The tables, and 20 bytes a text.
        assert!(outcome.is_ok() && (10_000 * 24..10_000 * 80).contains(&bytes), "{bytes}");
        assert!(tell(bytes / 2).0.is_err_and(|count| count < 10_000));
        let same = vec!["a"; 100_000];
        let reserve = |_, bytes: usize| if bytes < 1000 { Ok(()) } else { Err(bytes) };
        assert!(distinct(&same, true, reserve).is_ok());
        assert!(distinct(&same, false, reserve).is_err());
    }

    #[test]
    fn equal_texts_share_a_place_and_order_is_kept() {
        let (texts, places) = all(&vec!["b", "a", "b", "", "a"], true);
        assert_eq!(texts, [0, 1, 3]);
        assert_eq!((places.distinct(), places.of), (3, vec![0, 1, 0, 2, 1]));
        let (texts, places) = all(&vec!["b", "b"], false);
        assert_eq!((texts, places), (vec![0, 1], DistinctMap::all(2)));
    }

    #[test]
    fn many_texts_are_told_apart() {
        let texts: Vec<String> = (0..10_000).map(|n| (n * 7919 % 3001).to_string()).collect();
        let (first, places) = all(&texts, true);
        assert_eq!((first.len(), places.distinct()), (3001, 3001));
        assert!(first.windows(2).all(|w| w[0] < w[1]));
        for (text, &place) in texts.iter().zip(&places.of) {
            assert_eq!(&texts[first[place as usize] as usize], text);
        }
    }

    #[test]
    fn distinct_texts_become_those_of_the_request_in_order() {
        let (_, places) = all(&vec!["b", "a", "b", "", "a"], true);
        assert_eq!(places.expand(&[2, 0, 1]), [3, 0, 2, 1, 4]);
        assert_eq!(places.expand(&[]), [0; 0]);
        assert_eq!(DistinctMap::all(3).expand(&[1, 2]), [1, 2]);
        assert_eq!(all(&Vec::<&str>::new(), true), (vec![], DistinctMap::all(0)));
    }
}
