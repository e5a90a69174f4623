//! A plan: what is resident, what is streamed, in which pieces, and what that costs.

use std::fmt;

use crate::block::BlockUnit;
use crate::layout::Layout;
use crate::ledger::{Ledger, mebibytes};
use crate::predict::Prediction;
use crate::reason::PlanReason;

/// How to run one pool through one model. Made by [`plan`](crate::plan()).
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Plan {
    /// The budget of the host's memory that was given, bytes.
    pub budget: Option<u64>,
    /// The memories, the host's first; the only one where the device shares it.
    pub memories: Vec<PlannedMemory>,
    /// The links that bytes pass over, and what passes.
    pub links: Vec<PlannedLink>,
    /// What is resident, what is streamed, and in which pieces the pool goes.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub layout: Layout,
    /// All layers of the model.
    pub layers: usize,
    /// Who takes how much of the host's memory.
    pub ledger: Ledger,
    /// What a request with this pool costs if nothing is pruned.
    pub prediction: Prediction,
    /// Why.
    pub reasons: Vec<PlanReason>,
}

/// One memory under a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PlannedMemory {
    /// What people call it.
    pub name: &'static str,
    /// The budget that was given, bytes.
    pub budget: Option<u64>,
    /// Who takes how much of it.
    pub ledger: Ledger,
}

/// One link under a plan.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PlannedLink {
    /// From where to where.
    pub name: &'static str,
    /// The rate that the plan counts with, bytes per second.
    pub bytes_per_second: f64,
    /// Whether it comes from a run; else it is a guess.
    pub measured: bool,
    /// What a request moves over it, bytes, both ways.
    pub bytes: u64,
    /// How long that takes, hidden behind computing or not, seconds.
    pub seconds: f64,
}

impl Plan {
    /// What the plan takes of the memory that computing happens in.
    pub fn computing_ledger(&self) -> &Ledger {
        self.memories.last().map_or(&self.ledger, |memory| &memory.ledger)
    }

    /// A table for people: the choices, the memory, the predicted time and the reasons.
    pub fn explain(&self) -> String {
        self.to_string()
    }

    fn window_words(&self) -> String {
        let weights = &self.layout.weights;
        let (slots, pinned) = (weights.slots.len(), weights.pinned_layers);
        if slots == 0 {
            return format!("all {} layers stay", self.layers);
        }
        let unit = match (weights.unit, slots) {
            (BlockUnit::Layer, 1) => "1 slot of a layer".into(),
            (BlockUnit::Layer, _) => format!("{slots} slots of a layer each"),
            (BlockUnit::HalfLayer, 1) => "1 slot of half a layer".into(),
            (BlockUnit::HalfLayer, _) => format!("{slots} slots of half a layer each"),
        };
        let in_host = self.layout.staging.as_ref().map_or(0, |staging| staging.pinned_layers);
        let also =
            if in_host > 0 { format!(", {in_host} more in the host's memory") } else { "".into() };
        format!("{unit}, {pinned} of {} layers stay{also}", self.layers)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layout = &self.layout;
        let hidden = match layout.spill {
            true => format!("on disk, {} chunks in memory", layout.resident_chunks),
            false if layout.parked => {
                format!("in the host's memory, {} chunks on the device", layout.resident_chunks)
            }
            false => "in memory".into(),
        };
        let chunks = format!("{} of up to {} tokens", layout.chunks, layout.chunk_tokens);
        writeln!(f, "plan")?;
        for (name, choice) in [
            ("window", self.window_words()),
            ("chunks", chunks),
            ("hidden states", hidden),
            ("row cache", format!("{} rows", layout.row_cache_rows)),
        ] {
            writeln!(f, "  {name:<16}{choice}")?;
        }
        for PlannedMemory { name, budget, ledger } in &self.memories {
            write!(f, "{name}\n{ledger}")?;
            if let Some(budget) = budget {
                writeln!(f, "  {:<16}{:>14}", "budget", mebibytes(*budget))?;
            }
        }
        writeln!(f, "links")?;
        self.links.iter().try_for_each(|link| link.fmt(f))?;
        write!(f, "predicted time, nothing pruned\n{}why\n", self.prediction)?;
        self.reasons.iter().try_for_each(|reason| writeln!(f, "  {reason}"))
    }
}

/// A line of an aligned table.
impl fmt::Display for PlannedLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.bytes_per_second / f64::from(1 << 20);
        let guess = if self.measured { "" } else { ", a guess" };
        let (name, moved) = (self.name, mebibytes(self.bytes));
        writeln!(f, "  {name:<16}{moved:>14} in {:.3} s ({rate:.0} MiB/s{guess})", self.seconds)
    }
}

/// An aligned table of the times.
impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let copies = (self.copy_seconds > 0.0).then_some(("copy to device", self.copy_seconds));
        for (name, seconds) in
            [("read weights", self.read_seconds)].into_iter().chain(copies).chain([
                ("spill", self.spill_seconds),
                ("embedding", self.embedding_seconds),
                ("compute", self.compute_seconds),
                ("stall", self.stall_seconds),
                ("total", self.total_seconds),
                ("first request", self.first_total_seconds),
            ])
        {
            writeln!(f, "  {name:<16}{seconds:>12.3} s")?;
        }
        Ok(())
    }
}
