//! The reference against transformers' goldens, and the CPU's operations against the reference.
#![allow(clippy::unwrap_used)] // helpers of tests; the exemption of clippy.toml covers the tests alone

mod blocks;
mod conformance;
mod golden;
#[allow(dead_code)] // the tests of `grating-model` read more of a pair
#[path = "../../../grating-model/tests/it/goldens.rs"]
mod goldens;
