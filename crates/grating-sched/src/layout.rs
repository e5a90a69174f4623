//! Layouts: the discrete choices that a plan is picked from, and what each takes in memory.

use crate::block::{BlockUnit, WeightLayout};
use crate::chunk;
use crate::ledger::Ledger;
use crate::settings::{Settings, Spill, Window};
use crate::shape::{F32, ModelShape, PoolShape};

/// Tokens of a chunk where nothing speaks against it: matrix products gain nothing from more.
pub(crate) const CHUNK_TARGET: usize = 1024;
/// Smaller chunks to choose from under a budget; each is raised to the longest candidate.
const CHUNK_SIZES: [usize; 6] = [CHUNK_TARGET, 768, 512, 384, 256, 1];
/// One chunk computing, one being written, one being read.
pub(crate) const SPILL_CHUNKS: usize = 3;
/// What the system gives memory in, bytes.
const PAGE: u64 = 4096;
/// Id and type of a token, two `u32`.
const TOKEN_ID_BYTES: u64 = 8;
/// Book-keeping of a cached row: its place in the order of use and in the index, bytes.
pub(crate) const ROW_OVERHEAD: u64 = 64;

/// How a pool is run through a model: the one definition that is priced, explained and run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Layout {
    /// Blocks of weights and their slots.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub weights: WeightLayout,
    /// Most tokens in a chunk.
    pub chunk_tokens: usize,
    /// Chunks that the whole pool is cut into.
    pub chunks: usize,
    /// Whether hidden states go to disk between passes.
    pub spill: bool,
    /// Chunks whose hidden states have a place in memory: all without spilling; with it, up to two of them are
    /// buffers of the disk's, one being written and one being read.
    pub resident_chunks: usize,
    /// Capacity of the embedding row cache, rows; 0 for none.
    pub row_cache_rows: usize,
}

impl Layout {
    pub(crate) fn ledger(&self, model: &ModelShape, pool: &PoolShape, base: u64) -> Ledger {
        let tokens = pool.tokens().saturating_add(pool.prefix_tokens);
        let in_hand = self.chunk_tokens.min(pool.tokens().max(pool.prefix_tokens));
        let prefix = pool.prefix_tokens as u64;
        let chunk = model.hidden_bytes(in_hand);
        let (hidden_states, spill_buffers) = if self.spill {
            let kept = self.kept_chunks();
            let buffers = self.resident_chunks.saturating_sub(kept) as u64;
            (chunk.saturating_mul(kept as u64), whole_pages(chunk).saturating_mul(buffers))
        } else {
            (model.hidden_bytes(pool.tokens()), 0)
        };
        let pinned_layers = self.weights.pinned_layers as u64;
        Ledger {
            base,
            token_ids: (tokens as u64).saturating_mul(TOKEN_ID_BYTES),
            resident_parts: model.resident_bytes,
            window: self.weights.slots.iter().fold(0, |sum, &slot| sum.saturating_add(slot)),
            pinned: self.weights.pinned_layer_bytes(model).saturating_mul(pinned_layers),
            row_cache: cached_row_bytes(model).saturating_mul(self.row_cache_rows as u64),
            hidden_states,
            spill_buffers,
            workspace: (in_hand as u64)
                .saturating_mul(model.workspace_per_token)
                .saturating_add(model.workspace_fixed),
            prefix: model
                .hidden_bytes(pool.prefix_tokens)
                .saturating_add(prefix.saturating_mul(model.kv_columns as u64).saturating_mul(F32)),
        }
    }

    /// Of the resident chunks, those that are not in a buffer for reading or writing.
    pub(crate) fn kept_chunks(&self) -> usize {
        self.resident_chunks.saturating_sub(2).max(1)
    }

    /// Spends what the ledger leaves of the budget: rows up to `rows_wanted` first, then pinned layers.
    pub(crate) fn spend(
        &mut self,
        model: &ModelShape,
        rows_wanted: usize,
        ledger: &Ledger,
        budget: u64,
    ) {
        let mut rest = budget.saturating_sub(ledger.total());
        let more = rows_wanted.saturating_sub(self.row_cache_rows) as u64;
        let rows = more.min(rest / cached_row_bytes(model));
        self.row_cache_rows += rows as usize;
        rest -= rows * cached_row_bytes(model);
        let weights = &mut self.weights;
        if !weights.slots.is_empty() {
            // The window itself holds the layers that need no pin.
            let in_window = weights.slots.len() / weights.unit.parts().len();
            let most = model.layers.saturating_sub(in_window.max(1)) as u64;
            let fit = rest / weights.pinned_layer_bytes(model).max(1);
            weights.pinned_layers = fit.min(most) as usize;
        }
    }
}

/// Large buffers are mappings of their own, of whole pages.
fn whole_pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE).saturating_mul(PAGE)
}

fn cached_row_bytes(model: &ModelShape) -> u64 {
    model.row_bytes.saturating_add(ROW_OVERHEAD)
}

/// Every layout that the settings allow, leanest in pins and rows. The list does not depend on the budget: a larger
/// budget has all the choices of a smaller one, which is why it never makes the prediction worse.
pub(crate) fn all(model: &ModelShape, pool: &PoolShape, settings: &Settings) -> Vec<Layout> {
    let windows = windows(model, settings.window);
    let mut layouts = Vec::new();
    for chunk_tokens in chunk_sizes(pool, settings.chunk_tokens) {
        let chunks = chunk::plan(&pool.lengths, chunk_tokens).len();
        for resident_chunks in resident_chunks(chunks, settings.spill) {
            let spill = settings.spill == Spill::Always || resident_chunks < chunks;
            layouts.extend(windows.iter().map(|weights| Layout {
                weights: weights.clone(),
                chunk_tokens,
                chunks,
                resident_chunks,
                spill,
                row_cache_rows: 0,
            }));
        }
    }
    layouts
}

/// The layout without a budget: two slots, large chunks, nothing on disk unless asked for.
pub(crate) fn unbudgeted(model: &ModelShape, pool: &PoolShape, settings: &Settings) -> Layout {
    let weights = match settings.window {
        Window::Auto => slots_of_layers(model, 2),
        Window::Slots(slots) => slots_of_layers(model, slots),
        Window::All => WeightLayout::new(model, BlockUnit::Layer, 0, 0),
    };
    let chunk_tokens = settings.chunk_tokens.unwrap_or(CHUNK_TARGET);
    let chunk_tokens = chunk_tokens.max(pool.smallest_chunk());
    let chunks = chunk::plan(&pool.lengths, chunk_tokens).len();
    let spill = settings.spill == Spill::Always;
    Layout {
        weights,
        chunk_tokens,
        chunks,
        resident_chunks: if spill { chunks.min(SPILL_CHUNKS) } else { chunks },
        spill,
        row_cache_rows: 0,
    }
}

/// A window that holds the whole model is no window: all layers stay.
fn slots_of_layers(model: &ModelShape, slots: usize) -> WeightLayout {
    let streamed = if slots < model.layers { slots } else { 0 };
    WeightLayout::new(model, BlockUnit::Layer, streamed, 0)
}

fn windows(model: &ModelShape, window: Window) -> Vec<WeightLayout> {
    match window {
        Window::All => vec![WeightLayout::new(model, BlockUnit::Layer, 0, 0)],
        Window::Slots(slots) => vec![slots_of_layers(model, slots)],
        Window::Auto => {
            let mut windows = vec![WeightLayout::new(model, BlockUnit::Layer, 0, 0)];
            if model.layers > 2 {
                windows.push(slots_of_layers(model, 2));
            }
            if model.attention_bytes > 0 && model.feed_forward_bytes > 0 {
                windows.push(WeightLayout::halves(model));
                windows.push(WeightLayout::new(model, BlockUnit::HalfLayer, 1, 0));
            } else {
                windows.push(slots_of_layers(model, 1));
            }
            windows
        }
    }
}

fn chunk_sizes(pool: &PoolShape, asked: Option<usize>) -> Vec<usize> {
    let floor = pool.smallest_chunk();
    let sizes = match asked {
        Some(tokens) => vec![tokens],
        None => CHUNK_SIZES.to_vec(),
    };
    let mut sizes: Vec<usize> = sizes.into_iter().map(|tokens| tokens.max(floor)).collect();
    sizes.dedup();
    sizes
}

/// Numbers of chunks to keep in memory: all, or where spilling is allowed also three and quarters of the pool.
fn resident_chunks(chunks: usize, spill: Spill) -> Vec<usize> {
    match spill {
        Spill::Never => vec![chunks],
        Spill::Always => vec![chunks.min(SPILL_CHUNKS)],
        Spill::Auto => {
            let mut numbers = vec![chunks];
            let parts = [chunks / 4 * 3, chunks / 2, chunks / 4, SPILL_CHUNKS];
            numbers.extend(parts.map(|n| n.max(SPILL_CHUNKS)).into_iter().filter(|&n| n < chunks));
            numbers.dedup();
            numbers
        }
    }
}
