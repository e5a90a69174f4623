//! The schedule of the window.

use grating_sched::{BlockPart, BlockUnit, Settings, plan, schedule};
use proptest::prelude::*;

use crate::support::{
    MIB, machines, minimum, models, planned, pools, qwen3_8b, settings, twenty, with_budget,
};

#[test]
fn halves_alternate_between_their_slots() {
    let plan = planned(&qwen3_8b(), &twenty(), with_budget(600 * MIB));
    assert_eq!(plan.block, BlockUnit::HalfLayer);
    let blocks = schedule(&plan, 36, 34);
    let found: Vec<_> = blocks.iter().map(|b| (b.layer, b.part, b.slot)).collect();
    let (attention, feed_forward) = (BlockPart::Attention, BlockPart::FeedForward);
    let expected =
        [(34, attention, 0), (34, feed_forward, 1), (35, attention, 0), (35, feed_forward, 1)];
    assert_eq!(found, expected);
}

proptest! {
    #[test]
    fn each_streamed_block_once_in_order(
        model in models(), pool in pools(), machine in machines(), settings in settings(),
        extra in 0u64..10_000_000_000, from in 0usize..40,
    ) {
        let budget = Some(minimum(&model, &pool, &machine, settings) + extra);
        let plan = plan(&model, &pool, &machine, &Settings { budget, ..settings }).unwrap();
        let blocks = schedule(&plan, model.layers, from);
        let expected: Vec<_> = (from..model.layers)
            .filter(|&layer| layer >= plan.pinned_layers)
            .flat_map(|layer| plan.block.parts().iter().map(move |&part| (layer, part)))
            .collect();
        let found: Vec<_> = blocks.iter().map(|b| (b.layer, b.part)).collect();
        prop_assert_eq!(found, expected);
        // A slot is used again only after all the others.
        for window in blocks.windows(plan.slots.len().max(1)) {
            let mut slots: Vec<usize> = window.iter().map(|b| b.slot).collect();
            slots.sort_unstable();
            slots.dedup();
            prop_assert_eq!(slots.len(), window.len());
        }
    }
}
