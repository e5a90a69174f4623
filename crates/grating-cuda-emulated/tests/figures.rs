//! What is measured on a card, tried on the emulated device: times mean nothing here, bytes and layers do.
#![cfg(emulated)]
#![allow(clippy::unwrap_used)] // a failed test should panic

use grating_backend::Precision;
use grating_conformance::figures::{Pool, figure};
use grating_conformance::golden::folder;
use grating_cuda::{CudaBackend, CudaOptions};
use grating_cuda_emulated::{Emulated, Order};
use serde_json::Value;

const POOL: Pool =
    Pool { count: 8, tokens: 96, budget: 32 << 20, pruned: false, kept_by_host: true };

fn measured(case: &str, pool: Pool) -> Value {
    let device = Emulated::new(None, Order::Random(3));
    let used = || device.allocated().0;
    let options = CudaOptions::default().with_precision(Precision::Fast);
    let options = options.with_memory_budget(Some(pool.budget));
    let backend = CudaBackend::new(device.clone(), options).unwrap();
    let figure = figure(&folder(case), pool, backend, (&used, 0));
    assert!(device.allocated().1 <= pool.budget, "{figure}");
    let number = |name: &str| figure[name].as_f64().unwrap();
    assert!(0.0 < number("driver_mib"), "{figure}");
    assert!(number("driver_mib") <= number("budget_mib"), "{figure}");
    assert!(number("ms") > 0.0 && number("first_ms") > 0.0, "{figure}");
    figure
}

#[test]
fn pools_that_the_device_holds_copy_and_read_nothing_again() {
    let figure = measured("qwen3-tied-f32", POOL);
    assert_eq!((&figure["pool"], &figure["computed"]), (&"8x96".into(), &1.0.into()));
    assert_eq!(
        (&figure["copied_mib"], &figure["read_mib"]),
        (&0.0.into(), &0.0.into()),
        "{figure}"
    );
    assert!(figure["layers_kept"].as_u64().unwrap() > 0, "{figure}");
}

#[test]
fn pools_are_streamed_from_the_host_and_from_the_disk() {
    let little = Pool { budget: 900 << 10, ..POOL };
    let host = measured("qwen3-tied-f32", little);
    assert!(host["layers_in_host"].as_u64().unwrap() > 0, "{host}");
    assert!(host["copied_mib"].as_f64().unwrap() > 0.0, "{host}");
    assert_eq!(host["read_mib"], 0.0, "{host}");
    let disk = measured("qwen3-tied-f32", Pool { kept_by_host: false, ..little });
    assert_eq!(disk["layers_in_host"], 0, "{disk}");
    assert!(disk["read_mib"].as_f64().unwrap() > 0.0, "{disk}");
    assert!(disk["read_ms"].as_f64().unwrap() > 0.0, "{disk}");
}
