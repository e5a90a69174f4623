//! Routing clusters against the boundary: who is accepted, dropped, deferred.

use std::sync::Arc;

/// How far a cluster must be from its rival across the boundary before it is decided.
///
/// The rival of candidates to accept is the best one beyond the boundary; of candidates to drop, the
/// worst one within it. A cluster edge alone says that scores differ, not by how much: k-means finds
/// edges in evenly spread scores as well.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Gap {
    /// A cluster edge is enough (the paper's rule).
    Edge,
    /// At least this many standard deviations of the live candidates' scores.
    Deviations(f64),
    /// At least this much on the policy's scale (log-odds on `ScoreScale::Logit`).
    Score(f64),
    /// A width for every layer but the last, on the policy's scale: scores of early layers err more than those of late ones.
    /// [`learned`](crate::calibrate::learned()) finds them.
    Layers(LayerGaps),
}

/// Gaps layer by layer, on a policy's scale. Clones share them.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(from = "Vec<f64>", into = "Vec<f64>"))]
pub struct LayerGaps(Arc<[f64]>);

impl LayerGaps {
    /// The widths, one for every layer but the last.
    pub fn widths(&self) -> &[f64] {
        &self.0
    }
}

impl From<Vec<f64>> for LayerGaps {
    fn from(widths: Vec<f64>) -> Self {
        Self(widths.into())
    }
}

impl From<LayerGaps> for Vec<f64> {
    fn from(gaps: LayerGaps) -> Self {
        gaps.0.to_vec()
    }
}

impl Gap {
    /// The gap after `layer` in units of the scale, when the live scores have the standard deviation `std`; infinite after
    /// a layer that has none.
    pub fn width(&self, layer: usize, std: f64) -> f64 {
        match self {
            Self::Edge => 0.0,
            Self::Deviations(count) => count * std,
            Self::Score(width) => *width,
            Self::Layers(gaps) => gaps.widths().get(layer).copied().unwrap_or(f64::INFINITY),
        }
    }

    /// The widths that do not depend on the scores.
    pub(crate) fn fixed_widths(&self) -> Option<&[f64]> {
        match self {
            Self::Score(_) | Self::Layers(_) => Some(self.numbers()),
            Self::Edge | Self::Deviations(_) => None,
        }
    }

    /// The numbers that say how wide it is.
    pub(crate) fn numbers(&self) -> &[f64] {
        match self {
            Self::Edge => &[],
            Self::Deviations(number) | Self::Score(number) => std::slice::from_ref(number),
            Self::Layers(gaps) => gaps.widths(),
        }
    }
}

/// A cut of ranked live candidates: `..accept` accepted, `accept..drop` deferred, `drop..` dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Number of accepted candidates, at most the free places.
    pub accept: usize,
    /// Rank of the first dropped candidate, at least the free places.
    pub drop: usize,
}

/// Routes clusters of `sorted` values (best first), which end at `ends`, for `places` free places.
///
/// The boundary lies between the ranks `places` and `places + 1`. A cluster wholly within the `places`
/// best is accepted, one wholly beyond is dropped, and the one that straddles the boundary is
/// deferred, together with those that are nearer than `gap` to their rival across the boundary.
/// When an edge falls on the boundary and the step there is at least `gap`, nobody is deferred.
///
/// # Panics
/// Debug builds panic when `places` is 0 or more than the number of values, or when the last cluster
/// does not end with the values.
pub fn route(sorted: &[f64], ends: &[usize], places: usize, gap: f64) -> Route {
    let n = sorted.len();
    debug_assert!(0 < places && places <= n, "{places} places for {n} candidates");
    debug_assert_eq!(ends.last(), Some(&n), "clusters must cover all values");
    if places == n {
        return Route { accept: n, drop: n };
    }
    let (worst_within, best_beyond) = (sorted[places - 1], sorted[places]);
    let accept = ends
        .iter()
        .rev()
        .copied()
        .find(|&end| end <= places && sorted[end - 1] - best_beyond >= gap)
        .unwrap_or(0);
    let drop = ends
        .iter()
        .copied()
        .find(|&end| end >= places && end < n && worst_within - sorted[end] >= gap)
        .unwrap_or(n);
    Route { accept, drop }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [f64; 8] = [9.0, 8.8, 5.0, 4.9, 4.8, 2.0, 1.9, 1.8];
    const ENDS: [usize; 3] = [2, 5, 8];

    #[test]
    fn a_straddling_cluster_is_deferred() {
        for places in [3, 4] {
            assert_eq!(route(&VALUES, &ENDS, places, 0.0), Route { accept: 2, drop: 5 });
        }
        assert_eq!(route(&VALUES, &ENDS, 1, 0.0), Route { accept: 0, drop: 2 });
        assert_eq!(route(&VALUES, &ENDS, 7, 0.0), Route { accept: 5, drop: 8 });
        assert_eq!(route(&VALUES, &[8], 4, 0.0), Route { accept: 0, drop: 8 });
    }

    #[test]
    fn an_edge_on_the_boundary_decides_all() {
        assert_eq!(route(&VALUES, &ENDS, 2, 0.0), Route { accept: 2, drop: 2 });
        assert_eq!(route(&VALUES, &ENDS, 5, 0.0), Route { accept: 5, drop: 5 });
        assert_eq!(route(&VALUES, &ENDS, 8, 0.0), Route { accept: 8, drop: 8 });
    }

    #[test]
    fn the_gap_is_measured_from_the_rival_across_the_boundary() {
        // The step at 5 is 2.8: too little for 3, so both neighbours of the edge are deferred ...
        assert_eq!(route(&VALUES, &ENDS, 5, 2.8), Route { accept: 5, drop: 5 });
        assert_eq!(route(&VALUES, &ENDS, 5, 3.0), Route { accept: 2, drop: 8 });
        // ... and the top cluster is 6.8 away from the rival at 2.0.
        assert_eq!(route(&VALUES, &ENDS, 5, 6.9), Route { accept: 0, drop: 8 });
        // For the boundary at 4 the rivals are 4.8 (4.0 below the top cluster) and 4.9.
        assert_eq!(route(&VALUES, &ENDS, 4, 2.85), Route { accept: 2, drop: 5 });
        assert_eq!(route(&VALUES, &ENDS, 4, 3.5), Route { accept: 2, drop: 8 });
    }

    #[test]
    fn widths() {
        assert_eq!(Gap::Edge.width(3, 2.0), 0.0);
        assert_eq!(Gap::Deviations(0.5).width(3, 2.0), 1.0);
        assert_eq!(Gap::Score(0.5).width(3, 2.0), 0.5);
        let layers = Gap::Layers(vec![4.0, 1.5].into());
        assert_eq!([0, 1, 2].map(|l| layers.width(l, 2.0)), [4.0, 1.5, f64::INFINITY]);
    }
}
