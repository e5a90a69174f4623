//! Layouts: the discrete choices that a plan is picked from, and what each takes in memory.

use crate::block::{BlockUnit, WeightLayout};
use crate::chunk;
use crate::ledger::{Ledger, Ledgers};
use crate::machine::Machine;
use crate::settings::{Settings, Spill, WindowSize};
use crate::shape::{ModelShape, PoolShape};

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
    /// Blocks of weights and their slots in the memory that computes: the device's, or the only one.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub weights: WeightLayout,
    /// The host's part, where the device has a memory of its own.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub staging: Option<Staging>,
    /// Most tokens in a chunk.
    pub chunk_tokens: usize,
    /// Chunks that the whole pool is cut into.
    pub chunks: usize,
    /// Whether hidden states go to disk between passes.
    pub spill: bool,
    /// Whether hidden states go from the device's memory to the host's between passes.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "std::ops::Not::not"))]
    pub parked: bool,
    /// Chunks whose hidden states have a place in the memory that computes: all, unless they are spilled or parked; then
    /// up to two of them are buffers, one leaving and one coming.
    pub resident_chunks: usize,
    /// Capacity of the embedding row cache, rows; 0 for none.
    pub row_cache_rows: usize,
}

/// The host's part in streaming weights to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Staging {
    /// Capacities of the slots that blocks pass through, bytes.
    pub slots: Vec<u64>,
    /// Layers that stay in the host's memory once they have been read: the first ones that the device does not keep.
    pub pinned_layers: usize,
}

impl Staging {
    /// Slots of these capacities, and so many layers that stay.
    pub fn new(slots: Vec<u64>, pinned_layers: usize) -> Self {
        Self { slots, pinned_layers }
    }
}

impl Layout {
    /// Who takes how much of which memory.
    pub(crate) fn ledgers(
        &self,
        model: &ModelShape,
        pool: &PoolShape,
        machine: &Machine,
    ) -> Ledgers {
        let computing = self.computing(model, pool);
        let tokens = pool.tokens().saturating_add(pool.prefix_tokens);
        let own = Ledger {
            base: machine.host.base,
            token_ids: (tokens as u64).saturating_mul(TOKEN_ID_BYTES),
            row_cache: cached_row_bytes(model).saturating_mul(self.row_cache_rows as u64),
            ..Ledger::default()
        };
        let Some((device, staging)) = machine.device.as_ref().zip(self.staging.as_ref()) else {
            let Ledger { base, token_ids, row_cache, .. } = own;
            let host = Ledger { base, token_ids, row_cache, ..computing };
            return Ledgers { host, device: None };
        };
        let chunk = whole_pages(model.hidden_bytes(self.tokens_in_hand(pool)));
        let pinned = self.weights.layer_slots(model).saturating_mul(staging.pinned_layers as u64);
        let host = Ledger {
            window: total(&staging.slots),
            pinned,
            hidden_states: if self.parked { model.hidden_bytes(pool.tokens()) } else { 0 },
            spill_buffers: if self.spill { chunk.saturating_mul(self.buffers()) } else { 0 },
            ..own
        };
        Ledgers { host, device: Some(Ledger { base: device.memory.base, ..computing }) }
    }

    /// What computing takes of the memory that it happens in.
    fn computing(&self, model: &ModelShape, pool: &PoolShape) -> Ledger {
        let in_hand = self.tokens_in_hand(pool);
        let prefix = pool.prefix_tokens as u64;
        let chunk = model.hidden_bytes(in_hand);
        let (hidden_states, spill_buffers) = if self.moves_hidden() {
            let kept = self.kept_chunks() as u64;
            (chunk.saturating_mul(kept), whole_pages(chunk).saturating_mul(self.buffers()))
        } else {
            (model.hidden_bytes(pool.tokens()), 0)
        };
        let pinned_layers = self.weights.pinned_layers as u64;
        Ledger {
            resident_parts: model.resident_bytes,
            window: total(&self.weights.slots),
            pinned: self.weights.layer_slots(model).saturating_mul(pinned_layers),
            hidden_states,
            spill_buffers,
            workspace: (in_hand as u64)
                .saturating_mul(model.workspace_per_token)
                .saturating_add(model.workspace_fixed),
            prefix: model.hidden_bytes(pool.prefix_tokens).saturating_add(
                prefix.saturating_mul(model.kv_columns as u64).saturating_mul(model.key_bytes),
            ),
            ..Ledger::default()
        }
    }

    fn tokens_in_hand(&self, pool: &PoolShape) -> usize {
        self.chunk_tokens.min(pool.tokens().max(pool.prefix_tokens))
    }

    /// Whether hidden states leave the memory that computes between passes.
    pub(crate) fn moves_hidden(&self) -> bool {
        self.spill || self.parked
    }

    /// Of the resident chunks, those that are not in a buffer for reading or writing.
    pub(crate) fn kept_chunks(&self) -> usize {
        self.resident_chunks.saturating_sub(2).max(1)
    }

    fn buffers(&self) -> u64 {
        self.resident_chunks.saturating_sub(self.kept_chunks()) as u64
    }

    /// Layers that are read from the disk for every request.
    pub(crate) fn layers_from_disk(&self, layers: usize) -> usize {
        let in_host = self.staging.as_ref().map_or(0, |staging| staging.pinned_layers);
        layers.saturating_sub(self.weights.pinned_layers.saturating_add(in_host))
    }

    /// Spends what the ledgers leave of the budgets: in the host's memory rows up to `rows_wanted` first, then layers
    /// that stay, in each memory as many as it holds.
    pub(crate) fn spend(
        &mut self,
        model: &ModelShape,
        rows_wanted: usize,
        ledgers: &Ledgers,
        machine: &Machine,
    ) {
        let rest = |budget: Option<u64>, ledger: &Ledger| {
            budget.map_or(u64::MAX, |budget| budget.saturating_sub(ledger.total()))
        };
        let mut host = rest(machine.host.budget, &ledgers.host);
        let more = rows_wanted.saturating_sub(self.row_cache_rows) as u64;
        let rows = more.min(host / cached_row_bytes(model));
        self.row_cache_rows += rows as usize;
        host -= rows * cached_row_bytes(model);
        let layer = self.weights.layer_slots(model).max(1);
        let weights = &mut self.weights;
        if !weights.slots.is_empty() {
            // The window itself holds the layers that need no pin.
            let in_window = weights.slots.len() / weights.unit.parts().len();
            let most = model.layers.saturating_sub(in_window.max(1)) as u64;
            let computing = match (&ledgers.device, &machine.device) {
                (Some(ledger), Some(device)) => rest(device.memory.budget, ledger),
                _ => host,
            };
            weights.pinned_layers = (computing / layer).min(most) as usize;
        }
        // Without a budget the host keeps nothing that is not needed.
        if let (Some(staging), Some(_)) = (&mut self.staging, machine.host.budget) {
            let most = model.layers.saturating_sub(weights.pinned_layers) as u64;
            staging.pinned_layers = (host / layer).min(most) as usize;
        }
    }
}

fn total(slots: &[u64]) -> u64 {
    slots.iter().fold(0, |sum, &slot| sum.saturating_add(slot))
}

/// Large buffers are mappings of their own, of whole pages.
fn whole_pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE).saturating_mul(PAGE)
}

fn cached_row_bytes(model: &ModelShape) -> u64 {
    model.row_bytes.saturating_add(ROW_OVERHEAD)
}

/// Where hidden states are between passes.
#[derive(Debug, Clone, Copy)]
struct HiddenStates {
    resident_chunks: usize,
    spill: bool,
    parked: bool,
}

/// Every layout that the settings allow, leanest in pins and rows. The list does not depend on the budget: a larger
/// budget has all the choices of a smaller one, which is why it never makes the prediction worse.
pub(crate) fn all(
    model: &ModelShape,
    pool: &PoolShape,
    machine: &Machine,
    settings: &Settings,
) -> Vec<Layout> {
    let windows = windows(model, settings.window);
    let mut layouts = Vec::new();
    for chunk_tokens in chunk_sizes(pool, settings.chunk_tokens) {
        let chunks = chunk::plan(&pool.lengths, chunk_tokens).len();
        for hidden in hidden_states(chunks, machine, settings.spill) {
            layouts.extend(windows.iter().map(|weights| Layout {
                weights: weights.clone(),
                staging: staging(weights, model, machine),
                chunk_tokens,
                chunks,
                spill: hidden.spill,
                parked: hidden.parked,
                resident_chunks: hidden.resident_chunks,
                row_cache_rows: 0,
            }));
        }
    }
    layouts
}

/// The layout without a budget: two slots, large chunks, nothing on disk unless asked for.
pub(crate) fn unbudgeted(
    model: &ModelShape,
    pool: &PoolShape,
    machine: &Machine,
    settings: &Settings,
) -> Layout {
    let weights = match settings.window {
        WindowSize::Auto => slots_of_layers(model, 2),
        WindowSize::Slots(slots) => slots_of_layers(model, slots),
        WindowSize::All => WeightLayout::new(model, BlockUnit::Layer, 0, 0),
    };
    let chunk_tokens = settings.chunk_tokens.unwrap_or(CHUNK_TARGET);
    let chunk_tokens = chunk_tokens.max(pool.smallest_chunk());
    let chunks = chunk::plan(&pool.lengths, chunk_tokens).len();
    let spill = settings.spill == Spill::Always;
    Layout {
        staging: staging(&weights, model, machine),
        weights,
        chunk_tokens,
        chunks,
        spill,
        parked: false,
        resident_chunks: if spill { chunks.min(SPILL_CHUNKS) } else { chunks },
        row_cache_rows: 0,
    }
}

/// A window that holds the whole model is no window: all layers stay.
fn slots_of_layers(model: &ModelShape, slots: usize) -> WeightLayout {
    let streamed = if slots < model.layers { slots } else { 0 };
    WeightLayout::new(model, BlockUnit::Layer, streamed, 0)
}

/// The host's slots are those of the device; where the device keeps every layer, one, for the first request.
fn staging(weights: &WeightLayout, model: &ModelShape, machine: &Machine) -> Option<Staging> {
    machine.device.as_ref()?;
    let slots = match weights.slots.is_empty() {
        true => vec![weights.layer_slots(model)],
        false => weights.slots.clone(),
    };
    Some(Staging { slots, pinned_layers: 0 })
}

fn windows(model: &ModelShape, window: WindowSize) -> Vec<WeightLayout> {
    match window {
        WindowSize::All => vec![WeightLayout::new(model, BlockUnit::Layer, 0, 0)],
        WindowSize::Slots(slots) => vec![slots_of_layers(model, slots)],
        WindowSize::Auto => {
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

/// All chunks in the memory that computes, or three and quarters of the pool: the rest in the host's memory where the
/// device has its own, or on the disk where that is allowed.
fn hidden_states(chunks: usize, machine: &Machine, spill: Spill) -> Vec<HiddenStates> {
    let leanest = chunks.min(SPILL_CHUNKS);
    let on_disk = |resident_chunks| HiddenStates { resident_chunks, spill: true, parked: false };
    if spill == Spill::Always {
        return vec![on_disk(leanest)];
    }
    let mut some: Vec<usize> =
        [chunks / 4 * 3, chunks / 2, chunks / 4, SPILL_CHUNKS].map(|n| n.max(SPILL_CHUNKS)).into();
    some.retain(|&n| n < chunks);
    some.dedup();
    let mut places = vec![HiddenStates { resident_chunks: chunks, spill: false, parked: false }];
    if machine.device.is_some() {
        let parked = |&n: &usize| HiddenStates { resident_chunks: n, spill: false, parked: true };
        places.extend(some.iter().map(parked));
    }
    if spill == Spill::Auto {
        places.extend(some.into_iter().map(on_disk));
    }
    places
}
