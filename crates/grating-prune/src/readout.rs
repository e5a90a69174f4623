//! Readouts: final scores foretold from hidden states, one dot product per candidate and layer.
//!
//! A model's own head was trained on the last layer's hidden states. On an intermediate layer it may rank near
//! chance although the state holds the answer. A [`Readout`] is a linear map from one layer's
//! state to the final score, found by [`fit`] on the queries of a calibration.

mod ridge;
mod solve;

pub use ridge::{Fit, Sample, fit};

use crate::error::PruneError;

/// A linear readout of one layer's hidden states.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Readout {
    /// One weight for each component of a normalised state, `[hidden]`.
    pub weights: Vec<f32>,
    /// Added to the product.
    pub bias: f32,
}

impl Readout {
    /// The score of a state that [`normalise`] has seen, `[hidden]`: an estimate of the final raw score.
    ///
    /// # Panics
    /// Debug builds panic when the lengths differ.
    pub fn score(&self, state: &[f32]) -> f32 {
        debug_assert_eq!(self.weights.len(), state.len(), "a readout of another model");
        let product = |(w, x): (&f32, &f32)| f64::from(*w) * f64::from(*x);
        let sum: f64 = self.weights.iter().zip(state).map(product).sum();
        (sum + f64::from(self.bias)) as f32
    }

    /// Checks that the weights are numbers and as many as the model's hidden size.
    ///
    /// # Errors
    /// [`PruneError::ReadoutShape`], [`PruneError::ReadoutNotFinite`].
    pub fn validate(&self, hidden: usize) -> Result<(), PruneError> {
        if self.weights.len() != hidden {
            return Err(PruneError::ReadoutShape { expected: hidden, found: self.weights.len() });
        }
        match self.weights.iter().chain([&self.bias]).all(|w| w.is_finite()) {
            true => Ok(()),
            false => Err(PruneError::ReadoutNotFinite),
        }
    }
}

/// Divides a hidden state by its root mean square; zeros stay. Residual streams grow from layer to layer and from token to
/// token, and the model's own heads normalise before they look.
pub fn normalise(state: &mut [f32]) {
    let squares: f64 = state.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    if squares > 0.0 {
        let scale = (state.len() as f64 / squares).sqrt();
        state.iter_mut().for_each(|x| *x = (f64::from(*x) * scale) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let mut state = [3.0, -4.0, 0.0, 0.0];
        normalise(&mut state);
        assert_eq!(state, [1.2, -1.6, 0.0, 0.0]);
        let readout = Readout { weights: vec![1.0, 0.5, 7.0, 0.0], bias: -0.25 };
        assert!((readout.score(&state) - 0.15).abs() < 1e-6);
        let mut zeros = [0.0; 3];
        normalise(&mut zeros);
        assert_eq!(zeros, [0.0; 3]);
    }

    #[test]
    fn refusals() {
        let readout = Readout { weights: vec![1.0, f32::NAN], bias: 0.0 };
        let shape = PruneError::ReadoutShape { expected: 3, found: 2 };
        assert_eq!(readout.validate(3), Err(shape));
        assert_eq!(readout.validate(2), Err(PruneError::ReadoutNotFinite));
        assert!(Readout { weights: vec![0.0; 2], bias: 1.0 }.validate(2).is_ok());
    }
}
