//! Text in, scores out, equal to the reference's.

use grating::{Precision, Request, Reranker};
use serde_json::Value;

use crate::goldens;

/// As in `grating-model`'s golden tests.
const TOLERANCE: f32 = 1e-4;

#[test]
fn raw_scores_are_the_references_for_every_family() {
    for case in goldens() {
        let json: Value =
            serde_json::from_slice(&std::fs::read(case.join("golden.json")).unwrap()).unwrap();
        for pair in json["pairs"].as_array().unwrap() {
            let reranker = Reranker::builder()
                .model(case.to_str().unwrap())
                .max_length(pair["max_tokens"].as_u64().unwrap() as usize)
                .special_tokens_in_text(pair["special"] == true)
                // The goldens are computed in f32 whatever the weights are.
                .precision(Precision::Full)
                .threads(2)
                .build()
                .unwrap();
            let texts = [pair["document"].as_str().unwrap()];
            let mut request = Request::new(pair["query"].as_str().unwrap(), &texts, 1);
            if let Some(instruction) = pair["instruction"].as_str() {
                request = request.instruction(instruction);
            }
            let selection = reranker.run(request).unwrap();
            let (result, layers) = (selection.results[0], &pair["logits_after_layer"]);
            let expected = layers.as_array().unwrap().last().unwrap().as_f64().unwrap() as f32;
            let error = (result.raw_score.0 - expected).abs();
            assert!(error <= TOLERANCE * expected.abs().max(1.0), "{}: {error:e}", case.display());
            assert_eq!(result.score, result.raw_score.probability());
            assert_eq!(result.truncated, pair["truncated"].as_bool().unwrap());
            assert_eq!(result.decided_after_layer + 1, layers.as_array().unwrap().len());
        }
    }
}
