//! The planner: of all layouts that fit, the fastest.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::block::{BlockPart, BlockUnit};
use crate::error::PlanError;
use crate::layout::{self, CHUNK_TARGET, Layout};
use crate::ledger::{Ledger, Ledgers};
use crate::machine::{Link, Machine, Memory};
use crate::plan::{Plan, PlannedLink, PlannedMemory};
use crate::predict::{Prediction, run, tokens_to_hide_reading};
use crate::reason::PlanReason;
use crate::settings::{RowCacheSize, Settings, Spill, WindowSize};
use crate::shape::{ModelShape, PoolShape};
use crate::workload::Workload;

/// Stalls below this share of the time are not worth a warning.
const STALL_SHARE: f64 = 0.005;

/// Plans how to run `pool` through `model`.
///
/// With a budget: of all layouts that fit it, and every other memory's, the one with the least predicted time. A layout is a window (all
/// layers; two slots of a layer; two of half a layer; one of half a layer), a chunk size, and a number of
/// chunks in memory. What it leaves of the budget goes to the row cache, up to its default, and then to pinned
/// layers. Equally fast ones are decided by more cached rows, then whole layers before
/// halves, then fewer bytes read, then less memory.
///
/// Where the device has a memory of its own, window, activations and layers that stay count against the device's budget,
/// and against the host's the slots that blocks pass through, layers that it keeps, and the rows. Hidden states that the
/// device does not hold go to the host's memory, or from there to the disk.
///
/// Without a budget: two slots of a layer, chunks of 1024 tokens, hidden states in memory, a tenth of the vocabulary's
/// rows: the leanest that costs no time while computing covers the reading.
///
/// # Errors
/// [`PlanError::BudgetTooSmall`] with the minimum and what it is made of; other variants for settings,
/// shapes or rates that cannot be.
pub fn plan(
    model: &ModelShape,
    pool: &PoolShape,
    machine: &Machine,
    settings: &Settings,
) -> Result<Plan, PlanError> {
    model.validate()?;
    machine.validate()?;
    settings.validate()?;
    if pool.lengths.is_empty() {
        return Err(PlanError::NoCandidates);
    }
    let planner = Planner { model, pool, machine, settings };
    let (layout, prediction) = match machine.memories().any(|memory| memory.budget.is_some()) {
        false => planner.unbudgeted(),
        true => planner.fastest()?,
    };
    Ok(planner.finish(layout, prediction))
}

struct Planner<'a> {
    model: &'a ModelShape,
    pool: &'a PoolShape,
    machine: &'a Machine,
    settings: &'a Settings,
}

impl Planner<'_> {
    fn ledgers(&self, layout: &Layout) -> Ledgers {
        layout.ledgers(self.model, self.pool, self.machine)
    }

    /// Rows of the cache: those that must fit, and those wanted.
    fn rows(&self) -> (usize, usize) {
        let vocab = self.model.vocab;
        self.settings.row_cache.rows(vocab, self.pool.distinct_ids(vocab))
    }

    fn unbudgeted(&self) -> (Layout, Prediction) {
        let mut layout = layout::unbudgeted(self.model, self.pool, self.machine, self.settings);
        layout.row_cache_rows = self.rows().1;
        let workload = Workload::full(self.model, self.pool, layout.chunk_tokens);
        let prediction = run(&layout, self.model, &workload, self.machine);
        (layout, prediction)
    }

    fn fastest(&self) -> Result<(Layout, Prediction), PlanError> {
        let (least, wanted) = self.rows();
        let mut workloads = BTreeMap::new();
        let mut minimum: Option<TooSmall> = None;
        let mut best: Option<(Layout, Prediction)> = None;
        for mut layout in layout::all(self.model, self.pool, self.machine, self.settings) {
            layout.row_cache_rows = least;
            let ledgers = self.ledgers(&layout);
            if let Some(found) = self.too_small(&ledgers) {
                let least = minimum.as_ref().map(TooSmall::order);
                if least.is_none_or(|least| found.order() < least) {
                    minimum = Some(found);
                }
                continue;
            }
            layout.spend(self.model, wanted, &ledgers, self.machine);
            let workload = workloads
                .entry(layout.chunk_tokens)
                .or_insert_with_key(|&tokens| Workload::full(self.model, self.pool, tokens));
            let prediction = run(&layout, self.model, workload, self.machine);
            let candidate = (layout, prediction);
            if best.as_ref().is_none_or(|best| self.order(&candidate, best).is_lt()) {
                best = Some(candidate);
            }
        }
        best.ok_or_else(|| {
            let TooSmall { memory, mut ledger, .. } = minimum.expect("no layout, or one that fits");
            ledger.base = ledger.base.saturating_add(memory.base_noise);
            PlanError::BudgetTooSmall {
                memory: memory.name,
                budget: memory.budget.unwrap_or(u64::MAX),
                minimum: ledger.total(),
                ledger: Box::new(ledger),
            }
        })
    }

    /// The memory whose budget a layout does not fit, if there is one; the device's first.
    fn too_small(&self, ledgers: &Ledgers) -> Option<TooSmall> {
        let device = self
            .machine
            .device
            .as_ref()
            .zip(ledgers.device)
            .map(|(device, ledger)| TooSmall { memory: device.memory, ledger, of_host: false });
        let host = TooSmall { memory: self.machine.host, ledger: ledgers.host, of_host: true };
        let over = |one: &TooSmall| one.memory.budget.is_some_and(|b| one.ledger.total() > b);
        device.into_iter().chain([host]).find(over)
    }

    /// Faster first; see [`plan`] for the rest.
    fn order(&self, a: &(Layout, Prediction), b: &(Layout, Prediction)) -> Ordering {
        without_noise(&a.1)
            .total_cmp(&without_noise(&b.1))
            .then_with(|| b.0.row_cache_rows.cmp(&a.0.row_cache_rows))
            .then_with(|| halves(&a.0).cmp(&halves(&b.0)))
            .then_with(|| a.1.bytes_read.cmp(&b.1.bytes_read))
            .then_with(|| self.ledgers(&a.0).total().cmp(&self.ledgers(&b.0).total()))
    }

    fn finish(&self, layout: Layout, prediction: Prediction) -> Plan {
        let Ledgers { host, device } = self.ledgers(&layout);
        let machine = self.machine;
        let mut reasons = vec![self.window_reason(&layout, &device.unwrap_or(host))];
        let of = self.model.layers;
        let layers = layout.weights.pinned_layers;
        if layers > 0 && !layout.weights.slots.is_empty() {
            reasons.push(PlanReason::Pinned { layers, of });
        }
        let layers = layout.staging.as_ref().map_or(0, |staging| staging.pinned_layers);
        if layers > 0 {
            reasons.push(PlanReason::PinnedInHost { layers, of });
        }
        reasons.push(self.chunk_reason(&layout));
        reasons.push(self.hidden_reason(&layout));
        reasons.push(self.row_reason(&layout));
        reasons.extend(self.stall_reason(&layout, &prediction));
        let ledgers = [Some(host), device].into_iter().flatten();
        let memory = |(memory, ledger): (&Memory, Ledger)| PlannedMemory {
            name: memory.name,
            budget: memory.budget,
            ledger,
        };
        Plan {
            budget: machine.host.budget,
            memories: machine.memories().zip(ledgers).map(memory).collect(),
            links: planned_links(machine, &prediction),
            layout,
            layers: of,
            ledger: host,
            prediction,
            reasons,
        }
    }

    fn window_reason(&self, layout: &Layout, ledger: &Ledger) -> PlanReason {
        match self.settings.window {
            WindowSize::All => return PlanReason::WindowAsked { layers: None },
            WindowSize::Slots(n) => return PlanReason::WindowAsked { layers: Some(n) },
            WindowSize::Auto => {}
        }
        let computing = self.machine.memories().last().and_then(|memory| memory.budget);
        let Some(budget) = computing else { return PlanReason::NoBudget };
        match (layout.weights.unit, layout.weights.slots.len()) {
            (_, 0) => PlanReason::AllResident { bytes: ledger.pinned },
            (_, 1) => PlanReason::SingleSlot,
            (BlockUnit::Layer, _) => PlanReason::TwoLayers,
            (BlockUnit::HalfLayer, _) => {
                let two_layers = self.model.slot_bytes(BlockPart::Whole).saturating_mul(2);
                let lean = Ledger { pinned: 0, row_cache: 0, ..*ledger };
                let saved = two_layers.saturating_sub(ledger.window);
                let two_layers_total = lean.total().saturating_add(saved);
                match two_layers_total > budget {
                    true => PlanReason::HalfLayers { two_layers_total },
                    false => PlanReason::HalfLayersPreferred { saved },
                }
            }
        }
    }

    fn chunk_reason(&self, layout: &Layout) -> PlanReason {
        let (tokens, longest) = (layout.chunk_tokens, self.pool.smallest_chunk());
        match self.settings.chunk_tokens {
            Some(asked) if asked >= tokens => PlanReason::ChunkAsked { tokens },
            None if tokens == CHUNK_TARGET => PlanReason::ChunkTarget { tokens },
            None if tokens < CHUNK_TARGET => {
                PlanReason::ChunkReduced { tokens, target: CHUNK_TARGET.max(longest) }
            }
            _ => PlanReason::ChunkRaised { longest },
        }
    }

    fn hidden_reason(&self, layout: &Layout) -> PlanReason {
        let bytes = self.model.hidden_bytes(self.pool.tokens());
        match (layout.spill, self.settings.spill) {
            (false, _) if layout.parked => {
                let Layout { resident_chunks, chunks, .. } = *layout;
                PlanReason::Parked { bytes, resident_chunks, chunks }
            }
            (false, _) => PlanReason::HiddenInMemory { bytes },
            (true, Spill::Always) => PlanReason::SpillAsked,
            (true, _) => {
                let Layout { resident_chunks, chunks, .. } = *layout;
                PlanReason::Spilled { bytes, resident_chunks, chunks }
            }
        }
    }

    fn row_reason(&self, layout: &Layout) -> PlanReason {
        let (rows, vocab, wanted) = (layout.row_cache_rows, self.model.vocab, self.rows().1);
        if rows < wanted {
            PlanReason::RowCacheReduced { rows, wanted }
        } else if self.settings.row_cache == RowCacheSize::Auto && rows < vocab.div_ceil(10) {
            PlanReason::RowCachePool { rows }
        } else {
            PlanReason::RowCacheShare { rows, vocab }
        }
    }

    fn stall_reason(&self, layout: &Layout, prediction: &Prediction) -> Option<PlanReason> {
        let tokens = self.pool.tokens().saturating_add(self.pool.prefix_tokens);
        let needed = tokens_to_hide_reading(layout, self.model, self.machine);
        let share = prediction.stall_share();
        match share > STALL_SHARE {
            true => Some(PlanReason::Stalls { share, tokens, needed }),
            false if layout.weights.slots.is_empty() => None,
            false => Some(PlanReason::ReadingHidden { tokens, needed }),
        }
    }
}

/// What a layout takes of a memory whose budget does not hold it.
struct TooSmall {
    memory: Memory,
    ledger: Ledger,
    of_host: bool,
}

impl TooSmall {
    /// The nearest miss: one whose device holds it, then the least.
    fn order(&self) -> (bool, u64) {
        (!self.of_host, self.ledger.total())
    }
}

/// The total, without the noise of sums in another order: whole layers and halves that take as long are equally fast.
///
/// Relative, since the noise is: to a part in 2⁴⁰, which is a picosecond of a second.
fn without_noise(prediction: &Prediction) -> f64 {
    const NOISE: u64 = 1 << (f64::MANTISSA_DIGITS - 1 - 40);
    let bits = prediction.total_seconds.to_bits();
    f64::from_bits((bits + NOISE / 2) & !(NOISE - 1))
}

fn planned_links(machine: &Machine, prediction: &Prediction) -> Vec<PlannedLink> {
    let planned = |link: &Link, bytes, seconds| PlannedLink {
        name: link.name,
        bytes_per_second: link.bytes_per_second,
        measured: link.measured,
        bytes,
        seconds,
    };
    let Prediction { bytes_read, read_seconds, bytes_copied, copy_seconds, .. } = *prediction;
    let mut links = vec![planned(&machine.disk_to_host, bytes_read, read_seconds)];
    if let Some(device) = &machine.device {
        links.push(planned(&device.link, bytes_copied, copy_seconds));
    }
    links.push(planned(&machine.host_to_disk, prediction.bytes_spilled, prediction.spill_seconds));
    links
}

fn halves(layout: &Layout) -> bool {
    layout.weights.unit == BlockUnit::HalfLayer
}
