//! Scores of a chunk's candidates from their hidden states: by a readout where there is one, else by the model's head.

use grating_model::{CpuOps, CpuTensor, Head, Logit, Ops};
use grating_prune::readout::normalise;

use crate::error::{EngineError, Result};
use crate::executor::Executor;
use crate::pool::Chunk;
use crate::readouts::Readouts;

/// A candidate's number and its score.
pub(crate) type Score = (usize, Logit);

/// Reads scores, and keeps the hidden states that they are read from where those are wanted.
pub(crate) struct Scoring<'a> {
    head: &'a Head<'a, CpuOps>,
    readouts: Option<&'a Readouts>,
    states: Option<States>,
}

/// Normalised hidden states of the scored tokens, `[layer][candidate * hidden]`.
struct States {
    layers: Vec<Vec<f32>>,
    candidates: usize,
}

impl<'a> Scoring<'a> {
    /// With the states of `states` candidates, if they are wanted.
    pub(crate) fn new(
        head: &'a Head<'a, CpuOps>,
        readouts: Option<&'a Readouts>,
        states: Option<usize>,
    ) -> Self {
        let states = states.map(|candidates| States { layers: Vec::new(), candidates });
        Scoring { head, readouts, states }
    }

    /// Every member's score after `layer` from the chunk's hidden states, all of its rows or the scored ones.
    pub(crate) fn read(
        &mut self,
        on: Executor<'_>,
        layer: usize,
        chunk: &Chunk,
        hidden: &CpuTensor,
    ) -> Result<Vec<Score>> {
        let rows = on.model.scored_rows(&chunk.ragged(0));
        // [rows of the chunk, hidden] -> [members, hidden]
        let scored = on.ops.select_rows(hidden, &rows).map_err(|e| on.fail(e))?;
        let logits = match self.by_readout(on, layer, chunk, &scored)? {
            Some(logits) => logits,
            None => on.model.scores(on.ops, self.head, &scored).map_err(|e| on.fail(e))?,
        };
        let scores = chunk.members.iter().map(|member| member.candidate).zip(logits);
        scores.map(|(candidate, logit)| finite(candidate, layer, logit)).collect()
    }

    /// Scores by the layer's readout, if there is one; after the last layer the model's own head reads them.
    fn by_readout(
        &mut self,
        on: Executor<'_>,
        layer: usize,
        chunk: &Chunk,
        scored: &CpuTensor,
    ) -> Result<Option<Vec<Logit>>> {
        let readout = self.readouts.and_then(|readouts| readouts.layer(layer));
        if layer + 1 == on.layers() || (readout.is_none() && self.states.is_none()) {
            return Ok(None);
        }
        let states = on.ops.download(scored).map_err(|e| on.fail(e))?;
        let states = normalised(states, chunk.members.len());
        if let Some(kept) = &mut self.states {
            kept.keep(layer, chunk, &states);
        }
        Ok(readout.map(|r| states.iter().map(|state| Logit(r.score(state))).collect()))
    }

    /// The states that were kept.
    pub(crate) fn into_states(self) -> Option<Vec<Vec<f32>>> {
        self.states.map(|states| states.layers)
    }
}

impl States {
    /// Files the chunk's states under layer and candidate.
    fn keep(&mut self, layer: usize, chunk: &Chunk, rows: &[Vec<f32>]) {
        let hidden = rows.first().map_or(0, Vec::len);
        let (layers, size) = (self.layers.len().max(layer + 1), self.candidates * hidden);
        self.layers.resize_with(layers, || vec![0.0; size]);
        for (member, row) in chunk.members.iter().zip(rows) {
            let start = member.candidate * hidden;
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
