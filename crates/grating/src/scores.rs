//! The last score of every text, and an order of all of them that the verdicts agree with.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use grating_engine::JobOutput;
use grating_model::{Logit, Probability};

use crate::distinct::DistinctMap;
use crate::long::{BestPassage, ScoredPassage, ScoredPassages};
use crate::selection::Ranked;

/// The last score of one text of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct LastScore {
    /// Index of the text in the request.
    pub index: usize,
    /// Probability that the text is relevant: the sigmoid of `raw_score` over the model's temperature.
    pub score: Probability,
    /// The model's own output; in a [ranking](crate::Selection::ranking) it may be `altered`.
    pub raw_score: Logit,
    /// Layer, counted from 0, whose hidden states the score was read from.
    pub layer: usize,
    /// Whether that was the model's last layer, so that the score is the full model's.
    pub is_final: bool,
    /// Whether `score` and `raw_score` are not as they were read, so that a ranking falls.
    pub altered: bool,
    /// Whether the text is among the results.
    pub selected: bool,
    /// Layer, counted from 0, after which it was decided whether the text is among them.
    pub decided_after_layer: usize,
    /// Whether a part of the text was left out: what is beyond the maximum length, or the most passages.
    pub truncated: bool,
    /// Of a text that was cut into several passages, the best one by the score that it was last read with.
    pub passage: Option<BestPassage>,
}

/// What came of each distinct text of a request.
#[derive(Debug, Clone)]
pub(crate) struct Scores {
    /// For each text of the request, its place among the distinct ones.
    pub(crate) of: Vec<u32>,
    /// Of the distinct texts, as those that follow.
    pub(crate) logits: Vec<Logit>,
    /// The layer that each score was read after.
    pub(crate) layers: Vec<usize>,
    pub(crate) decided: Vec<usize>,
    pub(crate) truncated: Vec<bool>,
    /// Of the distinct texts, where some have several.
    pub(crate) passages: Option<ScoredPassages>,
    /// The accepted texts of the request, in their order; where nobody was dropped, the K best of all.
    pub(crate) accepted: Vec<usize>,
    pub(crate) nobody_dropped: bool,
    pub(crate) k: usize,
    /// The model's last layer.
    pub(crate) last: usize,
    /// What scores are divided by before they become probabilities.
    pub(crate) temperature: f32,
}

impl Scores {
    /// Of a model of so many layers and this temperature.
    pub(crate) fn new(
        scored: &mut JobOutput,
        places: DistinctMap,
        truncated: Vec<bool>,
        k: usize,
        layers: usize,
        temperature: f32,
    ) -> Self {
        let (accepted, nobody_dropped) = match &scored.selected {
            Some(selected) => (places.expand(selected), false),
            None => (best(&places.of, &scored.logits, k), true),
        };
        Scores {
            of: places.of,
            logits: std::mem::take(&mut scored.logits),
            layers: std::mem::take(&mut scored.read_after),
            decided: std::mem::take(&mut scored.decided),
            truncated,
            passages: None,
            accepted,
            nobody_dropped,
            k,
            last: layers - 1,
            temperature,
        }
    }

    /// Of texts that have passages.
    pub(crate) fn with_passages(mut self, passages: Option<ScoredPassages>) -> Self {
        self.passages = passages;
        self
    }

    /// The passages of a text of the request; none where it was read as one.
    pub(crate) fn passages(&self, index: usize) -> Vec<ScoredPassage> {
        let of = self.of[index] as usize;
        self.passages.as_ref().map_or_else(Vec::new, |passages| passages.of(of))
    }

    /// The selected texts in their order. More may be accepted where equal ones are: a distinct text takes one place.
    pub(crate) fn selected(&self) -> &[usize] {
        &self.accepted[..self.k.min(self.accepted.len())]
    }

    /// The selected texts, with their scores as they were read.
    pub(crate) fn results(&self) -> Vec<Ranked> {
        let ranked = |&index: &usize| {
            let LastScore { score, raw_score, decided_after_layer, truncated, passage, .. } =
                self.score(index);
            Ranked { index, score, raw_score, decided_after_layer, truncated, passage }
        };
        self.selected().iter().map(ranked).collect()
    }

    /// Every text's score as it was read, by index.
    pub(crate) fn all(&self) -> Vec<LastScore> {
        let mut all: Vec<LastScore> = (0..self.of.len()).map(|index| self.score(index)).collect();
        self.selected().iter().for_each(|&index| all[index].selected = true);
        all
    }

    /// All texts, best first, with scores that never rise.
    ///
    /// Scores of different layers do not compare, and the verdicts stand: who was accepted comes before who was dropped,
    /// who was dropped later before who was dropped earlier. The texts that were decided last are in the middle, and
    /// their scores, the best that there are, stay. Going up from there, an accepted text gets at least the score of the
    /// next one; going down, a dropped text at most that of the one before.
    pub(crate) fn ranking(&self) -> Vec<LastScore> {
        let all = self.all();
        let accepted = match self.nobody_dropped {
            true => Cow::Owned(rank(&self.of, &self.logits)),
            false => Cow::Borrowed(&self.accepted),
        };
        let mut dropped = vec![true; all.len()];
        accepted.iter().for_each(|&index| dropped[index] = false);
        let mut below: Vec<usize> = (0..all.len()).filter(|&index| dropped[index]).collect();
        below.sort_by(|&a, &b| {
            let (a, b) = (&all[a], &all[b]);
            let later = b.decided_after_layer.cmp(&a.decided_after_layer);
            let better = || b.raw_score.0.total_cmp(&a.raw_score.0);
            later.then_with(better).then(a.index.cmp(&b.index))
        });
        let order = accepted.iter().chain(&below);
        let mut ranking: Vec<LastScore> = order.map(|&index| all[index]).collect();
        let accepted = accepted.len();
        for at in (1..accepted).rev() {
            let floor = ranking[at].raw_score;
            ranking[at - 1]
                .alter(self.temperature, |own| if own.0 < floor.0 { floor } else { own });
        }
        for at in accepted.max(1)..ranking.len() {
            let ceiling = ranking[at - 1].raw_score;
            ranking[at]
                .alter(self.temperature, |own| if own.0 > ceiling.0 { ceiling } else { own });
        }
        ranking
    }

    fn score(&self, index: usize) -> LastScore {
        let of = self.of[index] as usize;
        let (raw_score, layer) = (self.logits[of], self.layers[of]);
        LastScore {
            index,
            score: raw_score.probability_at(self.temperature),
            raw_score,
            layer,
            is_final: layer == self.last,
            altered: false,
            selected: false,
            decided_after_layer: self.decided[of],
            truncated: self.truncated[of],
            passage: self.passages.as_ref().and_then(|passages| passages.best(of)),
        }
    }
}

impl LastScore {
    fn alter(&mut self, temperature: f32, to: impl FnOnce(Logit) -> Logit) {
        let raw_score = to(self.raw_score);
        self.altered |= raw_score != self.raw_score;
        (self.raw_score, self.score) = (raw_score, raw_score.probability_at(temperature));
    }
}

/// The best texts as [`rank`] has them, without a list of all: there may be millions of equal ones.
fn best(of: &[u32], logits: &[Logit], k: usize) -> Vec<usize> {
    // In the order of `f32::total_cmp`.
    let key = |place: u32| {
        let bits = logits[place as usize].0.to_bits() as i32;
        bits ^ (((bits >> 31) as u32) >> 1) as i32
    };
    // The worst of them is on top.
    let mut heap = BinaryHeap::with_capacity(k.min(of.len()) + 1);
    for (index, &place) in of.iter().enumerate() {
        heap.push((Reverse(key(place)), index));
        if heap.len() > k {
            heap.pop();
        }
    }
    heap.into_sorted_vec().into_iter().map(|(_, index)| index).collect()
}

/// All texts by falling logit and then by index.
fn rank(of: &[u32], logits: &[Logit]) -> Vec<usize> {
    let logit = |index: usize| logits[of[index] as usize].0;
    let mut order: Vec<usize> = (0..of.len()).collect();
    order.sort_unstable_by(|&a, &b| logit(b).total_cmp(&logit(a)).then(a.cmp(&b)));
    order
}

#[cfg(test)]
mod tests {
    use grating_prune::{Mode, Policy, Pool, Pruner};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ties_go_by_index_and_negative_zero_is_no_surprise() {
        let logits = [Logit(1.0), Logit(-2.0), Logit(0.0)];
        assert_eq!(rank(&[2, 0, 1, 0], &logits), [1, 3, 0, 2]);
        let logits = [0.0, -0.0, f32::MIN, 1.5, -3.0].map(Logit);
        let of = [4, 1, 0, 3, 2, 3, 1, 0];
        let order = rank(&of, &logits);
        for k in 0..10 {
            assert_eq!(best(&of, &logits, k), order[..k.min(8)], "{k}");
        }
    }

    /// Texts 0 to 5, of which 0 and 4 are equal.
    fn by_hand(accepted: Vec<usize>, logits: [f32; 5], decided: [usize; 5], k: usize) -> Scores {
        Scores {
            of: vec![0, 1, 2, 3, 0, 4],
            logits: logits.map(Logit).to_vec(),
            layers: decided.to_vec(),
            decided: decided.to_vec(),
            truncated: vec![false; 5],
            passages: None,
            accepted,
            nobody_dropped: false,
            k,
            last: 2,
            temperature: 1.0,
        }
    }

    #[test]
    fn scores_that_were_read_last_stay_and_the_others_give_way() {
        // Accepted after layer 0 with a low score, then 1 after layer 2; 2 was dropped then, 3 before with a high score.
        let logits = [-3.0, 2.0, 1.0, 9.0, 0.5];
        let scores = by_hand(vec![0, 4, 1], logits, [0, 2, 2, 1, 0], 2);
        let ranking = scores.ranking();
        let seen: Vec<(usize, f32, bool)> =
            ranking.iter().map(|r| (r.index, r.raw_score.0, r.altered)).collect();
        let expected = [
            (0, 2.0, true),
            (4, 2.0, true),
            (1, 2.0, false),
            (2, 1.0, false),
            (3, 1.0, true),
            (5, 0.5, false),
        ];
        assert_eq!(seen, expected);
        let selected: Vec<bool> = ranking.iter().map(|r| r.selected).collect();
        assert_eq!(selected, [true, true, false, false, false, false]);
        let is_final: Vec<bool> = ranking.iter().map(|r| r.is_final).collect();
        assert_eq!(is_final, [false, false, true, true, false, false]);
        // As they were read, by index.
        let all: Vec<f32> = scores.all().iter().map(|r| r.raw_score.0).collect();
        assert_eq!(all, [-3.0, 2.0, 1.0, 9.0, -3.0, 0.5]);
    }

    /// What the pruner makes of random scores, as the engine keeps it.
    fn pruned(trace: &[Vec<f32>], of: Vec<u32>, k: usize, mode: Mode, threshold: f64) -> Scores {
        let (layers, candidates) = (trace.len(), trace[0].len());
        let policy = Policy::paper(threshold).with_mode(mode);
        let mut pruner = Pruner::new(policy, Pool { candidates, layers, k }).unwrap();
        let (mut logits, mut read) = (vec![Logit(0.0); candidates], vec![0; candidates]);
        for (layer, scores) in trace.iter().enumerate() {
            let running: Vec<usize> = pruner.running().collect();
            let due = pruner.next_due() == Some(layer) || layer + 1 == layers;
            for &c in running.iter().filter(|_| due) {
                (logits[c], read[c]) = (Logit(scores[c]), layer);
            }
            if pruner.next_due() == Some(layer) {
                let live: Vec<usize> = pruner.live().collect();
                let values: Vec<f32> = live.iter().map(|&c| scores[c]).collect();
                pruner.observe(layer, &live, &values).unwrap();
            }
        }
        let mut accepted = pruner.accepted().to_vec();
        if mode == Mode::Rank {
            accepted.sort_by(|&a, &b| logits[b].0.total_cmp(&logits[a].0).then(a.cmp(&b)));
        }
        let decided = pruner.outcome().decided_after_layer;
        let places = DistinctMap::of(candidates, of);
        Scores {
            accepted: places.expand(&accepted),
            of: places.of,
            logits,
            layers: read,
            decided: decided.into_iter().map(|layer| layer.unwrap_or(layers - 1)).collect(),
            truncated: vec![false; candidates],
            passages: None,
            nobody_dropped: false,
            k,
            last: layers - 1,
            temperature: 1.0,
        }
    }

    proptest! {
        #[test]
        fn a_ranking_has_all_texts_falls_and_never_contradicts_a_verdict(
            (trace, of) in (1..9usize, 1..6usize).prop_flat_map(|(candidates, layers)| {
                let layer = prop::collection::vec(-4.0..4.0f32, candidates);
                let repeated = prop::collection::vec(0..candidates as u32, 0..6);
                (prop::collection::vec(layer, layers), repeated).prop_map(move |(trace, more)| {
                    (trace, (0..candidates as u32).chain(more).collect::<Vec<_>>())
                })
            }),
            k in 1..9usize,
            mode in prop::sample::select(vec![Mode::Select, Mode::Rank]),
            threshold in 0.0..1.5f64,
        ) {
            // With K or fewer candidates the engine asks no pruner.
            prop_assume!(k < trace[0].len());
            let texts = of.len();
            let scores = pruned(&trace, of, k, mode, threshold);
            let (ranking, all) = (scores.ranking(), scores.all());
            let order: Vec<usize> = ranking.iter().map(|r| r.index).collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..texts).collect::<Vec<_>>());
            prop_assert_eq!(&order[..k], scores.selected());
            prop_assert!(ranking[..k].iter().all(|r| r.selected));
            prop_assert!(ranking[k..].iter().all(|r| !r.selected));
            prop_assert!(ranking.windows(2).all(|w| w[0].raw_score.0 >= w[1].raw_score.0));
            prop_assert!(ranking.windows(2).all(|w| w[0].score.0 >= w[1].score.0));
            let accepted = scores.accepted.len();
            prop_assert_eq!(&order[..accepted], &scores.accepted[..]);
            let in_order = |w: &[LastScore]| {
                let (a, b) = (&all[w[0].index], &all[w[1].index]);
                let later = a.decided_after_layer > b.decided_after_layer;
                let same = a.decided_after_layer == b.decided_after_layer;
                later || (same && a.raw_score.0 >= b.raw_score.0)
            };
            prop_assert!(ranking[accepted..].windows(2).all(in_order));
            for r in &ranking {
                let own = &all[r.index];
                prop_assert_eq!(r.altered, own.raw_score != r.raw_score);
                prop_assert!(!own.altered && r.layer == own.layer && r.is_final == own.is_final);
                // The full model's scores stay, but for those of dropped texts that pruning has wronged.
                let wronged = mode == Mode::Rank && !scores.accepted.contains(&r.index);
                let may_give_way = !own.is_final || wronged;
                prop_assert!(!r.altered || may_give_way, "{:?}", r);
            }
        }
    }
}
