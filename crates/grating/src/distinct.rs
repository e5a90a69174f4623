//! Equal texts are computed once: from the texts of a request to the distinct ones and back.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::error::Error;

/// Where the texts of a request are among the distinct ones.
#[derive(Debug, PartialEq)]
pub(crate) struct DistinctMap {
    /// For each text of the request, its place among the distinct ones.
    pub(crate) of: Vec<usize>,
    /// The texts of the request by their place, those of a place in the order given.
    texts_of: Vec<usize>,
    /// Where in `texts_of` those of each place begin, and the end of the last.
    starts: Vec<usize>,
}

/// Texts without their repetitions, in order of their first, and where each is among them.
pub(crate) fn distinct<'a>(texts: &[&'a str]) -> (Vec<&'a str>, DistinctMap) {
    let mut seen: HashMap<&str, usize> = HashMap::with_capacity(texts.len());
    let mut distinct = Vec::with_capacity(texts.len());
    let of = texts
        .iter()
        .map(|&text| match seen.entry(text) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                distinct.push(text);
                *entry.insert(distinct.len() - 1)
            }
        })
        .collect();
    let places = DistinctMap::new(distinct.len(), of);
    (distinct, places)
}

impl DistinctMap {
    /// Of `texts` texts that are taken for different.
    pub(crate) fn all(texts: usize) -> Self {
        Self::new(texts, (0..texts).collect())
    }

    /// Where the texts are among so many distinct ones.
    #[cfg(test)]
    pub(crate) fn of(distinct: usize, of: Vec<usize>) -> Self {
        Self::new(distinct, of)
    }

    /// Counting sort of the request's indices by place.
    fn new(places: usize, of: Vec<usize>) -> Self {
        let mut starts = vec![0; places + 1];
        of.iter().for_each(|&place| starts[place + 1] += 1);
        (0..places).for_each(|place| starts[place + 1] += starts[place]);
        let mut next = starts.clone();
        let mut texts_of = vec![0; of.len()];
        for (index, &place) in of.iter().enumerate() {
            texts_of[next[place]] = index;
            next[place] += 1;
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
        let indices = |&d: &usize| &self.texts_of[self.starts[d]..self.starts[d + 1]];
        distinct.iter().flat_map(indices).copied().collect()
    }

    /// Scores of every text, `[layer][text]`.
    pub(crate) fn trace(&self, trace: &[Vec<f32>]) -> Vec<Vec<f32>> {
        trace.iter().map(|scores| self.of.iter().map(|&d| scores[d]).collect()).collect()
    }

    /// How many texts of the request are marked.
    pub(crate) fn count(&self, marked: &[bool]) -> usize {
        self.of.iter().filter(|&&d| marked[d]).count()
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
        let (texts, places) = distinct(&["b", "a", "b", "", "a"]);
        assert_eq!(texts, ["b", "a", ""]);
        assert_eq!((places.distinct(), places.of), (3, vec![0, 1, 0, 2, 1]));
    }

    #[test]
    fn distinct_texts_become_those_of_the_request_in_order() {
        let (_, places) = distinct(&["b", "a", "b", "", "a"]);
        assert_eq!(places.expand(&[2, 0, 1]), [3, 0, 2, 1, 4]);
        assert_eq!(places.expand(&[]), [0; 0]);
        assert_eq!(DistinctMap::all(3).expand(&[1, 2]), [1, 2]);
        assert_eq!(distinct(&[]), (vec![], DistinctMap::all(0)));
    }
}
