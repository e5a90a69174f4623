//! Every family and form against `transformers`, layer by layer (xtask/goldens/README.md has inputs and tolerance).

use std::path::{Path, PathBuf};

use grating_io::Checkpoint;
use grating_model::{CandleOps, Encoding, LoadOptions, LoadedModel, Logit, PartBuffer, Ragged};
use serde::Deserialize;

/// |ours - reference| ≤ 1e-4 × max(1, |reference|): both compute in f32 and differ in the order of sums only.
const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Golden {
    pairs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    query: String,
    document: String,
    instruction: Option<String>,
    max_tokens: usize,
    ids: Vec<u32>,
    #[serde(default)]
    type_ids: Vec<u8>,
    truncated: bool,
    logits_after_layer: Vec<f32>,
}

impl Pair {
    /// The reference's ids as a candidate.
    fn encoding(&self) -> Encoding {
        let (ids, type_ids) = (self.ids.clone(), self.type_ids.clone());
        Encoding { ids, type_ids, truncated: self.truncated }
    }
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("golden.json").exists())
        .collect();
    cases.sort();
    assert!(cases.len() >= 8, "only {} golden cases", cases.len());
    cases
}

fn load(case: &Path, max_tokens: usize) -> (LoadedModel, Checkpoint) {
    let read = |name: &str| std::fs::read(case.join(name)).ok();
    let checkpoint = Checkpoint::open(case).unwrap();
    let options = LoadOptions { max_tokens: Some(max_tokens), ..LoadOptions::default() };
    let (config, tokenizer) = (read("config.json").unwrap(), read("tokenizer.json").unwrap());
    let loaded = LoadedModel::load(
        &config,
        &tokenizer,
        read("grating.json").as_deref(),
        &checkpoint,
        options,
    )
    .unwrap_or_else(|error| panic!("{}: {error}", case.display()));
    (loaded, checkpoint)
}

/// Scores after each layer, `[layer][candidate]`, all candidates in one ragged chunk.
fn trace(loaded: &LoadedModel, checkpoint: &Checkpoint, texts: &[Encoding]) -> Vec<Vec<Logit>> {
    let (model, ops) = (&loaded.model, CandleOps::cpu());
    let mut checkpoint = checkpoint.clone();
    let filled = |parts: &[grating_model::Part]| {
        let mut buffer = PartBuffer::new();
        buffer.fill(&checkpoint, parts).unwrap();
        buffer
    };
    let (stem_bytes, head_bytes) = (filled(model.stem_parts()), filled(model.head_parts()));
    let layer_bytes: Vec<PartBuffer> =
        (0..model.config().layers).map(|layer| filled(model.layer_parts(layer))).collect();
    let stem = model.stem(&ops, &stem_bytes.views(model.stem_parts()).unwrap()).unwrap();
    let head = model.head(&ops, &head_bytes.views(model.head_parts()).unwrap()).unwrap();
    let ragged = Ragged::from_lengths(texts.iter().map(|t| t.ids.len()));
    let context = model.context(&ops, ragged).unwrap();
    let mut hidden = model.embed(&ops, &stem, &mut checkpoint, texts).unwrap();
    let mut scores = Vec::new();
    for (layer, bytes) in layer_bytes.iter().enumerate() {
        let weights = bytes.views(model.layer_parts(layer)).unwrap();
        let layer = model.layer(&ops, &weights).unwrap();
        hidden = model.forward(&ops, &layer, hidden, &context).unwrap();
        scores.push(model.scores(&ops, &head, &hidden, context.ragged()).unwrap());
    }
    scores
}

#[test]
fn ids_of_every_pair_are_the_reference_tokenizers() {
    for case in cases() {
        for pair in pairs(&case) {
            let (loaded, _) = load(&case, pair.max_tokens);
            let encoding = encode(&loaded, &pair);
            let at = format!("{}: {:?} / {:?}", case.display(), pair.query, pair.document);
            assert_eq!(encoding.ids, pair.ids, "{at}");
            assert_eq!(encoding.truncated, pair.truncated, "{at}");
            if !pair.type_ids.is_empty() && !encoding.type_ids.is_empty() {
                assert_eq!(encoding.type_ids, pair.type_ids, "{at}");
            }
        }
    }
}

#[test]
fn logits_after_every_layer_are_the_references() {
    let mut failures = Vec::new();
    for case in cases() {
        let pairs = pairs(&case);
        let (loaded, checkpoint) = load(&case, pairs[0].max_tokens);
        let texts: Vec<Encoding> = pairs.iter().map(Pair::encoding).collect();
        let scores = trace(&loaded, &checkpoint, &texts);
        let spread = scores.last().unwrap().iter().map(|l| l.0);
        let (low, high) = spread.fold((f32::MAX, f32::MIN), |(l, h), x| (l.min(x), h.max(x)));
        assert!(high - low > 0.1, "{}: the reference tells nothing apart", case.display());
        for (candidate, pair) in pairs.iter().enumerate() {
            assert_eq!(pair.logits_after_layer.len(), scores.len());
            for (layer, expected) in pair.logits_after_layer.iter().enumerate() {
                let found = scores[layer][candidate].0;
                let error = (found - expected).abs() / expected.abs().max(1.0);
                if error.is_nan() || error > TOLERANCE {
                    let case = case.file_name().unwrap().to_string_lossy().into_owned();
                    failures.push(format!(
                        "{case} pair {candidate} after layer {layer}: {found} for {expected}, error {error:e}"
                    ));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn a_candidate_scores_the_same_alone_and_in_company() {
    let case = &cases()[0];
    let pairs = pairs(case);
    let (loaded, checkpoint) = load(case, pairs[0].max_tokens);
    let texts: Vec<Encoding> = pairs.iter().map(Pair::encoding).collect();
    let together = trace(&loaded, &checkpoint, &texts);
    for (candidate, text) in texts.iter().enumerate() {
        let alone = trace(&loaded, &checkpoint, std::slice::from_ref(text));
        for (layer, scores) in alone.iter().enumerate() {
            let (a, b) = (scores[0].0, together[layer][candidate].0);
            assert!(
                (a - b).abs() <= TOLERANCE * a.abs().max(1.0),
                "{candidate} after {layer}: {a} {b}"
            );
        }
    }
}

fn pairs(case: &Path) -> Vec<Pair> {
    let json = std::fs::read(case.join("golden.json")).unwrap();
    serde_json::from_slice::<Golden>(&json).unwrap().pairs
}

fn encode(loaded: &LoadedModel, pair: &Pair) -> Encoding {
    let query = loaded.encoder.encode_query(&pair.query, pair.instruction.as_deref()).unwrap();
    loaded.encoder.encode(&query, &pair.document).unwrap()
}
