//! Every byte has its place, and only one request writes it.

use proptest::prelude::*;

use super::*;

fn placement(extents: &[(usize, u64, usize)], request_bytes: usize) -> Placement {
    let extent = |&(storage, offset, len): &_| Extent::new(storage, offset, len, "t");
    Placement::new(Block::new(0, extents.iter().map(extent).collect()), request_bytes)
}

/// Storage, first and last byte asked for.
fn asked(placement: &Placement) -> Vec<(usize, u64, u64)> {
    let range = |r: &Request| (r.storage, r.start + r.skip as u64, r.start + r.end as u64);
    placement.requests.iter().map(range).collect()
}

#[test]
fn neighbours_are_read_together_and_strangers_are_not() {
    let near = 1000 + COALESCED_GAP;
    assert_eq!(asked(&placement(&[(0, 0, 1000), (0, near, 5)], 1 << 20)), [(0, 0, near + 5)]);
    assert_eq!(
        asked(&placement(&[(0, near + 1, 5), (0, 0, 1000)], 1 << 20)),
        [(0, 0, 1000), (0, near + 1, near + 6)]
    );
    assert_eq!(asked(&placement(&[(1, 0, 10), (0, 0, 10)], 1 << 20)), [(0, 0, 10), (1, 0, 10)]);
}

#[test]
fn long_runs_are_cut_at_pages_of_the_file() {
    let placement = placement(&[(0, 100, 10_000)], 4096);
    assert_eq!(asked(&placement), [(0, 100, 4096), (0, 4096, 8192), (0, 8192, 10_100)]);
    assert_eq!(placement.places[0], 100..10_100);
    assert_eq!(placement.block.slot_bytes(), 12_288);
}

#[test]
fn nothing_takes_nothing() {
    let placement = placement(&[(0, 77, 0)], 4096);
    assert_eq!((placement.requests.len(), placement.block.slot_bytes()), (0, 0));
    assert_eq!(placement.places[0], 0..0);
    assert_eq!(slot_bytes(&[]), 0);
}

#[test]
fn what_no_storage_holds_saturates() {
    let extents = [(0, 0, 1), (0, u64::MAX - 1, usize::MAX), (1, 5, usize::MAX), (2, 1, 1)];
    let extents = extents.map(|(s, offset, len)| Extent::new(s, offset, len, "t"));
    assert_eq!(slot_bytes(&extents), usize::MAX);
}

#[test]
fn the_extent_at_fault_holds_the_byte_or_follows_it() {
    let labelled = |(offset, label): (u64, &str)| Extent::new(0, offset, 10, label);
    let extents = [(40, "c"), (0, "a"), (20, "b")].map(labelled).to_vec();
    let placement = Placement::new(Block::new(0, extents), 4096);
    let label = |position| placement.extent_at(0, position).map(|extent| &*extent.label);
    assert_eq!(
        [label(0), label(9), label(10), label(29)],
        [Some("a"), Some("a"), Some("b"), Some("b")]
    );
    assert_eq!([label(49), label(50)], [Some("c"), None]);
    assert!(placement.extent_at(1, 0).is_none());
}

fn extents() -> impl Strategy<Value = Vec<(usize, u64, usize)>> {
    // Small files with crowded extents, and extents far apart.
    let offset = prop_oneof![0u64..50_000, 0u64..5_000_000];
    prop::collection::vec((0usize..3, offset, 0usize..30_000), 0..12)
}

proptest! {
    #[test]
    fn requests_fill_exactly_what_extents_show(
        extents in extents(),
        pages in 1usize..6,
    ) {
        let placement = placement(&extents, pages * DIRECT_ALIGNMENT);
        let capacity = placement.block.slot_bytes();
        let mut end = 0;
        for request in &placement.requests {
            // In order, disjoint, aligned, within the slot, and no longer than was asked for.
            prop_assert!(request.slot.start >= end && request.slot.end <= capacity);
            end = request.slot.end;
            prop_assert!(request.skip < request.end && request.end <= request.slot.len());
            prop_assert!(request.slot.len() <= pages * DIRECT_ALIGNMENT);
            prop_assert!(request.slot.len() - request.end < DIRECT_ALIGNMENT);
            prop_assert_eq!(request.start % PAGE, 0);
            prop_assert_eq!(request.slot.start % DIRECT_ALIGNMENT, 0);
            prop_assert_eq!(request.slot.end % DIRECT_ALIGNMENT, 0);
        }
        prop_assert_eq!(end, capacity);
        for (&(storage, offset, len), place) in extents.iter().zip(&placement.places) {
            prop_assert_eq!(place.len(), len);
            // Every byte of the extent lies where some request puts it.
            let mut at = 0;
            while at < len {
                let slot = place.start + at;
                let request = placement.requests.iter().find(|r| r.slot.contains(&slot)).unwrap();
                let within = slot - request.slot.start;
                prop_assert_eq!(request.storage, storage);
                prop_assert_eq!(request.start + within as u64, offset + at as u64);
                prop_assert!(within >= request.skip && within < request.end);
                at += request.end - within;
            }
        }
    }
}
