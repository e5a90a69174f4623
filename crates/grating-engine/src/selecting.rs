//! Who is decided when: a pruner where there is a policy, and the scores so far.

use std::sync::Arc;

use grating_model::Logit;
use grating_prune::{Mode, Policy, Pool, Pruner, Verdicts};

use crate::error::Result;
use crate::passages::{PassageScores, TextPassages};
use crate::scoring::Score;

/// The state of a selection between layers.
pub(crate) struct Selecting {
    pruner: Option<Pruner>,
    layers: usize,
    /// The latest score of each candidate.
    latest: Vec<Logit>,
    /// The layer that it was read after.
    read_after: Vec<usize>,
    trace: Option<Vec<Vec<f32>>>,
    /// Where what is scored are passages: those of each candidate.
    passages: Option<PassageScores>,
}

/// What a selection comes to.
#[derive(Debug, PartialEq)]
pub(crate) struct Selected {
    /// The pruner's choice, best first where that is known; `None` where everybody has run to the end.
    pub(crate) selected: Option<Vec<usize>>,
    /// The layer after which each candidate was decided.
    pub(crate) decided: Vec<usize>,
    /// The latest score of each candidate.
    pub(crate) logits: Vec<Logit>,
    /// The layer that each of them was read after.
    pub(crate) read_after: Vec<usize>,
    /// Scores after every layer, `[layer][candidate]`, if they were wanted.
    pub(crate) trace: Option<Vec<Vec<f32>>>,
    /// The latest score of each passage, where candidates have several.
    pub(crate) passages: Option<Vec<Logit>>,
}

impl Selecting {
    /// `pool.k` of `pool.candidates`; with a trace nobody is pruned.
    ///
    /// # Errors
    /// The policy's own.
    pub(crate) fn new(pool: Pool, policy: Option<Policy>, trace: bool) -> Result<Self> {
        // Where all are selected there is nothing to decide, but scores were asked for.
        let policy = policy.filter(|_| pool.k < pool.candidates && !trace);
        Ok(Selecting {
            pruner: policy.map(|policy| Pruner::new(policy, pool)).transpose()?,
            layers: pool.layers,
            latest: vec![Logit(f32::NAN); pool.candidates],
            read_after: vec![0; pool.candidates],
            trace: trace.then(Vec::new),
            passages: None,
        })
    }

    /// Of candidates that are scored by their passages.
    pub(crate) fn of_passages(mut self, passages: Option<Arc<TextPassages>>) -> Self {
        self.passages = passages.map(PassageScores::new);
        self
    }

    /// Whether scores after `layer` are needed.
    pub(crate) fn is_due(&self, layer: usize) -> bool {
        layer + 1 == self.layers
            || self.trace.is_some()
            || self.pruner.as_ref().is_some_and(|p| p.next_due() == Some(layer))
    }

    /// Takes the scores after a layer; returns what the pruner made of them.
    pub(crate) fn observe(&mut self, layer: usize, scores: &[Score]) -> Result<Option<Verdicts>> {
        let of_candidates = self.passages.as_mut().map(|passages| passages.observe(scores));
        let scores = of_candidates.as_deref().unwrap_or(scores);
        for &(candidate, logit) in scores {
            (self.latest[candidate], self.read_after[candidate]) = (logit, layer);
        }
        if let Some(trace) = &mut self.trace {
            trace.push(self.latest.iter().map(|logit| logit.0).collect());
        }
        let Some(pruner) = self.pruner.as_mut().filter(|p| p.next_due() == Some(layer)) else {
            return Ok(None);
        };
        // In rank mode accepted candidates have scores, too, which are no news to the pruner.
        let mut live = vec![false; self.latest.len()];
        pruner.live().for_each(|c| live[c] = true);
        let (ids, values): (Vec<usize>, Vec<f32>) =
            scores.iter().filter(|(c, _)| live[*c]).map(|(c, logit)| (*c, logit.0)).unzip();
        Ok(Some(pruner.observe(layer, &ids, &values)?))
    }

    /// Who goes on, by candidate, or by passage where those are what is scored.
    pub(crate) fn running(&self) -> Vec<bool> {
        let mut running = vec![self.pruner.is_none(); self.latest.len()];
        if let Some(pruner) = &self.pruner {
            pruner.running().for_each(|c| running[c] = true);
        }
        match &self.passages {
            Some(passages) => passages.by_passage(&running),
            None => running,
        }
    }

    /// The result, once nobody goes on.
    pub(crate) fn finish(self) -> Selected {
        let Selecting { pruner, layers, latest: logits, read_after, trace, passages } = self;
        let last = layers - 1;
        let passages = passages.map(PassageScores::into_latest);
        let Some(pruner) = pruner else {
            let decided = vec![last; logits.len()];
            return Selected { selected: None, decided, logits, read_after, trace, passages };
        };
        let decided = pruner.outcome().decided_after_layer;
        let decided = decided.into_iter().map(|layer| layer.unwrap_or(last)).collect();
        let mut selected = pruner.accepted().to_vec();
        if pruner.policy().mode == Mode::Rank {
            // The selected ones have run to the end: their own scores order them.
            selected.sort_by(|&a, &b| logits[b].0.total_cmp(&logits[a].0).then(a.cmp(&b)));
        }
        Selected { selected: Some(selected), decided, logits, read_after, trace, passages }
    }
}

#[cfg(test)]
mod tests {
    use grating_prune::PassageScore;

    use super::*;

    const POOL: Pool = Pool { candidates: 4, layers: 3, k: 2 };

    fn scores(of: &[(usize, f32)]) -> Vec<Score> {
        of.iter().map(|&(candidate, score)| (candidate, Logit(score))).collect()
    }

    /// Decides at every chance: an edge between clusters at the boundary ends the selection.
    fn eager(mode: Mode) -> Policy {
        Policy::paper(0.0).with_mode(mode)
    }

    #[test]
    fn without_a_policy_scores_are_due_after_the_last_layer_only_and_all_run_to_it() {
        let mut selecting = Selecting::new(POOL, None, false).unwrap();
        assert_eq!([0, 1, 2].map(|layer| selecting.is_due(layer)), [false, false, true]);
        let last = scores(&[(2, 0.5), (0, 1.0), (1, -1.0), (3, 0.0)]);
        assert_eq!(selecting.observe(2, &last).unwrap(), None);
        assert_eq!(selecting.running(), [true; 4]);
        let logits = [1.0, -1.0, 0.5, 0.0].map(Logit).to_vec();
        let decided = vec![2; 4];
        let read_after = vec![2; 4];
        let expected =
            Selected { selected: None, decided, logits, read_after, trace: None, passages: None };
        assert_eq!(selecting.finish(), expected);
    }

    #[test]
    fn a_trace_wants_every_layer_and_nobody_pruned() {
        let mut selecting = Selecting::new(POOL, Some(eager(Mode::Select)), true).unwrap();
        for layer in 0..3 {
            assert!(selecting.is_due(layer));
            let after = [0, 1, 2, 3].map(|c| (c, (10 * layer + c) as f32));
            assert_eq!(selecting.observe(layer, &scores(&after)).unwrap(), None);
        }
        let selected = selecting.finish();
        assert_eq!(selected.selected, None);
        let trace = selected.trace.unwrap();
        assert_eq!(trace[0], [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(trace[2], [20.0, 21.0, 22.0, 23.0]);
    }

    #[test]
    fn where_all_are_selected_a_policy_has_nothing_to_do() {
        let pool = Pool { k: 4, ..POOL };
        let selecting = Selecting::new(pool, Some(eager(Mode::Select)), false).unwrap();
        assert!(!selecting.is_due(0));
        assert_eq!(selecting.running(), [true; 4]);
    }

    #[test]
    fn in_select_mode_nobody_runs_once_all_is_decided() {
        let mut selecting = Selecting::new(POOL, Some(eager(Mode::Select)), false).unwrap();
        assert!(selecting.is_due(0));
        let after = scores(&[(0, 5.0), (1, -5.0), (2, 5.1), (3, -5.1)]);
        let verdicts = selecting.observe(0, &after).unwrap().unwrap();
        assert_eq!(verdicts.accepted, [2, 0]);
        assert_eq!(selecting.running(), [false; 4]);
        let selected = selecting.finish();
        assert_eq!(selected.selected.unwrap(), [2, 0]);
        assert_eq!(selected.decided, [0; 4]);
    }

    #[test]
    fn in_rank_mode_the_selected_run_on_and_their_last_scores_order_them() {
        let mut selecting = Selecting::new(POOL, Some(eager(Mode::Rank)), false).unwrap();
        let after = scores(&[(0, 5.0), (1, -5.0), (2, 5.1), (3, -5.1)]);
        selecting.observe(0, &after).unwrap().unwrap();
        assert_eq!(selecting.running(), [true, false, true, false]);
        assert_eq!([1, 2].map(|layer| selecting.is_due(layer)), [false, true]);
        assert_eq!(selecting.observe(2, &scores(&[(0, 9.0), (2, 8.0)])).unwrap(), None);
        let selected = selecting.finish();
        assert_eq!(selected.selected.unwrap(), [0, 2]);
        assert_eq!(selected.decided, [0; 4]);
        assert_eq!(selected.logits, [9.0, -5.0, 8.0, -5.1].map(Logit));
        assert_eq!(selected.read_after, [2, 0, 2, 0]);
    }

    #[test]
    fn texts_are_decided_by_their_passages_which_stay_and_leave_together() {
        let passages = TextPassages::new([2, 1, 3, 1], PassageScore::Max);
        let selecting = Selecting::new(POOL, Some(eager(Mode::Rank)), false).unwrap();
        let mut selecting = selecting.of_passages(Some(passages.into()));
        assert_eq!(selecting.running(), [true; 7]);
        // Text 0 by its second passage, text 2 by its first; the others of theirs are worse than what is dropped.
        let after = [(6, -5.1), (5, -9.0), (4, -8.0), (3, 5.1), (2, -5.0), (1, 5.0), (0, -7.0)];
        let verdicts = selecting.observe(0, &scores(&after)).unwrap().unwrap();
        assert_eq!((verdicts.accepted, verdicts.dropped), (vec![2, 0], vec![1, 3]));
        assert_eq!(selecting.running(), [true, true, false, true, true, true, false]);
        let last = scores(&[(0, 9.0), (1, 1.0), (3, 2.0), (4, 8.5), (5, 3.0)]);
        assert_eq!(selecting.observe(2, &last).unwrap(), None);
        let selected = selecting.finish();
        assert_eq!(selected.selected.unwrap(), [0, 2]);
        assert_eq!(selected.logits, [9.0, -5.0, 8.5, -5.1].map(Logit));
        assert_eq!(selected.read_after, [2, 0, 2, 0]);
        let passages = [9.0, 1.0, -5.0, 2.0, 8.5, 3.0, -5.1].map(Logit);
        assert_eq!(selected.passages.unwrap(), passages);
    }

    #[test]
    fn a_policy_that_cannot_be_is_refused() {
        let policy = eager(Mode::Select).with_stride(0);
        assert!(Selecting::new(POOL, Some(policy), false).is_err());
    }
}
