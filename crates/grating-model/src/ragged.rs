//! Ragged pools: sequences of different lengths laid end to end, with no padding between them.

use std::ops::Range;

/// Where each sequence of a chunk begins and ends, in rows of `[tokens, width]` tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ragged {
    offsets: Vec<usize>,
}

impl Ragged {
    /// From the sequences' lengths in tokens; none may be empty.
    ///
    /// ```
    /// let ragged = grating_model::Ragged::from_lengths([3, 1, 2]);
    /// assert_eq!(ragged.tokens(), 6);
    /// assert_eq!(ragged.sequence(1), 3..4);
    /// assert_eq!(ragged.last_rows(), [2, 3, 5]);
    /// ```
    ///
    /// # Panics
    /// If a length is 0: a template always has tokens.
    pub fn from_lengths(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut offsets = vec![0];
        let mut end = 0;
        for length in lengths {
            assert!(length > 0, "a sequence has at least one token");
            end += length;
            offsets.push(end);
        }
        Ragged { offsets }
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

    /// The first row of each sequence.
    pub fn first_rows(&self) -> Vec<usize> {
        self.sequences().map(|s| s.start).collect()
    }

    /// The last row of each sequence.
    pub fn last_rows(&self) -> Vec<usize> {
        self.sequences().map(|s| s.end - 1).collect()
    }

    /// The position of each row within its sequence, from 0.
    pub fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        self.sequences().flat_map(|s| 0..s.len())
    }
}
