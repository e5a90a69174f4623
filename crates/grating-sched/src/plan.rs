//! A plan: what is resident, what is streamed, in which pieces, and what that costs.

use std::fmt;

use crate::block::BlockUnit;
use crate::layout::Layout;
use crate::ledger::{Ledger, mebibytes};
use crate::predict::Prediction;
use crate::reason::Reason;

/// How to run one pool through one model. Made by [`plan`](crate::plan()).
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Plan {
    /// The budget that was given, bytes.
    pub budget: Option<u64>,
    /// What is resident, what is streamed, and in which pieces the pool goes.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub layout: Layout,
    /// All layers of the model.
    pub layers: usize,
    /// Who takes how much memory.
    pub ledger: Ledger,
    /// What a request with this pool costs if nothing is pruned.
    pub prediction: Prediction,
    /// Why.
    pub reasons: Vec<Reason>,
}

impl Plan {
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
        format!("{unit}, {pinned} of {} layers stay", self.layers)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layout = &self.layout;
        let hidden = match layout.spill {
            true => format!("on disk, {} chunks in memory", layout.resident_chunks),
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
        write!(f, "memory\n{}", self.ledger)?;
        if let Some(budget) = self.budget {
            writeln!(f, "  {:<16}{:>14}", "budget", mebibytes(budget))?;
        }
        write!(f, "predicted time, nothing pruned\n{}why\n", self.prediction)?;
        self.reasons.iter().try_for_each(|reason| writeln!(f, "  {reason}"))
    }
}

/// An aligned table of the times.
impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, seconds) in [
            ("read weights", self.read_seconds),
            ("spill", self.spill_seconds),
            ("embedding", self.embedding_seconds),
            ("compute", self.compute_seconds),
            ("stall", self.stall_seconds),
            ("total", self.total_seconds),
            ("first request", self.first_total_seconds),
        ] {
            writeln!(f, "  {name:<16}{seconds:>12.3} s")?;
        }
        Ok(())
    }
}
