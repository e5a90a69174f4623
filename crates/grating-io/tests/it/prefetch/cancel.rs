//! Forgetting a schedule, and replacing it.

use super::*;

#[test]
fn a_cancelled_block_costs_the_requests_in_flight() {
    let disk = Gated::new(storage(0, 400 * PAGE), 0);
    let prefetcher = start(Arc::clone(&disk) as _, &[400 * PAGE]);
    prefetcher.schedule([block(1, 0, 400 * PAGE)]).unwrap();
    disk.wait_for(3);
    // Cancelling waits for nothing: the requests are at the gate.
    let prefetcher = within(Duration::from_secs(10), move || {
        prefetcher.cancel();
        prefetcher
    });
    // One slot, which is free when they return.
    prefetcher.schedule([block(2, 0, PAGE)]).unwrap();
    assert!(!prefetcher.is_ready() && !prefetcher.is_idle());
    disk.open();
    check(&prefetcher.next().unwrap());
    assert_eq!(disk.arrived(), 3 + 1, "three readers, and the new block's request");
}

#[test]
fn a_cancelled_schedule_is_empty() {
    let prefetcher = start(storage(0, 10 * PAGE), &[PAGE; 2]);
    prefetcher.schedule((0..10).map(|tag| block(tag, tag * 4096, PAGE))).unwrap();
    let lease = prefetcher.next().unwrap();
    prefetcher.cancel();
    assert!(prefetcher.is_ready(), "it says at once that there is nothing");
    assert!(matches!(prefetcher.next(), Err(IoError::NothingScheduled)));
    check(&lease);
}

/// Waits until the block at the head has been read.
fn wait_ready(prefetcher: &Prefetcher) {
    while !prefetcher.is_ready() {
        thread::yield_now();
    }
}

#[test]
fn what_the_new_order_begins_with_is_kept() {
    let disk = faulty(0, 100 * PAGE, Faults::default());
    let prefetcher = start(Arc::clone(&disk) as _, &[PAGE; 2]);
    let blocks = |tags: std::ops::Range<u64>| tags.map(|tag| block(tag, tag * 4096, PAGE));
    prefetcher.schedule(blocks(5..10)).unwrap();
    wait_ready(&prefetcher);
    while disk.reads() < 2 {
        thread::yield_now();
    }
    // 5 and 6 have been read. 6 stays, and under its new name.
    let mut renamed = block(6, 6 * 4096, PAGE);
    renamed.tag = 66;
    prefetcher.reschedule([renamed].into_iter().chain(blocks(7..9))).unwrap();
    for tag in [66, 7, 8] {
        let lease = prefetcher.next().unwrap();
        assert_eq!(lease.tag(), tag);
        check(&lease);
    }
    assert_eq!(disk.reads(), 2 + 2, "7 and 8");
}

#[test]
fn what_would_be_in_the_way_is_not_kept() {
    // One slot: if 1 kept it, 2 would wait for ever.
    let prefetcher = start(storage(0, 100 * PAGE), &[PAGE]);
    prefetcher.schedule([block(1, 4096, PAGE)]).unwrap();
    wait_ready(&prefetcher);
    prefetcher.reschedule([block(2, 8192, PAGE), block(1, 4096, PAGE)]).unwrap();
    // Each lease goes back before the next is asked for.
    let tags = within(Duration::from_secs(10), move || {
        [2, 1].map(|_| prefetcher.next().map(|lease| lease.tag()).unwrap())
    });
    assert_eq!(tags, [2, 1]);
}

#[test]
fn sizes_are_kept_apart_from_each_other() {
    let disk = faulty(0, 100 * PAGE, Faults::default());
    let prefetcher = start(Arc::clone(&disk) as _, &[PAGE, 4 * PAGE]);
    let small = block(1, 0, PAGE);
    let large = block(2, 40_960, 4 * PAGE);
    prefetcher.schedule([small.clone(), large.clone()]).unwrap();
    while disk.reads() < 5 {
        thread::yield_now();
    }
    // The small one is another, the large one the same.
    prefetcher.reschedule([block(3, 8192, PAGE), large]).unwrap();
    for tag in [3, 2] {
        let lease = prefetcher.next().unwrap();
        assert_eq!(lease.tag(), tag);
        check(&lease);
    }
    assert_eq!(disk.reads(), 6);
}

#[test]
fn a_failed_block_is_tried_again() {
    let disk = faulty(0, 10 * PAGE, Faults::default().with_errors(1.0));
    let prefetcher = start(Arc::clone(&disk) as _, &[PAGE]);
    prefetcher.schedule([block(1, 0, PAGE)]).unwrap();
    wait_ready(&prefetcher);
    disk.set_faults(Faults::default());
    prefetcher.reschedule([block(1, 0, PAGE)]).unwrap();
    check(&prefetcher.next().unwrap());
}

#[test]
fn what_stood_behind_a_failed_block_is_read_on() {
    // One reader: when it fails the first block, the second has its slot and no request made.
    let disk = faulty(0, 10 * PAGE, Faults::default().with_bad_byte(0));
    let options = options(&[PAGE; 2]).with_readers(1);
    let prefetcher = Prefetcher::start(vec![disk as _], options).unwrap();
    prefetcher.schedule([block(1, 0, PAGE), block(2, 4096, PAGE)]).unwrap();
    wait_ready(&prefetcher);
    settle(&prefetcher);
    prefetcher.reschedule([block(2, 4096, PAGE)]).unwrap();
    check(&within(Duration::from_secs(10), move || prefetcher.next().unwrap()));
}
