//! Planted checkpoints are run layer by layer, and their scores must settle as the profile says.

use std::path::Path;

use grating::{Precision, Request, Reranker};
use grating_prune::ScoreTrace;
use grating_prune::metrics::agreement_at_k;

use super::super::shapes::START_LAYER;
use super::*;

const WORDS: usize = 60;
const CANDIDATES: usize = 40;

/// Slow at first, then settled: unlike the stored one, with something to see in every layer.
fn profile() -> Profile {
    let layers = [(0.1, 0.8), (0.3, 1.0), (0.5, 1.2), (0.7, 1.5), (0.9, 2.0), (1.0, 2.5)];
    let layers: Vec<_> = layers
        .iter()
        .map(|(correlation, std)| {
            serde_json::json!({
                "mean": -1.0, "std": std, "correlation": correlation, "carry": 0.5,
                "overlap_at_10": 0.0,
            })
        })
        .collect();
    let relevance: Vec<f64> = (0..41).map(|i| 2.0 - 0.1 * f64::from(i)).collect();
    serde_json::from_value(
        serde_json::json!({"source": "test", "layers": layers, "relevance": relevance}),
    )
    .unwrap()
}

fn planted(shape: &str, layers: u16, folder: &Path) -> Description {
    let file = folder.join("profile.json");
    std::fs::write(&file, serde_json::to_string(&profile()).unwrap()).unwrap();
    let args = PlantedArgs {
        shape: shape.to_owned(),
        profile: Some(file),
        dtype: None,
        seed: 3,
        layers: Some(layers),
        force: false,
        out: folder.join("model"),
    };
    run(&args, &AtomicBool::new(false)).unwrap();
    described(&args)
}

/// A family's public shape, made as small as [`SHAPES`]' tiny ones.
fn planted_small(shape: &str, layers: u16, folder: &Path) -> Description {
    let shape = Shape {
        layers: usize::from(layers),
        hidden: 64,
        heads: 4,
        kv_heads: Shape::named(shape).unwrap().kv_heads.min(4),
        head_dim: 16,
        feed_forward: 192,
        vocab: 4096,
        positions: 512,
        ..Shape::named(shape).unwrap()
    };
    let args = PlantedArgs {
        shape: shape.name.to_owned(),
        profile: None,
        dtype: Some(Dtype::F32),
        seed: 3,
        layers: None,
        force: false,
        out: folder.join("model"),
    };
    plant(&shape, profile(), &args, &AtomicBool::new(false)).unwrap();
    described(&args)
}

fn described(args: &PlantedArgs) -> Description {
    let text = std::fs::read_to_string(args.out.join(DESCRIPTION)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Scores of `texts` after every layer.
fn trace(model: &Reranker, texts: &[String]) -> ScoreTrace {
    trace_from(model, texts, 0)
}

/// The same from the layer `first` on.
fn trace_from(model: &Reranker, texts: &[String], first: usize) -> ScoreTrace {
    let request = Request::new("what is it about", texts, texts.len()).trace(true);
    let trace = &model.run(request).unwrap().trace.unwrap()[first..];
    ScoreTrace::from_vec(trace.len(), texts.len(), trace.concat()).unwrap()
}

fn open(folder: &Path) -> Reranker {
    Reranker::builder().model(folder.join("model").to_str().unwrap()).build().unwrap()
}

/// The agreement of the ten best after each layer that the profile itself predicts: relevance and
/// noise drawn as the construction means them.
fn predicted(settling: &[profile::Settling], profile: &Profile) -> Vec<f64> {
    let mut random = crate::random::Random::new(11);
    const RUNS: usize = 200;
    let mut overlap = vec![0.0; settling.len()];
    for _ in 0..RUNS {
        let mut noise = vec![0.0; CANDIDATES];
        let best: Vec<usize> = (0..10).collect();
        for (layer, at) in settling.iter().enumerate() {
            let carry = if layer == 0 { 0.0 } else { at.carry };
            let rest = (1.0 - at.correlation * at.correlation).sqrt();
            let mut scored: Vec<(f64, usize)> = (0..CANDIDATES)
                .map(|c| {
                    noise[c] = carry * noise[c] + (1.0 - carry * carry).sqrt() * random.normal();
                    let relevance = profile.relevance_at(c, CANDIDATES);
                    (at.correlation * relevance + rest * noise[c], c)
                })
                .collect();
            scored.sort_by(|a, b| b.0.total_cmp(&a.0));
            let ranked: Vec<usize> = scored.into_iter().map(|(_, c)| c).collect();
            overlap[layer] += agreement_at_k(&ranked, &best, 10) / RUNS as f64;
        }
    }
    overlap
}

/// Compares what the scores of a planted model do with what the profile says, from the layer of its first head on.
fn follows_the_profile(shape: &str, layers: u16) {
    let root = tempfile::tempdir().unwrap();
    let description = planted(shape, layers, root.path());
    check(root.path(), &description, layers, 0);
}

fn check(root: &Path, description: &Description, layers: u16, first_head: usize) {
    let (model, shape) = (open(root), &description.shape);
    let texts = (0..12).map(|seed| description.texts(CANDIDATES, WORDS, seed));
    let traces: Vec<_> = texts.map(|texts| trace_from(&model, &texts, first_head)).collect();
    let found = Profile::measure("found".into(), &traces).unwrap();
    let wanted = description.profile.resampled(usize::from(layers));
    let predicted = predicted(&wanted, &description.profile);
    for (layer, wanted) in wanted.iter().enumerate().skip(first_head) {
        let found = &found.layers[layer - first_head];
        let at = format!("{shape} after layer {layer}: {found:?} for {wanted:?}");
        // 480 texts: the standard error of a correlation is below 0.05, of a mean agreement about 0.03.
        assert!((found.correlation - wanted.correlation).abs() < 0.2, "{at}");
        assert!((found.overlap_at_10 - predicted[layer]).abs() < 0.2, "{} {at}", predicted[layer]);
        // Shorter texts than the typical ones: the template thins their signal out.
        assert!(found.std > 0.4 * wanted.std && found.std < 1.6 * wanted.std, "{at}");
        // The query's and the template's own words shift all texts alike, short texts more.
        assert!((found.mean - wanted.mean).abs() < 1.0, "{at}");
    }
    let last = found.layers.last().unwrap();
    assert!(last.correlation > 0.999 && last.overlap_at_10 == 1.0);
}

#[test]
fn a_decoder_settles_as_its_profile_says() {
    follows_the_profile("qwen3-tiny", 8);
}

#[test]
fn an_encoder_settles_as_its_profile_says() {
    follows_the_profile("bert-tiny", 6);
}

/// A family whose embeddings or blocks have factors, or whose head bends near zero.
fn small_follows_the_profile(shape: &str, layers: u16, first_head: usize) {
    let root = tempfile::tempdir().unwrap();
    let description = planted_small(shape, layers, root.path());
    check(root.path(), &description, layers, first_head);
}

#[test]
fn minicpm_settles_as_its_profile_says() {
    small_follows_the_profile("bge-v2-minicpm", 12, START_LAYER - 1);
}

#[test]
fn gemma_settles_as_its_profile_says() {
    small_follows_the_profile("bge-v2-gemma", 6, 0);
}

#[test]
fn electra_settles_as_its_profile_says() {
    small_follows_the_profile("electra-base", 6, 0);
}

#[test]
fn distilbert_settles_as_its_profile_says() {
    small_follows_the_profile("distilbert-base", 6, 0);
}

#[test]
fn gte_settles_as_its_profile_says() {
    small_follows_the_profile("gte-multilingual", 6, 0);
}

#[test]
fn deberta_settles_as_its_profile_says() {
    small_follows_the_profile("mxbai-base-v1", 6, 0);
}

#[test]
fn where_nothing_can_be_planted_that_is_said() {
    for shape in ["gte-modernbert", "bge-v2.5-gemma2"] {
        let root = tempfile::tempdir().unwrap();
        let args = PlantedArgs {
            shape: shape.to_owned(),
            profile: None,
            dtype: None,
            seed: 0,
            layers: Some(1),
            force: false,
            out: root.path().join("model"),
        };
        let error = run(&args, &AtomicBool::new(false)).unwrap_err().to_string();
        assert!(error.contains(shape) && error.contains("random"), "{error}");
    }
}

/// As a trained model's: on the built-in one, products of 8-bit integers move scores by a hundredth of their spread.
#[test]
fn bytes_round_the_signal_little() {
    let root = tempfile::tempdir().unwrap();
    let description = planted("qwen3-tiny", 8, root.path());
    let texts = description.texts(CANDIDATES, WORDS, 0);
    let [exact, fast] = [Precision::Exact, Precision::Fast].map(|precision| {
        let folder = root.path().join("model");
        let model = Reranker::builder().model(folder.to_str().unwrap()).precision(precision);
        let trace = trace(&model.build().unwrap(), &texts);
        trace.layer(trace.layers() - 1).mapv(f64::from).to_vec()
    });
    let moved: Vec<f64> = fast.iter().zip(&exact).map(|(fast, exact)| fast - exact).collect();
    let ((_, moved), (_, spread)) = (profile::moments(&moved), profile::moments(&exact));
    assert!(moved < 0.02 * spread, "{moved} of {spread}");
}

#[test]
fn relevance_is_in_the_words() {
    let root = tempfile::tempdir().unwrap();
    let description = planted("qwen3-tiny", 4, root.path());
    // The last text is nothing but positive markers, the first negative ones.
    let texts: Vec<String> = [0, 1, 2, 3, 4]
        .map(|plus| {
            let word = |i: usize| match i < plus * 5 {
                true => description.plus[i % 16].clone(),
                false => description.minus[i % 16].clone(),
            };
            (0..20).map(word).collect::<Vec<_>>().join(" ")
        })
        .to_vec();
    let trace = trace(&open(root.path()), &texts);
    assert_eq!(trace.final_ranking(), [4, 3, 2, 1, 0]);
}

#[test]
fn every_family_can_be_planted() {
    for name in ["qwen2.5-0.5b", "smollm2-135m", "bge-base"] {
        let shape = Shape { layers: 2, vocab: 3000, ..Shape::named(name).unwrap() };
        let (description, tokens) = describe(&shape, 0, Profile::default_model()).unwrap();
        assert_eq!((description.plus.len(), tokens.minus.len()), (MARKERS, MARKERS), "{name}");
        let construction = construct::construct(&shape, &description.profile, &tokens);
        let known: Vec<_> = construction.tensors.iter().map(|spec| spec.name.as_str()).collect();
        let values = construction
            .patches
            .keys()
            .filter(|name| name.ends_with("v_proj.weight") || name.ends_with("self.value.weight"));
        assert_eq!(values.count(), 2, "{name}: one mixture a layer");
        assert!(construction.patches.keys().all(|name| known.contains(&name.as_str())));
    }
}
