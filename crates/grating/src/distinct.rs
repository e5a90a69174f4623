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
pub(crate) fn distinct(texts: &dyn IndexedTexts, equal: bool) -> (Vec<u32>, DistinctMap) {
    let count = texts.len() as u32;
    if !equal {
        return ((0..count).collect(), DistinctMap::all(texts.len()));
    }
    let mut seen = Seen::default();
    let of = (0..count).map(|index| seen.place(texts, index)).collect();
    let places = DistinctMap::new(seen.first.len(), of);
    (seen.first, places)
}

/// The distinct texts so far, found by their hash: an open table of places, a power of two, at most three quarters full.
#[derive(Default)]
struct Seen {
    state: RandomState,
    /// DistinctMap, or [`NONE`].
    table: Vec<u32>,
    first: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl Seen {
    /// The place of a text among the distinct ones.
    fn place(&mut self, texts: &dyn IndexedTexts, index: u32) -> u32 {
        if 4 * (self.first.len() + 1) > 3 * self.table.len() {
            self.table = vec![NONE; (2 * self.table.len()).max(16)];
            for place in 0..self.first.len() as u32 {
                let (slot, _) = self.find(texts, self.first[place as usize], |_| false);
                self.table[slot] = place;
            }
        }
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
    use super::*;

    #[test]
    fn equal_texts_share_a_place_and_order_is_kept() {
        let (texts, places) = distinct(&vec!["b", "a", "b", "", "a"], true);
        assert_eq!(texts, [0, 1, 3]);
        assert_eq!((places.distinct(), places.of), (3, vec![0, 1, 0, 2, 1]));
        let (texts, places) = distinct(&vec!["b", "b"], false);
        assert_eq!((texts, places), (vec![0, 1], DistinctMap::all(2)));
    }

    #[test]
    fn many_texts_are_told_apart() {
        let texts: Vec<String> = (0..10_000).map(|n| (n * 7919 % 3001).to_string()).collect();
        let (first, places) = distinct(&texts, true);
        assert_eq!((first.len(), places.distinct()), (3001, 3001));
        assert!(first.windows(2).all(|w| w[0] < w[1]));
        for (text, &place) in texts.iter().zip(&places.of) {
            assert_eq!(&texts[first[place as usize] as usize], text);
        }
    }

    #[test]
    fn distinct_texts_become_those_of_the_request_in_order() {
        let (_, places) = distinct(&vec!["b", "a", "b", "", "a"], true);
        assert_eq!(places.expand(&[2, 0, 1]), [3, 0, 2, 1, 4]);
        assert_eq!(places.expand(&[]), [0; 0]);
        assert_eq!(DistinctMap::all(3).expand(&[1, 2]), [1, 2]);
        assert_eq!(distinct(&Vec::<&str>::new(), true), (vec![], DistinctMap::all(0)));
    }
}
