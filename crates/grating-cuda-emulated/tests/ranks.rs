//! What bf16 does to the ranks of a trained model: the golden checkpoints are random, and say nothing of that.
#![cfg(emulated)]
#![allow(clippy::unwrap_used)] // a failed test should panic

use std::path::Path;

use grating_backend::{Ops, Precision};
use grating_candle::CandleOps;
use grating_conformance::golden::load;
use grating_conformance::layers::trace;
use grating_cuda::{CudaBackend, CudaOptions};
use grating_cuda_emulated::{Emulated, Order};

/// Of the distance between the best score and the last; 0.0018 as measured, which docs/gpu.md tells.
const MOVED: f32 = 2.5e-3;

const QUERIES: [&str; 2] =
    ["how do birds find their way when they migrate", "what makes bread dough rise"];
const TEXTS: [&str; 8] = [
    "Migrating birds steer by the sun, the stars and the magnetic field of the earth.",
    "Yeast feeds on sugar in the dough and gives off carbon dioxide, which makes it rise.",
    "A pigeon that was carried away returns to its loft, guided by smells and landmarks.",
    "Baking powder sets gas free when it becomes wet, so cakes rise without yeast.",
    "Arctic terns fly from pole to pole and back every year.",
    "Gluten forms when flour is kneaded with water; it holds the bubbles of gas.",
    "The airport renewed the navigation system of its runways last spring.",
    "Sourdough is leavened by wild yeasts and bacteria, which work slowly.",
];

/// Scores of the built-in model.
fn scores<O: Ops>(ops: &O, query: &str) -> Vec<f32> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/default");
    let (loaded, checkpoint) = load(&folder, Some(64), false);
    let query = loaded.encoder.encode_query(query, None).unwrap();
    let texts = TEXTS.map(|text| loaded.encoder.encode(&query, text).unwrap());
    let layers = trace(ops, &loaded, &checkpoint, &texts, 0);
    layers.last().unwrap().iter().map(|logit| logit.0).collect()
}

/// With products of bf16, and what lies between operations as bf16, too, or in f32.
fn rounded(whole_activations: bool, query: &str) -> Vec<f32> {
    let options = CudaOptions::default().with_precision(Precision::Fast);
    let options = options.with_whole_activations(whole_activations);
    scores(&CudaBackend::new(Emulated::new(None, Order::Late), options).unwrap(), query)
}

/// Texts from the best to the last.
fn order(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

/// Pairs of texts that have changed places.
fn turned(a: &[f32], b: &[f32]) -> usize {
    let pairs = (0..a.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    pairs.filter(|&(i, j)| (a[i] > a[j]) != (b[i] > b[j])).count()
}

/// How far the scores from the best to the last are apart.
fn spread(scores: &[f32]) -> f32 {
    let (low, high) = scores.iter().fold((f32::MAX, f32::MIN), |(l, h), &x| (l.min(x), h.max(x)));
    high - low
}

#[test]
fn a_trained_model_ranks_with_bf16_as_it_does_in_f32() {
    for query in QUERIES {
        let (exact, found) = (scores(&CandleOps::cpu(), query), rounded(false, query));
        let moved = exact.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let (part, turned) = (moved / spread(&exact), turned(&exact, &found));
        println!("{query}: moved by at most {part:.5} of all, {turned} pairs turned");
        assert!(moved > 0.0, "nothing was rounded");
        assert!(part <= MOVED, "{query}: {moved} of {}", spread(&exact));
        assert_eq!(order(&found), order(&exact), "{query}");
    }
}

/// Its heads have neither norms nor rotary embeddings: whatever takes what lies between operations rounds it.
#[test]
fn what_lies_between_the_operations_of_a_bert_is_rounded_anyway() {
    let [query, _] = QUERIES;
    assert_eq!(rounded(false, query), rounded(true, query));
}
