//! The policies that a calibration chooses from, in chains from careful to bold.

use crate::clusters::ClusterRule;
use crate::dispersion::Dispersion;
use crate::error::PruneError;
use crate::policy::{Mode, Policy};
use crate::routing::Gap;
use crate::scale::ScoreScale;

/// Policies in chains. Within a chain they go from careful to bold, because fixed-sequence testing
/// stops at a chain's first policy that fails.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyFamily {
    chains: Vec<Vec<Policy>>,
}

impl PolicyFamily {
    /// A family of these chains; empty ones are left out.
    ///
    /// # Errors
    /// [`PruneError::NoPolicies`], or [`PruneError::InvalidPolicy`] for the first invalid policy.
    pub fn new(chains: Vec<Vec<Policy>>) -> Result<Self, PruneError> {
        let chains: Vec<_> = chains.into_iter().filter(|chain| !chain.is_empty()).collect();
        if chains.is_empty() {
            return Err(PruneError::NoPolicies);
        }
        chains.iter().flatten().try_for_each(Policy::validate)?;
        Ok(Self { chains })
    }

    /// The chains, none of them empty.
    pub fn chains(&self) -> &[Vec<Policy>] {
        &self.chains
    }

    /// All policies, chain by chain.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.chains.iter().flatten()
    }

    /// Number of policies, at least 1.
    pub fn len(&self) -> usize {
        self.chains.iter().map(Vec::len).sum()
    }

    /// Never true: there is no empty family.
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }
}

/// One way to read dispersion off the scores, with the thresholds to try on it.
#[derive(Debug, Clone, PartialEq)]
pub struct DispersionGrid {
    /// The scale.
    pub scale: ScoreScale,
    /// The measure on it.
    pub dispersion: Dispersion,
    /// Thresholds, in any order.
    pub thresholds: Vec<f64>,
}

/// A grid of policies: every combination of its settings.
///
/// Chains are the combinations of everything but the threshold, which falls along the chain. A grid
/// must be fixed before the traces of the calibration are looked at.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Grid {
    /// Scales, measures and their thresholds.
    pub dispersions: Vec<DispersionGrid>,
    /// Cluster rules.
    pub clusters: Vec<ClusterRule>,
    /// Gaps.
    pub gaps: Vec<Gap>,
    /// First layers.
    pub first_layers: Vec<usize>,
    /// Strides.
    pub strides: Vec<usize>,
    /// The mode of all policies.
    pub mode: Mode,
}

impl Grid {
    /// The paper's policies: [`Policy::paper`] with coefficients of variation from 0.05 to 6.4.
    pub fn paper(mode: Mode) -> Self {
        Self {
            dispersions: vec![DispersionGrid {
                scale: ScoreScale::Probability,
                dispersion: Dispersion::Variation,
                thresholds: doubling(0.05, 15),
            }],
            clusters: vec![ClusterRule::Fixed(3)],
            gaps: vec![Gap::Edge],
            first_layers: vec![0],
            strides: vec![1],
            mode,
        }
    }

    /// A wide grid for a model of `layers` layers: three dispersions, three cluster rules, three gaps, four
    /// first layers, eight thresholds. With so many chains use
    /// [`Procedure::Split`](super::Procedure::Split).
    pub fn standard(layers: usize, mode: Mode) -> Self {
        let reading = |scale, dispersion, lowest| DispersionGrid {
            scale,
            dispersion,
            thresholds: doubling(lowest, 15).into_iter().step_by(2).collect(),
        };
        let mut first_layers: Vec<usize> = (0..4).map(|quarter| quarter * layers / 4).collect();
        first_layers.dedup();
        Self {
            dispersions: vec![
                reading(ScoreScale::Probability, Dispersion::Variation, 0.05),
                reading(ScoreScale::Logit, Dispersion::Spread, 0.05),
                reading(ScoreScale::Odds, Dispersion::Variation, 0.05),
            ],
            clusters: vec![
                ClusterRule::Fixed(3),
                ClusterRule::Silhouette { min: 2, max: 6 },
                ClusterRule::Each,
            ],
            gaps: vec![Gap::Edge, Gap::Deviations(0.5), Gap::Deviations(1.0)],
            first_layers,
            strides: vec![1],
            mode,
        }
    }

    /// The policies of the grid.
    ///
    /// # Errors
    /// As [`PolicyFamily::new`].
    pub fn family(&self) -> Result<PolicyFamily, PruneError> {
        let mut chains = Vec::new();
        for reading in &self.dispersions {
            for &clusters in &self.clusters {
                for gap in &self.gaps {
                    for &first_layer in &self.first_layers {
                        for &stride in &self.strides {
                            let base = Policy::paper(0.0)
                                .with_scale(reading.scale, reading.dispersion)
                                .with_clusters(clusters)
                                .with_gap(gap.clone())
                                .with_first_layer(first_layer)
                                .with_stride(stride)
                                .with_mode(self.mode);
                            chains.push(chain(base, &reading.thresholds));
                        }
                    }
                }
            }
        }
        PolicyFamily::new(chains)
    }
}

/// The policy with each of the thresholds, highest (most careful) first.
fn chain(base: Policy, thresholds: &[f64]) -> Vec<Policy> {
    let mut thresholds = thresholds.to_vec();
    thresholds.sort_by(|a, b| b.total_cmp(a));
    thresholds.into_iter().map(|threshold| base.clone().with_threshold(threshold)).collect()
}

/// `count` thresholds from `lowest` upwards, each sqrt(2) times the one before.
fn doubling(lowest: f64, count: i32) -> Vec<f64> {
    (0..count).map(|i| lowest * 2.0_f64.powf(0.5 * f64::from(i))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids() {
        let paper = Grid::paper(Mode::Select).family().unwrap();
        assert_eq!((paper.chains().len(), paper.len()), (1, 15));
        let thresholds: Vec<f64> = paper.policies().map(|p| p.threshold).collect();
        assert!(thresholds.windows(2).all(|w| w[0] > w[1]));
        assert!((thresholds[0] - 6.4).abs() < 1e-12 && thresholds[14] == 0.05);
        let wide = Grid::standard(24, Mode::Rank).family().unwrap();
        assert_eq!((wide.chains().len(), wide.len()), (3 * 3 * 3 * 4, 3 * 3 * 3 * 4 * 8));
        assert!(wide.policies().all(|p| p.mode == Mode::Rank));
        assert_eq!(Grid::standard(1, Mode::Select).first_layers, [0]);
    }

    #[test]
    fn refusals() {
        assert_eq!(PolicyFamily::new(vec![vec![]]), Err(PruneError::NoPolicies));
        assert!(PolicyFamily::new(vec![vec![Policy::paper(f64::NAN)]]).is_err());
    }
}
