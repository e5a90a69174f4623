//! Real models under the budgets that the project promises.

use grating_sched::{
    BlockUnit, Machine, Memory, ModelShape, Plan, PlanError, PlanReason, PoolShape, RowCacheSize,
    Settings, Spill, WindowSize, plan,
};

use crate::support::{
    MIB, bge_v2_m3, minilm_l6, planned, planned_on, qwen3_4b, qwen3_06b, qwen3_8b, twenty,
    with_budget,
};

fn within(model: &ModelShape, pool: &PoolShape, budget: u64) -> Plan {
    let plan = planned_on(&with_budget(budget), model, pool, Settings::default());
    println!("{plan}");
    assert!(plan.ledger.total() <= budget);
    plan
}

#[test]
fn the_shapes_are_the_models() {
    assert_eq!(qwen3_06b().layer_bytes(), 31_457_280);
    assert_eq!(qwen3_8b().attention_bytes, 83_886_080);
    assert_eq!(qwen3_8b().feed_forward_bytes, 301_989_888);
    assert_eq!(bge_v2_m3().layer_bytes(), 50_331_648);
}

#[test]
fn promised_budgets_plan() {
    let plan = within(&qwen3_06b(), &twenty(), 200 * MIB);
    // Whole layers would fit too, with fewer rows cached and no faster.
    assert_eq!(
        (plan.layout.weights.unit, plan.layout.row_cache_rows),
        (BlockUnit::HalfLayer, 5120)
    );
    within(&bge_v2_m3(), &twenty(), 200 * MIB);
    within(&qwen3_4b(), &twenty(), 600 * MIB);
    within(&qwen3_8b(), &twenty(), 1024 * MIB);
    let plan = within(&qwen3_8b(), &twenty(), 600 * MIB);
    assert_eq!(
        (plan.layout.weights.unit, plan.layout.weights.slots.len()),
        (BlockUnit::HalfLayer, 2)
    );
    assert!(plan.reasons.iter().any(|r| matches!(r, PlanReason::HalfLayers { .. })));
}

#[test]
fn a_large_pool_needs_no_more_memory_than_a_small_one() {
    // 1000 candidates on the small model fit what 20 do; 200 on the larger one too, by spilling.
    let (small, large) = (PoolShape::uniform(20, 256), PoolShape::uniform(1000, 256));
    let budget = 100 * MIB;
    within(&minilm_l6(), &small, budget);
    assert!(within(&minilm_l6(), &large, budget).layout.spill);
    let plan = within(&qwen3_06b(), &PoolShape::uniform(200, 256), 200 * MIB);
    assert!(plan.layout.spill && plan.layout.resident_chunks >= 3);
}

#[test]
fn with_room_everything_stays() {
    let plan = within(&minilm_l6(), &twenty(), 1024 * MIB);
    assert!(
        plan.layout.weights.slots.is_empty()
            && plan.layout.weights.pinned_layers == 6
            && !plan.layout.spill
    );
    assert_eq!(plan.layout.chunk_tokens, 1024);
    assert_eq!(plan.prediction.bytes_read, 0);
    assert!(matches!(plan.reasons[0], PlanReason::AllResident { .. }));
    assert_eq!(plan.layout.row_cache_rows, 3053, "a tenth of the vocabulary");
}

#[test]
fn spare_memory_pins_leading_layers() {
    let plan = within(&qwen3_06b(), &twenty(), 600 * MIB);
    assert!(
        plan.layout.weights.pinned_layers > 0
            && plan.layout.weights.pinned_layers < 28
            && !plan.layout.weights.slots.is_empty()
    );
    assert!(!plan.layout.spill);
    assert_eq!((plan.layout.weights.unit, plan.layout.weights.slots.len()), (BlockUnit::Layer, 2));
    // Not one more layer would fit.
    let rest = 600 * MIB - plan.ledger.total();
    assert!(rest < plan.ledger.pinned / plan.layout.weights.pinned_layers as u64);
}

#[test]
fn spilling_is_the_budgets_doing_only() {
    for mib in [200, 250, 300, 400, 600, 800, 2000] {
        assert!(!within(&qwen3_06b(), &twenty(), mib * MIB).layout.spill, "{mib} MiB");
    }
    // Larger chunks and the hidden states on disk would be an alternative here, for a few percent.
    let plan = within(&qwen3_8b(), &twenty(), 600 * MIB);
    assert!(!plan.layout.spill && plan.layout.chunk_tokens >= 256);
}

#[test]
fn the_ledger_by_hand() {
    let pool = PoolShape::uniform(20, 256).with_prefix(100);
    let settings = Settings::default()
        .with_chunk_tokens(512)
        .with_spill(Spill::Always)
        .with_row_cache(RowCacheSize::Rows(1000));
    let model = qwen3_06b();
    let mut machine = Machine::default();
    machine.host.base = 7;
    let ledger = planned_on(&machine, &model, &pool, settings).ledger;
    let chunk = 512 * 1024 * 4;
    let expected = [
        ("base", 7),
        ("token_ids", (20 * 256 + 100) * 8),
        ("resident_parts", MIB),
        // As the shape says: 32 pages more than the weights.
        ("window", 2 * (31_457_280 + 32 * 4096)),
        ("pinned", 0),
        ("row_cache", 1000 * (2048 + 64)),
        ("hidden_states", chunk),
        ("spill_buffers", 2 * chunk),
        ("workspace", 512 * model.workspace_per_token + 4 * MIB),
        ("prefix", 100 * (1024 + 2048) * 4),
    ];
    assert_eq!(ledger.uses(), expected);
    assert_eq!(ledger.total(), expected.iter().map(|(_, bytes)| bytes).sum::<u64>());

    let settings = settings.with_spill(Spill::Never).with_window(WindowSize::All);
    let ledger = planned(&model, &pool, settings).ledger;
    assert_eq!((ledger.hidden_states, ledger.spill_buffers), (20 * 256 * 1024 * 4, 0));
    assert_eq!((ledger.window, ledger.pinned), (0, 28 * (31_457_280 + 32 * 4096)));
}

#[test]
fn the_leanest_spilling_has_three_chunks() {
    let (model, pool) = (qwen3_06b(), PoolShape::uniform(10, 256));
    let least = crate::support::minimum(&model, &pool, &with_budget(0), Settings::default());
    let plan = planned_on(&with_budget(least), &model, &pool, Settings::default());
    assert!(plan.layout.spill);
    assert_eq!(
        (plan.layout.chunk_tokens, plan.layout.chunks, plan.layout.resident_chunks),
        (256, 10, 3)
    );
}

#[test]
fn absurd_sizes_need_absurd_budgets() {
    let vast = PoolShape::new(vec![usize::MAX / 2; 5]);
    let error = plan(&qwen3_06b(), &vast, &with_budget(1 << 40), &Settings::default()).unwrap_err();
    assert!(matches!(error, PlanError::BudgetTooSmall { minimum: u64::MAX, .. }), "{error}");
}

#[test]
fn settings_are_followed() {
    let (model, pool) = (qwen3_06b(), twenty());
    let settings = Settings::default()
        .with_window(WindowSize::Slots(4))
        .with_chunk_tokens(100)
        .with_spill(Spill::Always)
        .with_row_cache(RowCacheSize::Fraction(0.01));
    let plan = planned_on(&with_budget(400 * MIB), &model, &pool, settings);
    assert_eq!((plan.layout.weights.slots.len(), plan.layout.weights.unit), (4, BlockUnit::Layer));
    assert_eq!(plan.layout.chunk_tokens, 256, "raised to the longest candidate");
    assert!(plan.reasons.contains(&PlanReason::ChunkRaised { longest: 256 }));
    assert!(plan.layout.spill && plan.layout.resident_chunks == 3);
    assert_eq!(plan.layout.row_cache_rows, 1517);
    assert!(plan.layout.weights.pinned_layers > 0);

    let all = planned(&model, &pool, Settings::default().with_window(WindowSize::Slots(28)));
    assert_eq!((all.layout.weights.slots.len(), all.layout.weights.pinned_layers), (0, 28));
}

#[test]
fn too_small_a_budget_says_what_is_needed() {
    let (model, pool) = (qwen3_8b(), twenty());
    let machine = with_budget(300 * MIB);
    let error = plan(&model, &pool, &machine, &Settings::default()).unwrap_err();
    let PlanError::BudgetTooSmall { minimum, ledger, .. } = &error else { panic!("{error}") };
    assert_eq!(ledger.window, model.feed_forward_slot);
    assert!(error.to_string().contains(&format!("{minimum} bytes")), "{error}");
    let plan = planned_on(&with_budget(*minimum), &model, &pool, Settings::default());
    assert_eq!(plan.reasons[0], PlanReason::SingleSlot);
    assert_eq!(plan.layout.row_cache_rows, 0);
}

#[test]
fn what_cannot_be_is_an_error() {
    let (model, pool, machine) = (minilm_l6(), twenty(), Machine::default());
    let settings = Settings::default();
    let fails = |model: &ModelShape, pool: &PoolShape, machine: &Machine, settings: &Settings| {
        plan(model, pool, machine, settings).unwrap_err()
    };
    let mut no_layers = model;
    no_layers.layers = 0;
    assert_eq!(fails(&no_layers, &pool, &machine, &settings), PlanError::NoLayers);
    let empty = PoolShape::new(vec![]);
    assert_eq!(fails(&model, &empty, &machine, &settings), PlanError::NoCandidates);
    let zero = settings.with_window(WindowSize::Slots(0));
    assert_eq!(fails(&model, &pool, &machine, &zero), PlanError::ZeroWindow);
    let zero = settings.with_chunk_tokens(0);
    assert_eq!(fails(&model, &pool, &machine, &zero), PlanError::ZeroChunk);
    for share in [-0.1, 1.1, f64::NAN] {
        let cache = settings.with_row_cache(RowCacheSize::Fraction(share));
        let error = fails(&model, &pool, &machine, &cache);
        assert!(matches!(error, PlanError::InvalidRowCache { .. }), "{error}");
    }
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let mut broken = machine;
        broken.flops_per_second = rate;
        let error = fails(&model, &pool, &broken, &settings).to_string();
        assert!(error.contains("flops_per_second"), "{error}");
        let broken = machine.with_device(Memory::new("device memory"), rate);
        let error = fails(&model, &pool, &broken, &settings).to_string();
        assert!(error.contains("host to device"), "{error}");
    }
}

#[test]
fn the_table_says_everything() {
    let plan = within(&qwen3_06b(), &twenty(), 200 * MIB);
    let table = plan.explain();
    for word in
        ["window", "disk to memory", "a guess", "chunks", "budget", "200.0 MiB", "stall", "why"]
    {
        assert!(table.contains(word), "no {word} in\n{table}");
    }
    for reason in &plan.reasons {
        assert!(table.contains(&reason.to_string()));
    }
    assert!(table.lines().all(|line| line.trim_end() == line));
}

#[cfg(feature = "serde")]
#[test]
fn a_plan_can_be_written() {
    let plan = within(&qwen3_06b(), &twenty(), 200 * MIB);
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["ledger"]["total"], plan.ledger.total());
    assert_eq!(json["slots"].as_array().unwrap().len(), plan.layout.weights.slots.len());
    assert_eq!(json["prediction"]["layers"].as_array().unwrap().len(), 28);
    assert!(json["reasons"][0]["reason"].is_string());
    assert_eq!(json["memories"][0]["ledger"], json["ledger"]);
    assert_eq!(json["memories"][0]["name"], "memory");
    assert_eq!(json["links"][0]["name"], "disk to memory");
    assert_eq!(json["links"].as_array().unwrap().len(), 2, "the memory is one");
}
