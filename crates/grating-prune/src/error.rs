//! What can go wrong, each with the place and what to do about it.

use thiserror::Error;

/// An error of this crate. Every variant names the candidate, layer or setting concerned.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum PruneError {
    /// A score is NaN or infinite. Never treated as "worst": the model or its input is broken.
    #[error(
        "candidate {candidate} has the score {score} after layer {layer}: scores must be finite; \
         check the model's weights and this candidate's text"
    )]
    NonFiniteScore {
        /// The candidate.
        candidate: usize,
        /// The layer after which the score was read.
        layer: usize,
        /// NaN, inf or -inf.
        score: f32,
    },
    /// A pool without candidates.
    #[error("the pool has no candidates: there is nothing to select from")]
    NoCandidates,
    /// A model without layers.
    #[error("the model has no layers: at least one must run to give scores")]
    NoLayers,
    /// K = 0.
    #[error("k is 0: ask for at least one candidate")]
    ZeroK,
    /// A setting of a policy is out of its range.
    #[error("policy: {setting} is {found}, but must be {expected}")]
    InvalidPolicy {
        /// The field of [`Policy`](crate::Policy).
        setting: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A token policy for a model that scores no one token.
    #[error(
        "the model scores the mean of all tokens: there is no token whose attention tells which ones matter; \
         use no token policy with it"
    )]
    NoScoredToken,
    /// A token policy for a model whose passages are compressed.
    #[error(
        "tokens cannot leave candidates whose passages are compressed: a row stands for several tokens there; use either \
         the token policy or compress_ratio"
    )]
    Compressed,
    /// Scores came for a layer that is not the next one.
    #[error("scores after layer {found}, but the next ones due are after layer {expected}")]
    LayerOutOfOrder {
        /// The layer whose scores were due.
        expected: usize,
        /// The layer that came.
        found: usize,
    },
    /// Scores came although every candidate is decided.
    #[error("scores after layer {layer}, but every candidate is decided: stop at `is_finished`")]
    AlreadyFinished {
        /// The layer that came.
        layer: usize,
    },
    /// Different numbers of candidates and scores.
    #[error("after layer {layer}: {candidates} candidates but {scores} scores")]
    LengthMismatch {
        /// The layer.
        layer: usize,
        /// Number of candidates.
        candidates: usize,
        /// Number of scores.
        scores: usize,
    },
    /// A candidate that the pool does not have.
    #[error("candidate {candidate} after layer {layer}: the pool has candidates 0 to {last}")]
    UnknownCandidate {
        /// The candidate.
        candidate: usize,
        /// The layer.
        layer: usize,
        /// The pool's last candidate.
        last: usize,
    },
    /// A candidate that was accepted or dropped before.
    #[error(
        "candidate {candidate} after layer {layer}: it was decided before; give live ones only"
    )]
    NotLive {
        /// The candidate.
        candidate: usize,
        /// The layer.
        layer: usize,
    },
    /// The same candidate twice.
    #[error("candidate {candidate} comes twice after layer {layer}")]
    DuplicateCandidate {
        /// The candidate.
        candidate: usize,
        /// The layer.
        layer: usize,
    },
    /// A live candidate without a score.
    #[error(
        "candidate {candidate} is live but has no score after layer {layer}: give all live ones"
    )]
    MissingCandidate {
        /// The candidate.
        candidate: usize,
        /// The layer.
        layer: usize,
    },
    /// Values that must come best first do not.
    #[error("value {index} is larger than the one before it, or no number: sort descending first")]
    Unsorted {
        /// Index of the first value out of place.
        index: usize,
    },
    /// A trace whose number of scores is not layers × candidates.
    #[error(
        "a trace of {layers} layers x {candidates} candidates needs {expected} scores, not {found}"
    )]
    TraceShape {
        /// Layers.
        layers: usize,
        /// Candidates.
        candidates: usize,
        /// Their product.
        expected: usize,
        /// Number of scores given.
        found: usize,
    },
    /// Hidden states that do not fit their number of candidates.
    #[error("states of {found} numbers came with scores that ask for {expected}")]
    StateShape {
        /// Candidates times hidden size.
        expected: usize,
        /// Numbers given.
        found: usize,
    },
    /// A readout of another model.
    #[error("a readout has {found} weights, but the model's hidden size is {expected}")]
    ReadoutShape {
        /// The hidden size.
        expected: usize,
        /// Weights.
        found: usize,
    },
    /// Readouts of another model.
    #[error("there are {found} readouts, but {expected} layers before the last")]
    ReadoutLayers {
        /// Layers but the last.
        expected: usize,
        /// Readouts.
        found: usize,
    },
    /// A policy of another model.
    #[error(
        "a policy has gaps for {found} layers, but there are {expected} before the last: calibrate for this model"
    )]
    GapLayers {
        /// Layers but the last.
        expected: usize,
        /// Gaps.
        found: usize,
    },
    /// A readout with NaN or infinity in it.
    #[error("a readout's weights are not all finite: calibrate again")]
    ReadoutNotFinite,
    /// A probability setting out of its range.
    #[error("{setting} is {found}, but must be more than 0 and less than 1")]
    InvalidProbability {
        /// Which one.
        setting: &'static str,
        /// Its value.
        found: f64,
    },
    /// A loss outside [0, 1].
    #[error("loss {index} is {found}, but must be between 0 and 1")]
    InvalidLoss {
        /// Index of the loss.
        index: usize,
        /// Its value.
        found: f64,
    },
    /// Calibration without queries.
    #[error("no queries to calibrate on: record at least one score trace")]
    NoQueries,
    /// Calibration without policies.
    #[error("no policies to choose from: the family has no chain with a policy in it")]
    NoPolicies,
    /// The runs of a sweep do not fit its family.
    #[error("policy {policy} of the family was measured on {found} queries, others on {expected}")]
    UnevenSweep {
        /// Index of the policy.
        policy: usize,
        /// Queries of the first policy.
        expected: usize,
        /// Queries of this one.
        found: usize,
    },
    /// Too many queries kept for exploration.
    #[error("{explore} of {queries} queries to explore with: at least one on each side is needed")]
    InvalidSplit {
        /// Queries to explore with.
        explore: usize,
        /// All queries.
        queries: usize,
    },
}
