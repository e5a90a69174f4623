//! How many kernels a layer takes, and how often the host waits.
#![cfg(emulated)]
#![allow(clippy::unwrap_used)] // a failed test should panic

use grating_backend::Precision;
use grating_conformance::golden::{folder, load};
use grating_conformance::layers::{Stage, pairs, trace_watched};
use grating_cuda::{CudaBackend, CudaOptions};
use grating_cuda_emulated::{Emulated, Order};
use grating_model::Encoding;

/// A checkpoint of each family whose layers differ, and the kernels of a layer and of its head, for one chunk.
const CASES: [(&str, u64, u64); 9] = [
    // Before each block a norm; queries, keys and values; the rotary embeddings of both, with their norms; attention;
    // output and residual connection; gated products; output and residual connection.
    ("qwen3-tied-f32", 9, 3),
    ("llama-f32", 9, 3),
    ("qwen2-f32", 9, 3),
    // Outcomes are scaled; there is no head after this layer.
    ("minicpm-layerwise-f32", 11, 1),
    // Outputs are normalised before they are added.
    ("gemma2-f32", 13, 3),
    ("modernbert-f32", 9, 6),
    ("gte-f32", 9, 4),
    ("bert-gelu-f32", 7, 4),
    // Keys and queries of distances, once for all chunks of a layer.
    ("deberta-v3-f32", 9, 4),
];

#[test]
fn a_layer_takes_few_kernels_and_one_wait() {
    let mut found = Vec::new();
    for (case, ..) in CASES {
        let folder = folder(case);
        let pairs = pairs(&folder);
        let (loaded, checkpoint) = load(&folder, Some(pairs[0].max_tokens), false);
        let texts: Vec<Encoding> = pairs.iter().map(|pair| pair.encoding()).collect();
        let device = Emulated::new(None, Order::Random(1));
        let options = CudaOptions::default().with_precision(Precision::Fast);
        let ops = CudaBackend::new(device.clone(), options).unwrap();
        let mut counts = Vec::new();
        let mut watch = |stage| counts.push((stage, device.counted()));
        trace_watched(&ops, &loaded, &checkpoint, &texts, 0, &mut watch);
        // Keys of distances are made with the first chunk, whichever that is; the last layer goes on with scored rows alone.
        let second: Vec<_> = counts.iter().skip(3).take(3).collect();
        let [(Stage::Before, before), (Stage::Computed, computed), (Stage::Scored, scored)] =
            second[..]
        else {
            panic!("{case}: {second:?}")
        };
        let kernels = computed.launches - before.launches;
        let head = scored.launches - computed.launches;
        found.push((case, kernels, head));
        assert_eq!(computed.waits, before.waits, "{case}: the host waits within a layer");
        assert!(scored.waits <= computed.waits + 1, "{case}: the host waits more than once");
    }
    assert_eq!(found, CASES, "kernels of a layer, and of its scores");
}
