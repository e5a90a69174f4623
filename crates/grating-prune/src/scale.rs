//! The scale on which scores are compared: monotone maps of the model's logits.

/// A monotone map of the model's raw scores (logits), on which dispersion and clusters are computed.
///
/// Each keeps the order of the candidates, so the final ranking is the same on all of them. What
/// differs is which distances look large, and with that, when pruning starts and where clusters
/// part. `x` is the raw score: larger is more relevant, any finite number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ScoreScale {
    /// `1 / (1 + e^-x)`, the paper's reading for rerankers that answer with a probability.
    ///
    /// A sure model's probabilities crowd at 0 and 1: distances there vanish, and the coefficient of
    /// variation explodes when nearly all candidates are near 0.
    Probability,
    /// `x` as it is: log-odds for a yes/no head, or whatever the model's head gives.
    ///
    /// Its mean can be near 0 or of either sign, so use it with [`Dispersion::Spread`], which does
    /// not change when every score is shifted.
    ///
    /// [`Dispersion::Spread`]: crate::Dispersion::Spread
    Logit,
    /// `e^(x - max)`: the odds relative to the best live candidate, in (0, 1].
    ///
    /// Not changed by a shift of all logits, as intermediate layers often show one, and never near
    /// a zero mean: the coefficient of variation is at most `sqrt(n - 1)`. It looks at the top of the
    /// pool: whoever is far below the best is near 0, with everybody else who is.
    Odds,
}

impl ScoreScale {
    /// Maps raw scores, best first, onto the scale, best first. All must be finite.
    ///
    /// Equal scores stay equal. Different ones may become equal where the scale saturates, but
    /// never change their order: a rounding that would do so is evened out.
    pub fn map(self, sorted: &[f32]) -> Vec<f64> {
        let Some(&best) = sorted.first() else { return Vec::new() };
        let mut previous = f64::INFINITY;
        sorted
            .iter()
            .map(|&score| {
                previous = self.value(f64::from(score), f64::from(best)).min(previous);
                previous
            })
            .collect()
    }

    fn value(self, x: f64, best: f64) -> f64 {
        match self {
            // e^-|x| never overflows; for large negative x it also keeps the small probability's digits.
            Self::Probability if x >= 0.0 => 1.0 / (1.0 + (-x).exp()),
            Self::Probability => x.exp() / (1.0 + x.exp()),
            Self::Logit => x,
            Self::Odds => (x - best).exp(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let raw = [2.0, 0.0, -2.0];
        let p = ScoreScale::Probability.map(&raw);
        assert!((p[0] - 0.880_797_077_977_882_4).abs() < 1e-15);
        assert_eq!(p[1], 0.5);
        assert!((p[0] + p[2] - 1.0).abs() < 1e-15);
        assert_eq!(ScoreScale::Logit.map(&raw), [2.0, 0.0, -2.0]);
        let o = ScoreScale::Odds.map(&raw);
        assert_eq!(o[0], 1.0);
        assert!((o[1] - (-2.0_f64).exp()).abs() < 1e-16);
        assert!(ScoreScale::Odds.map(&[]).is_empty());
    }

    #[test]
    fn extremes_stay_finite_and_ordered() {
        let raw = [f32::MAX, 800.0, 50.0, 40.0, 0.0, -0.0, -90.0, -800.0, f32::MIN];
        for scale in [ScoreScale::Probability, ScoreScale::Logit, ScoreScale::Odds] {
            let mapped = scale.map(&raw);
            assert!(mapped.iter().all(|v| v.is_finite()), "{scale:?}");
            assert!(mapped.windows(2).all(|w| w[0] >= w[1]), "{scale:?}");
        }
        // A small probability keeps its digits.
        assert!(ScoreScale::Probability.map(&[-90.0])[0] > 0.0);
    }
}
