//! The profiles that come with the embedded model: it prunes out of the box, and can be kept from it.

use grating::{Isa, Precision, Pruning, Request, Reranker, Selection};

const QUERY: &str = "What is the capital of France?";

fn texts() -> Vec<String> {
    let places = ["France", "Spain", "Italy", "Germany", "Norway", "Japan", "Peru", "Kenya"];
    let facts = [
        "has a capital that many people visit",
        "is known for its rivers and its mountains",
        "exports machines, wine and cloth",
        "was at war in the last century",
        "plays football against its neighbours",
    ];
    let pairs = places.iter().flat_map(|place| facts.iter().map(move |fact| (place, fact)));
    let mut texts: Vec<String> = pairs.map(|(place, fact)| format!("{place} {fact}.")).collect();
    texts[2] = "Paris is the capital and largest city of France.".into();
    texts
}

fn run(reranker: &Reranker, k: usize, pruning: Option<Pruning>) -> Selection {
    let request = Request::new(QUERY, texts(), k);
    reranker
        .run(match pruning {
            Some(pruning) => request.pruning(pruning),
            None => request,
        })
        .unwrap()
}

#[test]
fn requests_for_the_usual_k_are_pruned_and_keep_the_full_models_scores() {
    let reranker = Reranker::builder().build().unwrap();
    let everything = (texts().len() * 6) as u64;
    for k in [1, 5, 10, 20] {
        let (pruned, full) = (run(&reranker, k, None), run(&reranker, k, Some(Pruning::Off)));
        assert_eq!(full.stats.candidate_layers, everything);
        assert!(pruned.stats.candidate_layers < everything, "K = {k}");
        let selected = |index| full.results.iter().any(|other| other.index == index);
        let shared = pruned.results.iter().filter(|result| selected(result.index)).count();
        assert!(pruned.results.len() == k && 5 * shared >= 4 * k, "K = {k}: {shared}");
        // Whoever is selected has been through all layers.
        for result in &pruned.results {
            let same = full.results.iter().find(|other| other.index == result.index);
            assert!(same.is_none_or(|other| other.raw_score == result.raw_score), "{result:?}");
        }
    }
    // Nothing is promised for others.
    assert_eq!(run(&reranker, 7, None).stats.candidate_layers, everything);
}

#[test]
fn other_settings_leave_the_profiles_aside() {
    let everything = (texts().len() * 6) as u64;
    let isa = Isa::supported()[0];
    for builder in [
        Reranker::builder().max_length(64),
        Reranker::builder().precision(Precision::Fast).isa(isa),
        Reranker::builder().pruning(Pruning::Off),
    ] {
        let reranker = builder.build().unwrap();
        assert_eq!(run(&reranker, 5, None).stats.candidate_layers, everything);
    }
}
