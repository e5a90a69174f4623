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
