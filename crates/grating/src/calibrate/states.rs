//! Hidden states of one query, as readouts are fitted to them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use grating_prune::{Readout, ScoreTrace};
use half::f16;
use serde::{Deserialize, Serialize};

/// Normalised hidden states of the scored tokens after every layer but the last, `[layers - 1, candidates, hidden]`, in
/// 16 bits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub(super) struct States {
    candidates: usize,
    hidden: usize,
    layers: Vec<Vec<f16>>,
}

/// In a file: little-endian bytes in base64, one string a layer.
#[derive(Serialize, Deserialize)]
struct Stored {
    candidates: usize,
    hidden: usize,
    layers: Vec<String>,
}

impl States {
    /// From one `[candidates, hidden]` a layer.
    pub(super) fn new(candidates: usize, layers: &[Vec<f32>]) -> Self {
        let hidden = layers.first().map_or(0, |layer| layer.len() / candidates.max(1));
        let halves = |layer: &Vec<f32>| layer.iter().map(|&x| f16::from_f32(x)).collect();
        States { candidates, hidden, layers: layers.iter().map(halves).collect() }
    }

    /// Components of a state.
    pub(super) fn hidden(&self) -> usize {
        self.hidden
    }

    /// Layers that they are of.
    pub(super) fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Candidates that they are of.
    pub(super) fn candidates(&self) -> usize {
        self.candidates
    }

    /// Whether these are of all intermediate layers and all candidates of a trace.
    pub(super) fn fit(&self, trace: &ScoreTrace) -> bool {
        self.candidates == trace.candidates() && self.layers.len() + 1 == trace.layers()
    }

    /// The states after `layer`, `[candidates, hidden]`.
    pub(super) fn layer(&self, layer: usize) -> Vec<f32> {
        self.layers[layer].iter().map(|x| x.to_f32()).collect()
    }

    /// The candidates' scores after `layer` by a readout.
    pub(super) fn read(&self, layer: usize, readout: &Readout) -> Vec<f32> {
        self.layer(layer).chunks_exact(self.hidden).map(|state| readout.score(state)).collect()
    }
}

impl From<States> for Stored {
    fn from(states: States) -> Self {
        let text = |layer: &Vec<f16>| {
            let bytes: Vec<u8> = layer.iter().flat_map(|x| x.to_le_bytes()).collect();
            STANDARD.encode(bytes)
        };
        Stored {
            candidates: states.candidates,
            hidden: states.hidden,
            layers: states.layers.iter().map(text).collect(),
        }
    }
}

impl TryFrom<Stored> for States {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let Stored { candidates, hidden, layers } = stored;
        let numbers = |text: &String| {
            let bytes = STANDARD.decode(text).map_err(|e| format!("states are no base64: {e}"))?;
            let expected = candidates.checked_mul(hidden).and_then(|n| n.checked_mul(2));
            if hidden == 0 || Some(bytes.len()) != expected {
                let found = bytes.len();
                return Err(format!("{found} bytes of states for {candidates} x {hidden}"));
            }
            let numbers = bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]));
            let numbers: Vec<f16> = numbers.collect();
            match numbers.iter().all(|number| number.is_finite()) {
                true => Ok(numbers),
                false => Err("states hold NaN or an infinity".to_string()),
            }
        };
        let layers = layers.iter().map(numbers).collect::<Result<_, String>>()?;
        Ok(States { candidates, hidden, layers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_and_read_back() {
        let states = States::new(2, &[vec![1.0, -0.5, 0.25, 3.0], vec![0.0; 4]]);
        let text = serde_json::to_string(&states).unwrap();
        assert_eq!(serde_json::from_str::<States>(&text).unwrap(), states);
        assert_eq!(states.layer(0), [1.0, -0.5, 0.25, 3.0]);
        let readout = Readout { weights: vec![2.0, 1.0], bias: 1.0 };
        assert_eq!(states.read(0, &readout), [2.5, 4.5]);
        let wrong = text.replace("\"candidates\":2", "\"candidates\":3");
        assert!(serde_json::from_str::<States>(&wrong).is_err());
    }
}
