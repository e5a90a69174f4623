//! Which block goes where, and how many at a time.

use super::*;

#[test]
fn a_block_too_large_is_told_what_it_takes() {
    let prefetcher = start(storage(0, 50_000), &[PAGE, 2 * PAGE]);
    let large = block(7, 100, 20_000);
    let error = prefetcher.schedule([block(1, 0, 1), large.clone()]).unwrap_err();
    assert!(
        matches!(error, IoError::SlotTooSmall { block: 7, expected, found }
            if expected == large.slot_bytes() && found == 2 * PAGE),
        "{error:?}"
    );
    assert!(error.to_string().contains("a slot of at least 20480 bytes"), "{error}");
    assert!(matches!(prefetcher.next(), Err(IoError::NothingScheduled)), "all or none");
    let fitting = start(storage(0, 50_000), &[large.slot_bytes()]);
    fitting.schedule([large]).unwrap();
    check(&fitting.next().unwrap());
}

#[test]
fn small_blocks_share_the_slots_of_the_largest_where_they_are_to() {
    let (small, shared) = (block(0, 0, 10), block(1, 0, 10).with_least_slot(2 * PAGE));
    assert_eq!((small.slot_bytes(), shared.slot_bytes()), (PAGE, 2 * PAGE));
    let prefetcher = start(storage(0, 50_000), &[PAGE, 2 * PAGE]);
    prefetcher.schedule([small, shared, block(2, 0, PAGE + 1)]).unwrap();
    let (_small, shared) = (prefetcher.next().unwrap(), prefetcher.next().unwrap());
    // The one slot that the third could have is the second's.
    assert!(!prefetcher.is_ready());
    drop(shared);
    check(&prefetcher.next().unwrap());
}

#[test]
fn extents_that_do_not_exist_are_refused() {
    let prefetcher = start(storage(0, 1000), &[PAGE]);
    prefetcher.schedule([block(1, 0, 10)]).unwrap();
    let elsewhere = Block::new(2, vec![Extent::new(1, 0, 10, "lost")]);
    let error = prefetcher.reschedule([elsewhere]).unwrap_err();
    assert!(matches!(&error, IoError::UnknownStorage { block: 2, label, expected: 1, found: 1 }
        if label == "lost"));
    let error = prefetcher.reschedule([block(3, 995, 6)]).unwrap_err();
    assert!(matches!(&error, IoError::Tensor { file, label, offset: 995, .. }
        if file == "storage 0" && label == "tensor 3"));
    assert_eq!(prefetcher.next().unwrap().tag(), 1, "the schedule is as before");
}

#[test]
fn no_slots_serve_no_blocks() {
    let prefetcher = start(storage(0, 10), &[]);
    let error = prefetcher.schedule([block(1, 0, 1)]).unwrap_err();
    assert!(matches!(error, IoError::SlotTooSmall { expected: PAGE, found: 0, .. }));
}

/// Reads when as much has been read as will be read.
fn settled(prefetcher: &Prefetcher, storage: &FaultyStorage) -> u64 {
    settle(prefetcher);
    storage.reads()
}

#[test]
fn reading_ahead_stops_when_the_slots_are_full() {
    let file = faulty(0, 100 * PAGE, Faults::default());
    let prefetcher = start(Arc::clone(&file) as _, &[PAGE; 3]);
    prefetcher.schedule((0..100).map(|tag| block(tag, tag * 4096, PAGE))).unwrap();
    assert_eq!(settled(&prefetcher, &file), 3);
    let first = prefetcher.next().unwrap();
    assert_eq!(settled(&prefetcher, &file), 3, "a leased slot is in use");
    drop(first);
    assert_eq!(settled(&prefetcher, &file), 4);
}

#[test]
fn small_and_large_blocks_keep_both_slots_busy() {
    let file = faulty(0, 100 * PAGE, Faults::default());
    let prefetcher = start(Arc::clone(&file) as _, &[4 * PAGE, PAGE]);
    // Two small ones in a row: the second must not take the large slot.
    let lens = [1, 1, 4, 1, 4];
    let blocks = (0..).zip(lens).map(|(tag, pages)| block(tag, tag * 40_960, pages * PAGE));
    prefetcher.schedule(blocks).unwrap();
    assert_eq!(settled(&prefetcher, &file), 1 + 4, "the first small one and the first large one");
    let small = prefetcher.next().unwrap();
    assert_eq!((small.tag(), settled(&prefetcher, &file)), (0, 5));
    drop(small);
    assert_eq!(settled(&prefetcher, &file), 6, "the second small one");
    for tag in 1..5 {
        let lease = within(Duration::from_secs(10), {
            let lease = prefetcher.next().unwrap();
            move || lease
        });
        assert_eq!(lease.tag(), tag);
        check(&lease);
    }
}

#[test]
fn a_pinned_lease_stays_as_it_is() {
    let prefetcher = start(storage(0, 100 * PAGE), &[PAGE; 3]);
    prefetcher.schedule((0..100).map(|tag| block(tag, tag * 4096, PAGE))).unwrap();
    let pinned = prefetcher.next().unwrap();
    for tag in 1..100 {
        let lease = prefetcher.next().unwrap();
        assert_eq!(lease.tag(), tag);
        check(&lease);
    }
    assert_eq!(pinned.tag(), 0);
    check(&pinned);
}

#[test]
fn a_lease_may_be_used_and_dropped_elsewhere() {
    let prefetcher = start(storage(0, 100 * PAGE), &[PAGE; 2]);
    prefetcher.schedule((0..100).map(|tag| block(tag, tag * 4096, PAGE))).unwrap();
    thread::scope(|scope| {
        for _ in 0..100 {
            let lease = prefetcher.next().unwrap();
            scope.spawn(move || check(&lease));
        }
    });
}

#[test]
fn memory_that_cannot_be_had_is_the_blocks_error() {
    let prefetcher = start(storage(0, PAGE), &[usize::MAX / 2]);
    prefetcher.schedule([block(1, 0, 1)]).unwrap();
    let error = within(Duration::from_secs(10), move || prefetcher.next().unwrap_err());
    assert!(matches!(error, IoError::OutOfMemory { needed, .. } if needed == usize::MAX / 2));
}
