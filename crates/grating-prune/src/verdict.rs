//! What a pruner says after a layer, and why.

use std::fmt;

/// The verdicts after one layer. The three lists partition the candidates that were live before it;
/// each is best first (higher score, then lower candidate number).
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Verdicts {
    /// The layer after which the scores were read.
    pub layer: usize,
    /// Surely in the top-K.
    pub accepted: Vec<usize>,
    /// Surely not in the top-K.
    pub dropped: Vec<usize>,
    /// Not decided: goes on to the next layer.
    pub deferred: Vec<usize>,
    /// Dispersion of the live scores, in the policy's measure; infinite when a coefficient of
    /// variation meets a mean of 0.
    pub dispersion: f64,
    /// The clusters, best first; empty when the scores were not clustered.
    pub clusters: Vec<Cluster>,
    /// Why these are the verdicts.
    pub reason: Reason,
}

/// One cluster of live candidates.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Cluster {
    /// Number of candidates.
    pub size: usize,
    /// Mean score on the policy's scale.
    pub center: f64,
    /// Highest raw score.
    pub best: f32,
    /// Lowest raw score.
    pub worst: f32,
}

/// Why the verdicts after a layer are what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Reason {
    /// The policy does not look at this layer: all deferred.
    NotDue,
    /// Dispersion below the threshold, ranks are not settled: all deferred.
    BelowThreshold,
    /// No cluster is clear of the boundary: all deferred.
    NothingClear,
    /// Some clusters were clear of the boundary and are decided.
    ClearOfBoundary,
    /// An edge clear enough lies on the boundary: all decided.
    EdgeOnBoundary,
    /// The last layer: all decided by rank.
    LastLayer,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotDue => "the policy does not look at this layer",
            Self::BelowThreshold => "dispersion below the threshold",
            Self::NothingClear => "no cluster is clear of the boundary",
            Self::ClearOfBoundary => "clusters clear of the boundary are decided",
            Self::EdgeOnBoundary => "a cluster edge lies on the boundary: all decided",
            Self::LastLayer => "last layer: decided by rank",
        })
    }
}
