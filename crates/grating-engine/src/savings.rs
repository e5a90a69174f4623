//! Work that need not be done twice, or at all, without changing a bit of any score.

/// Exact savings; all on by default, each of them can be switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Savings {
    /// Tokens that all candidates of a decoder begin with (system text, instruction, query) are computed once.
    pub shared_prefix: bool,
    /// In the last layer only the token that is scored has queries and a feed-forward block.
    pub scored_rows: bool,
    /// Texts that occur more than once are computed once.
    pub equal_texts: bool,
}

impl Savings {
    /// Everything is computed, for every text.
    pub const NONE: Savings =
        Savings { shared_prefix: false, scored_rows: false, equal_texts: false };

    /// With the [shared prefix](Self::shared_prefix) computed once, or not.
    #[must_use]
    pub const fn with_shared_prefix(self, shared_prefix: bool) -> Self {
        Savings { shared_prefix, ..self }
    }

    /// With only the [scored rows](Self::scored_rows) in the last layer, or all.
    #[must_use]
    pub const fn with_scored_rows(self, scored_rows: bool) -> Self {
        Savings { scored_rows, ..self }
    }

    /// With [equal texts](Self::equal_texts) computed once, or each.
    #[must_use]
    pub const fn with_equal_texts(self, equal_texts: bool) -> Self {
        Savings { equal_texts, ..self }
    }
}

impl Default for Savings {
    fn default() -> Self {
        Savings { shared_prefix: true, scored_rows: true, equal_texts: true }
    }
}
