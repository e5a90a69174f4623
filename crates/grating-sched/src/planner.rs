//! The planner: of all layouts that fit, the fastest.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::block::{BlockPart, BlockUnit};
use crate::error::PlanError;
use crate::layout::{self, CHUNK_TARGET, Layout};
use crate::ledger::Ledger;
use crate::machine::Machine;
use crate::plan::Plan;
use crate::predict::{Prediction, run, tokens_to_hide_reading};
use crate::reason::Reason;
use crate::settings::{RowCache, Settings, Spill, Window};
use crate::shape::{ModelShape, PoolShape};
use crate::workload::Workload;

/// Stalls below this share of the time are not worth a warning.
const STALL_SHARE: f64 = 0.005;

/// Plans how to run `pool` through `model`.
///
/// With a budget: of all layouts that fit it, the one with the least predicted time. A layout is a window (all
/// layers; two slots of a layer; two of half a layer; one of half a layer), a chunk size, and a number of
/// chunks in memory. What it leaves of the budget goes to the row cache, up to its default, and then to pinned
/// layers. Equally fast ones are decided by more cached rows, then whole layers before
/// halves, then fewer bytes read, then less memory.
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
    let (layout, prediction) = match settings.budget {
        None => planner.unbudgeted(),
        Some(budget) => planner.fastest(budget)?,
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
    fn ledger(&self, layout: &Layout) -> Ledger {
        layout.ledger(self.model, self.pool, self.settings.base_bytes)
    }

    /// Rows of the cache: those that must fit, and those wanted.
    fn rows(&self) -> (usize, usize) {
        let vocab = self.model.vocab;
        self.settings.row_cache.rows(vocab, self.pool.distinct_ids(vocab))
    }

    fn unbudgeted(&self) -> (Layout, Prediction) {
        let mut layout = layout::unbudgeted(self.model, self.pool, self.settings);
        layout.row_cache_rows = self.rows().1;
        let workload = Workload::full(self.model, self.pool, layout.chunk_tokens);
        let prediction = run(&layout, self.model, &workload, self.machine);
        (layout, prediction)
    }

    fn fastest(&self, budget: u64) -> Result<(Layout, Prediction), PlanError> {
        let (least, wanted) = self.rows();
        let mut workloads = BTreeMap::new();
        let mut minimum: Option<Ledger> = None;
        let mut best: Option<(Layout, Prediction)> = None;
        for mut layout in layout::all(self.model, self.pool, self.settings) {
            layout.row_cache_rows = least;
            let ledger = self.ledger(&layout);
            if minimum.is_none_or(|m| ledger.total() < m.total()) {
                minimum = Some(ledger);
            }
            if ledger.total() > budget {
                continue;
            }
            layout.spend(self.model, wanted, &ledger, budget);
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
            let mut ledger = minimum.expect("every setting allows at least one layout");
            ledger.base = ledger.base.saturating_add(self.settings.base_noise_bytes);
            PlanError::BudgetTooSmall { budget, minimum: ledger.total(), ledger: Box::new(ledger) }
        })
    }

    /// Faster first; see [`plan`] for the rest.
    fn order(&self, a: &(Layout, Prediction), b: &(Layout, Prediction)) -> Ordering {
        a.1.total_seconds
            .total_cmp(&b.1.total_seconds)
            .then_with(|| b.0.row_cache_rows.cmp(&a.0.row_cache_rows))
            .then_with(|| halves(&a.0).cmp(&halves(&b.0)))
            .then_with(|| a.1.bytes_read.cmp(&b.1.bytes_read))
            .then_with(|| self.ledger(&a.0).total().cmp(&self.ledger(&b.0).total()))
    }

    fn finish(&self, layout: Layout, prediction: Prediction) -> Plan {
        let ledger = self.ledger(&layout);
        let mut reasons = vec![self.window_reason(&layout, &ledger)];
        if layout.weights.pinned_layers > 0 && !layout.weights.slots.is_empty() {
            let (layers, of) = (layout.weights.pinned_layers, self.model.layers);
            reasons.push(Reason::Pinned { layers, of });
        }
        reasons.push(self.chunk_reason(&layout));
        reasons.push(self.spill_reason(&layout));
        reasons.push(self.row_reason(&layout));
        reasons.extend(self.stall_reason(&layout, &prediction));
        Plan {
            budget: self.settings.budget,
            layout,
            layers: self.model.layers,
            ledger,
            prediction,
            reasons,
        }
    }

    fn window_reason(&self, layout: &Layout, ledger: &Ledger) -> Reason {
        match self.settings.window {
            Window::All => return Reason::WindowAsked { layers: None },
            Window::Slots(n) => return Reason::WindowAsked { layers: Some(n) },
            Window::Auto => {}
        }
        let Some(budget) = self.settings.budget else { return Reason::NoBudget };
        match (layout.weights.unit, layout.weights.slots.len()) {
            (_, 0) => Reason::AllResident { bytes: ledger.pinned },
            (_, 1) => Reason::SingleSlot,
            (BlockUnit::Layer, _) => Reason::TwoLayers,
            (BlockUnit::HalfLayer, _) => {
                let two_layers = self.model.slot_bytes(BlockPart::Whole).saturating_mul(2);
                let lean = Ledger { pinned: 0, row_cache: 0, ..*ledger };
                let saved = two_layers.saturating_sub(ledger.window);
                let two_layers_total = lean.total().saturating_add(saved);
                match two_layers_total > budget {
                    true => Reason::HalfLayers { two_layers_total },
                    false => Reason::HalfLayersPreferred { saved },
                }
            }
        }
    }

    fn chunk_reason(&self, layout: &Layout) -> Reason {
        let (tokens, longest) = (layout.chunk_tokens, self.pool.smallest_chunk());
        match self.settings.chunk_tokens {
            Some(asked) if asked >= tokens => Reason::ChunkAsked { tokens },
            None if tokens == CHUNK_TARGET => Reason::ChunkTarget { tokens },
            None if tokens < CHUNK_TARGET => {
                Reason::ChunkReduced { tokens, target: CHUNK_TARGET.max(longest) }
            }
            _ => Reason::ChunkRaised { longest },
        }
    }

    fn spill_reason(&self, layout: &Layout) -> Reason {
        let bytes = self.model.hidden_bytes(self.pool.tokens());
        match (layout.spill, self.settings.spill) {
            (false, _) => Reason::HiddenInMemory { bytes },
            (true, Spill::Always) => Reason::SpillAsked,
            (true, _) => {
                let Layout { resident_chunks, chunks, .. } = *layout;
                Reason::Spilled { bytes, resident_chunks, chunks }
            }
        }
    }

    fn row_reason(&self, layout: &Layout) -> Reason {
        let (rows, vocab, wanted) = (layout.row_cache_rows, self.model.vocab, self.rows().1);
        if rows < wanted {
            Reason::RowCacheReduced { rows, wanted }
        } else if self.settings.row_cache == RowCache::Auto && rows < vocab.div_ceil(10) {
            Reason::RowCachePool { rows }
        } else {
            Reason::RowCacheShare { rows, vocab }
        }
    }

    fn stall_reason(&self, layout: &Layout, prediction: &Prediction) -> Option<Reason> {
        let tokens = self.pool.tokens().saturating_add(self.pool.prefix_tokens);
        let needed = tokens_to_hide_reading(self.model, self.machine);
        let share = prediction.stall_share();
        match share > STALL_SHARE {
            true => Some(Reason::Stalls { share, tokens, needed }),
            false if layout.weights.slots.is_empty() => None,
            false => Some(Reason::ReadingHidden { tokens, needed }),
        }
    }
}

fn halves(layout: &Layout) -> bool {
    layout.weights.unit == BlockUnit::HalfLayer
}
