//! The CUDA backend on a card of this machine: `cargo test -p grating-conformance --test card -- --ignored`, or
//! `cargo xtask gpu`.
#![allow(clippy::unwrap_used)] // a failed test should panic

use std::path::Path;

use grating_backend::Precision;
use grating_candle::CandleOps;
use grating_conformance::figures::{self, Pool};
use grating_conformance::{golden, layers, operations, requests};
use grating_cuda::{CudaBackend, CudaOptions, Driver, Nvidia};

/// The first card; why there is none is said in words, which `run.sh` looks for.
fn card() -> Nvidia {
    Nvidia::open(0).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn what_keeps_a_card_from_being_used_is_said_in_words() {
    if let Err(error) = Nvidia::open(0) {
        let said = std::panic::catch_unwind(card).map(drop).unwrap_err();
        assert_eq!(said.downcast_ref::<String>(), Some(&error.to_string()));
    }
}

fn backend(precision: Precision) -> CudaBackend<Nvidia> {
    if let Some(folder) = std::env::var_os("GRATING_GOLDENS") {
        golden::look_in(folder.into());
    }
    CudaBackend::new(card(), CudaOptions::default().with_precision(precision)).unwrap()
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
    requests::all_off(&requests::FAMILIES, || backend(Precision::Fast), 0.0, 0.1);
}

/// Times of pools through the model in the folder that `GRATING_FIGURES` names, a line of JSON each: with all of the device's
/// memory; within 1.2 GiB of it, the rest of the weights in the host's memory, whole and pruned; and from the disk.
#[test]
#[ignore = "needs a card, and a model"]
fn figures() {
    let Some(folder) = std::env::var_os("GRATING_FIGURES") else { return };
    let folder = Path::new(&folder);
    for precision in [Precision::Fast, Precision::Exact] {
        for (count, tokens) in [(20, 256), (20, 512), (60, 512)] {
            let little = |pruned| (Some(1200 << 20), pruned, true);
            for how in [(None, false, true), little(false), little(true)] {
                figure(folder, precision, (count, tokens), how);
            }
        }
    }
    figure(folder, Precision::Fast, (20, 512), (Some(1200 << 20), false, false));
}

fn figure(
    folder: &Path,
    precision: Precision,
    (count, tokens): (usize, usize),
    (budget, pruned, kept_by_host): (Option<u64>, bool, bool),
) {
    let probe = card();
    let used = || probe.memory().map_or(0, |(free, total)| total - free);
    let before = used();
    let budget = budget.unwrap_or(probe.memory().unwrap().0 / 10 * 9);
    let options = CudaOptions::default().with_precision(precision);
    let options = options.with_memory_budget(Some(budget));
    let backend = CudaBackend::new(card(), options).unwrap();
    let pool = Pool { count, tokens, budget, pruned, kept_by_host };
    let mut figure = figures::figure(folder, pool, backend, (&used, before));
    figure["precision"] = precision.to_string().into();
    println!("{figure}");
}
