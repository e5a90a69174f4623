//! The CUDA backend on a card of this machine: `cargo test -p grating-conformance --test card -- --ignored`, or
//! `cargo xtask gpu`.
#![allow(clippy::unwrap_used)] // a failed test should panic

use std::path::Path;

use grating_backend::Precision;
use grating_candle::CandleOps;
use grating_conformance::golden::{self, load};
use grating_conformance::{layers, operations, requests};
use grating_cuda::{CudaBackend, CudaOptions, Driver, Nvidia};
use grating_engine::{Engine, EngineOptions, Job};
use grating_model::Encoding;
use grating_sched::Memory;

fn backend(precision: Precision) -> CudaBackend<Nvidia> {
    if let Some(folder) = std::env::var_os("GRATING_GOLDENS") {
        golden::look_in(folder.into());
    }
    let device = Nvidia::open(0).unwrap();
    CudaBackend::new(device, CudaOptions::default().with_precision(precision)).unwrap()
}

#[test]
#[ignore = "needs a card"]
fn operations_are_those_of_the_reference() {
    operations::all(&backend(Precision::Full), &CandleOps::cpu());
}

#[test]
#[ignore = "needs a card"]
fn logits_after_every_layer_are_the_references() {
    layers::check(&backend(Precision::Full), |_| layers::TOLERANCE);
    layers::check(&backend(Precision::Exact), |case| {
        if case.contains("bf16") { 1e-1 } else { layers::TOLERANCE }
    });
    // All products are of bf16, and weights are random: some logit of each model has lost its meaning.
    for (case, errors) in layers::check(&backend(Precision::Fast), |_| f32::MAX) {
        assert!(layers::mean(&errors) <= 2e-1, "{case}: {}", layers::mean(&errors));
    }
}

#[test]
#[ignore = "needs a card"]
fn a_card_keeps_the_engines_promises_to_the_bit() {
    requests::all(&requests::FAMILIES, || backend(Precision::Fast), 0.0);
}

/// Times of pools through the model in the folder that `GRATING_FIGURES` names, of random ids, nothing pruned: a line of
/// JSON each, the least of three requests after the first.
#[test]
#[ignore = "needs a card, and a model"]
fn figures() {
    let Some(folder) = std::env::var_os("GRATING_FIGURES") else { return };
    for budget in [None, Some(1200 << 20)] {
        for precision in [Precision::Exact, Precision::Fast] {
            for (count, tokens) in [(20, 256), (20, 512), (60, 512)] {
                figure(Path::new(&folder), budget, precision, (count, tokens));
            }
        }
    }
}

fn figure(folder: &Path, budget: Option<u64>, precision: Precision, (count, tokens): (u32, u32)) {
    let (loaded, checkpoint) = load(folder, None, false);
    let device = Nvidia::open(0).unwrap();
    let (free, _) = device.memory().unwrap();
    let budget = budget.unwrap_or(free / 10 * 9);
    let of_backend =
        CudaOptions::default().with_precision(precision).with_memory_budget(Some(budget));
    let backend = CudaBackend::new(device, of_backend).unwrap();
    let mut options = EngineOptions::new(std::env::temp_dir());
    let memory = Memory::new("device memory").with_budget(budget);
    options.machine = options.machine.with_device(memory, 12e9);
    // The host keeps what the device does not.
    options.machine.host.budget = Some(1 << 40);
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    let engine = Engine::start(name.clone(), loaded.model, checkpoint, backend, options).unwrap();
    let ids = |text: u32| (0..tokens).map(|i| 10 + (text * 7919 + i * i) % 900).collect();
    let encoding = |text| Encoding { ids: ids(text), ..Encoding::default() };
    let ask = || engine.select(Job::new((0..count).map(encoding).collect(), 10), |_| ()).unwrap();
    ask();
    let best = [(); 3].map(|()| ask()).into_iter().min_by_key(|output| output.costs.total).unwrap();
    let (costs, layout) = (&best.costs, &best.plan.layout);
    let milliseconds = |time: std::time::Duration| (time.as_secs_f64() * 1e5).round() / 1e2;
    println!(
        "{{\"model\": {name:?}, \"pool\": \"{count}x{tokens}\", \"precision\": \"{precision}\", \"budget_mib\": {}, \
         \"ms\": {}, \"embed_ms\": {}, \"copy_ms\": {}, \"copy_waited_ms\": {}, \"copied_mib\": {}, \"layers_kept\": {}}}",
        budget >> 20,
        milliseconds(costs.total),
        milliseconds(costs.embed),
        milliseconds(costs.copies.time),
        milliseconds(costs.copies.waited),
        costs.copies.bytes >> 20,
        layout.weights.pinned_layers,
    );
}
