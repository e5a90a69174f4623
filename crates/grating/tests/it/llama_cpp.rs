//! GGUF files as llama.cpp's conversion writes them, with the model's own `config.json` and `tokenizer.json` beside, and
//! alone.
//!
//! `tests/llama_cpp` comes from `xtask/goldens/to_llama_cpp.py`: golden checkpoints under the names of the `gguf`
//! package, with their tokenizers and sizes in the metadata.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use grating::{ModelSource, Precision, Request, Reranker, WeightFormat};
use grating_io::{Checkpoint, Dtype, GgufTensor, GgufWriter};
use grating_model::TensorView;
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

/// The file alone, as repositories of GGUF have it. Only Llama's prompt is not in it.
fn alone(case: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let gguf = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/llama_cpp/{case}.gguf"));
    std::fs::copy(gguf, folder.path().join(format!("{case}.gguf"))).unwrap();
    let prompt = golden(case).join("grating.json");
    if prompt.exists() {
        std::fs::copy(prompt, folder.path().join("grating.json")).unwrap();
    }
    folder
}

const CASES: [&str; 6] =
    ["llama-f32", "gemma-f32", "gemma2-f32", "qwen3-tied-f32", "xlm-roberta-f32", "bert-gelu-f32"];
/// Its files do not say what the head reads and how it is activated: the mean, as here, and GELU, as not here.
const MODERNBERT: &str = "modernbert-mean-f32";

/// Largest difference from the reference, as a part of its scores (at least 1).
fn error(case: &str, model: &Path) -> f32 {
    error_where(case, model, |_| true)
}

/// The same over the pairs that `counts`.
fn error_where(case: &str, model: &Path, counts: impl Fn(&Value) -> bool) -> f32 {
    let json = std::fs::read(golden(case).join("golden.json")).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    let mut largest = 0.0f32;
    for pair in json["pairs"].as_array().unwrap().iter().filter(|pair| counts(pair)) {
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
    for case in CASES.into_iter().chain([MODERNBERT]) {
        let folder = published(case);
        let error = error(case, folder.path());
        assert!(error <= TOLERANCE, "{case}: {error:e}");
        let source = ModelSource::Path(folder.path().into());
        let report = grating::inspect(&source).unwrap();
        assert!(report.problem.is_none(), "{case}: {:?}", report.problem);
        let joint_or_own = ["blk.0.attn_q.weight", "blk.0.attn_qkv.weight"];
        assert!(report.tensors.iter().any(|t| joint_or_own.contains(&t.name.as_str())));
    }
}

#[test]
fn a_file_alone_gives_the_references_scores() {
    for case in CASES {
        // The reference's tokenizers of these two normalize what the models that they stand for do not.
        let normalizes = ["llama-f32", "xlm-roberta-f32"].contains(&case);
        let counts = |pair: &Value| {
            let text = pair["document"].as_str().unwrap();
            !(normalizes && text.chars().any(|c| ('\u{300}'..='\u{36f}').contains(&c)))
        };
        let folder = alone(case);
        let file = folder.path().join(format!("{case}.gguf"));
        for model in [folder.path(), &file] {
            let error = error_where(case, model, counts);
            assert!(error <= TOLERANCE, "{case}: {error:e}");
        }
        let info =
            grating::inspect(&ModelSource::Path(folder.path().into())).unwrap().info.unwrap();
        let beside = published(case);
        let expected = grating::inspect(&ModelSource::Path(beside.path().into())).unwrap();
        let expected = expected.info.unwrap();
        assert_eq!(info.architecture, expected.architecture);
        assert_eq!((info.max_positions, info.vocab), (expected.max_positions, expected.vocab));
    }
}

#[test]
fn a_file_of_modernbert_alone_has_llama_cpps_head() {
    let file = alone(MODERNBERT);
    let folder = copy_of(&golden(MODERNBERT));
    let config = folder.path().join("config.json");
    let json = std::fs::read_to_string(&config).unwrap();
    let silu = r#""classifier_activation": "silu""#;
    assert!(json.contains(silu));
    let gelu = r#""classifier_activation": "gelu""#;
    std::fs::write(config, json.replace(silu, gelu)).unwrap();
    let [expected, found] = [&folder, &file].map(|folder| {
        let model = Reranker::builder().model(folder.path().to_str().unwrap());
        let reranker = model.max_length(150).build().unwrap();
        let texts =
            ["", "A grating splits light into several beams.", &"light [SEP] waves ".repeat(40)];
        let selection = reranker.rerank("what is a diffraction grating", &texts, 3).unwrap();
        selection.results.iter().map(|r| (r.index, r.raw_score.0)).collect::<Vec<_>>()
    });
    for (expected, found) in expected.iter().zip(found) {
        assert_eq!(expected.0, found.0);
        assert!((expected.1 - found.1).abs() <= TOLERANCE, "{expected:?}, {found:?}");
    }
}

#[test]
fn a_tied_head_without_rows_of_its_own_scores_the_same() {
    // As conversions before the rows were stored apart have it; under the other name the tensor is not looked at.
    let folder = published("qwen3-tied-f32");
    let path = folder.path().join("Tiny-Reranker-F32.gguf");
    let mut bytes = std::fs::read(&path).unwrap();
    let name = b"cls.output.weight";
    let at = bytes.windows(name.len()).position(|w| w == name).unwrap();
    bytes[at..at + name.len()].copy_from_slice(b"rope_freqs.weight");
    std::fs::write(&path, bytes).unwrap();
    let error = error("qwen3-tied-f32", folder.path());
    assert!(error <= TOLERANCE, "{error:e}");
}

#[test]
fn a_file_alone_can_be_examined_and_quantized() {
    for case in CASES {
        let folder = alone(case);
        let source = ModelSource::Path(folder.path().join(format!("{case}.gguf")));
        let checks = grating::doctor(&source).checks;
        let files = checks.iter().find(|check| check.name == "files").unwrap();
        assert_eq!(files.status, grating::CheckStatus::Pass, "{case}: {files:?}");
        assert!(files.detail.contains("metadata"), "{files:?}");
        let out = folder.path().join("q8");
        grating::quantize(&source, WeightFormat::Q8_0, &out).unwrap();
        let error = error_where(case, &out, |pair| pair["document"].as_str().unwrap().is_ascii());
        assert!(error <= 0.1, "{case}: {error}");
    }
}

#[test]
fn a_stub_of_a_config_beside_the_file_is_no_config() {
    let folder = alone("bert-gelu-f32");
    std::fs::write(folder.path().join("config.json"), r#"{"model_type": "bert"}"#).unwrap();
    assert!(error("bert-gelu-f32", folder.path()) <= TOLERANCE);
}

/// What is said of the file alone after one text in it became another of the same length.
fn problem_after(case: &str, from: &str, to: &str) -> String {
    assert_eq!(from.len(), to.len());
    let folder = alone(case);
    // The file shall say it by itself.
    if case.starts_with("qwen3") {
        std::fs::remove_file(folder.path().join("grating.json")).unwrap();
    }
    let path = folder.path().join(format!("{case}.gguf"));
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    std::fs::write(&path, bytes).unwrap();
    match Reranker::builder().model(folder.path().to_str().unwrap()).build() {
        Ok(_) => panic!("{case} was accepted with {to}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_a_file_alone_does_not_say_is_named() {
    for (case, from, to, words) in [
        ("bert-gelu-f32", "cls.weight", "cls.absent", &["no pooler", "safetensors"][..]),
        (
            "bert-gelu-f32",
            "bert.block_count",
            "bert.block_absen",
            &["`bert.block_count` is missing"],
        ),
        ("bert-gelu-f32", "tokenizer.ggml.model", "tokenizer.ggml.absen", &["no tokenizer in it"]),
        ("xlm-roberta-f32", "cls.output.weight", "cls.absent.weight", &["no scoring head"]),
        (
            "xlm-roberta-f32",
            "layer_norm_epsilon",
            "layer_norm_absentt",
            &["layer_norm_epsilon` is missing"],
        ),
        ("qwen3-tied-f32", "output_labels", "output_absent", &["output_labels` is missing"]),
        ("qwen3-tied-f32", "{document}", "{documant}", &["chat_template.rerank` has no {query}"]),
    ] {
        let problem = problem_after(case, from, to);
        assert!(words.iter().all(|word| problem.contains(word)), "{case}, {to}: {problem}");
    }
}

#[test]
fn an_embedding_model_is_no_reranker() {
    // Pooling by the first token, and no head.
    let folder = alone("xlm-roberta-f32");
    let path = folder.path().join("xlm-roberta-f32.gguf");
    let mut bytes = std::fs::read(&path).unwrap();
    let key = b"bert.pooling_type";
    let at = bytes.windows(key.len()).position(|w| w == key).unwrap() + key.len();
    assert_eq!(bytes[at..at + 8], [4, 0, 0, 0, 4, 0, 0, 0]);
    bytes[at + 4] = 2;
    std::fs::write(&path, bytes).unwrap();
    let model = Reranker::builder().model(path.to_str().unwrap());
    let error = model.build().unwrap_err().to_string();
    assert!(error.contains("pooling_type") && error.contains("embedding model"), "{error}");
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

/// Blocks with any bits but small scales.
fn blocks(dtype: Dtype, rows: usize, columns: usize) -> Vec<u8> {
    let scales: &[usize] = match dtype {
        Dtype::Q4_1 | Dtype::Q5_1 | Dtype::Q4K | Dtype::Q5K => &[0, 2],
        Dtype::Q6K => &[208],
        _ => &[0],
    };
    let mut bytes: Vec<u8> = (0..dtype.byte_len(&[rows, columns]).unwrap())
        .map(|i| ((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect();
    for block in bytes.chunks_mut(dtype.block().1) {
        for &at in scales {
            // Between 2^-10 and 2^-9, of either sign.
            block[at + 1] = 0x14 | block[at + 1] & 0x80;
        }
    }
    bytes
}

/// A tensor to be written and its data.
type Stored = (GgufTensor, Vec<u8>);

fn write(folder: &Path, tensors: &[Stored]) {
    for name in ["config.json", "tokenizer.json"] {
        std::fs::copy(default_model().join(name), folder.join(name)).unwrap();
    }
    let file = std::fs::File::create(folder.join("model.gguf")).unwrap();
    let entries: Vec<GgufTensor> = tensors.iter().map(|(tensor, _)| tensor.clone()).collect();
    let mut writer = GgufWriter::new(file, "model.gguf", &BTreeMap::new(), &entries).unwrap();
    for (_, bytes) in tensors {
        writer.write(bytes).unwrap();
    }
    writer.finish().unwrap();
}

fn default_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/default")
}

#[test]
fn every_kind_of_block_scores_as_the_numbers_that_it_stands_for() {
    const SMALL: [Dtype; 5] = [Dtype::Q4_1, Dtype::Q5_0, Dtype::Q5_1, Dtype::Q8_0, Dtype::Q4_0];
    const LARGE: [Dtype; 3] = [Dtype::Q6K, Dtype::Q5K, Dtype::Q4K];
    // The shape of the default model, with blocks for its matrices, all kinds in turn: files as Q4_K_M mix them too.
    let original = Checkpoint::open(default_model()).unwrap();
    let mut tensors: Vec<Stored> = Vec::new();
    let (mut small, mut large) = (SMALL.iter().cycle(), LARGE.iter().cycle());
    for tensor in original.tensors() {
        let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
        let (dtype, bytes) = match shape[..] {
            [rows, columns] if columns % 32 == 0 && !name.starts_with("classifier") => {
                let turn = if columns % 256 == 0 { large.next() } else { small.next() };
                let dtype = *turn.unwrap();
                (dtype, blocks(dtype, rows, columns))
            }
            _ => {
                let mut bytes = vec![0; tensor.byte_len() as usize];
                original.read(tensor, &mut bytes).unwrap();
                (tensor.dtype, bytes)
            }
        };
        tensors.push((GgufTensor::new(name, dtype, shape), bytes));
    }
    for dtype in SMALL.iter().chain(&LARGE) {
        assert!(tensors.iter().any(|(tensor, _)| tensor.dtype == *dtype), "{dtype}");
    }
    let narrow = tempfile::tempdir().unwrap();
    write(narrow.path(), &tensors);
    for (tensor, bytes) in &mut tensors {
        let numbers = TensorView::new(tensor.dtype, &tensor.shape, bytes).unwrap().to_f32();
        (tensor.dtype, *bytes) =
            (Dtype::F32, numbers.iter().flat_map(|x| x.to_le_bytes()).collect());
    }
    let wide = tempfile::tempdir().unwrap();
    write(wide.path(), &tensors);

    for precision in [Precision::Exact, Precision::Fast] {
        let [expected, found] = [&wide, &narrow].map(|folder| {
            let model = Reranker::builder().model(folder.path().to_str().unwrap());
            let reranker = model.precision(precision).build().unwrap();
            let texts = ["Paris is the capital of France.", "Bananas are rich in potassium."];
            let results = reranker.rerank("What is the capital of France?", &texts, 2).unwrap();
            results.results.iter().map(|r| (r.index, r.raw_score.0)).collect::<Vec<_>>()
        });
        assert_eq!(expected, found, "{precision}");
    }

    // Not a number as a scale, which lies behind the numbers in a block of Q6_K.
    let source = ModelSource::Path(narrow.path().into());
    let tensors = grating::inspect(&source).unwrap().tensors;
    let path = narrow.path().join("model.gguf");
    let intact = std::fs::read(&path).unwrap();
    for (dtype, at) in [("Q4_1", 2), ("Q5_0", 0), ("Q5_1", 2), ("Q5_K", 0), ("Q6_K", 208)] {
        let tensor = tensors.iter().find(|t| t.dtype == dtype).unwrap();
        let mut bytes = intact.clone();
        bytes[tensor.offset as usize + at..][..2].copy_from_slice(&[0xff, 0xff]);
        std::fs::write(&path, bytes).unwrap();
        let checks = grating::doctor(&source).checks;
        let named =
            |c: &grating::Check| c.detail.contains("NaN") && c.detail.contains(&tensor.name);
        assert!(checks.iter().any(named), "{dtype}: {checks:?}");
    }
}
