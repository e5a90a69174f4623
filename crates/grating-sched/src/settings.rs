//! What the user asks for.

use crate::error::PlanError;

/// What the user asks for. The default leaves every choice to the planner. Budgets are those of the
/// [memories](crate::Memory).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Settings {
    /// The layers resident at one time.
    pub window: WindowSize,
    /// Most tokens in a chunk; raised to the longest candidate where that is longer.
    pub chunk_tokens: Option<usize>,
    /// Whether hidden states go to disk.
    pub spill: Spill,
    /// Rows of the token-embedding matrix to keep.
    pub row_cache: RowCacheSize,
}

/// How many layers are resident at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum WindowSize {
    /// The planner's choice.
    #[default]
    Auto,
    /// So many slots, each of a whole layer. One slot: reading and computing take turns.
    Slots(usize),
    /// All layers stay in memory.
    All,
}

/// Whether hidden states go to disk between layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Spill {
    /// Where the plan is faster with it, which takes a budget that does not hold them.
    #[default]
    Auto,
    /// Always, with as few chunks in memory as can be.
    Always,
    /// Never.
    Never,
}

/// How many rows of the token-embedding matrix to keep.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum RowCacheSize {
    /// A tenth of the vocabulary, but no more than the pool can use or the budget has left.
    #[default]
    Auto,
    /// This share of the vocabulary, 0 to 1.
    Fraction(f64),
    /// So many rows (or the vocabulary where that is smaller).
    Rows(usize),
    /// The whole vocabulary.
    All,
}

impl RowCacheSize {
    /// The rows that must fit, and the rows that are wanted.
    pub(crate) fn rows(self, vocab: usize, distinct_ids: usize) -> (usize, usize) {
        let exactly = |rows: usize| (rows.min(vocab), rows.min(vocab));
        match self {
            Self::Auto => (0, vocab.div_ceil(10).min(distinct_ids)),
            Self::Fraction(share) => exactly((share * vocab as f64).ceil() as usize),
            Self::Rows(rows) => exactly(rows),
            Self::All => exactly(vocab),
        }
    }
}

impl Settings {
    /// With a [window](Self::window).
    #[must_use]
    pub fn with_window(self, window: WindowSize) -> Self {
        Self { window, ..self }
    }

    /// With [chunks](Self::chunk_tokens) of so many tokens.
    #[must_use]
    pub fn with_chunk_tokens(self, tokens: usize) -> Self {
        Self { chunk_tokens: Some(tokens), ..self }
    }

    /// With hidden states [on disk](Self::spill), or not.
    #[must_use]
    pub fn with_spill(self, spill: Spill) -> Self {
        Self { spill, ..self }
    }

    /// With a [row cache](Self::row_cache).
    #[must_use]
    pub fn with_row_cache(self, row_cache: RowCacheSize) -> Self {
        Self { row_cache, ..self }
    }

    pub(crate) fn validate(&self) -> Result<(), PlanError> {
        if self.window == WindowSize::Slots(0) {
            return Err(PlanError::ZeroWindow);
        }
        if self.chunk_tokens == Some(0) {
            return Err(PlanError::ZeroChunk);
        }
        match self.row_cache {
            RowCacheSize::Fraction(found) if !(0.0..=1.0).contains(&found) => {
                Err(PlanError::InvalidRowCache { found })
            }
            _ => Ok(()),
        }
    }
}
