//! What runs when, and in how much memory: plans as pure arithmetic.
//!
//! # Brief overview
//!
//! A transformer's layers are streamed from disk through a small window while a pool of sequences
//! (candidates) passes through them, layer by layer, chunk by chunk. This crate decides how, given numbers:
//!
//! * [`ModelShape`] and [`PoolShape`] say what is to be run, [`Machine`] which memories there are, each with its budget,
//!   how fast the links between them are and how fast it computes, [`Settings`] what the user asks for.
//! * [`plan`](plan()) answers with a [`Plan`]: window, pinned layers, chunk size, spilling, row cache, and with its
//!   [`Ledger`] (every use of each memory), its [`Prediction`] (time, layer by layer) and its [`PlanReason`]s. The
//!   ledger's total never exceeds the budget of its memory. A budget below the minimum is an error that states the minimum.
//! * Its [`Layout`] is what runs: [`WeightLayout`] lists the blocks of weights in order, each with its slot; [`chunk`]
//!   cuts and orders the pool.
//! * [`Machine::observe`] learns from runs, whose work [`Workload`] counts.
//!
//! No threads, files, clocks or random numbers.
//!
//! # Example
//!
//! ```
//! use grating_sched::{Machine, Memory, ModelShape, PoolShape, Settings, plan};
//!
//! // 28 layers of 31.5 MB.
//! let mut model = ModelShape::new(28, 1024);
//! model.attention_bytes = 12_582_912;
//! model.feed_forward_bytes = 18_874_368;
//! // What the reader needs for each, here what they have and two pages.
//! model.layer_slot = 31_465_472;
//! model.attention_slot = 12_591_104;
//! model.feed_forward_slot = 18_882_560;
//! model.resident_bytes = 1 << 20;
//! model.vocab = 151_669;
//! model.row_bytes = 2048;
//! model.flops_per_token = 31_457_280.0;
//! model.attention_flops_per_token_pair = 8192.0;
//! model.kv_columns = 2048;
//! model.workspace_per_token = 53_248;
//! model.workspace_fixed = 4 << 20;
//! let pool = PoolShape::uniform(20, 256);
//! let mut machine = Machine::default();
//! machine.host = machine.host.with_base(60_000_000).with_budget(200 << 20);
//!
//! let plan = plan(&model, &pool, &machine, &Settings::default())?;
//! assert!(plan.ledger.total() <= 200 << 20);
//! assert!(!plan.layout.spill && plan.prediction.stall_share() < 0.01);
//! println!("{plan}");
//!
//! // A device with a memory of its own, at the end of a link of 25 GB/s.
//! let device = machine.with_device(Memory::new("device memory").with_budget(1 << 30), 25e9);
//! let plan = grating_sched::plan(&model, &pool, &device, &Settings::default())?;
//! assert!(plan.memories.iter().all(|m| m.ledger.total() <= m.budget.unwrap()));
//!
//! assert_eq!(plan.layout.weights.pinned_layers, 28, "the device holds the model");
//! # Ok::<(), grating_sched::PlanError>(())
//! ```
//!
//! # Memory
//!
//! On a CPU, or a device that shares the host's memory, there is one memory, and its [`Ledger::total`] is the sum of
//!
//! | use | bytes |
//! | --- | --- |
//! | base | [`Memory::base`] |
//! | token ids | 8 × tokens |
//! | resident parts | [`ModelShape::resident_bytes`] |
//! | window | capacities of the slots that slide: [`ModelShape::slot_bytes`] of a block |
//! | pinned | pinned layers × the slots of a layer's blocks, as large as those that slide |
//! | row cache | rows × (row bytes + 64) |
//! | hidden states | 4 × hidden × tokens; when spilling, of the chunks that stay, at least the one in hand |
//! | spill buffers | two chunks' hidden states when spilling: one being written, one being read |
//! | workspace | workspace per token × tokens of the largest chunk, and the fixed part |
//! | prefix | prefix tokens × (4 × hidden + [`ModelShape::key_bytes`] × K/V columns): its hidden state, and keys and values of one layer |
//!
//! A device with a memory of its own has a second ledger: parts, window, pinned layers, hidden states, workspace and
//! prefix are the device's. In the host's are base, token ids, row cache, the slots that blocks pass through (`window`:
//! as many as the device has, or one layer's), layers that it keeps for the device (`pinned`), and hidden states that the
//! device does not hold.
//!
//! # Time
//!
//! A block is what a slot holds: a layer, or half of one (attention, feed-forward). For each block
//!
//! ```text
//! t_read    = bytes of the block / read bandwidth                          (0 if pinned)
//! t_compute = ((tokens + 8 × chunks) × FLOP per token × bytes of the block / bytes of the layer
//!              + token pairs × FLOP per pair, in attention) / (FLOP/s)     (× 1.05 when spilling)
//! t_spill   = 2 × hidden bytes of the chunks that do not stay / spill bandwidth
//! ```
//!
//! Two clocks run through the blocks in order. The reader starts block j when it is done with j - 1 and block
//! j - s has been computed, where s is the number of slots; disk time spent on spilling delays it (one disk for
//! both):
//!
//! ```text
//! read(j)  = max(read(j - 1), done(j - s)) + t_read + t_spill
//! done(j)  = max(done(j - 1), read(j)) + max(t_compute, t_spill)
//! stall(j) = max(0, read(j) - done(j - 1)) + max(0, t_spill - t_compute)
//! ```
//!
//! So with two slots a layer takes max(t_read, t_compute): reading is hidden while t_compute ≥ t_read, that is from
//! layer bytes / read bandwidth × FLOP/s / FLOP per token live tokens on, whatever the chunk size. With weights of 16 bits and 2 FLOP per weight
//! and token that is FLOP/s ÷ bytes/s, whatever the model. With one slot the times add up. Pinned layers take
//! t_compute. On a warm engine (all predictions but
//! [`first_total_seconds`](Prediction::first_total_seconds)) pinned layers are loaded and the window is full at
//! the start. Embedding rows come before: one read of at least a page for each distinct token, at most.
//!
//! With a device of its own memory a third clock copies blocks over its link, from the host's slots into the device's,
//! each a queue of its own: a layer then takes the slowest of reading, copying and computing, and only the slower of
//! copying and computing where the host keeps it.
//!
//! Two constants are assumptions: a chunk costs as much extra as 8 tokens (its weights come from memory once more),
//! and spilling takes 5 % of computing (copies, memory bandwidth) even where the disk is hidden.
//!
//! # Why more memory is never slower
//!
//! The planner prices a list of layouts that does not depend on the budgets, takes those that fit, fills each with rows
//! and pinned layers, both of which only ever save time, and picks the fastest. A larger budget has all the
//! choices of a smaller one.
//!
//! # Optional feature
//! `serde`: plans, ledgers, predictions, machines and shapes can be written.
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

pub use block::{Block, BlockPart, BlockUnit, WeightLayout};
pub use error::PlanError;
pub use layout::{Layout, Staging};
pub use ledger::{Ledger, mebibytes};
pub use machine::{Device, Link, Machine, Measurement, Memory, Transfer};
pub use plan::{Plan, PlannedLink, PlannedMemory};
pub use planner::plan;
pub use predict::{LayerTime, Prediction};
pub use reason::PlanReason;
pub use settings::{RowCacheSize, Settings, Spill, WindowSize};
pub use shape::{LaterLengths, ModelShape, PoolShape};
pub use workload::Workload;

#[cfg(test)]
extern crate self as grating_sched;
#[cfg(test)]
#[allow(dead_code)] // What the tests of the public interface need, too.
#[path = "../tests/planning/support.rs"]
mod support;

/// The examples of the README, run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
