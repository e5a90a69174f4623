//! Every operation, and every family's layers, on the emulated device.
#![cfg(emulated)]
#![allow(clippy::unwrap_used)] // a failed test should panic

use grating_backend::Precision;
use grating_candle::CandleOps;
use grating_conformance::{layers, operations};
use grating_cuda::{CudaBackend, CudaOptions};
use grating_cuda_emulated::{Emulated, Order};

fn backend(order: Order, precision: Precision) -> CudaBackend<Emulated> {
    let options = CudaOptions::default().with_precision(precision);
    CudaBackend::new(Emulated::new(None, order), options).unwrap()
}

#[test]
fn operations_are_those_of_the_reference() {
    operations::all(&backend(Order::Late, Precision::Full), &CandleOps::cpu());
}

#[test]
fn logits_after_every_layer_are_the_references_in_any_order_of_the_queues() {
    for order in [Order::Late, Order::Random(7)] {
        layers::check(&backend(order, Precision::Full), |_| layers::TOLERANCE);
    }
}

/// As on the processor: inputs of bf16 matrices are rounded to 8 bits and the goldens are computed in f32 throughout, so
/// a logit of these narrow models may move in its third digit.
const ROUNDED: f32 = 1e-1;

#[test]
fn exact_precision_stays_near_the_reference() {
    layers::check(&backend(Order::Random(3), Precision::Exact), |case| {
        if case.contains("bf16") { ROUNDED } else { layers::TOLERANCE }
    });
}
