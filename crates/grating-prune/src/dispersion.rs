//! How far apart the live candidates' scores are: the sign that ranks begin to settle.

/// The measure that is compared with a policy's threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Dispersion {
    /// Coefficient of variation, `std / |mean|` (the paper's). Without unit.
    Variation,
    /// `std`, in units of the scale. On [`ScoreScale::Logit`](crate::ScoreScale::Logit) that is
    /// log-odds, and a shift of all scores does not change it.
    Spread,
}

impl Dispersion {
    /// The measure of `values`, from 0; 0 for fewer than two values and for equal values.
    ///
    /// `Variation` is infinite when the mean is 0 and the values differ. Sums depend on the order of
    /// the values in their last bits, so callers that compare with a threshold sort first.
    pub fn of(self, values: &[f64]) -> f64 {
        let (mean, std) = moments(values);
        match self {
            Self::Spread => std,
            Self::Variation if std == 0.0 => 0.0,
            Self::Variation => std / mean.abs(),
        }
    }
}

/// Mean and population standard deviation (divisor n); (0, 0) for no values.
///
/// Deviations are taken from the first value and scaled by the largest one: equal values give exactly
/// 0, a common offset costs no digits, and squares neither overflow nor vanish.
pub fn moments(values: &[f64]) -> (f64, f64) {
    let Some(&origin) = values.first() else { return (0.0, 0.0) };
    let n = values.len() as f64;
    let largest = values.iter().fold(0.0_f64, |m, v| m.max((v - origin).abs()));
    if largest == 0.0 {
        return (origin, 0.0);
    }
    let shift = values.iter().map(|v| (v - origin) / largest).sum::<f64>() / n;
    let (mut squares, mut rest) = (0.0, 0.0);
    for v in values {
        let d = (v - origin) / largest - shift;
        squares += d * d;
        rest += d;
    }
    // The second term takes out what is left of the rounding of the mean (Chan, Golub, LeVeque 1983).
    let variance = (squares - rest * rest / n) / n;
    (origin + shift * largest, variance.max(0.0).sqrt() * largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Mean 5, squared deviations 9+1+1+1+0+0+4+16 = 32, population variance 4.
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert_eq!(moments(&values), (5.0, 2.0));
        assert_eq!(Dispersion::Variation.of(&values), 0.4);
        assert_eq!(Dispersion::Spread.of(&values), 2.0);
        let negative: Vec<f64> = values.iter().map(|v| -v).collect();
        assert_eq!(Dispersion::Variation.of(&negative), 0.4);
    }

    #[test]
    fn nothing_to_disperse() {
        for values in [&[][..], &[3.0], &[0.1; 7], &[0.0; 3]] {
            assert_eq!(Dispersion::Variation.of(values), 0.0);
            assert_eq!(Dispersion::Spread.of(values), 0.0);
        }
    }

    #[test]
    fn zero_mean_is_infinite_variation() {
        assert_eq!(Dispersion::Variation.of(&[1.0, -1.0]), f64::INFINITY);
        assert_eq!(Dispersion::Spread.of(&[1.0, -1.0]), 1.0);
    }

    #[test]
    fn offsets_and_extremes_keep_their_digits() {
        let (_, std) = moments(&[1e9 + 1.0, 1e9 + 2.0, 1e9 + 3.0]);
        assert!((std - (2.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        let (_, tiny) = moments(&[1e-200, 3e-200]);
        assert!((tiny / 1e-200 - 1.0).abs() < 1e-12);
        let (_, huge) = moments(&[1e200, 3e200]);
        assert!((huge / 1e200 - 1.0).abs() < 1e-12);
    }
}
