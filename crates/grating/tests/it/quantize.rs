//! Quantized models: near the original's scores, the same however they are run, and never half on a disk.

use std::path::{Path, PathBuf};

use grating::{
    Error, Isa, ModelSource, Precision, QuantizeError, Reranker, RerankerBuilder, Spill,
    WeightFormat, WindowSize,
};
use serde_json::Value;

use crate::{copy_of, golden};

const QUERY: &str = "What is the capital of France?";
const TEXTS: [&str; 8] = [
    "Paris is the capital and largest city of France.",
    "Bananas are rich in potassium and easy to peel.",
    "Lyon is a city in France, on the Rhône.",
    "The capital of Germany is Berlin.",
    "France borders Spain, Italy and Germany.",
    "A capital letter begins a sentence.",
    "The river is long.",
    "Madrid, the capital of Spain, lies on the river Manzanares.",
];

fn quantized(source: &ModelSource, format: WeightFormat) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    grating::quantize(source, format, &out).unwrap();
    (folder, out)
}

fn model(path: &Path) -> RerankerBuilder {
    Reranker::builder().model(path.to_str().unwrap())
}

/// Raw scores in the order of the texts.
fn scores(builder: RerankerBuilder) -> Vec<f32> {
    let selection = builder.build().unwrap().rerank(QUERY, &TEXTS, TEXTS.len()).unwrap();
    let mut results = selection.results;
    results.sort_by_key(|r| r.index);
    results.iter().map(|r| r.raw_score.0).collect()
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Largest difference, as a part of the range of the scores.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    let range =
        a.iter().fold(f32::MIN, |m, &x| m.max(x)) - a.iter().fold(f32::MAX, |m, &x| m.min(x));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / range
}

#[test]
fn the_default_models_scores_stay_near_in_every_format() {
    let exact = scores(Reranker::builder());
    for (format, most) in
        [(WeightFormat::Q8_0, 0.02), (WeightFormat::Q4_0, 0.25), (WeightFormat::Q4K, 0.25)]
    {
        let (_folder, out) = quantized(&ModelSource::Default, format);
        let names = ["config.json", "model.gguf", "tokenizer.json", "tokenizer_config.json"];
        assert_eq!(names_in(&out), names);
        let found = scores(model(&out));
        let distance = distance(&exact, &found);
        assert!(distance > 0.0 && distance < most, "{format}: {distance} of the range");
        let fast = scores(model(&out).precision(Precision::Fast));
        assert!(self::distance(&found, &fast) < 0.1, "{format}: {:?} {:?}", found, fast);
    }
}

#[test]
fn quantized_scores_are_the_same_to_the_bit_however_they_are_run() {
    let (_folder, out) = quantized(&ModelSource::Default, WeightFormat::Q8_0);
    for precision in [Precision::Exact, Precision::Fast] {
        for isa in Isa::supported() {
            let run = || model(&out).isa(isa).precision(precision);
            let one = scores(run().threads(1));
            let other =
                run().threads(2).chunk_tokens(17).window(WindowSize::Slots(1)).spill(Spill::Always);
            assert_eq!(one, scores(other), "{isa} {precision}");
        }
    }
}

#[test]
fn what_fits_no_blocks_stays_and_scores_with_it() {
    // Rows of 24 are no blocks of 32: everything stays, to the bit.
    let case = golden("qwen3-tied-f32");
    let (_folder, out) = quantized(&ModelSource::Path(case.clone()), WeightFormat::Q4K);
    let run = |path: &Path| scores(model(path).max_length(120));
    assert_eq!(run(&case), run(&out));
}

#[test]
fn matrices_that_are_stored_as_one_are_written_once() {
    for case in ["modernbert-f32", "modernbert-biases-bf16"] {
        let case = golden(case);
        let (_folder, out) = quantized(&ModelSource::Path(case.clone()), WeightFormat::Q8_0);
        let run = |path: &Path| scores(model(path).max_length(120));
        assert_eq!(run(&case), run(&out));
    }
}

#[test]
fn a_grating_json_comes_along_and_a_pruning_profile_does_not() {
    let case = copy_of(&golden("qwen2-f32"));
    std::fs::write(case.path().join("grating-profile.json"), "[]").unwrap();
    let source = ModelSource::Path(case.path().into());
    let (_folder, out) = quantized(&source, WeightFormat::Q8_0);
    assert_eq!(names_in(&out), ["config.json", "grating.json", "model.gguf", "tokenizer.json"]);
}

#[test]
fn inspect_and_doctor_know_the_blocks() {
    let (_folder, out) = quantized(&ModelSource::Default, WeightFormat::Q8_0);
    let source = ModelSource::Path(out.clone());
    let report = grating::inspect(&source).unwrap();
    let info = report.info.unwrap();
    assert!(info.dtype.contains("Q8_0"), "{}", info.dtype);
    let original = grating::inspect(&ModelSource::Default).unwrap().info.unwrap();
    assert_eq!(info.parameters, original.parameters);
    assert!((info.layer_bytes as f64) < 0.56 * original.layer_bytes as f64);
    assert!(grating::doctor(&source).healthy());

    // A scale of NaN within a layer.
    let tensor = report.tensors.iter().find(|t| t.dtype == "Q8_0").unwrap();
    let path = out.join("model.gguf");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[tensor.offset as usize..][..2].copy_from_slice(&[0xff, 0xff]);
    std::fs::write(&path, bytes).unwrap();
    let report = grating::doctor(&source);
    assert!(!report.healthy() && report.checks.iter().any(|c| c.detail.contains("NaN")));
}

#[test]
fn nothing_is_left_where_it_fails() {
    let folder = tempfile::tempdir().unwrap();
    let quantize = |source: &ModelSource, out: &Path| {
        let error = grating::quantize(source, WeightFormat::Q8_0, out).unwrap_err();
        assert_eq!(names_in(folder.path()), ["there"], "{error}");
        error
    };
    let there = folder.path().join("there");
    std::fs::create_dir(&there).unwrap();
    let error = quantize(&ModelSource::Default, &there);
    assert!(matches!(error, Error::Quantize(QuantizeError::Exists { .. })), "{error}");
    let out = folder.path().join("missing").join("out");
    let error = quantize(&ModelSource::Default, &out);
    assert!(matches!(error, Error::Quantize(QuantizeError::Write { .. })), "{error}");

    let out = folder.path().join("out");
    let (_folder, once) = quantized(&ModelSource::Default, WeightFormat::Q4_0);
    let error = quantize(&ModelSource::Path(once), &out);
    assert!(matches!(error, Error::Quantize(QuantizeError::Already { .. })), "{error}");
    let nan = with_a_nan();
    let error = quantize(&ModelSource::Path(nan.path().into()), &out);
    let Error::Quantize(QuantizeError::NotFinite { tensor, element }) = error else { panic!() };
    assert_eq!(
        (tensor.as_str(), element),
        ("bert.encoder.layer.0.attention.self.query.weight", 33)
    );
    let error = quantize(&ModelSource::Path(folder.path().join("there")), &out);
    assert!(error.to_string().contains("config.json"), "{error}");
}

/// The default model with a number spoiled; f16.
fn with_a_nan() -> tempfile::TempDir {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/default");
    let copy = copy_of(&models);
    let path = copy.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let json: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let tensor = &json["bert.encoder.layer.0.attention.self.query.weight"];
    assert_eq!(tensor["dtype"], "F16");
    let at = 8 + header + tensor["data_offsets"][0].as_u64().unwrap() as usize + 2 * 33;
    bytes[at..at + 2].copy_from_slice(&[0xff, 0xff]);
    std::fs::write(&path, bytes).unwrap();
    copy
}

#[test]
fn names_of_formats_lead_there_and_back() {
    for format in WeightFormat::ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    let error = "q5_k".parse::<WeightFormat>().unwrap_err().to_string();
    assert!(error.contains("q5_k") && error.contains("q4_k"), "{error}");
}
