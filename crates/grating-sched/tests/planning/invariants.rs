//! What holds for every model, pool, machine and setting.

use grating_sched::{BlockUnit, Settings, chunk, plan};
use proptest::prelude::*;

use crate::support::{budgeted, machines, minimum, models, pools, settings};

/// Plans are equally fast up to the noise of sums: a part in 2⁴⁰, twice, since both are rounded.
fn no_slower(total: f64, before: f64) -> bool {
    total <= before * (1.0 + 2.0 / (1u64 << 40) as f64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn never_over_the_budget(
        model in models(), pool in pools(), machine in machines(), settings in settings(),
        extra in 0u64..20_000_000_000,
    ) {
        let budget = minimum(&model, &pool, &machine, settings) + extra;
        let plan = plan(&model, &pool, &budgeted(&machine, budget), &settings).unwrap();
        prop_assert!(plan.ledger.total() <= budget);
        prop_assert_eq!(plan.budget, Some(budget));
        prop_assert!(plan.layout.weights.pinned_layers <= model.layers);
        prop_assert_eq!(plan.layout.weights.slots.is_empty(), plan.layout.weights.pinned_layers == model.layers);
        prop_assert!(plan.layout.row_cache_rows <= model.vocab);
        prop_assert!(plan.layout.resident_chunks <= plan.layout.chunks);
        prop_assert!(plan.layout.spill || plan.layout.resident_chunks == plan.layout.chunks);
        // One computing, one being written, one being read.
        prop_assert!(plan.layout.resident_chunks >= plan.layout.chunks.min(3));
        // Every block fits its slot, and one that slides finds another slot of its capacity than those that stay.
        let weights = &plan.layout.weights;
        let all = weights.all_slots(&model);
        let of = |capacity| all.iter().filter(|&&slot| slot == capacity).count();
        let blocks: Vec<_> = weights.blocks(&model).collect();
        for block in &blocks {
            prop_assert!(block.slot_bytes >= model.slot_bytes(block.part));
            let stay = |other: &&grating_sched::Block| other.pinned && other.slot_bytes == block.slot_bytes;
            let stays = blocks.iter().filter(stay).count();
            prop_assert!(of(block.slot_bytes) >= stays + usize::from(!block.pinned));
        }
        prop_assert_eq!(all.iter().sum::<u64>(), plan.ledger.window + plan.ledger.pinned);
    }

    #[test]
    fn the_minimum_is_exact(
        model in models(), pool in pools(), machine in machines(), settings in settings(),
    ) {
        let minimum = minimum(&model, &pool, &machine, settings);
        let at = |budget| plan(&model, &pool, &budgeted(&machine, budget), &settings);
        prop_assert_eq!(at(minimum).unwrap().ledger.total(), minimum);
        prop_assert!(at(minimum - 1).is_err());
        prop_assert!(at(minimum.saturating_sub(4096)).is_err());
    }

    #[test]
    fn the_minimum_that_is_named_does_where_the_base_is_larger(
        model in models(), pool in pools(), machine in machines(), settings in settings(),
        noise in 0u64..5_000_000,
    ) {
        let mut machine = machine;
        machine.host.base_noise = noise;
        let named = minimum(&model, &pool, &machine, settings);
        let larger = |more| {
            let mut elsewhere = budgeted(&machine, named);
            elsewhere.host.base += more;
            plan(&model, &pool, &elsewhere, &settings)
        };
        prop_assert!(larger(0).is_ok() && larger(noise / 2).is_ok() && larger(noise).is_ok());
        prop_assert!(larger(noise + 1).is_err());
    }

    #[test]
    fn more_memory_is_never_slower(
        model in models(), pool in pools(), machine in machines(), settings in settings(),
        steps in prop::collection::vec(0u64..1_500_000_000, 8),
    ) {
        let mut budget = minimum(&model, &pool, &machine, settings);
        let mut before = f64::INFINITY;
        for step in steps {
            budget += step;
            let plan = plan(&model, &pool, &budgeted(&machine, budget), &settings).unwrap();
            let total = plan.prediction.total_seconds;
            prop_assert!(no_slower(total, before), "slower with {budget} bytes: {total} s, {before} s");
            before = total;
        }
    }

    /// All times grow by a power of two, exactly: what was equally fast up to the noise of sums still is.
    #[test]
    fn a_slower_machine_is_planned_the_same(
        model in models(), pool in pools(), machine in machines(), settings in settings(),
        extra in 0u64..2_000_000_000, slower in prop_oneof![Just(2f64.powi(24)), Just(2f64.powi(-24))],
    ) {
        let budget = minimum(&model, &pool, &machine, settings) + extra;
        let machine = budgeted(&machine, budget);
        let mut other = machine;
        other.flops_per_second /= slower;
        other.disk_to_host.bytes_per_second /= slower;
        other.host_to_disk.bytes_per_second /= slower;
        let [plan, same] = [machine, other].map(|on| plan(&model, &pool, &on, &settings).unwrap());
        prop_assert_eq!(plan.layout, same.layout);
        prop_assert_eq!(plan.prediction.total_seconds * slower, same.prediction.total_seconds);
    }

    #[test]
    fn every_candidate_in_one_chunk_that_fits(
        model in models(), pool in pools(), machine in machines(), settings in settings(),
        extra in 0u64..2_000_000_000,
    ) {
        let budget = minimum(&model, &pool, &machine, settings) + extra;
        let plan = plan(&model, &pool, &budgeted(&machine, budget), &settings).unwrap();
        prop_assert!(plan.layout.chunk_tokens >= pool.longest().max(pool.prefix_tokens));
        let chunks = chunk::plan(&pool.lengths, plan.layout.chunk_tokens);
        prop_assert_eq!(chunks.len(), plan.layout.chunks);
        let covered: Vec<usize> = chunks.iter().cloned().flatten().collect();
        prop_assert_eq!(covered, (0..pool.lengths.len()).collect::<Vec<_>>());
        for chunk in chunks {
            prop_assert!(pool.lengths[chunk].iter().sum::<usize>() <= plan.layout.chunk_tokens);
        }
    }

    #[test]
    fn without_a_budget_two_slots_and_nothing_spilled(
        model in models(), pool in pools(), machine in machines(),
    ) {
        let settings = Settings::default();
        let plan = plan(&model, &pool, &machine, &settings).unwrap();
        prop_assert_eq!(plan.layout.weights.unit, BlockUnit::Layer);
        prop_assert!(!plan.layout.spill);
        let (slots, pinned) = if model.layers > 2 { (2, 0) } else { (0, model.layers) };
        prop_assert_eq!((plan.layout.weights.slots.len(), plan.layout.weights.pinned_layers), (slots, pinned));
        // The same choices fit a budget of what they take.
        let enough = budgeted(&machine, plan.ledger.total());
        let budgeted = grating_sched::plan(&model, &pool, &enough, &settings).unwrap();
        let unbudgeted = plan.prediction.total_seconds;
        prop_assert!(no_slower(budgeted.prediction.total_seconds, unbudgeted));
    }
}
