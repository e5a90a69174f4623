//! Whole requests on the CPU; in a process of their own, since budgets count all that is resident.
#![allow(clippy::unwrap_used)] // a failed test should panic

use std::sync::Arc;

use grating_backend::Precision;
use grating_conformance::requests;
use grating_cpu::{CpuOps, Isa};

#[test]
fn the_cpu_keeps_the_engines_promises_to_the_bit() {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let threads = Arc::new(threads);
    let cpu = || CpuOps::new(Isa::detect(), Precision::Exact).with_threads(Arc::clone(&threads));
    requests::all(&requests::FAMILIES, cpu, 0.0);
}
