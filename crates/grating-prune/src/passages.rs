//! One score of a text from those of its passages.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

/// How the scores of a text's passages become the text's.
///
/// Both ways never move further than the passage that moves most: where each passage's score is within some distance of
/// its final one, so is the text's. A [`Gap`](crate::Gap) that covers the error of every score covers that of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
#[non_exhaustive]
pub enum PassageScore {
    /// That of the best passage.
    #[default]
    Max,
    /// The mean of so many best ones; of all where there are fewer.
    MeanOfBest(NonZeroUsize),
}

/// Words that name no way to score a text by its passages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` must be `max`, or `mean:N` for the mean of the N best, N at least 1")]
pub struct UnknownPassageScore {
    /// As given.
    pub found: String,
}

impl PassageScore {
    /// The score of a text whose passages, at least one, have these scores, in any order. One passage's score is the
    /// text's, bit for bit.
    ///
    /// # Panics
    /// Where there are none.
    pub fn of(self, scores: &[f32]) -> f32 {
        assert!(!scores.is_empty(), "a text has at least one passage");
        let best = scores.iter().copied().max_by(f32::total_cmp).expect("there is one");
        match self {
            PassageScore::Max => best,
            PassageScore::MeanOfBest(_) if scores.len() == 1 => best,
            PassageScore::MeanOfBest(count) => {
                let mut sorted = scores.to_vec();
                // A sum in this order does not depend on that of the passages.
                sorted.sort_unstable_by(|a, b| b.total_cmp(a));
                sorted.truncate(count.get());
                let sum: f64 = sorted.iter().map(|&score| f64::from(score)).sum();
                (sum / sorted.len() as f64) as f32
            }
        }
    }
}

impl FromStr for PassageScore {
    type Err = UnknownPassageScore;

    fn from_str(words: &str) -> Result<Self, UnknownPassageScore> {
        let mean = || words.strip_prefix("mean:")?.parse().ok().map(PassageScore::MeanOfBest);
        match words {
            "max" => Ok(PassageScore::Max),
            _ => mean().ok_or_else(|| UnknownPassageScore { found: words.into() }),
        }
    }
}

impl fmt::Display for PassageScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PassageScore::Max => f.write_str("max"),
            PassageScore::MeanOfBest(count) => write!(f, "mean:{count}"),
        }
    }
}

impl From<PassageScore> for String {
    fn from(score: PassageScore) -> Self {
        score.to_string()
    }
}

impl TryFrom<String> for PassageScore {
    type Error = UnknownPassageScore;

    fn try_from(words: String) -> Result<Self, UnknownPassageScore> {
        words.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mean(count: usize) -> PassageScore {
        PassageScore::MeanOfBest(NonZeroUsize::new(count).unwrap())
    }

    #[test]
    fn the_best_counts_or_the_mean_of_the_best() {
        let scores = [1.0, -4.0, 3.0, 2.0];
        assert_eq!(PassageScore::Max.of(&scores), 3.0);
        assert_eq!([1, 2, 4, 9].map(|n| mean(n).of(&scores)), [3.0, 2.5, 0.5, 0.5]);
        assert_eq!(PassageScore::Max.of(&[-0.0, 0.0]).to_bits(), 0.0_f32.to_bits());
    }

    #[test]
    fn it_is_named_as_it_is_read() {
        for score in [PassageScore::Max, mean(1), mean(12)] {
            assert_eq!(score.to_string().parse(), Ok(score));
        }
        for words in ["", "mean", "mean:", "mean:0", "mean:-1", "Max", "max:2"] {
            assert!(words.parse::<PassageScore>().is_err(), "{words}");
        }
    }

    proptest! {
        #[test]
        fn a_text_moves_no_further_than_its_passages_and_their_order_does_not_matter(
            scores in prop::collection::vec((-9.0..9.0f32, -1.0..1.0f32), 1..20),
            count in 1..25usize,
            turn in 0..20usize,
        ) {
            for score in [PassageScore::Max, mean(count)] {
                let early: Vec<f32> = scores.iter().map(|(s, _)| *s).collect();
                let late: Vec<f32> = scores.iter().map(|(s, by)| s + by).collect();
                let moved = early.iter().zip(&late).map(|(a, b)| (a - b).abs());
                let most = moved.fold(0.0, f32::max);
                prop_assert!((score.of(&early) - score.of(&late)).abs() <= most + 1e-5);
                let mut turned = early.clone();
                turned.rotate_left(turn % early.len());
                prop_assert_eq!(score.of(&turned).to_bits(), score.of(&early).to_bits());
                prop_assert_eq!(score.of(&early[..1]).to_bits(), early[0].to_bits());
            }
        }
    }
}
