//! What runs when, and in how much memory: plans as pure arithmetic.
#![forbid(unsafe_code)]

mod block;
pub mod chunk;
mod error;
mod layout;
mod ledger;
mod machine;
mod plan;
mod planner;
mod predict;
mod reason;
mod settings;
mod shape;
mod workload;

pub use block::{Block, BlockPart, BlockUnit, PAGE, schedule, slot_capacity};
pub use error::PlanError;
pub use ledger::Ledger;
pub use machine::{Machine, Measurement};
pub use plan::Plan;
pub use planner::plan;
pub use predict::{LayerTime, Prediction, predict, tokens_to_hide_reading};
pub use reason::Reason;
pub use settings::{RowCache, Settings, Spill, Window};
pub use shape::{ModelShape, PoolShape};
pub use workload::{LayerLoad, Workload};
