//! A policy in words, for logs and tables.

use std::fmt;

use super::Policy;
use crate::clusters::ClusterRule;
use crate::dispersion::Dispersion;
use crate::routing::Gap;
use crate::scale::ScoreScale;

/// More layers than this are told by their range.
const MANY: usize = 8;

impl fmt::Display for Policy {
    /// Like "CV of probabilities from 0.4, 3 clusters, an edge"; settings that change nothing are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dispersion = match self.dispersion {
            Dispersion::Variation => "CV",
            Dispersion::Spread => "std",
        };
        let scale = match self.scale {
            ScoreScale::Probability => "probabilities",
            ScoreScale::Logit => "logits",
            ScoreScale::Odds => "odds against the best",
        };
        write!(f, "{dispersion} of {scale} from {}", short(self.threshold))?;
        match self.clusters {
            ClusterRule::Fixed(count) => write!(f, ", {count} clusters")?,
            ClusterRule::Silhouette { min, max } => write!(f, ", {min} to {max} clusters")?,
            ClusterRule::Each => write!(f, ", each score its own cluster")?,
        }
        match &self.gap {
            Gap::Edge => write!(f, ", an edge")?,
            Gap::Deviations(width) => write!(f, ", a gap of {} std", short(*width))?,
            Gap::Score(width) => write!(f, ", a gap of {}", short(*width))?,
            Gap::Layers(gaps) => write!(f, ", {}", by_layer(gaps.widths()))?,
        }
        if self.first_layer > 0 {
            write!(f, ", after layer {}", self.first_layer)?;
        }
        if self.stride > 1 {
            write!(f, ", every {} layers", self.stride)?;
        }
        Ok(())
    }
}

/// Widths one by one, of many layers their range.
fn by_layer(widths: &[f64]) -> String {
    if widths.len() > MANY {
        let low = widths.iter().copied().fold(f64::INFINITY, f64::min);
        let high = widths.iter().copied().fold(0.0, f64::max);
        return format!("gaps of {} to {} by layer", short(low), short(high));
    }
    let widths: Vec<String> = widths.iter().map(|width| short(*width).to_string()).collect();
    format!("gaps of {}", widths.join(", "))
}

/// Three significant digits; what is next to nothing is 0.
fn short(value: f64) -> f64 {
    if value.abs() < 1e-9 {
        return 0.0;
    }
    format!("{value:.2e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_in_words() {
        let paper = Policy::paper(0.1 + 0.3);
        assert_eq!(paper.to_string(), "CV of probabilities from 0.4, 3 clusters, an edge");
        let other = paper
            .with_scale(ScoreScale::Logit, Dispersion::Spread)
            .with_clusters(ClusterRule::Each)
            .with_gap(Gap::Deviations(0.5))
            .with_first_layer(3)
            .with_stride(2);
        let words = "std of logits from 0.4, each score its own cluster, a gap of 0.5 std, after layer 3, every 2 layers";
        assert_eq!(other.to_string(), words);
        let layers = Policy::paper(0.0).with_gap(Gap::Layers(vec![4.0, 1.0 / 3.0].into()));
        let words = "CV of probabilities from 0, 3 clusters, gaps of 4, 0.333";
        assert_eq!(layers.to_string(), words);
        let deep = Policy::paper(0.0)
            .with_gap(Gap::Layers((1..=9).map(f64::from).collect::<Vec<_>>().into()));
        assert!(deep.to_string().ends_with(", gaps of 1 to 9 by layer"));
        let least = Policy::paper(0.5).with_gap(Gap::Score(0_f64.next_up()));
        assert!(least.to_string().ends_with(", a gap of 0"));
    }
}
