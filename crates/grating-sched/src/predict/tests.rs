//! Laws of the cost model.

use proptest::prelude::*;

use super::{Prediction, run, tokens_to_hide_reading};
use crate::machine::Machine;
use crate::plan::Plan;
use crate::planner::plan;
use crate::settings::{RowCacheSize, Settings, Spill, WindowSize};
use crate::shape::{ModelShape, PoolShape};
use crate::workload::Workload;
use crate::{BlockUnit, WeightLayout};

use crate::support::{
    budgeted, machines, minilm_l6, minimum, models, planned, pools, qwen3_06b, settings, twenty,
};

fn full(plan: &Plan, model: &ModelShape, pool: &PoolShape, machine: &Machine) -> Prediction {
    let workload = Workload::full(model, pool, plan.layout.chunk_tokens);
    run(&plan.layout, model, &workload, machine)
}

fn reading(bytes_per_second: f64) -> Machine {
    let mut machine = Machine::default();
    machine.disk_to_host.bytes_per_second = bytes_per_second;
    machine
}

fn spilling(bytes_per_second: f64) -> Machine {
    let mut machine = Machine::default();
    machine.host_to_disk.bytes_per_second = bytes_per_second;
    machine
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-9)
}

#[test]
fn a_covered_stream_costs_nothing_and_an_uncovered_one_its_reading() {
    let (model, pool) = (qwen3_06b(), twenty());
    let stream = planned(&model, &pool, Settings::default());
    let resident =
        planned(&model, &pool, Settings { window: WindowSize::All, ..Settings::default() });
    let needed = tokens_to_hide_reading(&stream.layout, &model, &Machine::default());
    assert!((99.0..101.0).contains(&needed), "{needed}");
    assert_eq!(stream.prediction.stall_seconds, 0.0);
    assert_eq!(stream.prediction.total_seconds, resident.prediction.total_seconds);

    // With the reading 100 times slower every block but the two that are loaded is waited for.
    let slow = reading(1e7);
    let prediction = full(&stream, &model, &pool, &slow);
    let layer = model.layer_bytes() as f64 / 1e7;
    let compute = prediction.compute_seconds / 28.0;
    assert!(layer > compute);
    let expected = prediction.embedding_seconds + compute + 26.0 * layer + compute;
    assert!(close(prediction.total_seconds, expected), "{prediction:?}");
}

#[test]
fn one_slot_takes_turns() {
    let (model, pool) = (qwen3_06b(), twenty());
    let settings = Settings { window: WindowSize::Slots(1), ..Settings::default() };
    let plan = planned(&model, &pool, settings);
    let Prediction { compute_seconds, embedding_seconds, stall_seconds, total_seconds, .. } =
        plan.prediction;
    let layer = model.layer_bytes() as f64 / Machine::default().disk_to_host.bytes_per_second;
    assert!(close(stall_seconds, 27.0 * layer), "{stall_seconds}");
    assert!(close(total_seconds, embedding_seconds + compute_seconds + stall_seconds));
}

#[test]
fn spilling_and_reading_share_the_disk() {
    let (model, pool) = (qwen3_06b(), twenty());
    let settings = Settings { spill: Spill::Always, ..Settings::default() };
    let plan = planned(&model, &pool, settings);
    let mut machine = spilling(1e9);
    machine.flops_per_second = 1e15;
    let prediction = full(&plan, &model, &pool, &machine);
    // 5 chunks, one in hand: 4 fifths of the hidden states are written and read in each layer.
    let moved = 2 * model.hidden_bytes(5120) * 4 / 5;
    assert_eq!((plan.layout.chunks, prediction.bytes_spilled), (5, 28 * moved));
    // In the middle the disk is never idle.
    let layer = (moved + model.layer_bytes()) as f64 / 1e9;
    let middle = &prediction.layers[10];
    assert!(close(middle.stall_seconds + middle.compute_seconds, layer), "{middle:?}");
}

#[test]
fn half_layers_spill_twice_as_often() {
    let (model, pool) = (qwen3_06b(), twenty());
    let settings = Settings { spill: Spill::Always, ..Settings::default() };
    let mut plan = planned(&model, &pool, settings);
    let layers = plan.prediction.bytes_spilled;
    plan.layout.weights = WeightLayout::new(&model, BlockUnit::HalfLayer, 2, 0);
    assert_eq!(full(&plan, &model, &pool, &Machine::default()).bytes_spilled, 2 * layers);
}

#[test]
fn a_slow_disk_for_hidden_states_is_waited_for() {
    let (model, pool) = (minilm_l6(), twenty());
    let settings = Settings { spill: Spill::Always, ..Settings::default() };
    let plan = planned(&model, &pool, settings);
    let slow = spilling(1e6);
    let prediction = full(&plan, &model, &pool, &slow);
    assert!(prediction.spill_seconds > 10.0 * prediction.compute_seconds);
    assert!(prediction.total_seconds >= prediction.spill_seconds);
}

#[test]
fn a_chunk_costs_a_little() {
    let (model, pool) = (qwen3_06b(), twenty());
    let time = |chunk_tokens| {
        let settings = Settings { chunk_tokens: Some(chunk_tokens), ..Settings::default() };
        planned(&model, &pool, settings).prediction.compute_seconds
    };
    let (large, small) = (time(1024), time(256));
    assert!(large < small && small < 1.03 * large);
}

#[test]
fn a_cache_that_holds_every_row_reads_none_twice() {
    let (model, pool) = (ModelShape { vocab: 1000, ..qwen3_06b() }, twenty());
    let time = |rows| {
        let settings = Settings { row_cache: RowCacheSize::Rows(rows), ..Settings::default() };
        planned(&model, &pool, settings).prediction.embedding_seconds
    };
    assert!(close(time(999), 5120.0 * 4096.0 / 1e9));
    assert!(close(time(1000), 1000.0 * 4096.0 / 1e9));
}

proptest! {
    #[test]
    fn slower_reading_never_stalls_less(
        model in models(), pool in pools(), machine in machines(), settings in settings(),
        extra in 0u64..3_000_000_000, factor in 0.05..1.0f64,
    ) {
        let machine = budgeted(&machine, minimum(&model, &pool, &machine, settings) + extra);
        let plan = plan(&model, &pool, &machine, &settings).unwrap();
        let mut slow = machine;
        slow.disk_to_host.bytes_per_second *= factor;
        let (fast, slow) = (full(&plan, &model, &pool, &machine), full(&plan, &model, &pool, &slow));
        prop_assert_eq!(&fast, &plan.prediction);
        prop_assert!(slow.stall_seconds >= fast.stall_seconds - 1e-9 * fast.total_seconds);
        prop_assert!(slow.total_seconds >= fast.total_seconds);
        prop_assert!(slow.first_total_seconds >= fast.first_total_seconds);
    }

    #[test]
    fn the_parts_make_up_the_total(
        model in models(), pool in pools(), machine in machines(), settings in settings(),
        extra in 0u64..3_000_000_000,
    ) {
        let machine = budgeted(&machine, minimum(&model, &pool, &machine, settings) + extra);
        let plan = plan(&model, &pool, &machine, &settings).unwrap();
        let p = plan.prediction;
        let parts = p.embedding_seconds + p.compute_seconds + p.stall_seconds;
        prop_assert!(close(p.total_seconds, parts), "{} {}", p.total_seconds, parts);
        let layers: f64 = p.layers.iter().map(|l| l.compute_seconds + l.stall_seconds).sum();
        prop_assert!(close(p.total_seconds, p.embedding_seconds + layers));
        prop_assert!(p.first_total_seconds >= p.total_seconds);
        let streamed = (model.layers - plan.layout.weights.pinned_layers) as u64;
        prop_assert_eq!(p.bytes_read, streamed * model.layer_bytes());
        // No plan is faster than its computing, nor its disk past what was loaded before.
        prop_assert!(p.total_seconds >= p.compute_seconds);
        prop_assert!(plan.layout.spill || p.bytes_spilled == 0);
    }
}
