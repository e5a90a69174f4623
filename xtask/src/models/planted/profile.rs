//! How scores settle with depth: measured on score traces of a real model, resampled to any depth.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use grating_prune::ScoreTrace;
use grating_prune::metrics::agreement_at_k;
use serde::{Deserialize, Serialize};

/// The profile of the built-in model.
const DEFAULT: &str = include_str!("default_profile.json");

/// Points that the distribution of final scores is stored at.
const QUANTILES: usize = 41;

/// How a model's scores come about over its layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Profile {
    /// The model and the texts that were traced.
    pub(crate) source: String,
    /// After each layer of the traced model.
    pub(crate) layers: Vec<Settling>,
    /// Final scores, standardised (mean 0, std 1), at evenly spaced ranks, best first.
    pub(crate) relevance: Vec<f64>,
}

/// The state of the scores after one layer, averaged over queries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settling {
    /// Mean logit.
    pub(crate) mean: f64,
    /// Standard deviation of the logits.
    pub(crate) std: f64,
    /// Pearson correlation with the final scores.
    pub(crate) correlation: f64,
    /// Correlation of what is not the final score with the same after the layer before.
    pub(crate) carry: f64,
    /// Overlap of the ten best with the final ten best.
    pub(crate) overlap_at_10: f64,
}

/// What `--profile` may name: traces to measure or a stored profile.
#[derive(Deserialize)]
#[serde(untagged)]
enum File {
    Profile(Profile),
    Traces(Vec<ScoreTrace>),
    Trace(ScoreTrace),
}

impl Profile {
    /// The stored profile of the built-in model.
    pub(crate) fn default_model() -> Self {
        serde_json::from_str(DEFAULT).expect("the stored profile is read by a test")
    }

    /// Reads a stored profile, or measures one on the score traces that the file holds.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the profile {}", path.display()))?;
        let file = serde_json::from_str(&text).with_context(|| {
            format!("{} holds neither score traces nor a profile", path.display())
        })?;
        let source = || path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match file {
            File::Profile(profile) => profile.checked(),
            File::Traces(traces) => Self::measure(source(), &traces),
            File::Trace(trace) => Self::measure(source(), &[trace]),
        }
    }

    /// Measures traces of one model, one a query; each query weighs the same.
    pub(crate) fn measure(source: String, traces: &[ScoreTrace]) -> Result<Self> {
        let depth = traces.first().context("there is no trace to measure")?.layers();
        ensure!(
            traces.iter().all(|t| t.layers() == depth && t.candidates() > 10),
            "a profile needs traces of one model, with more than ten candidates each"
        );
        let measured: Vec<_> = traces.iter().map(Measured::of).collect::<Result<_>>()?;
        let mean = |value: &dyn Fn(&Measured) -> f64| {
            measured.iter().map(value).sum::<f64>() / measured.len() as f64
        };
        let settling = |layer: usize| Settling {
            mean: mean(&|m| m.layers[layer].mean),
            std: mean(&|m| m.layers[layer].std),
            correlation: mean(&|m| m.layers[layer].correlation),
            carry: mean(&|m| m.layers[layer].carry),
            overlap_at_10: mean(&|m| m.layers[layer].overlap_at_10),
        };
        let quantile = |i: usize| mean(&|m| m.relevance[i]);
        let relevance: Vec<f64> = (0..QUANTILES).map(quantile).collect();
        Self { source, layers: (0..depth).map(settling).collect(), relevance }.checked()
    }

    fn checked(self) -> Result<Self> {
        ensure!(!self.layers.is_empty(), "a profile needs at least one layer");
        ensure!(self.relevance.len() > 1, "a profile needs its distribution of final scores");
        let bounded =
            |s: &Settling| s.std > 0.0 && s.correlation.abs() <= 1.0 && s.carry.abs() <= 1.0;
        ensure!(
            self.layers.iter().all(bounded),
            "a profile's spread must be positive and its correlations between -1 and 1"
        );
        Ok(self)
    }

    /// The profile stretched over `depth` layers, linear between the traced ones.
    pub(crate) fn resampled(&self, depth: usize) -> Vec<Settling> {
        let traced = self.layers.len() as f64;
        let at = |layer: usize| {
            let place = ((layer + 1) as f64 / depth as f64 * traced - 1.0).max(0.0);
            let (low, share) = (place.floor() as usize, place.fract());
            let (a, b) = (&self.layers[low], &self.layers[(low + 1).min(self.layers.len() - 1)]);
            let mix = |a: f64, b: f64| a + share * (b - a);
            Settling {
                mean: mix(a.mean, b.mean),
                std: mix(a.std, b.std),
                correlation: mix(a.correlation, b.correlation),
                // Over a thinner layer less changes.
                carry: mix(a.carry, b.carry).max(0.0).powf(traced / depth as f64),
                overlap_at_10: mix(a.overlap_at_10, b.overlap_at_10),
            }
        };
        (0..depth).map(at).collect()
    }

    /// Standardised final score of the candidate at `rank` of `count`, from 0.
    pub(crate) fn relevance_at(&self, rank: usize, count: usize) -> f64 {
        let last = self.relevance.len() - 1;
        let place = (rank as f64 + 0.5) / count as f64 * last as f64;
        let (low, share) = (place.floor() as usize, place.fract());
        let (a, b) = (self.relevance[low], self.relevance[(low + 1).min(last)]);
        a + share * (b - a)
    }
}

/// One trace's figures.
struct Measured {
    layers: Vec<Settling>,
    relevance: Vec<f64>,
}

impl Measured {
    fn of(trace: &ScoreTrace) -> Result<Self> {
        let depth = trace.layers();
        let row = |layer: usize| -> Vec<f64> {
            trace.layer(layer).iter().map(|&score| f64::from(score)).collect()
        };
        let last = standardised(&row(depth - 1)).context("all final scores are equal")?;
        let reference = trace.final_ranking();
        let mut layers = Vec::with_capacity(depth);
        let mut before: Option<Vec<f64>> = None;
        for layer in 0..depth {
            let scores = row(layer);
            let (mean, std) = moments(&scores);
            let score = standardised(&scores).unwrap_or_else(|| vec![0.0; scores.len()]);
            let correlation = dot(&score, &last);
            let rest: Vec<f64> =
                score.iter().zip(&last).map(|(score, last)| score - correlation * last).collect();
            let rest = standardised(&rest).filter(|_| correlation < 0.999_999);
            let carry = match (&before, &rest) {
                (Some(before), Some(rest)) => dot(before, rest),
                _ => 0.0,
            };
            let overlap_at_10 = agreement_at_k(&trace.ranking(layer), &reference, 10);
            layers.push(Settling { mean, std, correlation, carry, overlap_at_10 });
            before = rest;
        }
        let mut sorted = last;
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        let relevance = (0..QUANTILES).map(|i| {
            let place = i as f64 / (QUANTILES - 1) as f64 * (sorted.len() - 1) as f64;
            let (low, share) = (place.floor() as usize, place.fract());
            sorted[low] + share * (sorted[(low + 1).min(sorted.len() - 1)] - sorted[low])
        });
        Ok(Self { layers, relevance: relevance.collect() })
    }
}

/// Mean and the population's standard deviation.
pub(super) fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt())
}

fn standardised(values: &[f64]) -> Option<Vec<f64>> {
    let (mean, std) = moments(values);
    (std > 1e-12).then(|| values.iter().map(|v| (v - mean) / std).collect())
}

/// Correlation of standardised values: their mean product, within its bounds despite rounding.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let sum: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
    (sum / a.len() as f64).clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 20 candidates: unrelated after layer 0, half settled after 1, final after 2.
    fn trace() -> ScoreTrace {
        let end: Vec<f32> = (0..20).map(|c| -(c as f32)).collect();
        let start: Vec<f32> = (0..20).map(|c| ((c * 7) % 20) as f32).collect();
        let half = start.iter().zip(&end).map(|(s, e)| 0.5 * s + 2.0 * e + 3.0);
        let rows = [start.clone(), half.collect(), end].concat();
        ScoreTrace::from_vec(3, 20, rows).unwrap()
    }

    #[test]
    fn figures_by_hand() {
        let profile = Profile::measure("test".into(), &[trace(), trace()]).unwrap();
        let last = profile.layers[2];
        assert!((last.mean + 9.5).abs() < 1e-9);
        assert!((last.std - (399.0_f64 / 12.0).sqrt()).abs() < 1e-9, "uniform on 0..=19");
        assert!((last.correlation - 1.0).abs() < 1e-9);
        assert_eq!(last.overlap_at_10, 1.0);
        assert_eq!(last.carry, 0.0, "nothing is left to carry");
        assert!(profile.layers[0].correlation.abs() < 0.4);
        assert!(profile.layers[1].correlation > 0.9);
        assert!((profile.layers[1].carry - 1.0).abs() < 1e-6, "the rest is layer 0's own");
        assert!((profile.relevance_at(0, 20) - 1.6).abs() < 0.1);
        assert!((profile.relevance_at(10, 21)).abs() < 1e-9, "the median of a symmetric set");
    }

    #[test]
    fn stretching_keeps_the_ends_and_goes_between() {
        let profile = Profile::measure("test".into(), &[trace()]).unwrap();
        assert_eq!(profile.resampled(3).len(), 3);
        assert!((profile.resampled(3)[1].std - profile.layers[1].std).abs() < 1e-12);
        let long = profile.resampled(30);
        assert_eq!(long[29].correlation, profile.layers[2].correlation);
        assert_eq!(long[0].std, profile.layers[0].std);
        assert!((long[24].correlation - (profile.layers[1].correlation + 1.0) / 2.0).abs() < 1e-9);
        assert!(long[14].carry <= 1.0 && profile.resampled(1)[0].correlation == 1.0);
    }

    #[test]
    fn the_stored_profile_settles_with_depth() {
        let profile = Profile::default_model().checked().unwrap();
        let (first, last) = (profile.layers[0], profile.layers[profile.layers.len() - 1]);
        assert!(last.correlation > 0.999 && first.correlation < 0.9, "{first:?} {last:?}");
        let (mean, std) = moments(&profile.relevance);
        assert!(mean.abs() < 0.2 && (std - 1.0).abs() < 0.3, "{mean} {std}");
    }
}
