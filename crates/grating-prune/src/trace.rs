//! Score traces: every candidate's score after every layer, from a run without pruning.

use ndarray::{Array2, ArrayView1, ArrayView2};

use crate::error::PruneError;
use crate::pruner::best_first;

/// Raw scores `[layers, candidates]` of one query, f32, from a run without pruning.
///
/// Candidates do not influence each other in a cross-encoder, so the trace says exactly what any
/// pruning policy would have seen: see [`replay`](crate::replay()).
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Flat", into = "Flat"))]
pub struct ScoreTrace {
    scores: Array2<f32>,
}

impl ScoreTrace {
    /// A trace of `[layers, candidates]` scores.
    ///
    /// # Errors
    /// [`PruneError::NoLayers`], [`PruneError::NoCandidates`], or [`PruneError::NonFiniteScore`].
    pub fn new(scores: Array2<f32>) -> Result<Self, PruneError> {
        match scores.dim() {
            (0, _) => return Err(PruneError::NoLayers),
            (_, 0) => return Err(PruneError::NoCandidates),
            _ => {}
        }
        for ((layer, candidate), &score) in scores.indexed_iter() {
            if !score.is_finite() {
                return Err(PruneError::NonFiniteScore { candidate, layer, score });
            }
        }
        Ok(Self { scores: scores.as_standard_layout().into_owned() })
    }

    /// A trace from `layers` rows of `candidates` scores, one after the other.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`PruneError::TraceShape`].
    pub fn from_vec(
        layers: usize,
        candidates: usize,
        scores: Vec<f32>,
    ) -> Result<Self, PruneError> {
        let (expected, found) = (layers.saturating_mul(candidates), scores.len());
        let shaped = Array2::from_shape_vec((layers, candidates), scores)
            .map_err(|_| PruneError::TraceShape { layers, candidates, expected, found })?;
        Self::new(shaped)
    }

    /// Number of layers, at least 1.
    pub fn layers(&self) -> usize {
        self.scores.nrows()
    }

    /// Number of candidates, at least 1.
    pub fn candidates(&self) -> usize {
        self.scores.ncols()
    }

    /// All scores, `[layers, candidates]`.
    pub fn scores(&self) -> ArrayView2<'_, f32> {
        self.scores.view()
    }

    /// The scores after `layer`, `[candidates]`.
    ///
    /// # Panics
    /// When there is no such layer.
    pub fn layer(&self, layer: usize) -> ArrayView1<'_, f32> {
        self.scores.row(layer)
    }

    /// The candidates ranked by their scores after `layer`, best first, equal ones by number.
    ///
    /// # Panics
    /// When there is no such layer.
    pub fn ranking(&self, layer: usize) -> Vec<usize> {
        let ranked = best_first(self.layer(layer).iter().copied().enumerate());
        ranked.into_iter().map(|(candidate, _)| candidate).collect()
    }

    /// The full model's ranking: [`ranking`](Self::ranking) after the last layer.
    pub fn final_ranking(&self) -> Vec<usize> {
        self.ranking(self.layers() - 1)
    }
}

/// How a trace is stored: its shape and its rows one after the other.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
struct Flat {
    layers: usize,
    candidates: usize,
    scores: Vec<f32>,
}

#[cfg(feature = "serde")]
impl From<ScoreTrace> for Flat {
    fn from(trace: ScoreTrace) -> Self {
        let (layers, candidates) = trace.scores.dim();
        Self { layers, candidates, scores: trace.scores.into_iter().collect() }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Flat> for ScoreTrace {
    type Error = PruneError;

    fn try_from(flat: Flat) -> Result<Self, PruneError> {
        Self::from_vec(flat.layers, flat.candidates, flat.scores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rankings() {
        let trace =
            ScoreTrace::from_vec(2, 4, vec![4.0, 3.0, 2.0, 1.0, 1.0, 2.0, 3.0, 2.0]).unwrap();
        assert_eq!(trace.ranking(0), [0, 1, 2, 3]);
        assert_eq!(trace.final_ranking(), [2, 1, 3, 0]);
    }

    #[test]
    fn refusals() {
        let nan = ScoreTrace::from_vec(2, 2, vec![0.0, 0.0, 0.0, f32::NAN]).unwrap_err();
        assert!(nan.to_string().contains("candidate 1"), "{nan}");
        assert!(nan.to_string().contains("layer 1"), "{nan}");
        let shape = ScoreTrace::from_vec(2, 2, vec![0.0; 3]).unwrap_err();
        assert_eq!(
            shape,
            PruneError::TraceShape { layers: 2, candidates: 2, expected: 4, found: 3 }
        );
        assert_eq!(ScoreTrace::from_vec(0, 2, vec![]), Err(PruneError::NoLayers));
        assert_eq!(ScoreTrace::from_vec(2, 0, vec![]), Err(PruneError::NoCandidates));
        assert!(ScoreTrace::from_vec(usize::MAX, 2, vec![]).is_err());
    }

    #[test]
    fn any_memory_layout() {
        let column_major =
            Array2::from_shape_vec((3, 2), vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let trace = ScoreTrace::new(column_major.reversed_axes()).unwrap();
        assert_eq!(trace.layer(0).to_vec(), [1.0, 3.0, 5.0]);
        assert!(trace.layer(1).as_slice().is_some());
    }
}
