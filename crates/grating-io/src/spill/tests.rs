//! Buffers come back as they were put aside, whatever the disk does.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;

/// A disk in memory that fails on demand.
#[derive(Debug, Default)]
struct Disk {
    bytes: Mutex<Vec<u8>>,
    /// Bytes that it holds at most; 0 is no limit.
    size: AtomicU64,
    bad_writes: AtomicBool,
    bad_reads: AtomicBool,
    panics: AtomicBool,
    /// While it is held, nothing is written or read.
    gate: Mutex<()>,
}

impl Disk {
    fn suffer(&self, bad: &AtomicBool) -> io::Result<()> {
        drop(self.gate.lock().unwrap());
        assert!(!self.panics.load(Ordering::Relaxed), "injected panic");
        match bad.load(Ordering::Relaxed) {
            true => Err(io::Error::other("injected input/output error")),
            false => Ok(()),
        }
    }
}

impl SpillFile for Arc<Disk> {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.suffer(&self.bad_writes)?;
        let at = offset as usize;
        self.bytes.lock().unwrap()[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.suffer(&self.bad_reads)?;
        let at = offset as usize;
        buf.copy_from_slice(&self.bytes.lock().unwrap()[at..at + buf.len()]);
        Ok(())
    }

    fn resize(&self, bytes: u64) -> io::Result<()> {
        let size = self.size.load(Ordering::Relaxed);
        if size > 0 && bytes > size {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.lock().unwrap().resize(bytes as usize, 0xee);
        Ok(())
    }

    fn free_bytes(&self) -> Option<u64> {
        None
    }
}

fn over(disk: &Arc<Disk>, options: SpillOptions) -> SpillStore {
    SpillStore::over(Box::new(Arc::clone(disk)), "folder", options).unwrap()
}

fn filled(store: &SpillStore, len: usize, value: u8) -> Buffer {
    let mut buffer = store.buffer(len);
    buffer.as_mut_slice().fill(value);
    buffer
}

/// Waits until the thread has nothing to do.
fn settle(store: &SpillStore) {
    while !store.shared.lock().is_idle(&store.shared.options) {
        thread::yield_now();
    }
}

#[test]
fn a_file_in_a_folder_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let store = SpillStore::create(folder.path(), SpillOptions::default()).unwrap();
    for key in 0..20 {
        store.write(key, filled(&store, 10_000 + key as usize, key as u8)).unwrap();
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
    for key in (0..20).rev() {
        if key > 0 {
            store.prefetch(key - 1).unwrap();
        }
        let buffer = store.take(key).unwrap();
        assert_eq!(buffer.as_slice(), vec![key as u8; 10_000 + key as usize]);
        store.recycle(buffer);
    }
    let stats = store.stats();
    assert_eq!(stats.reads + stats.reads_saved, 20, "{stats:?}");
    assert!(store.is_empty() && stats.file_bytes > 0);
    store.clear();
    assert_eq!(store.stats().file_bytes, 0);
}

#[test]
fn reads_and_writes_are_recorded_when_asked_for() {
    let store = over(&Arc::default(), SpillOptions::default());
    store.write(1, filled(&store, 5000, 1)).unwrap();
    settle(&store);
    assert!(store.take_events().is_empty(), "not asked for");
    store.record(true);
    store.write(2, filled(&store, 7000, 2)).unwrap();
    settle(&store);
    store.take(1).unwrap();
    let events = store.take_events();
    let recorded: Vec<_> = events.iter().map(|e| (e.key, e.write, e.bytes)).collect();
    assert_eq!(recorded, [(2, true, 7000), (1, false, 5000)]);
    assert!(events.iter().all(|e| e.span.start <= e.span.end));
    store.record(false);
    assert!(store.take_events().is_empty());
}

#[test]
fn a_folder_that_does_not_exist() {
    let error = SpillStore::create(Path::new("/no/such/folder"), SpillOptions::default());
    let message = error.unwrap_err().to_string();
    assert!(message.starts_with("/no/such/folder: cannot make a temporary file"), "{message}");
}

#[test]
fn a_disk_smaller_than_what_is_kept_free() {
    let folder = tempfile::tempdir().unwrap();
    let options = SpillOptions { keep_free_bytes: u64::MAX, ..SpillOptions::default() };
    let store = SpillStore::create(folder.path(), options).unwrap();
    let NotSpilled { error, buffer } = store.write(1, filled(&store, 5000, 3)).unwrap_err();
    assert!(matches!(*error, IoError::NoSpace { needed: 8192, free: 0, .. }), "{error:?}");
    assert!(error.to_string().starts_with(&folder.path().display().to_string()), "{error}");
    assert_eq!(buffer.as_slice(), [3; 5000]);
}

#[test]
fn a_full_disk_hands_the_buffer_back_and_goes_on() {
    let disk = Arc::new(Disk::default());
    disk.size.store(2 * 4096, Ordering::Relaxed);
    let store = over(&disk, SpillOptions::default());
    for key in 0..2 {
        store.write(key, filled(&store, 4096, key as u8)).unwrap();
    }
    settle(&store);
    let NotSpilled { error, buffer } = store.write(2, filled(&store, 4096, 2)).unwrap_err();
    assert!(matches!(*error, IoError::NoSpace { needed: 4096, .. }), "{error:?}");
    assert_eq!(buffer.as_slice(), [2; 4096]);
    // Room that becomes free is used again.
    store.remove(0);
    store.write(2, buffer).unwrap();
    for key in [1, 2] {
        assert_eq!(store.take(key).unwrap().as_slice(), [key as u8; 4096]);
    }
}

#[test]
fn a_limit_of_the_users_own() {
    let disk = Arc::new(Disk::default());
    let store = over(&disk, SpillOptions { max_bytes: 10_000, ..SpillOptions::default() });
    store.write(1, filled(&store, 5000, 1)).unwrap();
    let error = store.write(2, filled(&store, 5000, 2)).unwrap_err().error;
    assert!(matches!(*error, IoError::NoSpace { needed: 8192, free: 1808, .. }), "{error:?}");
}

#[test]
fn a_write_that_fails_behind_keeps_its_buffer() {
    let disk = Arc::new(Disk::default());
    let store = over(&disk, SpillOptions::default());
    disk.bad_writes.store(true, Ordering::Relaxed);
    store.write(1, filled(&store, 5000, 1)).unwrap();
    settle(&store);
    let NotSpilled { error, buffer } = store.write(2, filled(&store, 5000, 2)).unwrap_err();
    assert!(matches!(*error, IoError::SpillWrite { offset: 0, length: 5000, .. }), "{error:?}");
    assert_eq!(buffer.as_slice(), [2; 5000]);
    assert_eq!(store.take(1).unwrap().as_slice(), [1; 5000], "nothing was lost");
    disk.bad_writes.store(false, Ordering::Relaxed);
    store.write(2, buffer).unwrap();
    assert_eq!(store.take(2).unwrap().as_slice(), [2; 5000]);
}

#[test]
fn a_read_that_fails_may_be_tried_again() {
    let disk = Arc::new(Disk::default());
    let store = over(&disk, SpillOptions::default());
    store.write(1, filled(&store, 5000, 1)).unwrap();
    settle(&store);
    disk.bad_reads.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        let error = store.take(1).unwrap_err();
        assert!(matches!(error, IoError::SpillRead { length: 5000, .. }), "{error:?}");
    }
    store.prefetch(1).unwrap();
    disk.bad_reads.store(false, Ordering::Relaxed);
    assert!(store.take(1).is_ok() || store.take(1).is_ok(), "what was read ahead may have failed");
    assert!(matches!(store.take(1), Err(IoError::UnknownKey { key: 1 })));
}

#[test]
fn a_panic_is_an_error() {
    let disk = Arc::new(Disk::default());
    let store = over(&disk, SpillOptions::default());
    store.write(1, filled(&store, 100, 1)).unwrap();
    settle(&store);
    disk.panics.store(true, Ordering::Relaxed);
    let message = store.take(1).unwrap_err().to_string();
    assert!(message.contains("panicked"), "{message}");
    disk.panics.store(false, Ordering::Relaxed);
    assert_eq!(store.take(1).unwrap().as_slice(), [1; 100]);
}

#[test]
fn what_has_not_been_written_is_not_read() {
    let disk = Arc::new(Disk::default());
    let gate = disk.gate.lock().unwrap();
    let options = SpillOptions { writes_in_flight: 2, ..SpillOptions::default() };
    let store = over(&disk, options);
    store.write(1, filled(&store, 100, 1)).unwrap();
    store.write(2, filled(&store, 100, 2)).unwrap();
    // The second waits behind the first, which stands at the gate: it is taken without the disk.
    assert_eq!(store.take(2).unwrap().as_slice(), [2; 100]);
    assert_eq!((store.stats().reads, store.stats().reads_saved), (0, 1));
    drop(gate);
    assert_eq!(store.take(1).unwrap().as_slice(), [1; 100]);
    let stats = store.stats();
    assert_eq!(stats.reads + stats.reads_saved, 2);
    assert!(stats.writes <= 1 && disk.bytes.lock().unwrap().len() <= 8192);
}

#[test]
fn buffers_are_bounded() {
    let disk = Arc::new(Disk::default());
    let store = over(&disk, SpillOptions::default());
    for key in 0..10 {
        store.write(key, filled(&store, 100, key as u8)).unwrap();
        store.prefetch(key).unwrap(); // Too early: that must not keep all of them in memory.
    }
    settle(&store);
    let in_memory = store.shared.lock().buffers();
    assert!(in_memory <= 2, "one read ahead and one spare, not {in_memory}");
    for key in 0..10 {
        assert_eq!(store.take(key).unwrap().as_slice(), [key as u8; 100]);
    }
}

#[test]
fn the_end_comes_at_any_moment() {
    let disk = Arc::new(Disk::default());
    for busy in 0..4 {
        let options = SpillOptions { writes_in_flight: 4, ..SpillOptions::default() };
        let store = over(&disk, options);
        let gate = disk.gate.lock().unwrap();
        (0..busy).for_each(|key| store.write(key, Buffer::zeroed(100)).unwrap());
        drop(gate);
        drop(store);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64, usize),
    Prefetch(u64),
    Take(u64),
    Remove(u64),
    Clear,
    Fail { writes: bool, reads: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0u64..6;
    prop_oneof![
        4 => (key.clone(), 0usize..20_000).prop_map(|(key, len)| Step::Write(key, len)),
        3 => key.clone().prop_map(Step::Prefetch),
        4 => key.clone().prop_map(Step::Take),
        1 => key.prop_map(Step::Remove),
        1 => Just(Step::Clear),
        1 => (any::<bool>(), any::<bool>())
            .prop_map(|(writes, reads)| Step::Fail { writes, reads }),
    ]
}

proptest! {
    /// Any order of calls, with a disk that fails at times: a buffer comes back as it was, or its
    /// error does, and it is there on the next try.
    #[test]
    fn nothing_is_lost(
        steps in prop::collection::vec(step(), 0..60),
        writes_in_flight in 0usize..3,
        reads_ahead in 0usize..3,
        spare_buffers in 0usize..3,
        size in prop_oneof![Just(0), 1u64..60_000],
    ) {
        let disk = Arc::new(Disk::default());
        disk.size.store(size, Ordering::Relaxed);
        let mut failing = false;
        let options = SpillOptions {
            writes_in_flight,
            reads_ahead,
            spare_buffers,
            ..SpillOptions::default()
        };
        let store = over(&disk, options);
        let mut model: HashMap<u64, (usize, u8)> = HashMap::new();
        for (value, step) in (0u8..).zip(steps) {
            match step {
                Step::Write(key, len) => {
                    model.remove(&key);
                    match store.write(key, filled(&store, len, value)) {
                        Ok(()) => _ = model.insert(key, (len, value)),
                        Err(NotSpilled { buffer, .. }) => {
                            prop_assert_eq!(buffer.as_slice(), vec![value; len]);
                        }
                    }
                }
                Step::Prefetch(key) => {
                    prop_assert_eq!(store.prefetch(key).is_ok(), model.contains_key(&key));
                }
                Step::Take(key) => match (store.take(key), model.get(&key).copied()) {
                    (Ok(buffer), Some((len, value))) => {
                        prop_assert_eq!(buffer.as_slice(), vec![value; len]);
                        store.recycle(buffer);
                        model.remove(&key);
                    }
                    (Err(IoError::SpillRead { .. }), Some(_)) => prop_assert!(failing),
                    (Err(IoError::UnknownKey { .. }), None) => {}
                    other => prop_assert!(false, "{:?}", other),
                },
                Step::Remove(key) => {
                    store.remove(key);
                    model.remove(&key);
                }
                Step::Clear => {
                    store.clear();
                    model.clear();
                    prop_assert_eq!(store.stats().file_bytes, 0);
                }
                Step::Fail { writes, reads } => {
                    disk.bad_writes.store(writes, Ordering::Relaxed);
                    disk.bad_reads.store(reads, Ordering::Relaxed);
                    failing |= reads;
                }
            }
            prop_assert_eq!(store.len(), model.len());
        }
    }
}
