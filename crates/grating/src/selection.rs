//! The answer to a request.

use grating_engine::Timeline;
use grating_model::{Logit, Probability};
use grating_prune::MassTrace;
use grating_sched::Plan;

use crate::long::{BestPassage, ScoredPassage};
use crate::scores::{LastScore, Scores};
use crate::stats::Stats;

/// The selected texts and what the selection cost.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Selection {
    /// `min(k, N)` results. Without pruning, and with it in [`Mode::Rank`](grating_prune::Mode::Rank), by falling
    /// score; equal scores keep the order of the texts. In [`Mode::Select`](grating_prune::Mode::Select) in the order
    /// in which they were accepted: scores read after different layers are not comparable.
    pub results: Vec<Ranked>,
    /// Figures of the request.
    pub stats: Stats,
    /// How the request was planned.
    pub plan: Plan,
    /// Scores after every layer, if the request asked for them: `[layer][text]`.
    pub trace: Option<Vec<Vec<f32>>>,
    /// Normalised hidden states of the scored tokens after every layer but the last, `[layer][candidate * hidden]`, if
    /// they were wanted. Candidates are the distinct texts.
    pub(crate) states: Option<Vec<Vec<f32>>>,
    /// What attention tells of each text, if the request asked for it: for
    /// [`Reranker::replay_tokens`](crate::Reranker::replay_tokens). Nothing of texts that are too short for the policy.
    pub attention: Option<Vec<Option<MassTrace>>>,
    /// What ran when, if the request asked for it.
    pub timeline: Timeline,
    pub(crate) scores: Scores,
}

impl Selection {
    /// The last score of every text, whether it was selected or not, by index, as it was read after the layer that it
    /// names. Scores of different layers do not compare; see [`Self::ranking`].
    pub fn all_scores(&self) -> Vec<LastScore> {
        self.scores.all()
    }

    /// The passages of a text by its index in the request, with their scores; none where it was read as one.
    ///
    /// # Panics
    /// Where there is no such text.
    pub fn passages(&self, index: usize) -> Vec<ScoredPassage> {
        self.scores.passages(index)
    }

    /// All texts, the best first, with scores that never rise: the results in their order, then the others.
    ///
    /// The order never contradicts what pruning decided: texts that went further come before those that were dropped
    /// earlier, and of one layer the better score comes first. The scores of the texts that were decided last stay as they
    /// are; others are raised or lowered where the list would rise otherwise, and marked as
    /// [`altered`](LastScore::altered). Without pruning all scores are final and none is altered.
    pub fn ranking(&self) -> Vec<LastScore> {
        self.scores.ranking()
    }
}

/// One selected text.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Ranked {
    /// Index of the text in the request.
    pub index: usize,
    /// Probability that the text is relevant: the sigmoid of `raw_score`.
    pub score: Probability,
    /// The model's own output.
    pub raw_score: Logit,
    /// Layer, counted from 0, after which its place was decided. The score was read after it, too, or in
    /// [`Mode::Rank`](grating_prune::Mode::Rank) after the last one.
    pub decided_after_layer: usize,
    /// Whether a part of the text was left out: what is beyond the maximum length, or the most passages.
    pub truncated: bool,
    /// Of a text that was cut into several passages, the best one by the score that it was last read with.
    pub passage: Option<BestPassage>,
}
