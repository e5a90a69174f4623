//! Tests for the mean of losses that lie anywhere in [0, 1].

use super::binomial::binomial_cdf;

/// The Hoeffding–Bentkus p-value of "the mean loss is more than `allowed`".
///
/// S. Bates, A. Angelopoulos, L. Lei, J. Malik, M. Jordan, "Distribution-free, risk-controlling
/// prediction sets", J. ACM 68 (2021); from Hoeffding (1963) in its relative-entropy form and
/// Bentkus (2004). Each of the two is a valid p-value, and so is their minimum, because both are tail bounds of the
/// same statistic, the mean.
pub(super) fn hoeffding_bentkus(losses: &[f64], allowed: f64) -> f64 {
    let n = losses.len() as f64;
    let sum: f64 = losses.iter().sum();
    let mean = (sum / n).min(1.0);
    if mean >= allowed {
        return 1.0;
    }
    let from = if mean > 0.0 { mean * (mean / allowed).ln() } else { 0.0 };
    let entropy = from + (1.0 - mean) * ((-mean).ln_1p() - (-allowed).ln_1p());
    let hoeffding = (-n * entropy).exp();
    // Losses are fractions such as 1/10, whose sum may miss a whole number by rounding.
    let most = (sum - 1e-9).ceil().max(0.0) as u64;
    let bentkus = std::f64::consts::E * binomial_cdf(most, losses.len() as u64, allowed);
    hoeffding.min(bentkus).min(1.0)
}

/// The betting p-value of "the mean loss is more than `allowed`".
///
/// The gambler's capital is `K_t = Π (1 + λ_i (allowed - loss_i))` with stakes λ_i in [0, 1] that depend on
/// the losses before i. Under the hypothesis K is a non-negative supermartingale that starts at 1, so it
/// ever reaches 1/u with probability at most u (Ville's inequality): `1 / max K_t` is a p-value. Stakes:
/// the predictable plug-in of I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random
/// variables by betting", J. R. Stat. Soc. B 86 (2024), in the form that Bates et al. (2021) give for
/// losses.
pub(super) fn betting(losses: &[f64], allowed: f64, level: f64) -> f64 {
    let n = losses.len() as f64;
    let aim = 2.0 * (1.0 / level).ln() / n;
    // Running mean and variance, started with one imagined loss of 1/2 and variance of 1/4.
    let (mut sum, mut squares) = (0.5, 0.25);
    let (mut ln_capital, mut highest) = (0.0_f64, 0.0_f64);
    for (i, &loss) in losses.iter().enumerate() {
        let seen = (i + 1) as f64;
        let stake = (aim / (squares / seen)).sqrt().min(1.0);
        ln_capital += (stake * (allowed - loss)).ln_1p();
        highest = highest.max(ln_capital);
        sum += loss;
        squares += (loss - sum / (seen + 1.0)).powi(2);
    }
    (-highest).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_random::Random;

    fn sparse(n: usize, at: &[usize], loss: f64) -> Vec<f64> {
        let mut losses = vec![0.0; n];
        at.iter().for_each(|&i| losses[i] = loss);
        losses
    }

    // The numbers are from the formulas in NumPy and SciPy 1.17.
    #[test]
    fn as_numpy() {
        let small = sparse(200, &[3, 50, 120], 0.1);
        assert!((hoeffding_bentkus(&small, 0.02) - 0.051_942_101_456_386_93).abs() < 1e-13);
        assert!((betting(&small, 0.02, 0.05) - 0.026_692_610_741_928_805).abs() < 1e-13);
        let whole = sparse(100, &[3, 50, 51, 52, 80], 1.0);
        assert!((hoeffding_bentkus(&whole, 0.1) - 0.156_510_204_276_953_56).abs() < 1e-13);
        assert!((betting(&whole, 0.1, 0.05) - 0.051_890_893_907_812_92).abs() < 1e-13);
    }

    #[test]
    fn extremes() {
        assert_eq!(hoeffding_bentkus(&[1.0; 9], 0.1), 1.0);
        assert_eq!(betting(&[1.0; 9], 0.1, 0.05), 1.0);
        assert_eq!(hoeffding_bentkus(&[0.1; 9], 0.1), 1.0);
        // With no loss at all both know no more than (1 - allowed)^n.
        assert!((hoeffding_bentkus(&[0.0; 50], 0.1) - 0.9_f64.powi(50)).abs() < 1e-12);
        assert!(betting(&[0.0; 50], 0.1, 0.05) >= 0.9_f64.powi(50));
    }

    /// The promise itself: at the edge of the hypothesis, p ≤ u no more often than u.
    #[test]
    fn false_alarms_are_rare() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        // Mean losses of exactly 0.05: whole, in tenths, in halves.
        let cases = [("1", 0.05, 1.0), ("1/10", 0.5, 0.1), ("1/2", 0.1, 0.5)];
        let mut rejected = [0, 0];
        for (name, chance, loss) in cases {
            let mut alarms = [0, 0];
            for _ in 0..4000 {
                let losses: Vec<f64> =
                    (0..120).map(|_| if random.uniform() < chance { loss } else { 0.0 }).collect();
                alarms[0] += usize::from(hoeffding_bentkus(&losses, 0.05) <= 0.1);
                alarms[1] += usize::from(betting(&losses, 0.05, 0.1) <= 0.1);
            }
            // 10 % of 4000 is 400, with a standard deviation of 19; 4.2 of those are allowed for.
            assert!(alarms.iter().all(|&count| count <= 480), "loss {name}: {alarms:?}");
            rejected = [rejected[0] + alarms[0], rejected[1] + alarms[1]];
        }
        // A test that never rejects would pass the above.
        assert!(rejected.iter().all(|&count| count > 40), "{rejected:?}");
    }
}
