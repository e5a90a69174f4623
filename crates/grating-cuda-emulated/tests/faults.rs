//! What goes wrong on a device is an error with its cause, and what comes after it is served; memory stays in its budget.
#![cfg(emulated)]
#![allow(clippy::unwrap_used)] // a failed test should panic

mod chain;

use std::sync::Arc;

use chain::COLUMNS;
use grating_backend::{Backend, BackendError, Ops, Ragged, Result, Scored};
use grating_conformance::operations::HostTensors;
use grating_cuda::{CudaBackend, CudaOptions, DriverError, Nvidia, device_count};
use grating_cuda_emulated::{Call, Emulated, Order};

/// A block of one matrix, of numbers that a seed decides.
fn block(seed: usize) -> Arc<HostTensors> {
    let numbers = (0..COLUMNS * COLUMNS).map(|i| ((i * 7 + seed * 131) % 19) as f32 / 19.0 - 0.5);
    Arc::new(HostTensors(vec![numbers.flat_map(f32::to_le_bytes).collect()]))
}

/// The scored ones of some rows through several blocks.
fn through(ops: &CudaBackend<Emulated>, blocks: usize) -> Result<Vec<f32>> {
    let rows = Ragged::new([3, 5, 1], 0, Scored::Last);
    let layout = ops.layout(&rows)?;
    let x = chain::through(ops, rows.tokens(), blocks, |index| block(index))?;
    ops.wait(ops.read(&ops.scored_rows(&x, &layout)?)?)
}

fn on(device: &Emulated, budget: Option<u64>) -> CudaBackend<Emulated> {
    let options = CudaOptions::default().with_memory_budget(budget);
    CudaBackend::new(device.clone(), options).unwrap()
}

#[test]
fn slots_are_used_again_in_order_whatever_the_queues_do() {
    let expected = through(&on(&Emulated::new(None, Order::Late), None), 9).unwrap();
    assert!(expected.iter().all(|x| x.is_finite()) && expected.iter().any(|x| x.abs() > 0.01));
    let orders = [Order::FirstQueueAtOnce, Order::OtherQueuesAtOnce]
        .into_iter()
        .chain((0..20).map(Order::Random));
    for order in orders {
        let found = through(&on(&Emulated::new(None, order), None), 9).unwrap();
        assert_eq!(found, expected, "{order:?}");
    }
}

/// Whether an error is that of a call that a test made fail.
fn is_of(call: Call, error: &BackendError) -> bool {
    match (call, error) {
        (Call::Allocate | Call::AllocateHost, BackendError::OutOfMemory { bytes }) => *bytes > 0,
        (_, BackendError::Failed { reason }) => reason.contains("a test asked for"),
        _ => false,
    }
}

#[test]
fn any_call_may_fail_and_the_next_request_is_served() {
    let orders = [Order::Late, Order::FirstQueueAtOnce, Order::OtherQueuesAtOnce, Order::Random(5)];
    for order in orders {
        let device = Emulated::new(None, order);
        let ops = on(&device, None);
        let expected = through(&ops, 5).unwrap();
        for call in Call::ALL {
            let (mut failures, mut came) = (0, true);
            let mut after = 0;
            while came {
                // Memory and events that are kept would hide the calls for more.
                ops.trim();
                let fresh =
                    [Call::Event, Call::AllocateHost].contains(&call).then(|| on(&device, None));
                let ops = fresh.as_ref().unwrap_or(&ops);
                device.fail(call, after);
                match through(ops, 5) {
                    Err(error) => {
                        assert!(is_of(call, &error), "{call:?} {after}: {error}");
                        failures += 1;
                    }
                    Ok(found) => assert_eq!(found, expected, "{call:?} {after}"),
                }
                came = !device.mend();
                let next = through(ops, 5).unwrap();
                assert_eq!(next, expected, "{order:?} after {call:?} {after}");
                after += 1;
            }
            assert!(failures > 0, "{call:?} never failed");
        }
    }
}

#[test]
fn a_backend_that_cannot_be_made_says_why_and_the_next_one_can() {
    let device = Emulated::new(None, Order::Late);
    for call in [Call::AllocateHost, Call::Event] {
        let mut after = 0;
        loop {
            device.fail(call, after);
            let made = CudaBackend::new(device.clone(), CudaOptions::default());
            // What times copies does without its first event.
            let came = !device.mend();
            match made {
                Err(error) => assert!(is_of(call, &error.into()), "{call:?} {after}"),
                Ok(_) if came => assert_eq!(call, Call::Event),
                Ok(_) => break,
            }
            let next = through(&on(&device, None), 2);
            assert!(next.is_ok(), "after {call:?} {after}: {next:?}");
            after += 1;
        }
        assert!(after > 1, "{call:?} never failed");
    }
    assert_eq!((device.allocated().0, device.page_locked().0), (0, 0), "something is left");
}

#[test]
fn a_lost_device_is_an_error_of_every_request_and_of_no_other_device() {
    for order in [Order::Late, Order::Random(3)] {
        let (lost, other) = (Emulated::new(None, order), Emulated::new(None, order));
        let (ops, others) = (on(&lost, None), on(&other, None));
        let expected = through(&others, 4).unwrap();
        assert_eq!(through(&ops, 4).unwrap(), expected);
        lost.lose();
        for _ in 0..3 {
            let error = through(&ops, 4).unwrap_err();
            assert!(is_of(Call::Launch, &error), "{error}");
            ops.trim();
        }
        let made = CudaBackend::new(lost, CudaOptions::default()).map(drop);
        assert!(made.is_err());
        assert_eq!(through(&others, 4).unwrap(), expected);
    }
}

#[test]
fn events_are_used_again() {
    let device = Emulated::new(None, Order::Random(2));
    let ops = on(&device, None);
    // Times of copies are read when there are many.
    for _ in 0..20 {
        through(&ops, 6).unwrap();
    }
    let made = device.counted().events;
    for _ in 0..100 {
        through(&ops, 6).unwrap();
    }
    assert_eq!(device.counted().events, made);
}

#[test]
fn a_budget_is_never_exceeded_and_too_small_a_one_says_so() {
    let device = Emulated::new(None, Order::Late);
    let expected = through(&on(&device, None), 7).unwrap();
    let (left, needed) = device.allocated();
    assert_eq!(left, 0, "a backend that is gone has left nothing");
    let mut smallest = None;
    for budget in (4096..=needed + 4096).step_by(512) {
        let device = Emulated::new(None, Order::Late);
        match through(&on(&device, Some(budget)), 7) {
            Ok(found) => {
                assert_eq!(found, expected);
                smallest.get_or_insert(budget);
            }
            Err(error) => {
                assert!(matches!(error, BackendError::OutOfMemory { .. }), "{error}");
                assert_eq!(smallest, None, "more memory is not too little");
            }
        }
        let (left, peak) = device.allocated();
        assert!(peak <= budget && left == 0, "{peak} bytes within {budget}");
    }
    assert!(smallest.is_some_and(|smallest| smallest <= needed), "{smallest:?} of {needed}");
}

#[test]
fn a_device_of_little_memory_says_so() {
    let ops = on(&Emulated::new(Some(8192), Order::Late), None);
    let error = through(&ops, 3).unwrap_err();
    assert!(error.to_string().contains("smaller budget"), "{error}");
}

#[test]
fn a_machine_without_a_driver_says_so() {
    match device_count() {
        Err(error) => {
            assert_eq!(error, DriverError::NoDriver);
            let opened = Nvidia::open(0).map(drop).unwrap_err();
            assert!(opened.to_string().starts_with("no CUDA driver found"), "{opened}");
        }
        Ok(count) => {
            let none = Nvidia::open(count).map(drop);
            assert_eq!(none, Err(DriverError::NoDevice { device: count, count }));
        }
    }
}
