//! Candle on the GPU of this Mac: `cargo test -p grating-conformance -p grating-candle --features grating-candle/metal --test
//! metal -- --ignored`. Never run by us.
#![allow(clippy::unwrap_used)] // a failed test should panic

use grating_candle::CandleOps;
use grating_conformance::{layers, operations, requests};

/// As on the processor, products depend on how many rows there are, in the last digits.
const BOUND: f32 = 1e-4;

fn metal() -> CandleOps {
    CandleOps::metal().unwrap()
}

#[test]
#[ignore = "needs a Mac"]
fn operations_are_those_of_the_reference() {
    operations::all(&metal(), &CandleOps::cpu());
}

#[test]
#[ignore = "needs a Mac"]
fn logits_after_every_layer_are_the_references() {
    layers::check(&metal(), |_| layers::TOLERANCE);
}

#[test]
#[ignore = "needs a Mac"]
fn metal_keeps_the_engines_promises() {
    requests::all(&requests::FAMILIES, metal, BOUND);
}
