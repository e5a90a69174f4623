//! Compressed passages: the reference's scores, what is refused, and what a plan makes of them.

use grating::{Error, Pruning, Request, Reranker, RerankerBuilder};
use serde_json::Value;

use crate::golden;

const CASE: &str = "gemma2-lightweight-f32";

fn builder() -> RerankerBuilder {
    Reranker::builder().model(golden(CASE).to_str().unwrap()).threads(1)
}

/// What the reference's own code scores (xtask/goldens/compressed_passages.py).
fn reference() -> Value {
    let file = golden("").join("../compressed").join(format!("{CASE}.json"));
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
}

/// |found - expected| ≤ 1e-4 × max(1, |expected|), as in the golden tests.
fn is_near(found: f32, expected: f64) -> bool {
    (f64::from(found) - expected).abs() <= 1e-4 * expected.abs().max(1.0)
}

#[test]
fn texts_score_as_in_the_reference_after_every_layer_with_a_head() {
    let reference = reference();
    let (pairs, after) =
        (reference["pairs"].as_array().unwrap(), numbers(&reference["after_layers"]));
    let mut checked = 0;
    for setting in reference["settings"].as_array().unwrap() {
        let ratio = setting["ratio"].as_u64().unwrap() as usize;
        let compressed =
            builder().compress_ratio(ratio).compress_layers(numbers(&setting["layers"]));
        for budget in [None, Some(1 << 30)] {
            let mut builder = compressed.clone();
            if let Some(budget) = budget {
                builder = builder.memory_budget(budget);
            }
            let reranker = builder.build().unwrap();
            for (pair, expected) in pairs.iter().zip(setting["scores"].as_array().unwrap()) {
                let text = |key: &str| pair[key].as_str().unwrap().to_owned();
                let mut request = Request::new(text("query"), vec![text("document")], 1)
                    .max_length(pair["max_tokens"].as_u64().unwrap() as usize)
                    .pruning(Pruning::Off)
                    .trace(true);
                if let Some(instruction) = pair["instruction"].as_str() {
                    request = request.instruction(instruction);
                }
                let trace = reranker.run(request).unwrap().trace.unwrap();
                for (layer, expected) in after.iter().zip(expected.as_array().unwrap()) {
                    let (found, expected) = (trace[layer - 1][0], expected.as_f64().unwrap());
                    assert!(is_near(found, expected), "{setting}: {found} for {expected}");
                    checked += 1;
                }
            }
        }
    }
    assert_eq!(checked, 2 * 7 * 12 * 3);
}

#[test]
fn a_cutoff_scores_before_its_layer_would_be_compressed() {
    let texts = ["two layers of weights slide over a window of glass", "the cat sat"];
    let scores = |builder: RerankerBuilder| -> Vec<u32> {
        let selection = builder.build().unwrap().rerank("which window", &texts, 2).unwrap();
        selection.all_scores().iter().map(|score| score.raw_score.0.to_bits()).collect()
    };
    let at_two = |builder: RerankerBuilder| scores(builder.compress_ratio(4).compress_layers([2]));
    let request = Request::new("which window", texts.to_vec(), 2).trace(true);
    let whole = builder().build().unwrap().run(request).unwrap().trace.unwrap();
    let whole: Vec<u32> = whole[1].iter().map(|score| score.to_bits()).collect();
    assert_eq!(scores(builder().cutoff_layers(2)), whole);
    // Layer 2 is the third one: the head after two layers sees nothing of it, the one after four does.
    assert_ne!(at_two(builder().cutoff_layers(4)), scores(builder().cutoff_layers(4)));
    let request = Request::new("which window", texts.to_vec(), 2).trace(true);
    let compressed = builder().compress_ratio(4).compress_layers([2]).build().unwrap();
    let trace = compressed.run(request).unwrap().trace.unwrap();
    assert_eq!(trace[1].iter().map(|score| score.to_bits()).collect::<Vec<_>>(), whole);
}

#[test]
fn models_ratios_and_layers_that_cannot_be_are_refused() {
    let refused = |builder: RerankerBuilder, setting: &str, words: &[&str]| {
        let error: Error = builder.build().map(drop).unwrap_err();
        assert_eq!(error.setting(), Some(setting), "{error}");
        let error = error.to_string();
        assert!(words.iter().all(|words| error.contains(words)), "{error}");
    };
    for case in ["gemma2-f32", "bert-gelu-f32", "minicpm-layerwise-f32"] {
        let builder = Reranker::builder().model(golden(case).to_str().unwrap());
        let words = ["not trained", "bge-reranker-v2.5-gemma2-lightweight"];
        refused(builder.clone().compress_ratio(2).compress_layers([1]), "compress_ratio", &words);
        builder.compress_ratio(1).build().unwrap();
    }
    for ratio in [0, 3, 16] {
        refused(builder().compress_ratio(ratio), "compress_ratio", &["1, 2, 4 or 8"]);
    }
    for layers in [vec![0], vec![6], vec![2, 9]] {
        let builder = builder().compress_ratio(2).compress_layers(layers);
        refused(builder, "compress_layers", &["from 1 to 5"]);
    }
    // The layers that are run count, and by default it is before layer 8.
    let cut = builder().cutoff_layers(2).compress_ratio(2).compress_layers([2]);
    refused(cut, "compress_layers", &["is 2", "from 1 to 1"]);
    refused(builder().compress_ratio(2), "compress_layers", &["is 8"]);
    refused(builder().compress_layers([2]), "compress_layers", &["a compress_ratio beside it"]);
    refused(builder().compress_ratio(2).compress_layers([]), "compress_layers", &["is none"]);
}

#[test]
fn a_plan_knows_that_later_layers_compute_less() {
    let compute = |builder: RerankerBuilder| {
        let plan = builder.build().unwrap().plan(8, 200).unwrap();
        // What the process takes already is other tests' doing.
        (plan.prediction.compute_seconds, plan.ledger.total() - plan.ledger.base)
    };
    let (whole, memory) = compute(builder());
    let compressed = builder().compress_ratio(8).compress_layers([1]);
    let (less, less_memory) = compute(compressed);
    assert!(less < 0.5 * whole, "{less} of {whole}");
    assert!(less_memory <= memory);
}
