//! Scores of a chunk's candidates from their hidden states: by a readout where there is one, else by the model's head.

use grating_backend::Ops;
use grating_model::{Head, Logit};
use grating_prune::readout::normalise;

use crate::error::{EngineError, Result};
use crate::executor::Executor;
use crate::pool::Chunk;
use crate::readouts::Readouts;

/// A candidate's number and its score.
pub(crate) type Score = (usize, Logit);

/// Reads scores, and keeps the hidden states that they are read from where those are wanted.
pub(crate) struct Scoring<'a, 'w, B: Ops> {
    head: &'a Head<'w, B>,
    readouts: Option<&'a Readouts>,
    states: Option<HiddenStates>,
}

/// Scores of a chunk that are on their way to the host: all are read before the first is waited for.
pub(crate) struct Unread<B: Ops> {
    layer: usize,
    /// The chunk's candidates, in its order.
    candidates: Vec<usize>,
    pending: InFlight<B>,
}

enum InFlight<B: Ops> {
    /// The head's outputs.
    Outputs(B::Pending),
    /// Hidden states, `[candidates, hidden]`, and the head's outputs where no readout makes scores of them.
    States(B::Pending, Option<B::Pending>),
}

/// Normalised hidden states of the scored tokens, `[layer][candidate * hidden]`.
struct HiddenStates {
    layers: Vec<Vec<f32>>,
    candidates: usize,
}

impl<'a, 'w, B: Ops> Scoring<'a, 'w, B> {
    /// With the states of `states` candidates, if they are wanted.
    pub(crate) fn new(
        head: &'a Head<'w, B>,
        readouts: Option<&'a Readouts>,
        states: Option<usize>,
    ) -> Self {
        let states = states.map(|candidates| HiddenStates { layers: Vec::new(), candidates });
        Scoring { head, readouts, states }
    }

    /// Begins to read every member's score after `layer` from the chunk's hidden states, all of its rows or the scored
    /// ones.
    pub(crate) fn read(
        &self,
        on: Executor<'_, B>,
        layer: usize,
        chunk: &Chunk<B>,
        hidden: &B::Tensor,
    ) -> Result<Unread<B>> {
        let fail = |e| on.fail(e);
        let picked; // [rows of the chunk, hidden] -> [members, hidden]
        let scored = match chunk.scored_alone() {
            true => hidden,
            false => {
                picked = on.ops.scored_rows(hidden, chunk.layout().rows()).map_err(fail)?;
                &picked
            }
        };
        // After the last layer the model's own head reads them.
        let last = layer + 1 == on.layers();
        let by_readout = !last && self.readout(layer).is_some();
        let states = match last || (!by_readout && self.states.is_none()) {
            true => None,
            false => Some(on.ops.read(scored).map_err(fail)?),
        };
        let outputs = match by_readout {
            true => None,
            false => {
                let outputs =
                    on.model.outputs(on.ops, self.head, scored).map_err(|e| on.fail(e))?;
                Some(on.ops.read(&outputs).map_err(fail)?)
            }
        };
        let pending = match (states, outputs) {
            (Some(states), outputs) => InFlight::States(states, outputs),
            (None, outputs) => InFlight::Outputs(outputs.expect("scores come from somewhere")),
        };
        let candidates = chunk.members.iter().map(|member| member.candidate).collect();
        Ok(Unread { layer, candidates, pending })
    }

    /// Waits for the scores of a chunk.
    pub(crate) fn wait(&mut self, on: Executor<'_, B>, unread: Unread<B>) -> Result<Vec<Score>> {
        let Unread { layer, candidates, pending } = unread;
        let wait = |pending: B::Pending| on.ops.wait(pending).map_err(|e| on.fail(e));
        let logits = match pending {
            InFlight::Outputs(outputs) => self.head.logits(wait(outputs)?),
            InFlight::States(states, outputs) => {
                let states = normalised(wait(states)?, candidates.len());
                if let Some(kept) = &mut self.states {
                    kept.keep(layer, &candidates, &states);
                }
                match (outputs, self.readout(layer)) {
                    (None, Some(readout)) => {
                        states.iter().map(|s| Logit(readout.score(s))).collect()
                    }
                    (outputs, _) => {
                        self.head.logits(wait(outputs.expect("without a readout the head scores"))?)
                    }
                }
            }
        };
        let scores = candidates.into_iter().zip(logits);
        scores.map(|(candidate, logit)| finite(candidate, layer, logit)).collect()
    }

    fn readout(&self, layer: usize) -> Option<&'a grating_prune::Readout> {
        self.readouts.and_then(|readouts| readouts.layer(layer))
    }

    /// The states that were kept.
    pub(crate) fn into_states(self) -> Option<Vec<Vec<f32>>> {
        self.states.map(|states| states.layers)
    }
}

impl HiddenStates {
    /// Files the chunk's states under layer and candidate.
    fn keep(&mut self, layer: usize, candidates: &[usize], rows: &[Vec<f32>]) {
        let hidden = rows.first().map_or(0, Vec::len);
        let (layers, size) = (self.layers.len().max(layer + 1), self.candidates * hidden);
        self.layers.resize_with(layers, || vec![0.0; size]);
        for (candidate, row) in candidates.iter().zip(rows) {
            let start = candidate * hidden;
            self.layers[layer][start..start + hidden].copy_from_slice(row);
        }
    }
}

/// `[rows, hidden]` as readouts want it, row by row.
fn normalised(mut states: Vec<f32>, rows: usize) -> Vec<Vec<f32>> {
    let hidden = states.len() / rows;
    states.chunks_exact_mut(hidden).for_each(normalise);
    states.chunks_exact(hidden).map(<[f32]>::to_vec).collect()
}

fn finite(candidate: usize, layer: usize, logit: Logit) -> Result<Score> {
    match logit.0.is_finite() {
        true => Ok((candidate, logit)),
        false => Err(EngineError::NotFinite { candidate, layer, score: logit.0 }),
    }
}
