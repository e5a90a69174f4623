//! The answer to a request.

use grating_model::{Logit, Probability};

use crate::stats::Stats;

/// The selected texts, best first, and what the selection cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// `min(k, N)` results, by falling score; equal scores keep the order of the texts.
    pub results: Vec<Ranked>,
    /// Figures of the request.
    pub stats: Stats,
}

/// One selected text.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Ranked {
    /// Index of the text in the request.
    pub index: usize,
    /// Probability that the text is relevant: the sigmoid of `raw_score`.
    pub score: Probability,
    /// The model's own output.
    pub raw_score: Logit,
    /// Layer, counted from 0, whose hidden states the score was read from.
    pub decided_after_layer: usize,
    /// Whether the text was cut at the maximum length.
    pub truncated: bool,
}
