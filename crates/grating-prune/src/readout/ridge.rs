//! Ridge regression with its strength found by cross-validation over queries.

use super::Readout;
use super::solve::Gram;
use crate::error::PruneError;

/// One query's states after one layer, and what they are to foretell.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// Normalised hidden states, `[candidates, hidden]`.
    pub states: &'a [f32],
    /// The full model's raw scores, `[candidates]`.
    pub scores: &'a [f32],
}

/// A readout and how it was found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Fit {
    /// Fitted on all samples.
    pub readout: Readout,
    /// Strength of the ridge, in units of the states' mean variance per component.
    pub ridge: f64,
    /// For each sample its candidates' scores by a readout that has not seen the sample, `[samples][candidates]`.
    pub out_of_fold: Vec<Vec<f32>>,
}

/// Strengths to try.
const RIDGES: [f64; 8] = [1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 10.0];
/// Parts that take turns in being left out.
const FOLDS: usize = 5;

/// Fits a readout for states of `hidden` components.
///
/// Minimises the squared error of the differences between a query's candidates, since only those rank: states
/// and scores are taken relative to the query's means. The bias then makes the mean right over all samples. The
/// strength is the one with the least error on queries left out, five parts taking turns.
///
/// # Errors
/// [`PruneError::NoQueries`] for fewer than two samples; [`PruneError::StateShape`].
pub fn fit(samples: &[Sample<'_>], hidden: usize) -> Result<Fit, PruneError> {
    if samples.len() < 2 {
        return Err(PruneError::NoQueries);
    }
    for sample in samples {
        let expected = sample.scores.len() * hidden;
        if sample.states.len() != expected || expected == 0 {
            return Err(PruneError::StateShape { expected, found: sample.states.len() });
        }
    }
    let folds = FOLDS.min(samples.len());
    let mut parts = vec![NormalEquations::new(hidden); folds];
    for (i, sample) in samples.iter().enumerate() {
        parts[i % folds].add(sample);
    }
    let mut all = NormalEquations::new(hidden);
    parts.iter().for_each(|part| all.merge(part, 1.0));

    let mut best: Option<(f64, f64, Vec<Vec<f32>>)> = None;
    for ridge in RIDGES {
        let readouts: Vec<Readout> = parts
            .iter()
            .map(|part| {
                let mut others = all.clone();
                others.merge(part, -1.0);
                others.readout(ridge)
            })
            .collect();
        let scores: Vec<Vec<f32>> = samples
            .iter()
            .enumerate()
            .map(|(i, sample)| {
                sample.states.chunks_exact(hidden).map(|x| readouts[i % folds].score(x)).collect()
            })
            .collect();
        let error: f64 = samples.iter().zip(&scores).map(|(s, found)| error(s.scores, found)).sum();
        if best.as_ref().is_none_or(|(least, ..)| error < *least) {
            best = Some((error, ridge, scores));
        }
    }
    let (_, ridge, out_of_fold) = best.expect("there are strengths to try, and errors are numbers");
    Ok(Fit { readout: all.readout(ridge), ridge, out_of_fold })
}

/// Sum of squared differences after both have lost their means.
fn error(wanted: &[f32], found: &[f32]) -> f64 {
    let differences = || wanted.iter().zip(found).map(|(w, f)| f64::from(*w) - f64::from(*f));
    let mean = differences().sum::<f64>() / wanted.len() as f64;
    differences().map(|d| (d - mean) * (d - mean)).sum()
}

/// Sums over some samples: all that the regression needs of them.
#[derive(Clone)]
struct NormalEquations {
    gram: Gram,
    products: Vec<f64>,
    state_sum: Vec<f64>,
    score_sum: f64,
    candidates: f64,
}

impl NormalEquations {
    fn new(hidden: usize) -> Self {
        NormalEquations {
            gram: Gram::new(hidden),
            products: vec![0.0; hidden],
            state_sum: vec![0.0; hidden],
            score_sum: 0.0,
            candidates: 0.0,
        }
    }

    fn add(&mut self, sample: &Sample<'_>) {
        let (n, hidden) = (sample.scores.len() as f64, self.products.len());
        let mut mean = vec![0.0; hidden];
        for row in sample.states.chunks_exact(hidden) {
            mean.iter_mut().zip(row).for_each(|(m, &x)| *m += f64::from(x));
        }
        self.state_sum.iter_mut().zip(&mean).for_each(|(sum, m)| *sum += m);
        mean.iter_mut().for_each(|m| *m /= n);
        let score_sum: f64 = sample.scores.iter().map(|&y| f64::from(y)).sum();
        let mut centred = vec![0.0; hidden];
        for (row, &y) in sample.states.chunks_exact(hidden).zip(sample.scores) {
            for ((c, &x), m) in centred.iter_mut().zip(row).zip(&mean) {
                *c = f64::from(x) - m;
            }
            let y = f64::from(y) - score_sum / n;
            self.products.iter_mut().zip(&centred).for_each(|(p, c)| *p += y * c);
            self.gram.add(&centred);
        }
        self.score_sum += score_sum;
        self.candidates += n;
    }

    /// Adds `factor` times the other's sums.
    fn merge(&mut self, other: &NormalEquations, factor: f64) {
        let add = |to: &mut Vec<f64>, from: &Vec<f64>| {
            to.iter_mut().zip(from).for_each(|(a, b)| *a += factor * b);
        };
        self.gram.merge(&other.gram, factor);
        add(&mut self.products, &other.products);
        add(&mut self.state_sum, &other.state_sum);
        self.score_sum += factor * other.score_sum;
        self.candidates += factor * other.candidates;
    }

    fn readout(&self, ridge: f64) -> Readout {
        let weights = self.gram.solve(ridge, &self.products);
        let explained: f64 = weights.iter().zip(&self.state_sum).map(|(w, s)| w * s).sum();
        Readout {
            bias: ((self.score_sum - explained) / self.candidates) as f32,
            weights: weights.into_iter().map(|w| w as f32).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers without a pattern, from -1 to 1.
    fn noise(seed: &mut u64) -> f32 {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((*seed >> 40) as f32 / (1_u64 << 23) as f32) - 1.0
    }

    /// Queries of twelve candidates whose score is a linear map of the state, plus an offset of the query's own.
    fn queries(count: usize, hidden: usize, noisy: f32) -> Vec<(Vec<f32>, Vec<f32>)> {
        let mut seed = 7;
        (0..count)
            .map(|q| {
                let states: Vec<f32> = (0..12 * hidden).map(|_| noise(&mut seed)).collect();
                let scores = states.chunks_exact(hidden).map(|x| {
                    let linear: f32 = x.iter().enumerate().map(|(i, v)| v * (i as f32 - 1.0)).sum();
                    linear + q as f32 + noisy * noise(&mut seed)
                });
                let scores = scores.collect();
                (states, scores)
            })
            .collect()
    }

    fn fitted(queries: &[(Vec<f32>, Vec<f32>)], hidden: usize) -> Fit {
        let samples: Vec<Sample<'_>> =
            queries.iter().map(|(states, scores)| Sample { states, scores }).collect();
        fit(&samples, hidden).unwrap()
    }

    #[test]
    fn a_linear_map_is_found_whatever_the_queries_offsets() {
        let found = fitted(&queries(10, 4, 0.0), 4);
        assert_eq!(found.ridge, RIDGES[0]);
        for (i, w) in found.readout.weights.iter().enumerate() {
            assert!((w - (i as f32 - 1.0)).abs() < 1e-3, "{:?}", found.readout);
        }
        // The mean offset of queries 0 to 9.
        assert!((found.readout.bias - 4.5).abs() < 1e-2, "{:?}", found.readout);
        assert_eq!((found.out_of_fold.len(), found.out_of_fold[0].len()), (10, 12));
    }

    #[test]
    fn noise_asks_for_a_stronger_ridge() {
        let (clean, noisy) = (queries(4, 40, 0.0), queries(4, 40, 60.0));
        assert!(fitted(&noisy, 40).ridge > fitted(&clean, 40).ridge);
    }

    #[test]
    fn scores_out_of_fold_know_nothing_of_their_query() {
        let mut queries = queries(5, 3, 0.0);
        let before = fitted(&queries, 3).out_of_fold;
        queries[2].1.reverse();
        let after = fitted(&queries, 3).out_of_fold;
        // Five queries, five parts: each is a part of its own.
        assert_eq!(before[2], after[2]);
        assert_ne!(before[1], after[1]);
    }

    #[test]
    fn refusals() {
        let sample = Sample { states: &[1.0; 6], scores: &[1.0; 2] };
        assert_eq!(fit(&[sample], 3), Err(PruneError::NoQueries));
        let wrong = fit(&[sample, sample], 4);
        assert_eq!(wrong, Err(PruneError::StateShape { expected: 8, found: 6 }));
    }

    #[test]
    fn equal_states_give_a_constant() {
        let sample = Sample { states: &[1.0; 6], scores: &[1.0, 3.0] };
        let found = fit(&[sample, sample], 3).unwrap();
        assert!((found.readout.score(&[1.0; 3]) - 2.0).abs() < 1e-6);
    }
}
