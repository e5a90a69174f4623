//! A model's sizes as the planner wants them.

use grating_backend::{Backend, Widths, Workspace};
use grating_io::Checkpoint;
use grating_model::{Model, Part};
use grating_prune::TokenPolicy;
use grating_sched::{BlockPart, Machine, ModelShape, Plan, PoolShape, Settings};

use crate::error::Result;
use crate::tokens::RowRules;
use crate::window;

/// What a layer of such widths takes beside weights and hidden states, where the longest sequence has so many tokens
/// ([`Backend::workspace`]).
pub type WorkspaceOf<'a> = &'a dyn Fn(&Widths, usize) -> Workspace;

/// [`Engine::leaving`](crate::Engine::leaving) of a model that no engine runs.
///
/// # Errors
/// The policy's own, or that no tokens may leave this model's texts.
pub fn leaving(model: &Model, pool: PoolShape, policy: &TokenPolicy) -> Result<PoolShape> {
    RowRules::of(model).leaving(pool, policy)
}

/// How a pool would be run on a machine that need not be there, by a backend that takes such workspaces.
///
/// # Errors
/// [`EngineError::Plan`](crate::EngineError::Plan).
pub fn plan_for(
    model: &Model,
    checkpoint: &Checkpoint,
    workspace: WorkspaceOf<'_>,
    pool: &PoolShape,
    machine: &Machine,
    settings: &Settings,
) -> Result<Plan> {
    let shape = for_pool(sizes(model, checkpoint, workspace), model, workspace, pool);
    Ok(grating_sched::plan(&shape, pool, machine, settings)?)
}

/// A model's sizes with what a pool of such lengths takes beside its chunks.
pub(crate) fn for_pool(
    shape: ModelShape,
    model: &Model,
    workspace: WorkspaceOf<'_>,
    pool: &PoolShape,
) -> ModelShape {
    // No encoding is longer than the model's positions, whatever a plan is asked for.
    let longest = pool.prefix_tokens.saturating_add(pool.longest());
    let longest = longest.min(model.config().max_positions);
    let mut shape = shape;
    shape.workspace_fixed = workspace(&model.widths(), longest).fixed as u64;
    // Of compressed passages attention tells nothing.
    if !pool.later.is_empty() && model.compression().is_none() {
        shape.workspace_per_token += told_bytes(model);
    }
    shape
}

/// What `model` needs, by size.
pub(crate) fn model_shape<B: Backend>(
    model: &Model,
    checkpoint: &Checkpoint,
    backend: &B,
) -> ModelShape {
    sizes(model, checkpoint, &|widths, tokens| backend.workspace(widths, tokens))
}

fn sizes(model: &Model, checkpoint: &Checkpoint, workspace: WorkspaceOf<'_>) -> ModelShape {
    let config = model.config();
    let bytes = |parts: &[Part]| parts.iter().map(|p| p.byte_len() as u64).sum::<u64>();
    let largest = |size: &dyn Fn(&[Part]) -> u64, part: BlockPart| {
        (0..config.layers).map(|l| size(window::parts(model, l, part))).max().unwrap_or(0)
    };
    let slot = |parts: &[Part]| window::stored(checkpoint, 0, parts).slot_bytes() as u64;
    let elements = |parts: &[Part]| -> f64 {
        parts.iter().map(|p| p.shape().iter().product::<usize>() as f64).sum()
    };
    let table = model.token_embeddings();
    let row_bytes = table.byte_len() as u64 / config.vocab as u64;
    let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let mut shape = ModelShape::new(config.layers, config.hidden);
    shape.attention_bytes = largest(&bytes, BlockPart::Attention);
    shape.feed_forward_bytes = largest(&bytes, BlockPart::FeedForward);
    shape.layer_slot = largest(&slot, BlockPart::Whole);
    shape.attention_slot = largest(&slot, BlockPart::Attention);
    shape.feed_forward_slot = largest(&slot, BlockPart::FeedForward);
    shape.resident_bytes = bytes(model.stem_parts()) + bytes(model.head_parts());
    shape.vocab = config.vocab;
    shape.row_bytes = row_bytes;
    shape.flops_per_token = 2.0 * elements(model.layer_parts(0));
    shape.attention_flops_per_token_pair = 4.0 * q as f64;
    shape.kv_columns = 2 * kv;
    let Workspace { per_token, fixed, key_bytes, .. } = workspace(&model.widths(), 0);
    shape.workspace_per_token = per_token as u64;
    shape.workspace_fixed = fixed as u64;
    shape.key_bytes = key_bytes as u64;
    shape
}

/// What computing takes whatever the chunk, where the longest sequence has `tokens` tokens, the shared prefix included:
/// every thread's scratch, and the rotary angles.
pub(crate) fn workspace_fixed<B: Backend>(model: &Model, backend: &B, tokens: usize) -> u64 {
    backend.workspace(&model.widths(), tokens).fixed as u64
}

/// What it takes for each token of a chunk that attention is told: queries once more, what they are paid on the device and on
/// the host, and the marks of those that they pay it to.
fn told_bytes(model: &Model) -> u64 {
    let config = model.config();
    let columns = (3 * config.heads + config.kv_heads) * config.head_dim;
    (columns * size_of::<f32>()) as u64
}

/// What an engine holds of the host's memory as long as it lives: stem and head, and the threads' scratch for packed
/// weights. A device with a memory of its own has all of that there; the stem's rows of positions are read here.
pub(crate) fn floor_bytes<B: Backend>(model: &Model, shape: &ModelShape, backend: &B) -> u64 {
    if !backend.caps().shares_host_memory {
        return model.stem_parts().iter().map(|part| part.byte_len() as u64).sum();
    }
    shape.resident_bytes.saturating_add(workspace_fixed(model, backend, 0))
}

#[cfg(test)]
mod tests {
    use grating_backend::Precision;
    use grating_cpu::{CpuOps, Isa};

    use super::*;
    use crate::testing::golden;

    #[test]
    fn a_models_sizes_are_those_of_its_parts_and_slots_hold_them() {
        let ops = CpuOps::new(Isa::Portable, Precision::Full);
        for case in ["qwen3-tied-f32", "bert-gelu-f32", "xlm-roberta-f32"] {
            let (model, checkpoint) = golden(case);
            let shape = model_shape(&model, &checkpoint, &ops);
            let bytes = |parts: &[Part]| parts.iter().map(|p| p.byte_len() as u64).sum::<u64>();
            assert_eq!(shape.layers, model.config().layers, "{case}");
            assert_eq!(shape.layer_bytes(), bytes(model.layer_parts(0)), "{case}");
            assert_eq!(shape.resident_bytes, bytes(model.stem_parts()) + bytes(model.head_parts()));
            for part in [BlockPart::Whole, BlockPart::Attention, BlockPart::FeedForward] {
                let (slot, block) = (shape.slot_bytes(part), shape.block_bytes(part));
                assert!(block > 0 && slot >= block, "{case} {part:?}: {block} in {slot}");
            }
            let rows = shape.vocab as u64 * shape.row_bytes;
            assert_eq!(rows, model.token_embeddings().byte_len() as u64);
            // The rotary angles, and each thread's scratch for attention, grow with the longest sequence.
            assert!(
                workspace_fixed(&model, &ops, 100) > workspace_fixed(&model, &ops, 0),
                "{case}"
            );
            assert_eq!(
                floor_bytes(&model, &shape, &ops),
                shape.resident_bytes + shape.workspace_fixed
            );
        }
    }
}
