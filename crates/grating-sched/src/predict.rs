//! The cost model: how long a request takes under a plan.
//!
//! The formulas are in the documentation of the crate.

use crate::block::BlockPart;
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
#[non_exhaustive]
pub struct LayerTime {
    /// Reading its weights; 0 for a pinned layer. Mostly hidden behind computing.
    pub read_seconds: f64,
    /// Computing, with what spilling takes from it.
    pub compute_seconds: f64,
    /// Writing and reading spilled hidden states. Mostly hidden behind computing.
    pub spill_seconds: f64,
    /// Copying weights and hidden states to the device, and those back. Mostly hidden behind computing.
    pub copy_seconds: f64,
    /// Computing waits, for weights or for hidden states.
    pub stall_seconds: f64,
}

/// Predicted cost of one request on a warm engine: pinned layers are loaded and the window was refilled
/// since the request before.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Prediction {
    /// Reading weights, seconds.
    pub read_seconds: f64,
    /// Copying weights and hidden states between the host's memory and the device's; 0 where they are one. Seconds.
    pub copy_seconds: f64,
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
    /// Weights and hidden states copied to the device, and those back, bytes.
    pub bytes_copied: u64,
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

/// Live tokens a layer needs for its computing to hide the moving of one layer's weights, over the slowest link that they
/// pass: layer bytes / bandwidth × FLOP/s / FLOP per token. Infinite for a model without work.
pub(crate) fn tokens_to_hide_reading(
    layout: &Layout,
    model: &ModelShape,
    machine: &Machine,
) -> f64 {
    let disk = Some(machine.disk_to_host.bytes_per_second)
        .filter(|_| machine.device.is_none() || layout.layers_from_disk(model.layers) > 0);
    let device = machine.device.as_ref().map(|device| device.link.bytes_per_second);
    let slowest = disk.into_iter().chain(device).fold(f64::INFINITY, f64::min);
    model.layer_bytes() as f64 / slowest * machine.flops_per_second / model.flops_per_token
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
    let (times, total_seconds) = Clocks::run(layout, &layers, embedding_seconds, Start::Warm);
    let (_, first_total_seconds) = Clocks::run(layout, &layers, embedding_seconds, Start::Cold);
    let sum = |of: fn(&LayerTime) -> f64| times.iter().map(of).sum::<f64>();
    let moved = workload
        .layers
        .iter()
        .fold(0u64, |sum, load| sum.saturating_add(moved_hidden(layout, model, load)));
    let weights = |layers: usize| (layers as u64).saturating_mul(model.layer_bytes());
    let copied = weights(times.len().saturating_sub(layout.weights.pinned_layers));
    Prediction {
        read_seconds: sum(|t| t.read_seconds),
        copy_seconds: sum(|t| t.copy_seconds),
        compute_seconds: sum(|t| t.compute_seconds),
        spill_seconds: sum(|t| t.spill_seconds),
        embedding_seconds,
        stall_seconds: sum(|t| t.stall_seconds),
        total_seconds,
        first_total_seconds,
        bytes_read: weights(layout.layers_from_disk(times.len())),
        bytes_copied: machine.device.map_or(0, |_| copied.saturating_add(moved)),
        bytes_spilled: if layout.spill { moved } else { 0 },
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
    bytes as f64 / machine.disk_to_host.bytes_per_second
}

/// Bytes of hidden states that leave the memory that computes and come back in a layer: twice the chunks that do not
/// stay, in each pass. One chunk is in hand when a pass turns; two buffers are on the way; the rest of the resident
/// chunks stay.
fn moved_hidden(layout: &Layout, model: &ModelShape, load: &LayerLoad) -> u64 {
    if !layout.moves_hidden() || load.chunks == 0 {
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
    /// Its weights from the disk.
    read: f64,
    /// Its weights to the device.
    copy: f64,
    compute: f64,
    /// Hidden states to the disk and back.
    spill: f64,
    /// Hidden states to the host's memory and back.
    park: f64,
}

/// The blocks of a layer. The linear work is shared out by bytes of weights.
fn costs(layout: &Layout, model: &ModelShape, load: &LayerLoad, machine: &Machine) -> Vec<Cost> {
    let moved = moved_hidden(layout, model, load) as f64;
    let interference = if moved > 0.0 { 1.0 + SPILL_INTERFERENCE } else { 1.0 };
    let all = model.layer_bytes().max(1) as f64;
    let parts = layout.weights.unit.parts();
    let to_device = |bytes: f64| {
        machine.device.as_ref().map_or(0.0, |device| bytes / device.link.bytes_per_second)
    };
    let cost = |&part: &BlockPart| {
        let bytes = model.block_bytes(part) as f64;
        let pairs = if part == BlockPart::FeedForward { 0.0 } else { load.pair_flops(model) };
        let flops = load.linear_flops(model) * (bytes / all) + pairs;
        let hidden = moved / parts.len() as f64;
        let on_disk = if layout.spill { hidden } else { 0.0 };
        Cost {
            read: bytes / machine.disk_to_host.bytes_per_second,
            copy: to_device(bytes),
            compute: flops / machine.flops_per_second * interference,
            spill: on_disk / machine.host_to_disk.bytes_per_second,
            park: to_device(hidden),
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

/// The clocks of a run: one reads blocks in order into slots as they become free, one copies them to the device where
/// that has slots of its own, one computes them in order.
struct Clocks<'a> {
    layout: &'a Layout,
    start: Start,
    read: f64,
    copy: f64,
    compute: f64,
    /// When each streamed block gave back the slot that it was computed from.
    computed: Vec<f64>,
    /// When each block that passed through the host's slots gave its slot back.
    copied: Vec<f64>,
    /// Blocks that a warm start finds in the host's slots, so far.
    found: usize,
}

impl<'a> Clocks<'a> {
    /// The layers' times and the end.
    fn run(
        layout: &'a Layout,
        layers: &[Vec<Cost>],
        embedding: f64,
        start: Start,
    ) -> (Vec<LayerTime>, f64) {
        let (computed, copied) = (Vec::new(), Vec::new());
        let [read, copy, compute] = [embedding; 3];
        let mut clocks = Clocks { layout, start, read, copy, compute, computed, copied, found: 0 };
        let times = layers.iter().enumerate().map(|(layer, blocks)| clocks.layer(layer, blocks));
        let times = times.collect();
        (times, clocks.compute)
    }

    fn layer(&mut self, layer: usize, blocks: &[Cost]) -> LayerTime {
        let pinned = layer < self.layout.weights.pinned_layers;
        let mut time = LayerTime::default();
        for block in blocks {
            let warm = self.start == Start::Warm;
            let loaded = warm && (pinned || self.computed.len() < self.layout.weights.slots.len());
            if !loaded {
                let there = self.arrival(layer, block);
                time.stall_seconds += (there - self.compute).max(0.0);
                self.compute = self.compute.max(there);
            }
            let wait = (block.spill.max(block.park) - block.compute).max(0.0);
            self.compute += block.compute + wait;
            time.compute_seconds += block.compute;
            time.stall_seconds += wait;
            time.spill_seconds += block.spill;
            time.copy_seconds += block.park;
            if !pinned {
                let from_disk = !self.stays_in_host(layer);
                time.read_seconds += if from_disk { block.read } else { 0.0 };
                time.copy_seconds += block.copy;
                self.computed.push(self.compute);
            }
        }
        time
    }

    /// When a block that has to be moved is where it is computed.
    fn arrival(&mut self, layer: usize, block: &Cost) -> f64 {
        let pinned = layer < self.layout.weights.pinned_layers;
        let slots = self.layout.weights.slots.len();
        let free = if pinned { 0.0 } else { freed(&self.computed, slots) };
        let Some(staging) = &self.layout.staging else {
            // One disk: what is spilled meanwhile delays the reading.
            self.read = self.read.max(free) + block.read + block.spill;
            return self.read;
        };
        let stays = self.stays_in_host(layer);
        let warm = self.start == Start::Warm;
        let found = warm && !stays && self.found < staging.slots.len();
        self.found += usize::from(found);
        if !(found || warm && stays) {
            let host_slot = if stays { 0.0 } else { freed(&self.copied, staging.slots.len()) };
            self.read = self.read.max(host_slot) + block.read + block.spill;
            self.copy = self.copy.max(self.read);
        }
        // One link: hidden states that pass meanwhile delay the weights.
        self.copy = self.copy.max(free) + block.copy + block.park;
        if !stays {
            self.copied.push(self.copy);
        }
        self.copy
    }

    /// Whether a layer is kept in the host's memory on its way to the device.
    fn stays_in_host(&self, layer: usize) -> bool {
        let on_device = self.layout.weights.pinned_layers;
        self.layout
            .staging
            .as_ref()
            .is_some_and(|staging| (on_device..on_device + staging.pinned_layers).contains(&layer))
    }
}

/// When the slot is free that the next of these blocks takes, of so many that are taken in turn.
fn freed(before: &[f64], slots: usize) -> f64 {
    before.len().checked_sub(slots.max(1)).map_or(0.0, |at| before[at])
}

#[cfg(test)]
mod tests;
