//! The readouts of a profile: how scores after intermediate layers are read.

use std::sync::Arc;

use grating_prune::{PruneError, Readout};
use serde::{Deserialize, Serialize};

/// A fitted readout for every layer but the last, whose score is always the model's own. Clones share the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Readout>", into = "Vec<Readout>")]
pub struct Readouts(Arc<[Readout]>);

impl Readouts {
    /// The readout after `layer`, if it is not the last.
    pub fn layer(&self, layer: usize) -> Option<&Readout> {
        self.0.get(layer)
    }

    /// Whether they can be those of a model of `layers` layers and this hidden size.
    ///
    /// # Errors
    /// [`PruneError::ReadoutLayers`], or what is wrong with one of them.
    pub fn validate(&self, layers: usize, hidden: usize) -> Result<(), PruneError> {
        if self.0.len() + 1 != layers {
            return Err(PruneError::ReadoutLayers { expected: layers - 1, found: self.0.len() });
        }
        self.0.iter().try_for_each(|readout| readout.validate(hidden))
    }
}

impl From<Vec<Readout>> for Readouts {
    fn from(layers: Vec<Readout>) -> Self {
        Readouts(layers.into())
    }
}

impl From<Readouts> for Vec<Readout> {
    fn from(readouts: Readouts) -> Self {
        readouts.0.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_those_of_a_model_of_one_layer_more_and_its_hidden_size() {
        let readouts = Readouts::from(vec![Readout { weights: vec![1.0; 4], bias: 0.0 }; 2]);
        assert!(readouts.validate(3, 4).is_ok());
        let error = readouts.validate(4, 4).unwrap_err();
        assert!(matches!(error, PruneError::ReadoutLayers { expected: 3, found: 2 }), "{error}");
        assert!(readouts.validate(3, 5).is_err());
        assert!(readouts.layer(1).is_some() && readouts.layer(2).is_none());
        assert!(Arc::ptr_eq(&readouts.0, &readouts.clone().0), "weights are shared");
    }
}
