//! Any order of calls over any extents with any faults: exactly the right bytes, or the right
//! error, and no hang.

use std::collections::VecDeque;

use grating_io::IoError;
use proptest::prelude::*;

use super::*;

const STORAGES: usize = 3;
const LENGTH: usize = 60_000;

#[derive(Clone, Debug)]
enum Step {
    Schedule(Vec<Vec<Extent>>),
    Reschedule(Vec<Vec<Extent>>),
    /// What is scheduled, from this place on.
    Resume(usize),
    Cancel,
    Next,
    Drop(usize),
    Pause,
}

fn extent() -> impl Strategy<Value = Extent> {
    (0..STORAGES, 0..LENGTH, 0usize..20_000).prop_map(|(storage, offset, len)| {
        let len = len.min(LENGTH - offset);
        Extent::new(storage, offset as u64, len, format!("{storage}:{offset}+{len}"))
    })
}

fn blocks() -> impl Strategy<Value = Vec<Vec<Extent>>> {
    let small = prop::collection::vec(extent(), 0..2);
    let large = prop::collection::vec(extent(), 0..6);
    prop::collection::vec(prop_oneof![small, large], 0..6)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => blocks().prop_map(Step::Schedule),
        1 => blocks().prop_map(Step::Reschedule),
        1 => (0usize..4).prop_map(Step::Resume),
        1 => Just(Step::Cancel),
        8 => Just(Step::Next),
        4 => (0usize..4).prop_map(Step::Drop),
        1 => Just(Step::Pause),
    ]
}

fn faults() -> impl Strategy<Value = Faults> {
    let shares = prop_oneof![3 => Just(0.0), 1 => Just(0.02), 1 => Just(0.2)];
    (any::<u64>(), shares.clone(), shares, prop_oneof![4 => Just(0.0), 1 => Just(0.02)]).prop_map(
        |(seed, errors, short_reads, panics)| {
            Faults::default()
                .with_seed(seed)
                .with_errors(errors)
                .with_short_reads(short_reads)
                .with_panics(panics)
        },
    )
}

/// The prefetcher, and what it should do.
struct Run {
    prefetcher: Prefetcher,
    slots: Vec<usize>,
    may_fail: bool,
    expected: VecDeque<Block>,
    leases: Vec<Lease>,
    tags: u64,
}

impl Run {
    /// Gives tags; leaves out what fits no slot, having checked that it is refused.
    fn name(&mut self, blocks: Vec<Vec<Extent>>) -> Vec<Block> {
        let largest = self.slots.iter().copied().max().unwrap();
        let mut named = Vec::new();
        for extents in blocks {
            self.tags += 1;
            let block = Block::new(self.tags, extents);
            if block.slot_bytes() <= largest {
                named.push(block);
            } else {
                let error = self.prefetcher.schedule([block]).unwrap_err();
                assert!(matches!(error, IoError::SlotTooSmall { .. }), "{error:?}");
            }
        }
        named
    }

    fn class(&self, bytes: usize) -> usize {
        self.slots.iter().copied().filter(|&slot| slot >= bytes).min().unwrap()
    }

    /// Drops the oldest lease where all slots of the next block's size are leased.
    fn make_room(&mut self) {
        let Some(block) = self.expected.front() else { return };
        let class = self.class(block.slot_bytes());
        let of_class = |lease: &Lease| {
            let block = Block::new(0, lease.extents().to_vec());
            self.class(block.slot_bytes()) == class
        };
        let held: Vec<usize> =
            (0..self.leases.len()).filter(|&at| of_class(&self.leases[at])).collect();
        if held.len() == self.slots.iter().filter(|&&slot| slot == class).count() {
            self.leases.remove(held[0]);
        }
    }

    fn next(&mut self) {
        self.make_room();
        match (self.prefetcher.next(), self.expected.pop_front()) {
            (Ok(lease), Some(block)) => {
                assert_eq!((lease.tag(), lease.extents()), (block.tag, &block.extents[..]));
                check(&lease);
                self.leases.push(lease);
            }
            (Err(IoError::NothingScheduled), None) => {}
            (Err(IoError::Tensor { file, label, offset, .. }), Some(block)) => {
                assert!(self.may_fail, "no fault was injected");
                let extent = block.extents.iter().find(|extent| *extent.label == *label).unwrap();
                assert_eq!(file, format!("storage {}", extent.storage));
                assert!(offset < extent.offset + extent.len as u64);
                self.expected.clear();
            }
            other => panic!("{other:?}"),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Schedule(blocks) => {
                let blocks = self.name(blocks);
                self.prefetcher.schedule(blocks.clone()).unwrap();
                self.expected.extend(blocks);
            }
            Step::Reschedule(blocks) => {
                let blocks = self.name(blocks);
                self.prefetcher.reschedule(blocks.clone()).unwrap();
                self.expected = blocks.into();
            }
            Step::Resume(skip) => {
                let blocks = self.expected.iter().skip(skip).map(|b| b.extents.clone()).collect();
                let blocks = self.name(blocks);
                self.prefetcher.reschedule(blocks.clone()).unwrap();
                self.expected = blocks.into();
            }
            Step::Cancel => {
                self.prefetcher.cancel();
                self.expected.clear();
            }
            Step::Next => self.next(),
            Step::Drop(at) if at < self.leases.len() => drop(self.leases.swap_remove(at)),
            Step::Drop(_) => {}
            Step::Pause => (0..20).for_each(|_| thread::yield_now()),
        }
        self.leases.iter().for_each(check);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn right_bytes_or_right_error(
        steps in prop::collection::vec(step(), 0..40),
        slots in prop::collection::vec(prop_oneof![Just(4), Just(8), Just(40)], 1..5),
        faults in faults(),
        readers in 1usize..5,
        request_pages in 1usize..5,
        drop_leases_first in any::<bool>(),
    ) {
        within(Duration::from_secs(20), move || {
            let slots: Vec<usize> = slots.into_iter().map(|pages: usize| pages * PAGE).collect();
            let may_fail = faults.errors + faults.short_reads + faults.panics > 0.0;
            let storages = (0..STORAGES)
                .map(|number| faulty(number, LENGTH, faults.clone()) as Arc<dyn Storage>)
                .collect();
            let options = PrefetchOptions::new(slots.clone())
                .with_request_bytes(request_pages * PAGE)
                .with_readers(readers);
            let prefetcher = Prefetcher::start(storages, options).unwrap();
            let (expected, leases) = (VecDeque::new(), Vec::new());
            let mut run = Run { prefetcher, slots, may_fail, expected, leases, tags: 0 };
            steps.into_iter().for_each(|step| run.step(step));
            if drop_leases_first {
                run.leases.clear();
            }
            let Run { prefetcher, leases, .. } = run;
            drop(prefetcher);
            leases.iter().for_each(check);
        });
    }
}
