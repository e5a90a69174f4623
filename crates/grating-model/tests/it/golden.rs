//! Every family and form against `transformers`, layer by layer (xtask/goldens/README.md has inputs and tolerance).

use std::path::{Path, PathBuf};

use grating_io::Checkpoint;
use grating_model::{
    CandleOps, CpuOps, Encoding, Isa, LoadOptions, LoadedModel, Logit, Ops, Part, PartBuffer,
    Precision, Ragged, TokenizerFiles,
};
use serde::Deserialize;

/// |ours - reference| ≤ 1e-4 × max(1, |reference|): both compute in f32 and differ in the order of sums only.
const TOLERANCE: f32 = 1e-4;

/// The same where inputs of bf16 matrices are rounded to bf16.
const ROUNDED: f32 = 1e-1;

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
    /// Whether strings of control tokens become control tokens.
    #[serde(default)]
    special: bool,
    logits_after_layer: Vec<f32>,
}

impl Pair {
    /// The reference's ids as a candidate.
    fn encoding(&self) -> Encoding {
        let (ids, type_ids) = (self.ids.clone(), self.type_ids.clone());
        Encoding { ids, type_ids, truncated: self.truncated, query_truncated: false }
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

fn load(case: &Path, max_tokens: usize, special: bool) -> (LoadedModel, Checkpoint) {
    let read = |name: &str| std::fs::read(case.join(name)).ok();
    let checkpoint = Checkpoint::open(case).unwrap();
    let options = LoadOptions {
        max_tokens: Some(max_tokens),
        special_tokens_in_text: special,
        ..LoadOptions::default()
    };
    let (config, tokenizer) = (read("config.json").unwrap(), read("tokenizer.json").unwrap());
    let beside = TokenizerFiles::BESIDE.map(|name| (name, read(name)));
    let get = |name: &str| beside.iter().find(|(n, _)| *n == name)?.1.as_deref();
    let loaded = LoadedModel::load(
        &config,
        TokenizerFiles::of(&tokenizer, get),
        read("grating.json").as_deref(),
        &checkpoint,
        options,
    )
    .unwrap_or_else(|error| panic!("{}: {error}", case.display()));
    (loaded, checkpoint)
}

/// Scores after each layer, `[layer][candidate]`, all candidates in one ragged chunk. The first `prefix` tokens, which
/// all candidates have in common, are computed once.
fn trace<O: Ops>(
    ops: &O,
    loaded: &LoadedModel,
    checkpoint: &Checkpoint,
    texts: &[Encoding],
    prefix: usize,
) -> Vec<Vec<Logit>> {
    let model = &loaded.model;
    let mut source = checkpoint.clone();
    let filled = |parts: &[Part]| {
        let mut buffer = PartBuffer::new();
        buffer.fill(checkpoint, parts).unwrap();
        buffer
    };
    let (stem, head) = (filled(model.stem_parts()), filled(model.head_parts()));
    let stem = model.stem(ops, &stem.views(model.stem_parts()).unwrap()).unwrap();
    let head = model.head(ops, &head.views(model.head_parts()).unwrap()).unwrap();

    let cut = |text: &Encoding, from: usize, to: usize| {
        let type_ids =
            if text.type_ids.is_empty() { vec![] } else { text.type_ids[from..to].to_vec() };
        let ids = text.ids[from..to].to_vec();
        Encoding { ids, type_ids, truncated: text.truncated, query_truncated: text.query_truncated }
    };
    let tails: Vec<Encoding> = texts.iter().map(|t| cut(t, prefix, t.ids.len())).collect();
    let ragged = Ragged::from_lengths(tails.iter().map(|t| t.ids.len())).after_prefix(prefix);
    let request = model.context(ops, ragged.longest()).unwrap();
    let mut hidden = model.embed(ops, &stem, &mut source, &tails).unwrap();
    let leading = Ragged::from_lengths((prefix > 0).then_some(prefix));
    let mut leading_hidden = (prefix > 0)
        .then(|| model.embed(ops, &stem, &mut source, &[cut(&texts[0], 0, prefix)]).unwrap());

    let layers = model.config().layers;
    let mut scores = Vec::new();
    for layer in 0..layers {
        let bytes = filled(model.layer_parts(layer));
        let weights = bytes.views(model.layer_parts(layer)).unwrap();
        let attention = model.attention(ops, &weights).unwrap();
        let feed_forward = model.feed_forward(ops, &weights).unwrap();
        let mut shared = None;
        if let Some(x) = leading_hidden.take() {
            let chunk = request.chunk(&leading, None);
            let (x, keys_values) = model.attend_prefix(ops, &attention, x, &chunk).unwrap();
            leading_hidden = Some(model.feed(ops, &feed_forward, x).unwrap());
            shared = Some(keys_values);
        }
        let chunk = request.chunk(&ragged, shared.as_ref());
        if layer + 1 == layers {
            let scored = model.attend_scored(ops, &attention, hidden, &chunk).unwrap();
            let scored = model.feed(ops, &feed_forward, scored).unwrap();
            scores.push(model.scores(ops, &head, &scored).unwrap());
            return scores;
        }
        hidden = model.attend(ops, &attention, hidden, &chunk).unwrap();
        hidden = model.feed(ops, &feed_forward, hidden).unwrap();
        let scored = ops.select_rows(&hidden, &model.scored_rows(&ragged)).unwrap();
        scores.push(model.scores(ops, &head, &scored).unwrap());
    }
    unreachable!("a model has layers")
}

/// Ids that all candidates begin with, leaving each at least one of its own.
fn common_prefix(texts: &[Encoding]) -> usize {
    let first = &texts[0].ids;
    let shared = |t: &Encoding| first.iter().zip(&t.ids).take_while(|(a, b)| a == b).count();
    let shortest = texts.iter().map(|t| t.ids.len()).min().unwrap();
    texts.iter().map(shared).min().unwrap().min(shortest - 1)
}

#[test]
fn ids_of_every_pair_are_the_reference_tokenizers() {
    for case in cases() {
        for pair in pairs(&case) {
            let (loaded, _) = load(&case, pair.max_tokens, pair.special);
            let encoding = encode(&loaded, &pair);
            let at = format!("{}: {:?} / {:?}", case.display(), pair.query, pair.document);
            assert_eq!(encoding.ids, pair.ids, "{at}");
            assert_eq!(encoding.truncated, pair.truncated, "{at}");
            let types = |types: &[u8]| types.iter().any(|t| *t > 0).then(|| types.to_vec());
            assert_eq!(types(&encoding.type_ids), types(&pair.type_ids), "{at}");
        }
    }
}

/// Checks every logit of every case against the reference, within `tolerance` × max(1, |reference|).
fn check<O: Ops>(ops: &O, tolerance: impl Fn(&str) -> f32) {
    let mut failures = Vec::new();
    for case in cases() {
        let pairs = pairs(&case);
        let (loaded, checkpoint) = load(&case, pairs[0].max_tokens, false);
        let case = case.file_name().unwrap().to_string_lossy();
        let tolerance = tolerance(&case);
        let texts: Vec<Encoding> = pairs.iter().map(Pair::encoding).collect();
        let scores = trace(ops, &loaded, &checkpoint, &texts, 0);
        let spread = scores.last().unwrap().iter().map(|l| l.0);
        let (low, high) = spread.fold((f32::MAX, f32::MIN), |(l, h), x| (l.min(x), h.max(x)));
        assert!(high - low > 0.1, "{case}: the reference tells nothing apart");
        for (candidate, pair) in pairs.iter().enumerate() {
            assert_eq!(pair.logits_after_layer.len(), scores.len());
            for (layer, expected) in pair.logits_after_layer.iter().enumerate() {
                let found = scores[layer][candidate].0;
                let error = (found - expected).abs() / expected.abs().max(1.0);
                if error.is_nan() || error > tolerance {
                    let ops = ops.name();
                    failures.push(format!(
                        "{ops} {case} pair {candidate} after layer {layer}: {found} for {expected}, error {error:e}"
                    ));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn candle_logits_after_every_layer_are_the_references() {
    check(&CandleOps::cpu(), |_| TOLERANCE);
}

#[test]
fn cpu_logits_after_every_layer_are_the_references_on_every_instruction_set() {
    for isa in Isa::supported() {
        check(&CpuOps::new(isa, Precision::Full), |_| TOLERANCE);
    }
}

#[test]
fn exact_precision_stays_near_the_reference() {
    // The goldens are computed in f32 throughout, whatever the checkpoint's type; inputs of bf16 matrices are rounded
    // to 8 bits here, so a logit of these narrow models may move in its third digit.
    for isa in Isa::supported() {
        check(&CpuOps::new(isa, Precision::Exact), |case| match case.contains("bf16") {
            true => ROUNDED,
            false => TOLERANCE,
        });
    }
}

#[test]
fn a_candidate_scores_the_same_to_the_bit_alone_in_company_and_after_a_shared_prefix() {
    for (case, isa) in
        cases().iter().flat_map(|c| Isa::supported().into_iter().map(move |i| (c, i)))
    {
        let ops = CpuOps::new(isa, Precision::Exact);
        let pairs = pairs(case);
        let (loaded, checkpoint) = load(case, pairs[0].max_tokens, false);
        let texts: Vec<Encoding> = pairs.iter().map(Pair::encoding).collect();
        let together = trace(&ops, &loaded, &checkpoint, &texts, 0);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        for (candidate, text) in texts.iter().enumerate().take(4) {
            let text = std::slice::from_ref(text);
            let alone = pool.install(|| trace(&ops, &loaded, &checkpoint, text, 0));
            for (layer, scores) in alone.iter().enumerate() {
                assert_eq!(scores[0].0, together[layer][candidate].0, "{candidate} after {layer}");
            }
        }
        if loaded.model.can_share_prefix() {
            let prefix = common_prefix(&texts);
            let shared = trace(&ops, &loaded, &checkpoint, &texts, prefix);
            assert_eq!(format!("{shared:?}"), format!("{together:?}"), "prefix of {prefix}");
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
