//! GGUF files as llama.cpp's conversion writes them, with the model's own `config.json` and `tokenizer.json` beside.
//!
//! `tests/llama_cpp` comes from `xtask/goldens/to_llama_cpp.py`: golden checkpoints under the names of the `gguf`
//! package.

use std::path::{Path, PathBuf};

use grating::{ModelSource, Request, Reranker, WeightFormat};
use serde_json::Value;

use crate::{copy_of, golden};

/// As in the golden tests: the same weights in the same type.
const TOLERANCE: f32 = 1e-4;

/// The golden model's folder with its weights replaced by llama.cpp's file.
fn published(case: &str) -> tempfile::TempDir {
    let folder = copy_of(&golden(case));
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let gguf = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/llama_cpp/{case}.gguf"));
    std::fs::copy(gguf, folder.path().join("Tiny-Reranker-F32.gguf")).unwrap();
    folder
}

/// Largest difference from the reference, as a part of its scores (at least 1).
fn error(case: &str, model: &Path) -> f32 {
    let json = std::fs::read(golden(case).join("golden.json")).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    let mut largest = 0.0f32;
    for pair in json["pairs"].as_array().unwrap() {
        let reranker = Reranker::builder()
            .model(model.to_str().unwrap())
            .max_length(pair["max_tokens"].as_u64().unwrap() as usize)
            .build()
            .unwrap();
        let texts = [pair["document"].as_str().unwrap()];
        let mut request = Request::new(pair["query"].as_str().unwrap(), &texts, 1);
        if let Some(instruction) = pair["instruction"].as_str() {
            request = request.instruction(instruction);
        }
        let found = reranker.run(request).unwrap().results[0].raw_score.0;
        let expected = pair["logits_after_layer"].as_array().unwrap().last().unwrap();
        let expected = expected.as_f64().unwrap() as f32;
        largest = largest.max((found - expected).abs() / expected.abs().max(1.0));
    }
    largest
}

#[test]
fn their_names_and_orders_give_the_references_scores() {
    for case in ["llama-f32", "qwen3-tied-f32", "xlm-roberta-f32"] {
        let folder = published(case);
        let error = error(case, folder.path());
        assert!(error <= TOLERANCE, "{case}: {error:e}");
        let source = ModelSource::Path(folder.path().into());
        let report = grating::inspect(&source).unwrap();
        assert!(report.problem.is_none(), "{case}: {:?}", report.problem);
        assert!(report.tensors.iter().any(|t| t.name == "blk.0.attn_q.weight"));
    }
}

#[test]
fn they_can_be_quantized_under_their_own_names() {
    for (case, most) in [("llama-f32", 0.1), ("xlm-roberta-f32", 0.1)] {
        let folder = published(case);
        let out: PathBuf = folder.path().join("q8");
        let source = ModelSource::Path(folder.path().into());
        let report = grating::quantize(&source, WeightFormat::Q8_0, &out).unwrap();
        let error = error(case, &out);
        assert!(error <= most, "{case}: {error}");
        assert_eq!(report.bytes_after < report.bytes_before, error > TOLERANCE, "{report:?}");
    }
}

#[test]
fn an_encoder_without_its_head_is_refused() {
    // llama.cpp's conversion keeps embeddings only, where it does not know the head.
    let folder = published("xlm-roberta-f32");
    let path = folder.path().join("Tiny-Reranker-F32.gguf");
    let mut bytes = std::fs::read(&path).unwrap();
    let name = b"cls.output.weight";
    let at = bytes.windows(name.len()).position(|w| w == name).unwrap();
    bytes[at..at + name.len()].copy_from_slice(b"cls.absent.weight");
    std::fs::write(&path, bytes).unwrap();
    let report = grating::inspect(&ModelSource::Path(folder.path().into())).unwrap();
    let problem = report.problem.unwrap();
    assert!(problem.contains("classifier.out_proj.weight"), "{problem}");
}
