//! What can go wrong, each with what to do about it.

use thiserror::Error;

use crate::ledger::{Ledger, mebibytes};
use crate::machine::Machine;

/// An error of this crate.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// No plan that the settings allow fits the budget.
    #[error(
        "a budget of {}{} is too small: this model and pool need at least {} ({minimum} bytes); \
         raise the budget, or shorten the candidates or the row cache",
        mebibytes(*budget), of_memory(memory), mebibytes(*minimum)
    )]
    BudgetTooSmall {
        /// Whose budget.
        memory: &'static str,
        /// The budget, bytes.
        budget: u64,
        /// The smallest budget that works with the other settings as they are, bytes; also where the base is larger by
        /// [`Memory::base_noise`](crate::Memory::base_noise).
        minimum: u64,
        /// What the minimum is made of.
        ledger: Box<Ledger>,
    },
    /// A model without layers.
    #[error("the model has no layers: there is nothing to run")]
    NoLayers,
    /// A pool without candidates.
    #[error("the pool has no candidates: there is nothing to plan for")]
    NoCandidates,
    /// A window of no slots.
    #[error("a window of 0 layers: ask for at least one, or leave the choice to the planner")]
    ZeroWindow,
    /// Chunks of no tokens.
    #[error("chunks of 0 tokens: ask for at least one, or leave the choice to the planner")]
    ZeroChunk,
    /// The share of the vocabulary to keep is no share.
    #[error("a row cache of {found} of the vocabulary: must be between 0 and 1")]
    InvalidRowCache {
        /// The share asked for.
        found: f64,
    },
    /// A rate or an amount of work that cannot be.
    #[error("{what} is {found}, but must be finite and {expected}")]
    InvalidNumber {
        /// The field, or the name of the link.
        what: &'static str,
        /// Its value.
        found: f64,
        /// What it must be.
        expected: &'static str,
    },
}

/// Which memory's budget; where there is only one it needs no name.
fn of_memory(name: &str) -> String {
    if name == Machine::default().host.name { String::new() } else { format!(" of {name}") }
}
