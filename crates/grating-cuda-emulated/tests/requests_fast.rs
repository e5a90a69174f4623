//! Whole requests with bf16 between operations; in a process of their own, since budgets count all that is resident.
#![cfg(emulated)]
#![allow(clippy::unwrap_used)] // a failed test should panic

use grating_backend::Precision;
use grating_conformance::requests;
use grating_cuda::{CudaBackend, CudaOptions};
use grating_cuda_emulated::{Emulated, Order};

#[test]
fn cuda_keeps_the_engines_promises_to_the_bit_with_activations_of_bf16() {
    let options = CudaOptions::default().with_precision(Precision::Fast);
    requests::all_off(
        &requests::FORMS,
        || CudaBackend::new(Emulated::new(None, Order::Random(12)), options).unwrap(),
        0.0,
        0.1,
    );
}
