//! Golden checkpoints and the scores that `transformers` has after every layer of them (xtask/goldens/README.md); for
//! every implementation of the operations.

use std::path::Path;
use std::sync::Arc;

use grating_backend::Ops;
use grating_io::Checkpoint;
use grating_model::{Encoding, LayerWeights, LoadedModel, Logit, Part, PartBuffer};
use serde::Deserialize;

use crate::golden::{cases, load};

/// |ours - reference| ≤ 1e-4 × max(1, |reference|): both compute in f32 and differ in the order of sums only.
pub const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Golden {
    pairs: Vec<Pair>,
}

/// A query and a document with what the reference makes of them.
#[derive(Deserialize)]
#[expect(missing_docs, reason = "the names of the golden files")]
pub struct Pair {
    pub query: String,
    pub document: String,
    pub instruction: Option<String>,
    pub max_tokens: usize,
    pub ids: Vec<u32>,
    #[serde(default)]
    pub type_ids: Vec<u8>,
    pub truncated: bool,
    /// Whether strings of control tokens become control tokens.
    #[serde(default)]
    pub special: bool,
    /// None after layers that have no head.
    pub logits_after_layer: Vec<Option<f32>>,
}

impl Pair {
    /// The reference's ids as a candidate.
    pub fn encoding(&self) -> Encoding {
        let (ids, type_ids) = (self.ids.clone(), self.type_ids.clone());
        Encoding { ids, type_ids, truncated: self.truncated, ..Encoding::default() }
    }
}

/// Scores after each layer, `[layer][candidate]`, none after layers that have no head; all candidates in one ragged chunk. The first `prefix` tokens, which
/// all candidates have in common, are computed once.
pub fn trace<O: Ops>(
    ops: &O,
    loaded: &LoadedModel,
    checkpoint: &Checkpoint,
    texts: &[Encoding],
    prefix: usize,
) -> Vec<Vec<Logit>> {
    trace_watched(ops, loaded, checkpoint, texts, prefix, &mut |_| ())
}

/// What has been queued, of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing of it yet.
    Before,
    /// Both of its blocks.
    Computed,
    /// Its scores, which are on the host.
    Scored,
}

/// [`trace`], telling `watch` of each layer how far it is.
pub fn trace_watched<O: Ops>(
    ops: &O,
    loaded: &LoadedModel,
    checkpoint: &Checkpoint,
    texts: &[Encoding],
    prefix: usize,
    watch: &mut dyn FnMut(Stage),
) -> Vec<Vec<Logit>> {
    let model = &loaded.model;
    let mut source = checkpoint.clone();
    let read = |parts: &[Part]| Arc::new(PartBuffer::read(checkpoint, parts).unwrap());
    let (stem_bytes, head_bytes) = (read(model.stem_parts()), read(model.head_parts()));
    let stem_slot = ops.admit(stem_bytes.clone(), None).unwrap();
    let head_slot = ops.admit(head_bytes, None).unwrap();
    let weights = LayerWeights::new(ops, &stem_slot, model.stem_parts());
    let stem = model.stem(&weights, &*stem_bytes).unwrap();
    let head = model.head(&LayerWeights::new(ops, &head_slot, model.head_parts())).unwrap();

    let cut = |text: &Encoding, from: usize, to: usize| {
        let type_ids =
            if text.type_ids.is_empty() { vec![] } else { text.type_ids[from..to].to_vec() };
        let ids = text.ids[from..to].to_vec();
        Encoding { ids, type_ids, ..text.clone() }
    };
    let own: Vec<Encoding> = texts.iter().map(|t| cut(t, prefix, t.ids.len())).collect();
    let rows = model.ragged(own.iter().map(|t| t.ids.len()), prefix);
    let pass = model.context(ops, &stem, rows.longest()).unwrap();
    let layout = pass.layout(ops, &rows).unwrap();
    let mut hidden = model.embed(ops, &stem, &mut source, &own).unwrap();
    let mut leading = (prefix > 0).then(|| {
        let text = cut(&texts[0], 0, prefix);
        let layout = pass.layout(ops, &model.ragged([prefix], 0)).unwrap();
        (model.embed(ops, &stem, &mut source, &[text]).unwrap(), layout)
    });

    let layers = model.config().layers;
    let mut spare = None;
    let mut scores = Vec::new();
    for layer in 0..layers {
        let slot = ops.admit(read(model.layer_parts(layer)), spare.take()).unwrap();
        let weights = LayerWeights::new(ops, &slot, model.layer_parts(layer));
        let attention = model.attention(layer, &weights).unwrap();
        let feed_forward = model.feed_forward(layer, &weights).unwrap();
        let mut shared = None;
        if let Some((x, layout)) = leading.take() {
            let chunk = pass.chunk(&layout, None);
            let (x, keys_values) = model.attend_prefix(ops, &attention, x, &chunk).unwrap();
            leading = Some((model.feed(ops, &feed_forward, x).unwrap(), layout));
            shared = Some(keys_values);
        }
        let chunk = pass.chunk(&layout, shared.as_ref());
        watch(Stage::Before);
        if layer + 1 == layers && model.scores_one_token() {
            let scored = model.attend_scored(ops, &attention, hidden, &chunk).unwrap();
            let scored = model.feed(ops, &feed_forward, scored).unwrap();
            watch(Stage::Computed);
            scores.push(model.scores(ops, &head, layer, &scored).unwrap().unwrap_or_default());
            return scores;
        }
        hidden = model.attend(ops, &attention, hidden, &chunk).unwrap();
        hidden = model.feed(ops, &feed_forward, hidden).unwrap();
        watch(Stage::Computed);
        let scored = model.pooled(ops, &head, &hidden, &layout).unwrap();
        scores.push(model.scores(ops, &head, layer, &scored).unwrap().unwrap_or_default());
        watch(Stage::Scored);
        drop((attention, feed_forward));
        spare = Some(slot);
    }
    scores
}

/// Checks every logit of every case against the reference, within `tolerance` × max(1, |reference|). Returns the
/// errors of each case.
pub fn check<O: Ops>(ops: &O, tolerance: impl Fn(&str) -> f32) -> Vec<(String, Vec<f32>)> {
    let (mut failures, mut all) = (Vec::new(), Vec::new());
    for case in cases() {
        let pairs = pairs(&case);
        let (loaded, checkpoint) = load(&case, Some(pairs[0].max_tokens), false);
        let case = case.file_name().unwrap().to_string_lossy();
        let tolerance = tolerance(&case);
        let texts: Vec<Encoding> = pairs.iter().map(Pair::encoding).collect();
        let scores = trace(ops, &loaded, &checkpoint, &texts, 0);
        let spread = scores.last().unwrap().iter().map(|l| l.0);
        let (low, high) = spread.fold((f32::MAX, f32::MIN), |(l, h), x| (l.min(x), h.max(x)));
        assert!(high - low > 0.1, "{case}: the reference tells nothing apart");
        let mut errors = Vec::new();
        for (candidate, pair) in pairs.iter().enumerate() {
            assert_eq!(pair.logits_after_layer.len(), scores.len());
            for (layer, expected) in pair.logits_after_layer.iter().enumerate() {
                let Some(expected) = expected else {
                    assert!(scores[layer].is_empty(), "{case}: a score after layer {layer}");
                    continue;
                };
                let found = scores[layer][candidate].0;
                let error = (found - expected).abs() / expected.abs().max(1.0);
                errors.push(error);
                if error.is_nan() || error > tolerance {
                    let ops = ops.caps().name;
                    failures.push(format!(
                        "{ops} {case} pair {candidate} after layer {layer}: {found} for {expected}, error {error:e}"
                    ));
                }
            }
        }
        all.push((case.into_owned(), errors));
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
    all
}

/// Their mean.
pub fn mean(errors: &[f32]) -> f32 {
    errors.iter().sum::<f32>() / errors.len() as f32
}

/// The pairs of a golden checkpoint.
pub fn pairs(case: &Path) -> Vec<Pair> {
    let json = std::fs::read(case.join("golden.json")).unwrap();
    serde_json::from_slice::<Golden>(&json).unwrap().pairs
}
