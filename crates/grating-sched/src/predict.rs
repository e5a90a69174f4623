//! The cost model: how long a request takes under a plan.
//!
//! The formulas are in the documentation of the crate.

use crate::block::{BlockPart, WeightLayout};
use crate::layout::Layout;
use crate::machine::Machine;
use crate::shape::ModelShape;
use crate::workload::{LayerLoad, Workload};

/// What spilling takes from computing (copies, memory bandwidth, system calls) even where the disk
/// itself is hidden: this share of the computing time. An assumption, on the side of keeping disks
/// unwritten: a plan spills only where it is faster by more than this.
const SPILL_INTERFERENCE: f64 = 0.05;

/// Embedding rows are read one by one, and a disk gives no less than a page.
const ROW_READ_BYTES: u64 = 4096;

/// Predicted times of one layer, seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LayerTime {
    /// Reading its weights; 0 for a pinned layer. Mostly hidden behind computing.
    pub read_seconds: f64,
    /// Computing, with what spilling takes from it.
    pub compute_seconds: f64,
    /// Writing and reading spilled hidden states. Mostly hidden behind computing.
    pub spill_seconds: f64,
    /// Computing waits, for weights or for hidden states.
    pub stall_seconds: f64,
}

/// Predicted cost of one request on a warm engine: pinned layers are loaded and the window was refilled
/// since the request before.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Prediction {
    /// Reading weights, seconds.
    pub read_seconds: f64,
    /// Computing layers, seconds.
    pub compute_seconds: f64,
    /// Writing and reading spilled hidden states, seconds.
    pub spill_seconds: f64,
    /// Reading embedding rows before layer 0, at most, seconds.
    pub embedding_seconds: f64,
    /// Computing waits for weights or hidden states, seconds.
    pub stall_seconds: f64,
    /// From start to end: embedding, computing and stalls, seconds.
    pub total_seconds: f64,
    /// The total of the first request, which finds nothing in memory, seconds.
    pub first_total_seconds: f64,
    /// Weights read, bytes.
    pub bytes_read: u64,
    /// Hidden states written and read, bytes.
    pub bytes_spilled: u64,
    /// Each layer that runs.
    pub layers: Vec<LayerTime>,
}

impl Prediction {
    /// The share of the time in which computing waits, 0 to 1.
    pub fn stall_share(&self) -> f64 {
        if self.total_seconds > 0.0 { self.stall_seconds / self.total_seconds } else { 0.0 }
    }
}

/// Live tokens a layer needs for its computing to hide the reading of one layer's weights:
/// layer bytes / read bandwidth × FLOP/s / FLOP per token. Infinite for a model without work.
pub(crate) fn tokens_to_hide_reading(model: &ModelShape, machine: &Machine) -> f64 {
    model.layer_bytes() as f64 / machine.read_bytes_per_second * machine.flops_per_second
        / model.flops_per_token
}

pub(crate) fn run(
    layout: &Layout,
    model: &ModelShape,
    workload: &Workload,
    machine: &Machine,
) -> Prediction {
    let embedding_seconds = embedding_seconds(layout, model, workload, machine);
    let layers: Vec<Vec<Cost>> =
        workload.layers.iter().map(|load| costs(layout, model, load, machine)).collect();
    let (times, total_seconds) = simulate(&layout.weights, &layers, embedding_seconds, Start::Warm);
    let (_, first_total_seconds) =
        simulate(&layout.weights, &layers, embedding_seconds, Start::Cold);
    let sum = |of: fn(&LayerTime) -> f64| times.iter().map(of).sum::<f64>();
    let streamed = times.len().saturating_sub(layout.weights.pinned_layers) as u64;
    Prediction {
        read_seconds: sum(|t| t.read_seconds),
        compute_seconds: sum(|t| t.compute_seconds),
        spill_seconds: sum(|t| t.spill_seconds),
        embedding_seconds,
        stall_seconds: sum(|t| t.stall_seconds),
        total_seconds,
        first_total_seconds,
        bytes_read: streamed.saturating_mul(model.layer_bytes()),
        bytes_spilled: workload
            .layers
            .iter()
            .fold(0, |sum, load| sum.saturating_add(spilled(layout, model, load))),
        layers: times,
    }
}

/// Each row is read once if the cache holds all that can occur, else once per token at most.
fn embedding_seconds(
    layout: &Layout,
    model: &ModelShape,
    workload: &Workload,
    machine: &Machine,
) -> f64 {
    let tokens = workload.layers.first().map_or(0, LayerLoad::all_tokens);
    let distinct = tokens.min(model.vocab);
    let rows = if layout.row_cache_rows >= distinct { distinct } else { tokens };
    let bytes = (rows as u64).saturating_mul(model.row_bytes.max(ROW_READ_BYTES));
    bytes as f64 / machine.read_bytes_per_second
}

/// Bytes written and read in a layer: twice the chunks that do not stay, in each pass. One chunk is in hand when a
/// pass turns; two buffers are on the way; the rest of the resident chunks stay.
fn spilled(layout: &Layout, model: &ModelShape, load: &LayerLoad) -> u64 {
    if !layout.spill || load.chunks == 0 {
        return 0;
    }
    let stay = layout.kept_chunks().min(load.chunks);
    let moved = 2 * model.hidden_bytes(load.tokens) as u128 * (load.chunks - stay) as u128
        / load.chunks as u128;
    let passes = layout.weights.unit.parts().len() as u64;
    u64::try_from(moved).unwrap_or(u64::MAX).saturating_mul(passes)
}

/// What one block takes, seconds.
#[derive(Debug, Clone, Copy)]
struct Cost {
    read: f64,
    compute: f64,
    spill: f64,
}

/// The blocks of a layer. The linear work is shared out by bytes of weights.
fn costs(layout: &Layout, model: &ModelShape, load: &LayerLoad, machine: &Machine) -> Vec<Cost> {
    let spilled = spilled(layout, model, load) as f64;
    let interference = if spilled > 0.0 { 1.0 + SPILL_INTERFERENCE } else { 1.0 };
    let all = model.layer_bytes().max(1) as f64;
    let parts = layout.weights.unit.parts();
    let cost = |&part: &BlockPart| {
        let bytes = model.block_bytes(part) as f64;
        let pairs = if part == BlockPart::FeedForward { 0.0 } else { load.pair_flops(model) };
        let flops = load.linear_flops(model) * (bytes / all) + pairs;
        Cost {
            read: bytes / machine.read_bytes_per_second,
            compute: flops / machine.flops_per_second * interference,
            spill: spilled / parts.len() as f64 / machine.spill_bytes_per_second,
        }
    };
    parts.iter().map(cost).collect()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Start {
    /// Nothing is in memory; pinned layers are read on the way.
    Cold,
    /// Pinned layers are loaded and every slot is filled.
    Warm,
}

/// The two clocks of the window: one reads blocks in order into slots as they become free, the other computes them in
/// order. Returns the layers' times and the end.
fn simulate(
    weights: &WeightLayout,
    layers: &[Vec<Cost>],
    embedding: f64,
    start: Start,
) -> (Vec<LayerTime>, f64) {
    let slots = weights.slots.len();
    let (mut compute_clock, mut read_clock) = (embedding, embedding);
    // When each streamed block gave its slot back.
    let mut released: Vec<f64> = Vec::new();
    let mut times = Vec::with_capacity(layers.len());
    for (layer, blocks) in layers.iter().enumerate() {
        let pinned = layer < weights.pinned_layers;
        let mut time = LayerTime::default();
        for block in blocks {
            let free = match released.len().checked_sub(slots.max(1)) {
                Some(before) if !pinned => released[before],
                _ => 0.0,
            };
            let loaded = start == Start::Warm && (pinned || released.len() < slots);
            if !loaded {
                // One disk: what is spilled meanwhile delays the reading.
                read_clock = read_clock.max(free) + block.read + block.spill;
                time.stall_seconds += (read_clock - compute_clock).max(0.0);
                compute_clock = compute_clock.max(read_clock);
            }
            let wait = (block.spill - block.compute).max(0.0);
            compute_clock += block.compute + wait;
            time.compute_seconds += block.compute;
            time.stall_seconds += wait;
            time.spill_seconds += block.spill;
            if !pinned {
                time.read_seconds += block.read;
                released.push(compute_clock);
            }
        }
        times.push(time);
    }
    (times, compute_clock)
}

#[cfg(test)]
mod tests;
