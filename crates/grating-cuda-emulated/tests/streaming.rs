//! The engine with a device that has a memory of its own: two budgets, three links, and what fails on the way.
#![cfg(emulated)]
#![allow(clippy::unwrap_used)] // a failed test should panic

use grating_backend::Precision;
use grating_conformance::golden::{folder, load};
use grating_cuda::{CudaBackend, CudaOptions};
use grating_cuda_emulated::{Call, Emulated, Order};
use grating_engine::{Engine, EngineError, EngineOptions, Job, JobOutput};
use grating_model::{Encoding, LoadedModel};
use grating_sched::{Memory, PlanError, Spill, WindowSize};

type Case = (&'static str, Precision);

/// In f32, with bf16 where products round anyway, and with bf16 between all operations.
const CASES: [Case; 8] = [
    ("qwen3-tied-f32", Precision::Full),
    ("bert-gelu-f32", Precision::Full),
    ("qwen2-bf16-sharded", Precision::Full),
    ("qwen2-bf16-sharded", Precision::Exact),
    ("qwen3-tied-f32", Precision::Fast),
    ("minicpm-layerwise-bf16", Precision::Fast),
    ("gemma2-f32", Precision::Fast),
    ("deberta-v3-f32", Precision::Fast),
];
const QWEN3: Case = ("qwen3-tied-f32", Precision::Full);
const BERT: Case = ("bert-gelu-f32", Precision::Full);
const QUERY: &str = "which window slides";
const TEXTS: [&str; 6] = [
    "two layers of weights slide",
    "the cat sat",
    "a river by the window, and the river is wide where the window of the house is",
    "weights on a disk",
    "東京",
    "a window of glass slides over the layers",
];

/// An engine on the device, within a budget of its memory, and the candidates.
fn engine(
    case: Case,
    device: &Emulated,
    budget: Option<u64>,
    set: impl FnOnce(&mut EngineOptions),
) -> (Engine, Vec<Encoding>) {
    try_engine(case, device, budget, set).unwrap()
}

fn try_engine(
    case: Case,
    device: &Emulated,
    budget: Option<u64>,
    set: impl FnOnce(&mut EngineOptions),
) -> Result<(Engine, Vec<Encoding>), EngineError> {
    let (case, precision) = case;
    let (LoadedModel { model, encoder, .. }, checkpoint) = load(&folder(case), Some(120), false);
    let query = encoder.encode_query(QUERY, None).unwrap();
    let encodings = TEXTS.map(|text| encoder.encode(&query, text).unwrap()).to_vec();
    let mut options = EngineOptions::new(std::env::temp_dir());
    let mut memory = Memory::new("device memory");
    memory.budget = budget;
    options.machine = options.machine.with_device(memory, 1e10);
    set(&mut options);
    let of_backend = CudaOptions::default().with_precision(precision).with_memory_budget(budget);
    let backend = CudaBackend::new(device.clone(), of_backend).unwrap();
    Ok((Engine::start(case.into(), model, checkpoint, backend, options)?, encodings))
}

/// The least budget of the device's memory that a plan is made for.
fn least_budget(case: Case, set: impl Fn(&mut EngineOptions)) -> u64 {
    let mut budget = 4096;
    loop {
        let device = Emulated::new(None, Order::Late);
        let started = try_engine(case, &device, Some(budget), &set);
        match started.and_then(|(engine, encodings)| ask(&engine, &encodings)) {
            Ok(_) => return budget,
            Err(EngineError::Plan(PlanError::BudgetTooSmall { minimum, .. })) => budget = minimum,
            // Not even what the model has beside its layers.
            Err(_) => budget += 4096,
        }
    }
}

fn ask(engine: &Engine, encodings: &[Encoding]) -> Result<JobOutput, EngineError> {
    engine.select(Job::new(encodings.to_vec(), 2), |_| ())
}

fn bits(output: &JobOutput) -> Vec<u32> {
    output.logits.iter().map(|logit| logit.0.to_bits()).collect()
}

#[test]
fn scores_within_every_device_budget_are_the_same_and_none_is_exceeded() {
    for (case, seed) in CASES.into_iter().zip(3..) {
        let free = Emulated::new(None, Order::Late);
        let (all, encodings) = engine(case, &free, None, |_| ());
        let expected = bits(&ask(&all, &encodings).unwrap());
        let small = |options: &mut EngineOptions| options.settings.chunk_tokens = Some(40);
        let (mut budget, mut kept, mut streamed) = (least_budget(case, small), 0, 0);
        for _ in 0..60 {
            let device = Emulated::new(None, Order::Random(seed * 100 + budget));
            let (engine, encodings) = engine(case, &device, Some(budget), small);
            let [first, second] = [(); 2].map(|()| ask(&engine, &encodings).unwrap());
            for output in [&first, &second] {
                assert_eq!(bits(output), expected, "{case:?} within {budget}");
            }
            let layout = &second.plan.layout;
            match layout.weights.slots.is_empty() {
                true => kept += 1,
                false => streamed += 1,
            }
            let (link, read) = (&second.links[1], &second.links[0]);
            assert_eq!(link.name, "host to device");
            // What the device keeps crosses the link once; rates that were learnt may have changed the plan.
            let all_kept = layout.weights.slots.is_empty();
            if first.plan.layout == *layout {
                assert_eq!(link.bytes == 0, all_kept, "{case:?} within {budget}: {link:?}");
                assert!(!all_kept || read.bytes == 0, "{read:?}");
            }
            drop(engine);
            let (left, peak) = device.allocated();
            assert!(peak <= budget && left == 0, "{peak} within {budget}, {left} left");
            budget += budget / 3;
            if kept > 0 && streamed > 0 {
                break;
            }
        }
        assert!(kept > 0 && streamed > 0, "{case:?}: {kept} {streamed}");
    }
}

#[test]
fn the_host_keeps_what_the_device_does_not() {
    let case = QWEN3;
    let device = Emulated::new(None, Order::Random(1));
    let (plain, encodings) = engine(case, &device, None, |_| ());
    let expected = bits(&ask(&plain, &encodings).unwrap());
    let set = |options: &mut EngineOptions| {
        options.settings.window = WindowSize::Slots(2);
        options.machine.host.budget = Some(1 << 40);
    };
    let budget = least_budget(case, set);
    for order in [Order::OtherQueuesAtOnce, Order::FirstQueueAtOnce, Order::Random(9)] {
        let device = Emulated::new(None, order);
        let (engine, encodings) = engine(case, &device, Some(budget), set);
        let outputs = [(); 3].map(|()| ask(&engine, &encodings).unwrap());
        for output in &outputs {
            assert_eq!(bits(output), expected, "{order:?}");
        }
        let [_, _, third] = &outputs;
        let staging = third.plan.layout.staging.as_ref().unwrap();
        assert_eq!(third.plan.layout.weights.pinned_layers, 0);
        assert_eq!(staging.pinned_layers, third.plan.layers);
        // Read into memory that copies come straight from, beside the pieces that other bytes pass through.
        let pieces = 4 * (4 << 20);
        assert!(device.page_locked().0 >= pieces + third.memory.pinned, "{order:?}");
        // From the disk once, over the link each time.
        assert!(third.links[1].bytes > 0, "{order:?}");
        assert_eq!(third.links[0].bytes, 0, "{order:?}");
    }
}

#[test]
fn links_and_memories_are_told_in_figures_and_on_the_timeline() {
    let case = QWEN3;
    let set = |options: &mut EngineOptions| {
        options.settings.window = WindowSize::Slots(1);
        options.machine.host.budget = Some(1 << 40);
    };
    let budget = least_budget(case, set);
    let device = Emulated::new(None, Order::Random(21));
    let (engine, encodings) = engine(case, &device, Some(budget), set);
    for request in 0..2 {
        let mut job = Job::new(encodings.clone(), 2);
        job.timeline = true;
        let output = engine.select(job, |_| ()).unwrap();
        let most = output.memory.device_most.unwrap();
        assert!(0 < most && most <= budget, "{most} within {budget}");
        let link = &output.links[1];
        assert!(link.bytes > 0 && link.busy > std::time::Duration::ZERO, "{link:?}");
        let events = output.timeline.to_json()["traceEvents"].as_array().unwrap().clone();
        let named = |phase: &str, name: &str| -> Vec<_> {
            events.iter().filter(|e| e["ph"] == phase && e["name"] == name).cloned().collect()
        };
        let copies = named("X", "weights");
        // Before the first one, stem and head went there.
        let expected = output.plan.layers + if request == 0 { 2 } else { 0 };
        assert_eq!(copies.len(), expected);
        let bytes: u64 = copies.iter().map(|e| e["args"]["bytes"].as_u64().unwrap()).sum();
        assert_eq!(bytes, link.bytes);
        let held = named("C", "allocated device memory");
        assert_eq!(held.len(), output.plan.layers);
        assert!(held.iter().all(|e| (1..=most).contains(&e["args"]["bytes"].as_u64().unwrap())));
    }
}

#[test]
fn hidden_states_go_to_the_host_or_the_disk_and_come_back() {
    let case = BERT;
    let device = Emulated::new(None, Order::Random(2));
    let (plain, encodings) = engine(case, &device, None, |_| ());
    let expected = bits(&ask(&plain, &encodings).unwrap());
    let device = Emulated::new(None, Order::Random(4));
    let (spilling, encodings) = engine(case, &device, None, |options| {
        options.settings.spill = Spill::Always;
        options.settings.chunk_tokens = Some(30);
    });
    let output = ask(&spilling, &encodings).unwrap();
    assert!(output.costs.spill_bytes_written > 0);
    assert_eq!(bits(&output), expected);
}

/// Faults that are tried, so many calls of their kind from the first to the last.
const FAULTS: u64 = 16;

#[test]
fn faults_of_the_device_end_their_request_and_the_next_is_served() {
    let device = Emulated::new(None, Order::Random(8));
    let case = ("qwen3-tied-f32", Precision::Fast);
    let (engine, encodings) = engine(case, &device, None, |options| {
        options.settings.window = WindowSize::Slots(2);
        options.settings.chunk_tokens = Some(40);
        options.machine.host.budget = Some(1 << 40);
    });
    let expected = bits(&ask(&engine, &encodings).unwrap());
    for call in Call::ALL {
        let calls = calls_of(&device, call, || drop(ask(&engine, &encodings)));
        let mut failures = 0;
        // All of them, or some from each part of a request.
        for after in (0..calls).step_by(calls.div_ceil(FAULTS).max(1) as usize) {
            device.fail(call, after);
            match ask(&engine, &encodings) {
                Ok(output) => assert_eq!(bits(&output), expected, "{call:?} {after}"),
                Err(EngineError::Model { reason, .. }) => {
                    let reason = reason.to_string();
                    let memory = [Call::Allocate, Call::AllocateHost].contains(&call);
                    let cause = if memory { "no memory" } else { "a test" };
                    assert!(reason.contains(cause), "{reason}");
                    failures += 1;
                }
                Err(error) => panic!("{error}"),
            }
            device.mend();
            let next = ask(&engine, &encodings).unwrap();
            assert_eq!(bits(&next), expected, "after {call:?} {after} of {calls}");
        }
        // A request takes memory and events that the one before it left.
        let may_be_none = [Call::AllocateHost, Call::Event].contains(&call);
        assert!(failures > 0 || may_be_none, "{call:?} never failed in {calls}");
    }
}

/// How many calls of a kind `work` makes.
fn calls_of(device: &Emulated, call: Call, mut work: impl FnMut()) -> u64 {
    const MANY: u64 = 1 << 40;
    device.fail(call, MANY);
    work();
    MANY - device.left().unwrap()
}

#[test]
fn a_lost_device_is_an_error_and_no_end() {
    let device = Emulated::new(None, Order::Random(6));
    let (engine, encodings) = engine(QWEN3, &device, None, |_| ());
    ask(&engine, &encodings).unwrap();
    device.lose();
    for _ in 0..3 {
        let error = ask(&engine, &encodings).unwrap_err().to_string();
        assert!(error.contains("a test asked for"), "{error}");
    }
}

#[test]
fn a_byte_less_than_the_least_budget_is_refused_with_the_least() {
    for (case, precision) in CASES {
        let small = |options: &mut EngineOptions| options.settings.chunk_tokens = Some(40);
        let case = (case, precision);
        let least = least_budget(case, small);
        let device = Emulated::new(None, Order::Late);
        let refused = try_engine(case, &device, Some(least - 1), small)
            .and_then(|(engine, encodings)| ask(&engine, &encodings));
        match refused {
            Err(EngineError::Plan(PlanError::BudgetTooSmall { minimum, .. })) => {
                assert_eq!(minimum, least, "{case:?}");
            }
            other => panic!("{case:?}: {other:?}"),
        }
        assert!(device.allocated().1 < least, "{case:?}");
    }
}
