//! Scores have a type: a logit or a probability, converted once, here.

use std::fmt;

/// A model's raw score: any real number, larger is more relevant.
///
/// For yes/no decoders `logit("yes") - logit("no")` at the last position, for classifiers the one label's logit.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Logit(pub f32);

/// A score in `0..=1`: the sigmoid of a [`Logit`].
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Probability(pub f32);

impl Logit {
    /// The sigmoid, computed so that neither end overflows.
    ///
    /// ```
    /// use grating_model::Logit;
    /// assert_eq!(Logit(0.0).probability().0, 0.5);
    /// assert_eq!(Logit(-200.0).probability().0, 0.0);
    /// ```
    pub fn probability(self) -> Probability {
        let e = (-self.0.abs()).exp();
        Probability(if self.0 >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) })
    }

    /// The sigmoid of the logit divided by a temperature above 0, which models may have (zerank's is 5).
    pub fn probability_at(self, temperature: f32) -> Probability {
        Logit(self.0 / temperature).probability()
    }
}

impl fmt::Display for Logit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
