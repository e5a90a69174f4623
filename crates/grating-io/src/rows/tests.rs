//! The right rows, few reads, bounded memory.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::storage::{Faults, FaultyStorage, MemoryStorage, Storage};

fn row(id: usize, row_bytes: usize) -> Vec<u8> {
    (0..row_bytes).map(|at| (id * 31 + at * 7 + (id >> 8)) as u8).collect()
}

/// A checkpoint of one matrix, "rows", and the disk it lies on.
fn matrix(rows: usize, row_bytes: usize) -> (Checkpoint, Arc<FaultyStorage>) {
    let end = rows * row_bytes;
    let header = format!(
        r#"{{"rows":{{"dtype":"U8","shape":[{rows},{row_bytes}],"data_offsets":[0,{end}]}}}}"#
    );
    let data = (0..rows).flat_map(|id| row(id, row_bytes));
    let mut image = (header.len() as u64).to_le_bytes().to_vec();
    image.extend(header.bytes().chain(data));
    let image = Arc::new(MemoryStorage::from_vec("matrix", image));
    let disk = Arc::new(FaultyStorage::new(image, Faults::default()));
    (Checkpoint::from_storage(Arc::clone(&disk) as Arc<dyn Storage>).unwrap(), disk)
}

/// What `get` shows, by position.
fn get(cache: &mut RowCache, checkpoint: &Checkpoint, ids: &[u32]) -> Result<Vec<Vec<u8>>> {
    let mut shown = vec![None; ids.len()];
    cache.get(checkpoint, checkpoint.tensor("rows").unwrap(), ids, |position, row| {
        assert!(shown[position].replace(row.to_vec()).is_none(), "each position once");
    })?;
    Ok(shown.into_iter().map(Option::unwrap).collect())
}

fn stats(cache: &RowCache) -> (u64, u64, u64, u64) {
    let RowCacheStats { hits, misses, reads, bytes } = cache.stats();
    (hits, misses, reads, bytes)
}

#[test]
fn missing_neighbours_are_one_read_and_known_rows_none() {
    let (checkpoint, _) = matrix(100_000, 8);
    let mut cache = RowCache::new(100, 8);
    let far = 10 + 1 + COALESCED_GAP as u32 / 8;
    let ids = [far, 7, 10, 7, far + 1];
    let expected: Vec<_> = ids.iter().map(|&id| row(id as usize, 8)).collect();
    assert_eq!(get(&mut cache, &checkpoint, &ids).unwrap(), expected);
    assert_eq!(stats(&cache).2, 1, "a gap of the threshold is read with its neighbours");
    assert_eq!(get(&mut cache, &checkpoint, &ids).unwrap(), expected);
    assert_eq!(stats(&cache), (4, 4, 1, u64::from(far + 2 - 7) * 8));

    let mut cache = RowCache::new(100, 8);
    get(&mut cache, &checkpoint, &[10, far + 1]).unwrap();
    assert_eq!(stats(&cache), (0, 2, 2, 16), "a longer gap is not read");
}

#[test]
fn one_read_is_bounded() {
    let (checkpoint, _) = matrix(100_000, 8);
    let mut cache = RowCache::new(0, 8);
    let ids: Vec<u32> = (0..100_000).collect();
    get(&mut cache, &checkpoint, &ids).unwrap();
    assert_eq!(stats(&cache), (0, 100_000, 4, 800_000));
    assert!(cache.memory_bytes() <= READ_BYTES && cache.is_empty());
    assert_eq!(RowCache::max_bytes(0, 8), READ_BYTES);
}

#[test]
fn a_row_longer_than_a_read() {
    let (checkpoint, _) = matrix(3, READ_BYTES + 1);
    let mut cache = RowCache::new(2, READ_BYTES + 1);
    let rows = get(&mut cache, &checkpoint, &[0, 1, 2]).unwrap();
    assert_eq!(rows[2], row(2, READ_BYTES + 1));
    assert_eq!((cache.len(), cache.stats().reads), (2, 3));
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_read() {
    let (checkpoint, disk) = matrix(10, 4);
    let reads = disk.reads();
    let error = get(&mut RowCache::new(5, 8), &checkpoint, &[1]).unwrap_err();
    assert!(matches!(error, IoError::RowLength { expected: 8, found: 4, .. }), "{error:?}");
    let error = get(&mut RowCache::new(5, 4), &checkpoint, &[1, 10]).unwrap_err();
    assert!(matches!(error, IoError::NoSuchRow { expected: 10, found: 10, .. }), "{error:?}");
    let (empty, _) = matrix(0, 4);
    let error = get(&mut RowCache::new(5, 4), &empty, &[0]).unwrap_err();
    assert!(matches!(error, IoError::NoSuchRow { expected: 0, found: 0, .. }), "{error:?}");
    assert_eq!(disk.reads(), reads);
}

/// A storage that remembers what was announced to it.
#[derive(Debug)]
struct Attentive(Arc<FaultyStorage>, std::sync::Mutex<Vec<(u64, u64)>>);

impl Storage for Attentive {
    fn len(&self) -> u64 {
        self.0.len()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read_at(offset, buf)
    }
    fn name(&self) -> &str {
        self.0.name()
    }
    fn will_need(&self, offset: u64, len: u64) {
        self.1.lock().unwrap().push((offset, len));
    }
}

#[test]
fn the_system_is_told_of_reads_to_come() {
    let (_, disk) = matrix(2000, COALESCED_GAP);
    let attentive = Arc::new(Attentive(disk, Default::default()));
    let checkpoint = Checkpoint::from_storage(Arc::clone(&attentive) as _).unwrap();
    let mut cache = RowCache::new(10, COALESCED_GAP);
    let ids: Vec<u32> = (0..500).map(|at| at * 3).collect();
    get(&mut cache, &checkpoint, &ids).unwrap();
    let announced = attentive.1.lock().unwrap().clone();
    let start = checkpoint.tensor("rows").unwrap().range.start;
    let row = |id: &u32| (start + u64::from(*id) * COALESCED_GAP as u64, COALESCED_GAP as u64);
    assert_eq!(announced, ids[1..].iter().map(row).collect::<Vec<_>>(), "each but the first, once");
}

proptest! {
    #[test]
    fn any_requests_of_any_cache(
        requests in prop::collection::vec(prop::collection::vec(0u32..3000, 0..60), 1..12),
        capacity in prop_oneof![Just(0), 1usize..20, Just(3000)],
        row_bytes in 1usize..40,
    ) {
        let (checkpoint, _) = matrix(3000, row_bytes);
        let mut cache = RowCache::new(capacity, row_bytes);
        for ids in &requests {
            let expected: Vec<_> = ids.iter().map(|&id| row(id as usize, row_bytes)).collect();
            prop_assert_eq!(get(&mut cache, &checkpoint, ids).unwrap(), expected);
            prop_assert!(cache.len() <= capacity);
            prop_assert!(cache.memory_bytes() <= RowCache::max_bytes(capacity, row_bytes));
        }
        let distinct: u64 = requests
            .iter()
            .map(|ids| ids.iter().collect::<std::collections::HashSet<_>>().len() as u64)
            .sum();
        let (hits, misses, reads, bytes) = stats(&cache);
        prop_assert_eq!(hits + misses, distinct);
        prop_assert!(reads <= misses && bytes >= misses * row_bytes as u64);
    }

    /// A failed read leaves no wrong row behind.
    #[test]
    fn a_disk_that_fails_at_times(
        requests in prop::collection::vec(prop::collection::vec(0u32..500, 0..30), 1..12),
        seed in any::<u64>(),
    ) {
        let (checkpoint, disk) = matrix(500, 600);
        disk.set_faults(Faults::default().with_seed(seed).with_errors(0.2).with_short_reads(0.1));
        let mut cache = RowCache::new(50, 600);
        for ids in &requests {
            match get(&mut cache, &checkpoint, ids) {
                Ok(rows) => {
                    for (&id, shown) in ids.iter().zip(rows) {
                        prop_assert_eq!(shown, row(id as usize, 600));
                    }
                }
                Err(IoError::Tensor { label, .. }) => prop_assert!(!label.is_empty()),
                Err(other) => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
