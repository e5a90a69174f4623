//! A machine whose device has a memory of its own: two budgets, three links, in numbers only.

use grating_sched::{
    Ledger, Machine, Memory, ModelShape, Plan, PlanError, PlanReason, PoolShape, Settings, Spill,
    plan,
};
use proptest::prelude::*;

use crate::support::{MIB, devices, models, planned_on, pools, qwen3_8b, settings};

const GIB: u64 = 1 << 30;

/// 40 TFLOP/s, 25 GB/s to the device, a disk of 2 GB/s, so much memory of each.
fn machine(device: u64, host: u64) -> Machine {
    let mut machine = Machine::default()
        .with_device(Memory::new("device memory").with_base(300 * MIB).with_budget(device), 25e9);
    machine.host = machine.host.with_base(100 * MIB).with_budget(host);
    machine.disk_to_host.bytes_per_second = 2e9;
    machine.flops_per_second = 40e12;
    machine
}

/// Candidates of 512 tokens through qwen3-8b: 36 layers of 386 MB.
fn planned(candidates: usize, device: u64, host: u64) -> Plan {
    let pool = PoolShape::uniform(candidates, 512);
    let plan = planned_on(&machine(device, host), &qwen3_8b(), &pool, Settings::default());
    println!("{plan}");
    plan
}

fn ledgers(plan: &Plan) -> (Ledger, Ledger) {
    let [host, device] = plan.memories.as_slice() else { panic!("{:?}", plan.memories) };
    assert_eq!((host.name, device.name), ("host memory", "device memory"));
    (host.ledger, device.ledger)
}

#[test]
fn each_memory_counts_what_lies_in_it() {
    let plan = planned(40, 3 * GIB, 2 * GIB);
    let (host, device) = ledgers(&plan);
    let (model, layout) = (qwen3_8b(), &plan.layout);
    let slots = 2 * model.layer_slot;
    // Two slots on the device, and two that blocks pass through.
    assert_eq!(layout.weights.slots.len(), 2);
    assert_eq!((device.window, host.window), (slots, slots));
    let in_host = layout.staging.as_ref().unwrap().pinned_layers as u64;
    let on_device = layout.weights.pinned_layers as u64;
    assert!(in_host > 0 && on_device > 0);
    assert_eq!(host.pinned, in_host * model.layer_slot);
    assert_eq!(device.pinned, on_device * model.layer_slot);
    // Activations, parts and the hidden states are the device's, rows and ids the host's.
    assert_eq!(device.hidden_states, model.hidden_bytes(40 * 512));
    let chunk = 1024 * model.workspace_per_token + model.workspace_fixed;
    assert_eq!((device.workspace, host.workspace), (chunk, 0));
    assert_eq!((device.resident_parts, host.resident_parts), (model.resident_bytes, 0));
    assert!(host.row_cache > 0 && host.token_ids > 0);
    assert_eq!((device.row_cache, device.token_ids, host.hidden_states), (0, 0, 0));
    assert_eq!((host.base, device.base), (100 * MIB, 300 * MIB));
    assert_eq!((plan.ledger, plan.budget), (host, Some(2 * GIB)));
    assert!(plan.reasons.contains(&PlanReason::PinnedInHost { layers: in_host as usize, of: 36 }));
}

#[test]
fn the_slowest_of_links_and_computing_sets_the_time() {
    let (model, layer) = (qwen3_8b(), qwen3_8b().layer_bytes() as f64);
    // The host keeps all that the device does not: 15 ms over the link, and more to compute.
    let computing = planned(4, 2 * GIB, 20 * GIB);
    assert_eq!(computing.prediction.bytes_read, 0);
    assert_eq!(computing.prediction.read_seconds, 0.0);
    let compute = computing.prediction.compute_seconds / 36.0;
    assert!(compute > layer / 25e9);
    assert!(computing.prediction.stall_share() < 0.02);

    // A faster device waits for its link: all layers but those that it keeps, 386 MB at 25 GB/s each.
    let pool = PoolShape::uniform(4, 512);
    let mut fast = machine(2 * GIB, 20 * GIB);
    fast.flops_per_second = 4e15;
    let copying = planned_on(&fast, &model, &pool, Settings::default());
    let (kept, slots) = (copying.layout.weights.pinned_layers, copying.layout.weights.slots.len());
    let crossing = (36 - kept - slots / copying.layout.weights.unit.parts().len()) as f64;
    let busy = copying.prediction.total_seconds - copying.prediction.embedding_seconds;
    assert!((busy / (crossing * layer / 25e9) - 1.0).abs() < 0.1, "{busy} {crossing}");
    assert_eq!(copying.prediction.bytes_copied, (36 - kept) as u64 * model.layer_bytes());

    // A host that keeps few: what is left is read at 2 GB/s, 193 ms a layer.
    let reading = planned(4, 2 * GIB, 3 * GIB);
    let staging = reading.layout.staging.as_ref().unwrap();
    let from_disk = 36 - reading.layout.weights.pinned_layers - staging.pinned_layers;
    assert_eq!(reading.prediction.bytes_read, from_disk as u64 * model.layer_bytes());
    assert!(reading.prediction.total_seconds > 0.8 * from_disk as f64 * layer / 2e9);
    assert!(reading.prediction.total_seconds > 3.0 * computing.prediction.total_seconds);
    assert!(reading.prediction.first_total_seconds > reading.prediction.total_seconds);
}

#[test]
fn hidden_states_that_the_device_does_not_hold_go_to_the_host() {
    let pool = PoolShape::uniform(2000, 512);
    let model = qwen3_8b();
    let plan = planned_on(&machine(3 * GIB, 40 * GIB), &model, &pool, Settings::default());
    let (host, device) = ledgers(&plan);
    assert!(plan.layout.parked && !plan.layout.spill);
    assert_eq!(host.hidden_states, model.hidden_bytes(2000 * 512));
    assert!(device.hidden_states + device.spill_buffers < host.hidden_states);
    assert!(
        plan.prediction.bytes_copied > host.hidden_states && plan.prediction.bytes_spilled == 0
    );
    let parked = |r: &PlanReason| matches!(r, PlanReason::Parked { .. });
    assert!(plan.reasons.iter().any(parked), "{plan}");

    // A host without room either: from there to the disk.
    let small = machine(3 * GIB, 4 * GIB);
    let plan = planned_on(&small, &model, &pool, Settings::default());
    assert!(plan.layout.spill && plan.prediction.bytes_spilled > 0);
    let never = Settings::default().with_spill(Spill::Never);
    let error = grating_sched::plan(&model, &pool, &small, &never).unwrap_err();
    assert!(matches!(error, PlanError::BudgetTooSmall { memory: "host memory", .. }), "{error}");
}

#[test]
fn too_small_a_memory_is_named() {
    let pool = PoolShape::uniform(40, 512);
    let fails =
        |machine: Machine| plan(&qwen3_8b(), &pool, &machine, &Settings::default()).unwrap_err();
    let error = fails(machine(400 * MIB, 20 * GIB));
    let PlanError::BudgetTooSmall { memory: "device memory", minimum, ref ledger, .. } = error
    else {
        panic!("{error}")
    };
    assert_eq!(ledger.total(), minimum);
    assert!(
        error.to_string().starts_with("a budget of 400.0 MiB of device memory is too small"),
        "{error}"
    );
    planned(40, minimum, 20 * GIB);
    fails(machine(minimum - 1, 20 * GIB));
    let error = fails(machine(3 * GIB, 200 * MIB));
    assert!(matches!(error, PlanError::BudgetTooSmall { memory: "host memory", .. }), "{error}");
}

/// The least budgets that do: the device's where the host has room for anything, and then the host's.
fn minimum(
    model: &ModelShape,
    pool: &PoolShape,
    machine: &Machine,
    settings: &Settings,
) -> Machine {
    let least = |machine: &Machine, name: &str| match plan(model, pool, machine, settings) {
        Err(PlanError::BudgetTooSmall { memory, minimum, .. }) if memory == name => minimum,
        other => panic!("{name}: {other:?}"),
    };
    let mut machine = *machine;
    machine.host.budget = Some(u64::MAX);
    let device = |machine: &mut Machine, budget| {
        machine.device.iter_mut().for_each(|device| device.memory.budget = Some(budget));
    };
    device(&mut machine, 0);
    let enough = least(&machine, "device memory");
    device(&mut machine, enough);
    machine.host.budget = Some(0);
    machine.host.budget = Some(least(&machine, "host memory"));
    machine
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_memory_is_over_its_budget_and_more_of_any_is_never_slower(
        model in models(), pool in pools(), machine in devices(), settings in settings(),
        steps in prop::collection::vec((0u64..3_000_000_000, any::<bool>()), 6),
    ) {
        let mut machine = minimum(&model, &pool, &machine, &settings);
        let mut before = f64::INFINITY;
        for (more, to_device) in steps {
            let budget = match &mut machine.device {
                Some(device) if to_device => &mut device.memory.budget,
                _ => &mut machine.host.budget,
            };
            *budget = budget.map(|bytes| bytes + more);
            let plan = plan(&model, &pool, &machine, &settings).unwrap();
            for memory in &plan.memories {
                prop_assert!(Some(memory.ledger.total()) <= memory.budget, "{}", memory.name);
            }
            let p = &plan.prediction;
            prop_assert!(p.total_seconds <= before * (1.0 + 1e-9), "slower with more: {plan}");
            before = p.total_seconds;
            let kept = plan.layout.weights.pinned_layers
                + plan.layout.staging.as_ref().unwrap().pinned_layers;
            prop_assert!(kept <= model.layers);
            prop_assert_eq!(p.bytes_read, (model.layers - kept) as u64 * model.layer_bytes());
            prop_assert!(p.total_seconds >= p.compute_seconds);
            prop_assert!(p.first_total_seconds >= p.total_seconds * (1.0 - 1e-9));
            let parts = p.embedding_seconds + p.compute_seconds + p.stall_seconds;
            prop_assert!((p.total_seconds - parts).abs() <= 1e-9 * parts.max(1e-9));
        }
    }
}
