//! What every backend must pass.
//!
//! [`operations`] holds every operation, on awkward shapes, against another backend; [`layers`] every family's scores
//! after every layer against `transformers`; [`requests`] whole requests of the engine against each other: however they
//! are run, whatever fails, pruned or not. A new backend runs all three in its tests, with the bound that it states for
//! scores of the same request run differently (0 on the CPU: not a bit may differ). [`figures`] says how long pools take.
#![allow(clippy::unwrap_used)] // all of it is a test's body: a failed one should panic

pub mod figures;
pub mod golden;
mod hooked;
pub mod layers;
pub mod operations;
pub mod requests;
