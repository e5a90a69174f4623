//! Ragged pools: sequences of different lengths laid end to end, with no padding between them.

use std::ops::Range;

use grating_kernels::attention::Span;

/// Where each sequence of a chunk begins and ends, in rows of `[tokens, width]` tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ragged {
    offsets: Vec<usize>,
    /// Tokens before each sequence that are not in the chunk.
    prefix: usize,
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
        Ragged { offsets, prefix: 0 }
    }

    /// The same sequences as continuations of a prefix of `tokens` tokens that they share and that lies elsewhere.
    #[must_use]
    pub fn after_prefix(mut self, tokens: usize) -> Self {
        self.prefix = tokens;
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

    /// The first row of each sequence.
    pub fn first_rows(&self) -> Vec<usize> {
        self.sequences().map(|s| s.start).collect()
    }

    /// The last row of each sequence.
    pub fn last_rows(&self) -> Vec<usize> {
        self.sequences().map(|s| s.end - 1).collect()
    }

    /// Tokens of the longest sequence, its prefix included.
    pub fn longest(&self) -> usize {
        self.prefix + self.sequences().map(|s| s.len()).max().unwrap_or(0)
    }

    /// The position of each row within its sequence, counted from the prefix's first token.
    pub fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        self.sequences().flat_map(|s| self.prefix..self.prefix + s.len())
    }

    /// Spans for attention where every row is a query.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.sequences().map(|s| Span { queries: s.clone(), keys: s, first_query: 0 }).collect()
    }

    /// Spans for attention where one row of each sequence is a query, given by its row.
    pub(crate) fn spans_of(&self, rows: &[usize]) -> Vec<Span> {
        let span = |(i, (keys, row)): (usize, (Range<usize>, &usize))| {
            let first_query = row - keys.start;
            Span { queries: i..i + 1, keys, first_query }
        };
        self.sequences().zip(rows).enumerate().map(span).collect()
    }
}
