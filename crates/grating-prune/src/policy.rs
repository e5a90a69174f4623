//! When to prune and how boldly: the settings of a pruner.

mod words;

use crate::clusters::ClusterRule;
use crate::dispersion::Dispersion;
use crate::error::PruneError;
use crate::routing::Gap;
use crate::scale::ScoreScale;

/// What becomes of accepted candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Mode {
    /// Accepted candidates stop computing. Only membership in the top-K is promised: scores of
    /// candidates accepted after different layers are not comparable.
    Select,
    /// Accepted candidates run to the last layer, so the selected ones carry the full model's scores
    /// and order. Verdicts are the same as in `Select`; only drops save work.
    Rank,
}

/// The settings of a [`Pruner`](crate::Pruner).
///
/// After layer `first_layer` and then every `stride` layers, the raw scores of the live candidates
/// are put on `scale`. While their dispersion is below `threshold`, nobody is decided. From there on
/// they are clustered, and clusters that are clear of the boundary by `gap` are accepted or
/// dropped. After the last layer the rest is decided by rank, whatever the policy says.
///
/// ```
/// use grating_prune::{ClusterRule, Gap, Policy};
///
/// let policy = Policy::paper(0.8).with_first_layer(4).with_gap(Gap::Deviations(0.5));
/// assert_eq!(policy.clusters, ClusterRule::Fixed(3));
/// assert!(policy.validate().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Policy {
    /// Dispersion from which on candidates are decided; 0 decides at every chance. Finite.
    pub threshold: f64,
    /// The measure compared with `threshold`.
    pub dispersion: Dispersion,
    /// The scale for dispersion, clusters and gap.
    pub scale: ScoreScale,
    /// Number of clusters.
    pub clusters: ClusterRule,
    /// Distance to the boundary that a cluster needs before it is decided.
    pub gap: Gap,
    /// The first layer after which candidates may be decided, from 0.
    pub first_layer: usize,
    /// Layers from one decision to the next, at least 1.
    pub stride: usize,
    /// What becomes of accepted candidates.
    pub mode: Mode,
}

impl Policy {
    /// The paper's form (arXiv 2510.15620): coefficient of variation and k-means on the
    /// probabilities after every layer, a cluster edge is enough, accepted candidates stop.
    ///
    /// The paper prints neither the number of clusters nor thresholds. Three is our reading of its
    /// description (above, around and below the boundary); the threshold is the caller's.
    pub fn paper(threshold: f64) -> Self {
        Self {
            threshold,
            dispersion: Dispersion::Variation,
            scale: ScoreScale::Probability,
            clusters: ClusterRule::Fixed(3),
            gap: Gap::Edge,
            first_layer: 0,
            stride: 1,
            mode: Mode::Select,
        }
    }

    /// Nobody is decided, nor any score needed, before the last layer.
    pub fn never() -> Self {
        Self::paper(0.0).with_first_layer(usize::MAX)
    }

    /// With another threshold.
    #[must_use]
    pub fn with_threshold(self, threshold: f64) -> Self {
        Self { threshold, ..self }
    }

    /// With another scale and the measure of dispersion on it.
    #[must_use]
    pub fn with_scale(self, scale: ScoreScale, dispersion: Dispersion) -> Self {
        Self { scale, dispersion, ..self }
    }

    /// With another number of clusters.
    #[must_use]
    pub fn with_clusters(self, clusters: ClusterRule) -> Self {
        Self { clusters, ..self }
    }

    /// With another gap.
    #[must_use]
    pub fn with_gap(self, gap: Gap) -> Self {
        Self { gap, ..self }
    }

    /// With another first layer.
    #[must_use]
    pub fn with_first_layer(self, first_layer: usize) -> Self {
        Self { first_layer, ..self }
    }

    /// With another stride.
    #[must_use]
    pub fn with_stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// With another mode.
    #[must_use]
    pub fn with_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// Checks every setting's range.
    ///
    /// # Errors
    /// [`PruneError::InvalidPolicy`] names the first setting out of range.
    pub fn validate(&self) -> Result<(), PruneError> {
        let number = |setting, value: f64| {
            if value.is_finite() && value >= 0.0 {
                return Ok(());
            }
            let found = value.to_string();
            Err(PruneError::InvalidPolicy { setting, found, expected: "finite and at least 0" })
        };
        number("threshold", self.threshold)?;
        self.gap.numbers().iter().try_for_each(|&width| number("gap", width))?;
        self.clusters.validate()?;
        if self.stride == 0 {
            let found = "0".to_owned();
            return Err(PruneError::InvalidPolicy {
                setting: "stride",
                found,
                expected: "at least 1",
            });
        }
        Ok(())
    }

    /// Checks that the policy can be a model's of `layers` layers.
    ///
    /// # Errors
    /// As [`validate`](Self::validate), and [`PruneError::GapLayers`] for gaps of a model with more or fewer layers.
    pub fn validate_for(&self, layers: usize) -> Result<(), PruneError> {
        self.validate()?;
        match &self.gap {
            Gap::Layers(gaps) if gaps.widths().len() + 1 != layers => {
                let (expected, found) = (layers.saturating_sub(1), gaps.widths().len());
                Err(PruneError::GapLayers { expected, found })
            }
            _ => Ok(()),
        }
    }

    /// Whether scores after `layer` of `layers` are looked at: on the stride, and after the last one.
    pub fn is_due(&self, layer: usize, layers: usize) -> bool {
        layer + 1 == layers || self.on_stride(layer)
    }

    /// The first layer from `layer` on after which scores are looked at.
    pub(crate) fn next_due(&self, layer: usize, layers: usize) -> usize {
        (layer..layers).find(|&l| self.is_due(l, layers)).unwrap_or(layers.saturating_sub(1))
    }

    pub(crate) fn on_stride(&self, layer: usize) -> bool {
        layer.checked_sub(self.first_layer).is_some_and(|past| past % self.stride == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(policy: &Policy, layers: usize) -> Vec<usize> {
        (0..layers).filter(|&l| policy.is_due(l, layers)).collect()
    }

    #[test]
    fn due_layers() {
        let policy = Policy::paper(0.5);
        let third = policy.clone().with_first_layer(2).with_stride(3);
        assert_eq!(due(&policy, 4), [0, 1, 2, 3]);
        assert_eq!(due(&third, 10), [2, 5, 8, 9]);
        assert_eq!(due(&policy.with_first_layer(9), 4), [3]);
        assert_eq!(due(&Policy::never(), 4), [3]);
        assert_eq!(third.next_due(6, 10), 8);
    }

    #[test]
    fn ranges_are_checked() {
        let ok = || Policy::paper(0.5);
        assert!(ok().validate().is_ok());
        assert!(Policy::never().validate().is_ok());
        for (policy, setting) in [
            (ok().with_threshold(f64::NAN), "threshold"),
            (ok().with_threshold(-1.0), "threshold"),
            (ok().with_threshold(f64::INFINITY), "threshold"),
            (ok().with_gap(Gap::Deviations(-0.1)), "gap"),
            (ok().with_gap(Gap::Score(f64::NAN)), "gap"),
            (ok().with_gap(Gap::Layers(vec![1.0, -1.0].into())), "gap"),
            (ok().with_stride(0), "stride"),
            (ok().with_clusters(ClusterRule::Fixed(0)), "clusters"),
            (ok().with_clusters(ClusterRule::Silhouette { min: 1, max: 3 }), "clusters"),
            (ok().with_clusters(ClusterRule::Silhouette { min: 4, max: 3 }), "clusters"),
        ] {
            let error = policy.validate().unwrap_err();
            assert!(error.to_string().contains(setting), "{error}");
        }
    }

    #[test]
    fn gaps_are_those_of_the_models_layers() {
        let policy = Policy::paper(0.5).with_gap(Gap::Layers(vec![1.0, 0.5].into()));
        assert_eq!(policy.validate_for(3), Ok(()));
        let wrong = PruneError::GapLayers { expected: 5, found: 2 };
        assert_eq!(policy.validate_for(6), Err(wrong));
        assert_eq!(Policy::never().validate_for(6), Ok(()));
    }
}
