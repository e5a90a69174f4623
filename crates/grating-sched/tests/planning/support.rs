//! Shapes of real models, random shapes, and short ways to plan.

use grating_sched::{
    Machine, Memory, ModelShape, Plan, PlanError, PoolShape, RowCacheSize, Settings, Spill,
    WindowSize, plan,
};
use proptest::prelude::*;

pub(crate) const MIB: u64 = 1 << 20;

/// A slot as a reader would ask for: whole pages, and 32 for the ends of extents.
fn slot(bytes: u64) -> u64 {
    if bytes == 0 { 0 } else { bytes.next_multiple_of(4096) + 32 * 4096 }
}

/// Widths of a transformer, and bytes of an element of its weights.
struct Widths {
    layers: usize,
    hidden: usize,
    queries: usize,
    keys: usize,
    /// Matrices of the feed-forward block (2, or 3 if gated) and their inner width.
    feed_forward: (usize, usize),
    vocab: usize,
    element: u64,
}

impl Widths {
    fn shape(&self) -> ModelShape {
        let (matrices, inner) = self.feed_forward;
        let attention = self.hidden * (2 * self.queries + 2 * self.keys);
        let feed_forward = matrices * self.hidden * inner;
        let wide = 2 * self.queries + 2 * self.keys + (matrices - 1) * inner + self.hidden;
        let mut model = ModelShape::new(self.layers, self.hidden);
        model.attention_bytes = attention as u64 * self.element;
        model.feed_forward_bytes = feed_forward as u64 * self.element;
        model.layer_slot = slot((attention + feed_forward) as u64 * self.element);
        model.attention_slot = slot(attention as u64 * self.element);
        model.feed_forward_slot = slot(feed_forward as u64 * self.element);
        model.resident_bytes = MIB;
        model.vocab = self.vocab;
        model.row_bytes = self.hidden as u64 * self.element;
        model.flops_per_token = 2.0 * (attention + feed_forward) as f64;
        model.attention_flops_per_token_pair = 4.0 * self.queries as f64;
        model.kv_columns = 2 * self.keys;
        model.workspace_per_token = 4 * wide as u64;
        model.workspace_fixed = 4 * MIB;
        model
    }
}

/// 6 layers of 3.5 MB in f16.
pub(crate) fn minilm_l6() -> ModelShape {
    let (hidden, queries, keys, feed_forward) = (384, 384, 384, (2, 1536));
    Widths { layers: 6, hidden, queries, keys, feed_forward, vocab: 30_522, element: 2 }.shape()
}

/// 24 layers of 50 MB in f32.
pub(crate) fn bge_v2_m3() -> ModelShape {
    let (hidden, queries, keys, feed_forward) = (1024, 1024, 1024, (2, 4096));
    Widths { layers: 24, hidden, queries, keys, feed_forward, vocab: 250_002, element: 4 }.shape()
}

/// 28 layers of 31.5 MB in bf16.
pub(crate) fn qwen3_06b() -> ModelShape {
    let (hidden, queries, keys, feed_forward) = (1024, 2048, 1024, (3, 3072));
    Widths { layers: 28, hidden, queries, keys, feed_forward, vocab: 151_669, element: 2 }.shape()
}

/// 36 layers of 202 MB in bf16.
pub(crate) fn qwen3_4b() -> ModelShape {
    let (hidden, queries, keys, feed_forward) = (2560, 4096, 1024, (3, 9728));
    Widths { layers: 36, hidden, queries, keys, feed_forward, vocab: 151_669, element: 2 }.shape()
}

/// 36 layers of 386 MB in bf16: attention 84 MB, feed-forward 302 MB.
pub(crate) fn qwen3_8b() -> ModelShape {
    let (hidden, queries, keys, feed_forward) = (4096, 4096, 1024, (3, 12_288));
    Widths { layers: 36, hidden, queries, keys, feed_forward, vocab: 151_669, element: 2 }.shape()
}

/// 20 candidates of 256 tokens.
pub(crate) fn twenty() -> PoolShape {
    PoolShape::uniform(20, 256)
}

/// A machine of default speed whose process takes 60 MB already.
pub(crate) fn with_budget(budget: u64) -> Machine {
    let mut machine = Machine::default();
    machine.host.base = 60_000_000;
    budgeted(&machine, budget)
}

/// This machine with a budget for the host's memory.
pub(crate) fn budgeted(machine: &Machine, budget: u64) -> Machine {
    let mut machine = *machine;
    machine.host.budget = Some(budget);
    machine
}

/// Plans, which is possible.
pub(crate) fn planned_on(
    machine: &Machine,
    model: &ModelShape,
    pool: &PoolShape,
    settings: Settings,
) -> Plan {
    plan(model, pool, machine, &settings).unwrap_or_else(|error| panic!("{error}"))
}

/// Plans on a machine of default speed.
pub(crate) fn planned(model: &ModelShape, pool: &PoolShape, settings: Settings) -> Plan {
    planned_on(&Machine::default(), model, pool, settings)
}

/// The smallest budget of the host's memory that works with these settings.
pub(crate) fn minimum(
    model: &ModelShape,
    pool: &PoolShape,
    machine: &Machine,
    settings: Settings,
) -> u64 {
    match plan(model, pool, &budgeted(machine, 0), &settings) {
        Err(PlanError::BudgetTooSmall { minimum, ledger, memory, .. }) => {
            assert_eq!((ledger.total(), memory), (minimum, machine.host.name));
            minimum
        }
        other => panic!("0 bytes were enough: {other:?}"),
    }
}

pub(crate) fn models() -> impl Strategy<Value = ModelShape> {
    let sizes = (1usize..40, 0u64..400_000_000, 0u64..400_000_000, 0u64..50_000_000);
    let widths = (1usize..5000, 1usize..300_000, 1u64..20_000, 0usize..4096);
    let work = (0.0..1e9, 0.0..1e5, 0u64..300_000, 0u64..20_000_000);
    (sizes, widths, work).prop_map(|(sizes, widths, work)| {
        let mut model = ModelShape::new(sizes.0, widths.0);
        model.attention_bytes = sizes.1;
        model.feed_forward_bytes = sizes.2;
        model.layer_slot = slot(sizes.1 + sizes.2);
        model.attention_slot = slot(sizes.1);
        model.feed_forward_slot = slot(sizes.2);
        model.resident_bytes = sizes.3;
        model.vocab = widths.1;
        model.row_bytes = widths.2;
        model.kv_columns = widths.3;
        model.flops_per_token = work.0;
        model.attention_flops_per_token_pair = work.1;
        model.workspace_per_token = work.2;
        model.workspace_fixed = work.3;
        model
    })
}

pub(crate) fn pools() -> impl Strategy<Value = PoolShape> {
    let uneven = prop::collection::vec(0usize..1500, 1..60).prop_map(PoolShape::new);
    let even = (1usize..1000, 1usize..600).prop_map(|(n, tokens)| PoolShape::uniform(n, tokens));
    let prefix = prop_oneof![Just(0usize), 1usize..300];
    (prop_oneof![uneven, even], prefix).prop_map(|(pool, prefix)| pool.with_prefix(prefix))
}

pub(crate) fn machines() -> impl Strategy<Value = Machine> {
    (7.0..10.5, 7.0..10.5, 9.0..14.0, 0u64..100_000_000).prop_map(|(read, spill, flops, base)| {
        let mut machine = Machine::default();
        machine.host.base = base;
        machine.disk_to_host.bytes_per_second = 10f64.powf(read);
        machine.host_to_disk.bytes_per_second = 10f64.powf(spill);
        machine.flops_per_second = 10f64.powf(flops);
        machine
    })
}

/// Machines whose device has a memory of its own, without budgets.
pub(crate) fn devices() -> impl Strategy<Value = Machine> {
    (machines(), 8.0..11.0, 0u64..500_000_000).prop_map(|(machine, link, base)| {
        machine.with_device(Memory::new("device memory").with_base(base), 10f64.powf(link))
    })
}

pub(crate) fn settings() -> impl Strategy<Value = Settings> {
    let window = prop_oneof![
        4 => Just(WindowSize::Auto),
        1 => (1usize..50).prop_map(WindowSize::Slots),
        1 => Just(WindowSize::All),
    ];
    let spill =
        prop_oneof![3 => Just(Spill::Auto), 1 => Just(Spill::Always), 1 => Just(Spill::Never)];
    let row_cache = prop_oneof![
        3 => Just(RowCacheSize::Auto),
        1 => (0.0..=1.0).prop_map(RowCacheSize::Fraction),
        1 => (0usize..400_000).prop_map(RowCacheSize::Rows),
        1 => Just(RowCacheSize::All),
    ];
    let chunk_tokens = prop::option::weighted(0.3, 1usize..3000);
    (window, chunk_tokens, spill, row_cache).prop_map(|(window, chunk_tokens, spill, row_cache)| {
        let settings =
            Settings::default().with_window(window).with_spill(spill).with_row_cache(row_cache);
        match chunk_tokens {
            Some(tokens) => settings.with_chunk_tokens(tokens),
            None => settings,
        }
    })
}
