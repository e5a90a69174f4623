//! The last score of every text, and the order of all of them.

use std::collections::HashMap;

use grating::{LastScore, Mode, Policy, Pruning, Request, Reranker, Savings, Selection};

use crate::golden;

const QUERY: &str = "which window slides";
const K: usize = 5;

/// Some of them more than once.
fn texts() -> Vec<String> {
    let words = ["window", "river", "glass", "slides", "Paris", "東京", "weights"];
    let text = |i: usize| (0..1 + i % 9).map(|j| words[(i * i + j * 3) % 7]).collect::<Vec<_>>();
    (0..24).map(|i| text(if i % 6 == 5 { i - 3 } else { i }).join(" ")).collect()
}

fn places(scores: &[LastScore]) -> Vec<usize> {
    scores.iter().map(|score| score.index).collect()
}

/// What must hold of any selection.
fn check(selection: &Selection, all: usize) -> Vec<LastScore> {
    let ranking = selection.ranking();
    let results: Vec<usize> = selection.results.iter().map(|r| r.index).collect();
    assert_eq!(
        places(&ranking)[..results.len()],
        results,
        "the results come first, in their order"
    );
    let selected = |score: &LastScore| score.selected;
    assert_eq!(ranking.iter().position(|s| !selected(s)).unwrap_or(all), results.len());
    assert!(ranking.windows(2).all(|w| w[0].raw_score.0 >= w[1].raw_score.0));
    let by_index = selection.all_scores();
    assert_eq!(places(&by_index), (0..all).collect::<Vec<_>>());
    let mut sorted = ranking.clone();
    sorted.sort_by_key(|score| score.index);
    for (listed, own) in sorted.iter().zip(&by_index) {
        assert_eq!(listed.index, own.index);
        assert_eq!(listed.altered, listed.raw_score != own.raw_score);
        assert_eq!(listed.score, listed.raw_score.probability());
        assert_eq!((listed.selected, listed.layer), (own.selected, own.layer));
    }
    ranking
}

#[test]
fn scores_are_those_of_their_layer_and_the_order_agrees_with_every_verdict() {
    let texts = texts();
    let (mut early, mut altered) = (0, 0);
    for (case, equal_texts) in
        [("bert-gelu-f32", true), ("bert-gelu-f32", false), ("qwen3-tied-f32", true)]
    {
        let savings = Savings::default().with_equal_texts(equal_texts);
        let reranker = Reranker::builder().model(golden(case).to_str().unwrap()).savings(savings);
        let reranker = reranker.build().unwrap();
        let last = reranker.info().layers - 1;
        let full = reranker.run(Request::new(QUERY, &texts, K).trace(true)).unwrap();
        let trace = full.trace.as_ref().unwrap();
        for (mode, threshold) in [Mode::Select, Mode::Rank]
            .into_iter()
            .flat_map(|mode| [0.0, 0.2, 0.5].map(|threshold| (mode, threshold)))
        {
            let policy = Policy::paper(threshold).with_mode(mode);
            let request = Request::new(QUERY, &texts, K).pruning(Pruning::By(policy));
            let selection = reranker.run(request).unwrap();
            let ranking = check(&selection, texts.len());
            // As the full model would have read them there.
            for score in selection.all_scores() {
                let expected = trace[score.layer][score.index];
                assert_eq!(score.raw_score.0.to_bits(), expected.to_bits(), "{case} {score:?}");
                assert_eq!(score.is_final, score.layer == last);
            }
            let place: HashMap<usize, usize> =
                places(&ranking).into_iter().enumerate().map(|(at, index)| (index, at)).collect();
            let funnel = &selection.stats.funnel;
            for layer in funnel {
                let decided = layer.accepted.iter().chain(&layer.dropped);
                assert!(
                    decided
                        .clone()
                        .all(|&i| { ranking[place[&i]].decided_after_layer == layer.layer })
                );
                // Nobody who was dropped here comes before anybody who was accepted anywhere or dropped later.
                let first = layer.dropped.iter().map(|i| place[i]).min().unwrap_or(usize::MAX);
                let accepted = funnel.iter().flat_map(|l| &l.accepted);
                let later = funnel.iter().filter(|l| l.layer > layer.layer);
                let before = accepted.chain(later.flat_map(|l| &l.dropped));
                assert!(
                    before.into_iter().all(|i| place[i] < first),
                    "{case} {mode:?} {threshold}"
                );
            }
            early += ranking.iter().filter(|score| !score.is_final).count();
            altered += ranking.iter().filter(|score| score.altered).count();
            if mode == Mode::Rank {
                assert!(ranking[..K].iter().all(|score| score.is_final && !score.altered));
            }
        }
    }
    assert!(early > 0 && altered > 0, "nothing was pruned: {early} {altered}");
}

#[test]
fn without_pruning_the_ranking_is_the_full_models() {
    let (texts, model) = (texts(), golden("bert-gelu-f32"));
    let reranker = Reranker::builder().model(model.to_str().unwrap()).build().unwrap();
    let whole = reranker.rerank(QUERY, &texts, texts.len()).unwrap();
    let expected: Vec<usize> = whole.results.iter().map(|r| r.index).collect();
    let eager = Pruning::By(Policy::paper(0.0));
    let distinct = whole.stats.distinct_candidates;
    for (k, pruning) in [
        (K, Pruning::Off),
        (texts.len() + 1, Pruning::Off),
        // There is nothing to decide.
        (texts.len(), eager.clone()),
        (distinct, eager),
    ] {
        let request = Request::new(QUERY, &texts, k).pruning(pruning);
        let ranking = check(&reranker.run(request).unwrap(), texts.len());
        assert_eq!(places(&ranking), expected);
        assert!(ranking.iter().all(|score| score.is_final && !score.altered));
    }
}
