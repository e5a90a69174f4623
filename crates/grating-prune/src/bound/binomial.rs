//! The binomial distribution by the regularised incomplete beta function, and the exact bound from it.

use crate::error::PruneError;

/// Clopper and Pearson's exact lower confidence bound of a success probability: with probability at
/// least `confidence` over the trials, the true one is not below it. 0 when nothing succeeded.
///
/// It is the p at which P(Bin(`trials`, p) ≥ `successes`) = 1 - `confidence`.
///
/// # Errors
/// [`PruneError::NoQueries`] without trials; [`PruneError::InvalidProbability`] when `confidence`
/// is not between 0 and 1.
///
/// # Panics
/// When there are more successes than trials.
pub fn clopper_pearson_lower(
    successes: u64,
    trials: u64,
    confidence: f64,
) -> Result<f64, PruneError> {
    super::probability("the confidence", confidence)?;
    assert!(successes <= trials, "{successes} successes in {trials} trials");
    match (successes, trials) {
        (_, 0) => return Err(PruneError::NoQueries),
        (0, _) => return Ok(0.0),
        _ => {}
    }
    let (a, b) = (successes as f64, (trials - successes + 1) as f64);
    let (mut below, mut above) = (0.0, 1.0);
    while above - below > 1e-15 {
        let p = 0.5 * (below + above);
        if p <= below || p >= above {
            break;
        }
        if regularized_beta(p, a, b) <= 1.0 - confidence { below = p } else { above = p }
    }
    Ok(below)
}

/// P(Bin(`trials`, `p`) ≤ `most`).
pub fn binomial_cdf(most: u64, trials: u64, p: f64) -> f64 {
    if most >= trials {
        return 1.0;
    }
    regularized_beta(1.0 - p, (trials - most) as f64, (most + 1) as f64)
}

/// The regularised incomplete beta function I_x(a, b), for a, b > 0 and x in [0, 1].
///
/// Continued fraction 8.17.22 of the NIST Digital Library of Mathematical Functions, by Lentz's
/// method; the side that converges fast is chosen by the symmetry I_x(a, b) = 1 - I_{1-x}(b, a).
/// Relative error below 1e-11 for a, b up to 10⁴.
pub fn regularized_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = |x: f64, a: f64, b: f64| {
        let ln_beta = ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b);
        (a * x.ln() + b * (-x).ln_1p() - ln_beta).exp() / a
    };
    if x <= (a + 1.0) / (a + b + 2.0) {
        front(x, a, b) * beta_fraction(x, a, b)
    } else {
        1.0 - front(1.0 - x, b, a) * beta_fraction(1.0 - x, b, a)
    }
}

/// The continued fraction of I_x(a, b) without its leading factor.
fn beta_fraction(x: f64, a: f64, b: f64) -> f64 {
    // Lentz's method replaces a denominator of 0 by a tiny one.
    let nonzero = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let mut d = 1.0 / nonzero(1.0 - (a + b) * x / (a + 1.0));
    let mut c = 1.0;
    let mut value = d;
    // About sqrt(max(a, b)) steps are needed; the limit is far beyond any number of queries.
    for step in 1..100_000 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = value;
        for term in [even, odd] {
            d = 1.0 / nonzero(1.0 + term * d);
            c = nonzero(1.0 + term / c);
            value *= d * c;
        }
        if (value - before).abs() <= 1e-16 * value.abs() {
            break;
        }
    }
    value
}

/// ln Γ(x) for x > 0: Stirling's series (DLMF 5.11.1), after shifting x to where it converges.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut product) = (x, 1.0);
    while x < 15.0 {
        product *= x;
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    // B_2k / (2k (2k - 1)), k = 1, 2, ...
    let series = 1.0 / 12.0
        - y * (1.0 / 360.0
            - y * (1.0 / 1260.0 - y * (1.0 / 1680.0 - y * (1.0 / 1188.0 - y * 691.0 / 360_360.0))));
    let half_ln_2pi = 0.918_938_533_204_672_8;
    (x - 0.5) * x.ln() - x + half_ln_2pi + series / x - product.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        let error = (found - expected).abs() / expected.abs().max(1e-300);
        assert!(error < 1e-11, "{found} instead of {expected}: {error:e}");
    }

    // The numbers are SciPy 1.17's.
    #[test]
    #[allow(clippy::excessive_precision)]
    fn as_scipy() {
        for (x, expected) in [
            (0.5, 0.5723649429247),
            (1.5, -0.12078223763524526),
            (7.0, 6.579251212010101),
            (10.25, 13.368023671476045),
            (200.0, 857.9336698258575),
            (1e5, 1051287.7089736569),
        ] {
            close(ln_gamma(x), expected);
        }
        assert!(ln_gamma(1.0).abs() < 1e-14);
        for (x, a, b, expected) in [
            (0.1, 0.5, 0.5, 0.20483276469913345),
            (0.5, 2.0, 3.0, 0.6875),
            (0.98, 99.0, 2.0, 0.4032717107820041),
            (0.02, 1.0, 150.0, 0.9517039787565122),
            (0.7, 30.5, 12.25, 0.405229364110485),
            (0.999, 500.0, 1.0, 0.6063789448611847),
            (0.3, 1000.0, 2000.0, 4.0738279160507626e-05),
        ] {
            close(regularized_beta(x, a, b), expected);
        }
        for (most, n, p, expected) in [
            (0, 149, 0.02, 0.049281654330089596),
            (3, 200, 0.02, 0.43149497316150287),
            (10, 10, 0.3, 1.0),
            (499, 1000, 0.5, 0.48738749091081973),
        ] {
            close(binomial_cdf(most, n, p), expected);
        }
        for (successes, n, confidence, expected) in [
            (150, 150, 0.95, 0.9802265618354915),
            (145, 150, 0.95, 0.9311948160641232),
            (1, 10, 0.9, 0.010480741793785605),
            (50, 100, 0.99, 0.3807174669069525),
            (995, 1000, 0.95, 0.9895159230885844),
        ] {
            close(clopper_pearson_lower(successes, n, confidence).unwrap(), expected);
        }
        assert_eq!(clopper_pearson_lower(0, 10, 0.95), Ok(0.0));
    }

    #[test]
    fn edges() {
        assert_eq!(regularized_beta(0.0, 2.0, 3.0), 0.0);
        assert_eq!(regularized_beta(1.0, 2.0, 3.0), 1.0);
        assert_eq!(clopper_pearson_lower(0, 0, 0.95), Err(PruneError::NoQueries));
        assert!(clopper_pearson_lower(1, 2, 1.0).is_err());
    }

    /// The promise itself: over all outcomes, the bound lies above the truth with at most the error.
    #[test]
    fn clopper_pearson_covers() {
        for (n, p) in [(20, 0.9), (50, 0.98), (149, 0.98), (200, 0.5)] {
            let mut missed = 0.0;
            for s in 0..=n {
                if clopper_pearson_lower(s, n, 0.95).unwrap() > p {
                    let below = if s == 0 { 0.0 } else { binomial_cdf(s - 1, n, p) };
                    missed += binomial_cdf(s, n, p) - below;
                }
            }
            assert!(missed <= 0.05 + 1e-9, "{n} {p}: {missed}");
        }
    }
}
