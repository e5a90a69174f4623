//! Scores of a chunk's candidates from their hidden states: by a readout where there is one, else by the model's head.
//!
//! After a layer that has neither, all candidates score 0: equal scores decide nothing, whatever the policy, so that a
//! pruner and its replay on a trace see the same, and see nothing there.

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
    states: Option<KeptStates>,
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
    /// Nothing scores there.
    Nothing,
}

/// Normalised hidden states of the scored tokens, `[layer][candidate * hidden]`.
struct KeptStates {
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
        let states = states.map(|candidates| KeptStates { layers: Vec::new(), candidates });
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
                picked = on
                    .model
                    .pooled(on.ops, self.head, hidden, chunk.layout())
                    .map_err(|e| on.fail(e))?;
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
                let outputs = on.model.outputs(on.ops, self.head, layer, scored);
                let outputs = outputs.map_err(|e| on.fail(e))?;
                outputs.map(|outputs| on.ops.read(&outputs)).transpose().map_err(fail)?
            }
        };
        let pending = match (states, outputs) {
            (Some(states), outputs) => InFlight::States(states, outputs),
            (None, Some(outputs)) => InFlight::Outputs(outputs),
            (None, None) => InFlight::Nothing,
        };
        let candidates = chunk.members.iter().map(|member| member.candidate).collect();
        Ok(Unread { layer, candidates, pending })
    }

    /// Waits for the scores of a chunk.
    pub(crate) fn wait(&mut self, on: Executor<'_, B>, unread: Unread<B>) -> Result<Vec<Score>> {
        let Unread { layer, candidates, pending } = unread;
        let wait = |pending: B::Pending| on.ops.wait(pending).map_err(|e| on.fail(e));
        let ties = || vec![Logit(0.0); candidates.len()];
        let logits = match pending {
            InFlight::Nothing => ties(),
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
                    (Some(outputs), _) => self.head.logits(wait(outputs)?),
                    (None, None) => ties(),
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

impl KeptStates {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use grating_backend::{Backend, BackendError, Precision};
    use grating_cpu::{CpuOps, Isa};
    use grating_model::{LayerWeights, PartBuffer};
    use grating_prune::Readout;

    use super::*;
    use crate::pool::{HiddenStore, Member, Origin};
    use crate::testing::golden;

    type Tensor = <CpuOps as Backend>::Tensor;

    /// Candidate 4 has three rows, candidate 1 has one.
    const MEMBERS: [Member; 2] =
        [Member { candidate: 4, rows: 3 }, Member { candidate: 1, rows: 1 }];

    /// What is scored of them: their last rows.
    const SCORED: [usize; 2] = [2, 3];

    /// A model's head, a chunk, and its hidden states `[4, hidden]`.
    struct Subject<'a> {
        on: Executor<'a, CpuOps>,
        head: &'a Head<'a, CpuOps>,
        chunk: Chunk<CpuOps>,
    }

    impl Subject<'_> {
        /// Numbers that differ from row to row.
        fn row(&self, row: usize) -> Vec<f32> {
            let hidden = self.on.model.config().hidden;
            (0..hidden).map(|column| ((row * 31 + column * 7) % 13) as f32 - 6.0).collect()
        }

        fn tensor(&self, rows: &[usize]) -> Tensor {
            let values: Vec<f32> = rows.iter().flat_map(|&row| self.row(row)).collect();
            self.written(&values, rows.len())
        }

        fn written(&self, values: &[f32], rows: usize) -> Tensor {
            let write = |out: &mut [f32]| {
                out.copy_from_slice(values);
                Ok::<(), BackendError>(())
            };
            self.on.ops.written(rows, values.len() / rows, write).unwrap()
        }

        /// What the head says of the scored rows.
        fn by_head(&self) -> Vec<Score> {
            let scored = self.tensor(&SCORED);
            let logits = self.on.model.scores(self.on.ops, self.head, 0, &scored).unwrap().unwrap();
            MEMBERS.iter().map(|member| member.candidate).zip(logits).collect()
        }

        fn normalised_row(&self, row: usize) -> Vec<f32> {
            let mut state = self.row(row);
            normalise(&mut state);
            state
        }

        /// Reads all rows after a layer.
        fn scores(
            &self,
            scoring: &mut Scoring<'_, '_, CpuOps>,
            layer: usize,
        ) -> Result<Vec<Score>> {
            let unread = scoring.read(self.on, layer, &self.chunk, &self.tensor(&[0, 1, 2, 3]))?;
            scoring.wait(self.on, unread)
        }
    }

    fn with_subject(test: impl FnOnce(Subject<'_>)) {
        let (model, checkpoint) = golden("qwen3-tied-f32");
        let ops = CpuOps::new(Isa::Portable, Precision::Full);
        let on = Executor { name: "qwen3", model: &model, ops: &ops };
        let bytes = Arc::new(PartBuffer::read(&checkpoint, model.head_parts()).unwrap());
        let slot = ops.admit(bytes, None).unwrap();
        let head = model.head(&LayerWeights::new(&ops, &slot, model.head_parts())).unwrap();
        let bytes = Arc::new(PartBuffer::read(&checkpoint, model.stem_parts()).unwrap());
        let slot = ops.admit(bytes.clone(), None).unwrap();
        let weights = LayerWeights::new(&ops, &slot, model.stem_parts());
        let stem = model.stem(&weights, &*bytes).unwrap();
        let pass = model.context(&ops, &stem, 3).unwrap();
        let mut store = HiddenStore::new(on, None, model.config().hidden, true);
        let origin = Origin { job: 0, layer: None, chunk: 0 };
        let hidden = ops.empty(4, model.config().hidden).unwrap();
        let mut chunk = Chunk::new(MEMBERS.to_vec(), hidden, origin, &mut store).unwrap();
        chunk.lay_out(on, &pass, 0).unwrap();
        test(Subject { on, head: &head, chunk });
    }

    fn readouts(on: Executor<'_, CpuOps>) -> Readouts {
        let hidden = on.model.config().hidden;
        let layer = |layer: usize| Readout {
            weights: (0..hidden).map(|column| ((column + layer) % 5) as f32).collect(),
            bias: layer as f32,
        };
        Readouts::from((0..on.layers() - 1).map(layer).collect::<Vec<_>>())
    }

    #[test]
    fn the_head_reads_each_members_scored_row_whether_the_others_are_there_or_not() {
        with_subject(|mut subject| {
            let mut scoring = Scoring::new(subject.head, None, None);
            let expected = subject.by_head();
            assert_ne!(expected[0].1, expected[1].1);
            assert_eq!(subject.scores(&mut scoring, 0).unwrap(), expected);
            subject.chunk.leave_scored();
            let last = subject.on.layers() - 1;
            let scored = subject.tensor(&SCORED);
            let unread = scoring.read(subject.on, last, &subject.chunk, &scored).unwrap();
            assert_eq!(scoring.wait(subject.on, unread).unwrap(), expected);
            assert_eq!(scoring.into_states(), None);
        });
    }

    #[test]
    fn readouts_score_after_every_layer_but_the_last() {
        with_subject(|subject| {
            let readouts = readouts(subject.on);
            let mut scoring = Scoring::new(subject.head, Some(&readouts), None);
            let last = subject.on.layers() - 1;
            for layer in 0..last {
                let readout = readouts.layer(layer).unwrap();
                let score = |row| Logit(readout.score(&subject.normalised_row(row)));
                let expected = [(4, score(2)), (1, score(3))];
                assert_eq!(subject.scores(&mut scoring, layer).unwrap(), expected, "layer {layer}");
            }
            assert_eq!(subject.scores(&mut scoring, last).unwrap(), subject.by_head());
        });
    }

    #[test]
    fn states_are_kept_by_layer_and_candidate_whoever_scores() {
        with_subject(|subject| {
            let readouts = readouts(subject.on);
            let (hidden, last) = (subject.on.model.config().hidden, subject.on.layers() - 1);
            for by in [None, Some(&readouts)] {
                let mut scoring = Scoring::new(subject.head, by, Some(5));
                for layer in [0, 1, last] {
                    let scores = subject.scores(&mut scoring, layer).unwrap();
                    assert_eq!(scores == subject.by_head(), by.is_none() || layer == last);
                }
                let states = scoring.into_states().unwrap();
                assert_eq!(states.len(), 2, "none after the last layer");
                for layer in states {
                    assert_eq!(layer.len(), 5 * hidden);
                    let of = |candidate: usize| &layer[candidate * hidden..][..hidden];
                    assert_eq!(of(4), subject.normalised_row(2));
                    assert_eq!(of(1), subject.normalised_row(3));
                    assert!([0, 2, 3].iter().all(|&c| of(c).iter().all(|&x| x == 0.0)));
                }
            }
        });
    }

    #[test]
    fn a_score_that_is_no_number_names_candidate_and_layer() {
        with_subject(|subject| {
            let mut values: Vec<f32> = (0..4).flat_map(|row| subject.row(row)).collect();
            *values.last_mut().unwrap() = f32::NAN;
            let mut scoring = Scoring::new(subject.head, None, None);
            let hidden = subject.written(&values, 4);
            let unread = scoring.read(subject.on, 1, &subject.chunk, &hidden).unwrap();
            let error = scoring.wait(subject.on, unread).unwrap_err();
            assert!(
                matches!(error, EngineError::NotFinite { candidate: 1, layer: 1, .. }),
                "{error}"
            );
        });
    }
}
