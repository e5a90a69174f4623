//! Every order in which threads can take turns, tried by `loom`:
//! `RUSTFLAGS="--cfg loom" cargo test -p grating-io --release --lib model`.

use std::ops::Range;
use std::sync::Arc as Shared;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::{Handover, Placement, Ready, SlotMemory};
use crate::error::{IoError, Result};
use crate::prefetch::block::{Block, Extent};

const PAGE: usize = 4096;

/// A cell for each page. `loom` fails the test if one is written while anybody else accesses it,
/// or read without having synchronized with its writer, or never freed.
struct Pages(Arc<Vec<UnsafeCell<()>>>);

struct PagePart {
    pages: Arc<Vec<UnsafeCell<()>>>,
    range: Range<usize>,
}

impl SlotMemory for Pages {
    type Portion = PagePart;
    type Lent = Pages;
    type Source = ();

    fn allocate(_source: &(), bytes: usize) -> Result<Self> {
        Ok(Pages(Arc::new((0..bytes.div_ceil(PAGE)).map(|_| UnsafeCell::new(())).collect())))
    }

    fn lend(self, ranges: impl Iterator<Item = Range<usize>>) -> (Pages, Vec<PagePart>) {
        let pages = |range: Range<usize>| range.start / PAGE..range.end / PAGE;
        let portion = |range| PagePart { pages: Arc::clone(&self.0), range: pages(range) };
        let portions = ranges.map(portion).collect();
        (self, portions)
    }

    fn reclaim(mut lent: Pages) -> Self {
        assert!(Arc::get_mut(&mut lent.0).is_some(), "a portion is still alive");
        lent
    }
}

impl PagePart {
    fn write(&self) {
        self.range.clone().for_each(|page| self.pages[page].with_mut(|_| ()));
    }
}

fn read(ready: &Ready<Pages>) {
    ready.memory.0.iter().for_each(|page| page.with(|_| ()));
}

/// A block of this many requests.
fn placement(tag: u64, requests: usize) -> Shared<Placement> {
    let extent = Extent::new(0, tag * PAGE as u64 * 8, requests * PAGE, "pages");
    Shared::new(Placement::new(Block::new(tag, vec![extent]), PAGE))
}

type Readers = Vec<thread::JoinHandle<()>>;

/// Readers that fail the requests of blocks tagged `bad`.
fn start(slots: &[usize], readers: usize, bad: u64) -> (Arc<Handover<Pages>>, Readers) {
    let handover: Arc<Handover<Pages>> = Arc::new(Handover::new(slots, ()));
    let reader = |_| {
        let handover = Arc::clone(&handover);
        thread::spawn(move || {
            while let Some(task) = handover.take_task() {
                task.portion.write();
                let fails = task.placement.block.tag == bad;
                let error = || Err(IoError::EmptyFile { file: "bad".into() });
                handover.complete(task, if fails { error() } else { Ok(()) });
            }
        })
    };
    let readers = (0..readers).map(reader).collect();
    (handover, readers)
}

fn end(handover: &Handover<Pages>, readers: Readers) {
    handover.close();
    readers.into_iter().for_each(|reader| reader.join().unwrap());
}

const GOOD: u64 = u64::MAX;

/// Takes the block of this tag and gives its slot back.
fn consume(handover: &Handover<Pages>, tag: u64) {
    let ready = handover.next().unwrap();
    assert_eq!(ready.placement.block.tag, tag);
    read(&ready);
    handover.give_back(ready.slot, ready.memory);
}

/// All orders with at most this many forced switches; more of them take minutes and, with so few
/// threads, find no others of consequence.
fn model(check: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

#[test]
fn model_one_slot_serves_block_after_block() {
    model(|| {
        let (handover, readers) = start(&[PAGE], 1, GOOD);
        handover.schedule(vec![placement(1, 1), placement(2, 1)]).unwrap();
        consume(&handover, 1);
        consume(&handover, 2);
        assert!(matches!(handover.next(), Err(IoError::NothingScheduled)));
        end(&handover, readers);
    });
}

#[test]
fn model_two_readers_fill_one_block() {
    model(|| {
        let (handover, readers) = start(&[2 * PAGE], 2, GOOD);
        handover.schedule(vec![placement(1, 2)]).unwrap();
        consume(&handover, 1);
        end(&handover, readers);
    });
}

#[test]
fn model_the_end_comes_at_any_moment() {
    model(|| {
        let (handover, readers) = start(&[2 * PAGE], 2, GOOD);
        handover.schedule(vec![placement(1, 2)]).unwrap();
        end(&handover, readers);
    });
}

#[test]
fn model_a_lease_outlives_the_end() {
    model(|| {
        let (handover, readers) = start(&[PAGE, PAGE], 1, GOOD);
        handover.schedule(vec![placement(1, 1), placement(2, 1)]).unwrap();
        let ready = handover.next().unwrap();
        end(&handover, readers);
        read(&ready);
        handover.give_back(ready.slot, ready.memory);
    });
}

#[test]
fn model_an_error_reaches_the_consumer_and_the_next_schedule_is_served() {
    model(|| {
        let (handover, readers) = start(&[2 * PAGE], 1, 7);
        handover.schedule(vec![placement(7, 2), placement(1, 1)]).unwrap();
        assert!(matches!(handover.next(), Err(IoError::EmptyFile { .. })));
        assert!(matches!(handover.next(), Err(IoError::NothingScheduled)));
        handover.schedule(vec![placement(2, 1)]).unwrap();
        consume(&handover, 2);
        end(&handover, readers);
    });
}

#[test]
fn model_two_readers_fail_one_block() {
    model(|| {
        let (handover, readers) = start(&[2 * PAGE], 2, 7);
        handover.schedule(vec![placement(7, 2)]).unwrap();
        assert!(matches!(handover.next(), Err(IoError::EmptyFile { .. })));
        end(&handover, readers);
    });
}

#[test]
fn model_a_new_order_while_the_old_one_is_read() {
    model(|| {
        let (handover, readers) = start(&[PAGE], 1, GOOD);
        handover.schedule(vec![placement(1, 1), placement(2, 1)]).unwrap();
        handover.reschedule(vec![placement(2, 1), placement(1, 1)]).unwrap();
        consume(&handover, 2);
        consume(&handover, 1);
        end(&handover, readers);
    });
}

#[test]
fn model_a_new_order_around_a_failed_block() {
    model(|| {
        let (handover, readers) = start(&[PAGE, PAGE], 1, 7);
        handover.schedule(vec![placement(7, 1), placement(1, 1)]).unwrap();
        handover.reschedule(vec![placement(1, 1)]).unwrap();
        consume(&handover, 1);
        end(&handover, readers);
    });
}

#[test]
fn model_cancelled_while_it_is_read() {
    model(|| {
        let (handover, readers) = start(&[2 * PAGE], 2, GOOD);
        handover.schedule(vec![placement(1, 2)]).unwrap();
        handover.cancel();
        assert!(matches!(handover.next(), Err(IoError::NothingScheduled)));
        handover.schedule(vec![placement(2, 1)]).unwrap();
        consume(&handover, 2);
        end(&handover, readers);
    });
}

#[test]
fn model_a_slot_comes_back_from_another_thread() {
    model(|| {
        let (handover, readers) = start(&[PAGE], 1, GOOD);
        handover.schedule(vec![placement(1, 1), placement(2, 1)]).unwrap();
        let ready = handover.next().unwrap();
        let theirs = Arc::clone(&handover);
        let other = thread::spawn(move || {
            read(&ready);
            theirs.give_back(ready.slot, ready.memory);
        });
        consume(&handover, 2);
        other.join().unwrap();
        end(&handover, readers);
    });
}
