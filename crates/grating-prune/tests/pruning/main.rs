//! Pruning from outside, through the public interface: one module per kind of promise.
// Helpers of tests are tests: they may unwrap.
#![allow(clippy::unwrap_used)]

mod calibration;
mod errors;
mod invariants;
mod kmeans;
mod long_run;
mod order;
mod replaying;
#[cfg(feature = "serde")]
mod stored;
mod support;
