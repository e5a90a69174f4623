//! Finite-sample tests and bounds for the mean of losses in [0, 1].
//!
//! A query's loss is 1 - agreement@K, so it lies in [0, 1], and the queries of a calibration are independent
//! draws from the traffic it stands for. Nothing else is assumed: no normality, no number of queries that
//! is "large enough". Each test gives a p-value for the hypothesis "the mean loss is more than
//! `allowed`": under it, P(p ≤ u) ≤ u for every u, whatever the distribution of the losses. A
//! small p-value certifies a mean loss of at most `allowed`, that is, a mean agreement of at least
//! 1 - `allowed`.
//!
//! Which test to use must not depend on the losses; [`Test::for_k`] depends on K only.

mod binomial;
mod bounded;

pub use binomial::{binomial_cdf, clopper_pearson_lower, regularized_beta};

use crate::error::PruneError;

/// A test of "the mean loss is more than allowed".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Test {
    /// Exact binomial test on the number of queries with any loss at all (Clopper and Pearson 1934).
    ///
    /// The best there is for losses of 0 or 1. For fractions it stays valid, because the share of
    /// queries with a loss is at least the mean loss, but gives away the difference.
    ClopperPearson,
    /// The smaller of Hoeffding's bound `exp(-n h(min(r, a), a))`, with
    /// `h(r, a) = r ln(r/a) + (1-r) ln((1-r)/(1-a))`, and Bentkus' `e P(Bin(n, a) ≤ ⌈n r⌉)`, for the
    /// mean loss r and the allowed one a (Bates, Angelopoulos, Lei, Malik and Jordan 2021).
    ///
    /// Uses only the mean of the losses, so it cannot gain from losses that are small as well as rare.
    HoeffdingBentkus,
    /// Testing by betting: the capital of a gambler who bets against the hypothesis, query by query,
    /// with stakes that depend on the queries before (Waudby-Smith and Ramdas 2024).
    ///
    /// Adapts to the variance: with K = 10 one wrong candidate is a loss of 0.1, and such losses are
    /// certified with markedly fewer queries than by the other tests. Depends on the order of the queries,
    /// which must not be chosen by looking at their losses.
    Betting,
}

impl Test {
    /// The test for losses that are multiples of 1/K: exact binomial for K = 1, where they are 0 or
    /// 1, betting for K > 1, where they are fractions.
    pub fn for_k(k: usize) -> Self {
        if k <= 1 { Self::ClopperPearson } else { Self::Betting }
    }

    /// The p-value of "the mean loss is more than `allowed`", given independent losses.
    ///
    /// `level` is where the p-value will be compared; only `Betting` uses it, to choose its stakes.
    ///
    /// # Errors
    /// [`PruneError::NoQueries`]; [`PruneError::InvalidLoss`] for a loss outside [0, 1];
    /// [`PruneError::InvalidProbability`] when `allowed` or `level` is not between 0 and 1.
    pub fn p_value(self, losses: &[f64], allowed: f64, level: f64) -> Result<f64, PruneError> {
        check(losses, level)?;
        probability("the allowed loss", allowed)?;
        Ok(self.p(losses, allowed, level))
    }

    /// Upper confidence bound of the mean loss: with probability `confidence` over the queries, the
    /// mean loss of the traffic is at most this. For one policy fixed beforehand; see
    /// [`calibrate`](mod@crate::calibrate) for a choice among several.
    ///
    /// It is where the p-value falls to 1 - `confidence`, found to 12 digits and rounded up.
    ///
    /// # Errors
    /// As [`p_value`](Self::p_value).
    pub fn upper_bound(self, losses: &[f64], confidence: f64) -> Result<f64, PruneError> {
        probability("the confidence", confidence)?;
        let level = 1.0 - confidence;
        check(losses, level)?;
        let (mut below, mut above) = (0.0, 1.0);
        while above - below > 1e-12 {
            let allowed = 0.5 * (below + above);
            if self.p(losses, allowed, level) <= level {
                above = allowed;
            } else {
                below = allowed;
            }
        }
        Ok(above)
    }

    /// The fewest queries that can pass this test, which takes every one of them to be without loss;
    /// `None` for more than ten million. No valid test whatever can do with fewer than
    /// `ln(level) / ln(1 - allowed)`: for an agreement of 0.98 and a confidence of 95 %, 149.
    ///
    /// # Errors
    /// [`PruneError::InvalidProbability`] when `allowed` or `level` is not between 0 and 1.
    pub fn fewest_queries(self, allowed: f64, level: f64) -> Result<Option<usize>, PruneError> {
        const MOST: usize = 10_000_000;
        probability("the allowed loss", allowed)?;
        probability("the level", level)?;
        let passes = |n: usize| self.p(&vec![0.0; n], allowed, level) <= level;
        let at_least = (level.ln() / (-allowed).ln_1p()).floor().max(1.0);
        if at_least > MOST as f64 {
            return Ok(None);
        }
        let mut enough = at_least as usize;
        let mut too_few = enough - 1;
        while !passes(enough) {
            if enough >= MOST {
                return Ok(None);
            }
            (too_few, enough) = (enough, 2 * enough);
        }
        while enough - too_few > 1 {
            let middle = too_few + (enough - too_few) / 2;
            if passes(middle) { enough = middle } else { too_few = middle }
        }
        Ok(Some(enough))
    }

    /// Without checks: losses in [0, 1], at least one; `allowed` and `level` in (0, 1).
    pub(crate) fn p(self, losses: &[f64], allowed: f64, level: f64) -> f64 {
        match self {
            Self::ClopperPearson => {
                let failures = losses.iter().filter(|&&loss| loss > 0.0).count();
                binomial_cdf(failures as u64, losses.len() as u64, allowed)
            }
            Self::HoeffdingBentkus => bounded::hoeffding_bentkus(losses, allowed),
            Self::Betting => bounded::betting(losses, allowed, level),
        }
    }
}

fn check(losses: &[f64], level: f64) -> Result<(), PruneError> {
    probability("the level", level)?;
    if losses.is_empty() {
        return Err(PruneError::NoQueries);
    }
    match losses.iter().position(|loss| !(0.0..=1.0).contains(loss)) {
        Some(index) => Err(PruneError::InvalidLoss { index, found: losses[index] }),
        None => Ok(()),
    }
}

pub(crate) fn probability(setting: &'static str, found: f64) -> Result<(), PruneError> {
    if found > 0.0 && found < 1.0 {
        return Ok(());
    }
    Err(PruneError::InvalidProbability { setting, found })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Test; 3] = [Test::ClopperPearson, Test::HoeffdingBentkus, Test::Betting];

    fn losses(n: usize, step: usize, loss: f64) -> Vec<f64> {
        (0..n).map(|i| if i % step == step / 2 { loss } else { 0.0 }).collect()
    }

    #[test]
    fn bounds_invert_the_tests() {
        for test in ALL {
            for losses in [losses(300, 20, 0.2), losses(300, 50, 1.0), vec![0.0; 40], vec![1.0; 5]]
            {
                let bound = test.upper_bound(&losses, 0.9).unwrap();
                let mean = losses.iter().sum::<f64>() / losses.len() as f64;
                assert!(mean <= bound && bound <= 1.0, "{test:?}: {mean} {bound}");
                if bound < 0.999 {
                    assert!(test.p(&losses, bound, 0.1) <= 0.1 + 1e-9);
                    assert!(test.p(&losses, bound - 1e-6, 0.1) > 0.1 - 1e-9);
                }
            }
        }
    }

    #[test]
    fn clopper_pearson_agrees_with_its_bound() {
        let losses = losses(150, 30, 1.0);
        let upper = Test::ClopperPearson.upper_bound(&losses, 0.95).unwrap();
        assert!((1.0 - upper - clopper_pearson_lower(145, 150, 0.95).unwrap()).abs() < 1e-9);
    }

    #[test]
    fn betting_gains_from_small_losses() {
        let losses = losses(300, 15, 0.1);
        let [exact, mean_only, betting] = ALL.map(|t| t.upper_bound(&losses, 0.95).unwrap());
        assert!(
            betting < 0.02 && mean_only > 0.02 && exact > 0.08,
            "{exact} {mean_only} {betting}"
        );
    }

    #[test]
    fn fewest_queries() {
        let need = |test: Test, allowed, level| test.fewest_queries(allowed, level).unwrap();
        assert_eq!(need(Test::ClopperPearson, 0.02, 0.05), Some(149));
        assert_eq!(need(Test::HoeffdingBentkus, 0.02, 0.05), Some(149));
        let betting = need(Test::Betting, 0.02, 0.05).unwrap();
        assert!((150..200).contains(&betting), "{betting}");
        for test in ALL {
            let n = need(test, 0.1, 0.05).unwrap();
            assert!(test.p(&vec![0.0; n], 0.1, 0.05) <= 0.05);
            assert!(test.p(&vec![0.0; n - 1], 0.1, 0.05) > 0.05);
        }
        assert_eq!(need(Test::ClopperPearson, 1e-9, 0.05), None);
    }

    #[test]
    fn refusals() {
        let test = Test::HoeffdingBentkus;
        assert_eq!(test.p_value(&[], 0.1, 0.05), Err(PruneError::NoQueries));
        let outside = test.p_value(&[0.5, 1.5], 0.1, 0.05);
        assert_eq!(outside, Err(PruneError::InvalidLoss { index: 1, found: 1.5 }));
        assert!(test.p_value(&[f64::NAN], 0.1, 0.05).is_err());
        assert!(test.p_value(&[0.5], 0.0, 0.05).is_err());
        assert!(test.upper_bound(&[0.5], 1.0).is_err());
        assert!(test.fewest_queries(0.1, f64::NAN).is_err());
    }
}
