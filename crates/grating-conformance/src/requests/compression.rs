//! Requests whose passages are compressed on their way: the scores are those of the reference's own code
//! (xtask/goldens/compressed_passages.py).

use std::path::Path;

use grating_backend::Ops;
use grating_engine::{Engine, EngineError, EngineOptions, Job, JobOutput};
use grating_io::Checkpoint;
use grating_model::{Encoding, LoadOptions, LoadedModel, TokenCompression};
use grating_prune::{PruneError, TokenPolicy};
use grating_sched::{Spill, WindowSize};
use serde::Deserialize;

use super::{Subject, assert_near, select};
use crate::golden::{folder, load_with};

/// The golden checkpoint that can read compressed passages.
pub(super) const CASE: &str = "gemma2-lightweight-f32";

#[derive(Deserialize)]
struct Golden {
    /// Layers after which there is a score.
    after_layers: Vec<usize>,
    pairs: Vec<Pair>,
    settings: Vec<Setting>,
}

#[derive(Deserialize)]
struct Pair {
    query: String,
    document: String,
    instruction: Option<String>,
    max_tokens: usize,
    /// Where the passage begins and ends.
    passage: [u32; 2],
}

#[derive(Deserialize)]
struct Setting {
    ratio: usize,
    layers: Vec<usize>,
    /// By pair, one for each of the layers.
    scores: Vec<Vec<f32>>,
}

fn golden() -> Golden {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../grating-model/tests/compressed");
    serde_json::from_slice(&std::fs::read(folder.join(format!("{CASE}.json"))).unwrap()).unwrap()
}

/// A pair as a candidate.
fn encoding(pair: &Pair) -> Encoding {
    let options = LoadOptions::default().max_tokens(Some(pair.max_tokens));
    let (LoadedModel { encoder, .. }, _) = load_with(&folder(CASE), options);
    let query = encoder.encode_query(&pair.query, pair.instruction.as_deref()).unwrap();
    let encoding = encoder.encode(&query, &pair.document).unwrap();
    assert_eq!(encoding.passage, pair.passage[0]..pair.passage[1], "{}", pair.query);
    encoding
}

/// Scores after every layer, and what was computed.
fn traced<B: Ops>(
    backend: &(dyn Fn() -> B + Sync),
    compression: &TokenCompression,
    encodings: &[Encoding],
    chunk: usize,
) -> JobOutput {
    let load_options = LoadOptions::default().compression(Some(compression.clone()));
    let (LoadedModel { model, .. }, _) = load_with(&folder(CASE), load_options);
    let checkpoint = Checkpoint::open(folder(CASE)).unwrap();
    let mut options = EngineOptions::new(std::env::temp_dir());
    options.settings.chunk_tokens = Some(chunk);
    options.settings.window = WindowSize::Slots(2);
    options.settings.spill = if chunk == 1 { Spill::Always } else { Spill::Never };
    let engine = Engine::start(CASE.into(), model, checkpoint, backend(), options).unwrap();
    let mut job = Job::new(encodings.to_vec(), 2);
    job.trace = true;
    select(&engine, job).unwrap()
}

/// Each ratio, before one layer and before several, whatever the chunks; and no layer computes more rows than it has to.
pub(super) fn passages_are_compressed_as_the_reference_does<B: Ops>(
    backend: &(dyn Fn() -> B + Sync),
    off: f32,
) {
    let Golden { after_layers, pairs, settings } = golden();
    let encodings: Vec<Encoding> = pairs.iter().map(encoding).collect();
    for Setting { ratio, layers, scores } in settings {
        let compression = TokenCompression::new(ratio, layers);
        for chunk in [1, 150, 10_000] {
            let what = format!("compressed {compression}, chunks of {chunk}");
            let found = traced(backend, &compression, &encodings, chunk);
            let trace = found.trace.unwrap();
            for (at, &after) in after_layers.iter().enumerate() {
                let expected: Vec<f32> = scores.iter().map(|of_pair| of_pair[at]).collect();
                assert_near(&trace[after - 1], &expected, off, &format!("{what}, {after}"));
            }
            for layer in &found.costs.layers {
                let rows = |e: &Encoding| {
                    let passage = e.passage.len();
                    e.ids.len() - passage + compression.rows_in(layer.layer, passage)
                };
                let rows: usize = encodings.iter().map(rows).sum();
                let shared = found.prefix_tokens * encodings.len();
                assert_eq!(layer.tokens + shared, rows, "{what}, layer {}", layer.layer);
            }
        }
    }
}

/// A token policy judges single tokens, which there are none of any more.
pub(super) fn passages_that_are_compressed_lose_no_tokens<B: Ops>(
    backend: &(dyn Fn() -> B + Sync),
) {
    let subject = Subject::compressed(TokenCompression::new(2, [2]), backend);
    let (engine, encodings) = subject.engine(|_| ());
    let mut job = Job::new(encodings.clone(), 2);
    job.tokens = Some(TokenPolicy::lazy_llm());
    let refused = select(&engine, job);
    assert!(matches!(refused, Err(EngineError::Prune(PruneError::Compressed))), "{refused:?}");
    select(&engine, Job::new(encodings, 2)).unwrap();
}
