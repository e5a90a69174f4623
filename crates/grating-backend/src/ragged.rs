//! What the rows of a chunk are: sequences of different lengths laid end to end, with no padding between them.

use std::ops::Range;

/// What of a sequence its score is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scored {
    /// The first token, as in encoders (`[CLS]`).
    First,
    /// The last token, as in decoders.
    Last,
    /// The mean of all tokens.
    Mean,
}

/// Where each sequence of a chunk begins and ends, in rows of `[tokens, width]` tensors, and the rows' positions.
///
/// The host's form; a backend makes its own of it ([`crate::Backend::layout`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ragged {
    /// Row of each sequence's first token, and the end of the last one.
    offsets: Vec<usize>,
    /// Tokens before each sequence that are not in the chunk.
    prefix: usize,
    /// Position of each row where they do not simply follow one another.
    positions: Option<Vec<u32>>,
    scored: Scored,
}

impl Ragged {
    /// From the sequences' lengths in tokens, none of which may be empty, as continuations of `prefix` tokens that they
    /// share and that lie elsewhere.
    ///
    /// ```
    /// use grating_backend::{Ragged, Scored};
    ///
    /// let ragged = Ragged::new([3, 1, 2], 0, Scored::First);
    /// assert_eq!(ragged.tokens(), 6);
    /// assert_eq!(ragged.sequence(1), 3..4);
    /// assert_eq!(ragged.scored_rows(), [0, 3, 4]);
    /// ```
    ///
    /// # Panics
    /// If a length is 0: a template always has tokens.
    pub fn new(lengths: impl IntoIterator<Item = usize>, prefix: usize, scored: Scored) -> Self {
        let mut offsets = vec![0];
        let mut end = 0;
        for length in lengths {
            assert!(length > 0, "a sequence has at least one token");
            end += length;
            offsets.push(end);
        }
        Ragged { offsets, prefix, positions: None, scored }
    }

    /// The same rows at other positions, one for each row: within a sequence they rise, and may leave gaps.
    ///
    /// # Panics
    /// If there are not as many as rows, or they do not rise within a sequence from the prefix's end on.
    #[must_use]
    pub fn at_positions(mut self, positions: Vec<u32>) -> Self {
        assert_eq!(positions.len(), self.tokens(), "a position for each row");
        let rises = |rows: Range<usize>| {
            let positions = &positions[rows];
            positions[0] as usize >= self.prefix && positions.is_sorted_by(|a, b| a < b)
        };
        assert!(self.sequences().all(rises), "positions rise within a sequence, after the prefix");
        self.positions = Some(positions);
        self
    }

    /// Tokens of the shared prefix.
    pub fn prefix(&self) -> usize {
        self.prefix
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no sequence.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens of all sequences together.
    pub fn tokens(&self) -> usize {
        self.offsets[self.len()]
    }

    /// Rows of one sequence.
    pub fn sequence(&self, index: usize) -> Range<usize> {
        self.offsets[index]..self.offsets[index + 1]
    }

    /// Rows of every sequence, in order.
    pub fn sequences(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.offsets.windows(2).map(|w| w[0]..w[1])
    }

    /// What of each sequence is scored.
    pub fn scored(&self) -> Scored {
        self.scored
    }

    /// The row of each sequence's scored token; none where the mean is scored.
    pub fn scored_rows(&self) -> Vec<usize> {
        let row = |sequence: Range<usize>| match self.scored {
            Scored::First => Some(sequence.start),
            Scored::Last => Some(sequence.end - 1),
            Scored::Mean => None,
        };
        self.sequences().filter_map(row).collect()
    }

    /// One more than the highest position, prefix included.
    pub fn longest(&self) -> usize {
        match &self.positions {
            Some(positions) => positions.iter().max().map_or(self.prefix, |&p| p as usize + 1),
            None => self.prefix + self.sequences().map(|s| s.len()).max().unwrap_or(0),
        }
    }

    /// The position of each row within its sequence, counted from the prefix's first token.
    pub fn positions(&self) -> Vec<u32> {
        match &self.positions {
            Some(positions) => positions.clone(),
            None => self.sequences().flat_map(|s| self.following(s.len())).collect(),
        }
    }

    /// Positions of the rows as they were [given](Self::at_positions); none where they simply follow one another.
    pub fn given_positions(&self) -> Option<&[u32]> {
        self.positions.as_deref()
    }

    /// [`Self::positions`] of the scored rows.
    pub fn scored_positions(&self) -> Vec<u32> {
        match &self.positions {
            Some(positions) => self.scored_rows().iter().map(|&row| positions[row]).collect(),
            None => {
                let rows = self.scored_rows();
                let place =
                    |(sequence, row): (Range<usize>, usize)| self.prefix + row - sequence.start;
                self.sequences().zip(rows).map(|at| place(at) as u32).collect()
            }
        }
    }

    fn following(&self, tokens: usize) -> Range<u32> {
        self.prefix as u32..(self.prefix + tokens) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_go_on_after_the_prefix_or_are_those_given() {
        let ragged = Ragged::new([2, 3], 4, Scored::Last);
        assert_eq!(ragged.positions(), [4, 5, 4, 5, 6]);
        assert_eq!(ragged.scored_positions(), [5, 6]);
        assert_eq!(ragged.longest(), 7);
        let ragged = ragged.at_positions(vec![4, 9, 5, 6, 8]);
        assert_eq!(ragged.positions(), [4, 9, 5, 6, 8]);
        assert_eq!(ragged.scored_positions(), [9, 8]);
        assert_eq!(ragged.longest(), 10);
    }

    #[test]
    fn a_chunk_may_have_no_sequence() {
        let ragged = Ragged::new([], 3, Scored::First);
        assert!(ragged.is_empty() && ragged.scored_rows().is_empty());
        assert_eq!((ragged.tokens(), ragged.longest()), (0, 3));
    }

    #[test]
    fn a_mean_is_of_no_row() {
        let ragged = Ragged::new([2, 3], 0, Scored::Mean);
        assert!(ragged.scored_rows().is_empty() && ragged.scored_positions().is_empty());
    }
}
