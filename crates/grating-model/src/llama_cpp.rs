//! Checkpoints in llama.cpp's names (`tensor_mapping.py` of its `gguf` package). Which tensor is called what stands in the
//! specs; here is what its conversion changes besides.

use grating_io::Checkpoint;

use crate::config::ModelConfig;
use crate::spec::{LayerSpec, ModelSpec, NormKind};

/// Whether tensors go by llama.cpp's names; checkpoints of our own making keep the original ones.
pub(crate) fn are_used(checkpoint: &Checkpoint) -> bool {
    checkpoint.get("token_embd.weight").is_some()
}

/// Tensors that llama.cpp adds to models that have none of them, or keeps beside a tied head.
pub(crate) fn is_unused(name: &str) -> bool {
    ["rope_freqs.weight", "output.weight", "cls.output.weight"].contains(&name)
}

/// Where the conversion changes weights: the rows of some families' queries and keys go by neighbours, the rows of the
/// position table that no token has are gone, and norms that count from one do not.
pub(crate) fn follow(spec: &mut ModelSpec, config: &ModelConfig) {
    let norms = spec.layers.iter_mut().flat_map(|LayerSpec { attention, feed_forward }| {
        let of_attention = attention.before.iter_mut().chain(&mut attention.added);
        of_attention.chain(&mut feed_forward.before).chain(&mut feed_forward.added)
    });
    for norm in norms.chain(&mut spec.head.norm) {
        // One is added there.
        if norm.kind == NormKind::RmsFromOne {
            norm.kind = NormKind::Rms;
        }
    }
    for layer in &mut spec.layers {
        if let Some(rotary) = &mut layer.attention.rotary {
            rotary.neighbours = config.family.definition().neighbours_in_llama_cpp;
        }
    }
    if let Some(positions) = &mut spec.embedding.positions {
        positions.first = 0;
        positions.table.shape[0] = config.max_positions;
    }
}
