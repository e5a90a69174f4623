//! What a lease holds.

use std::fs;

use grating_io::{Checkpoint, FileStorage, IoError};

use super::*;
use crate::support::{image, vectors, write};

#[test]
fn blocks_come_in_order_with_all_their_extents() {
    let storages = vec![storage(0, 100_000), storage(1, 50_000)];
    let prefetcher = Prefetcher::start(storages, options(&[80_000; 2])).unwrap();
    let extents = |shift: u64| {
        [(1, 40_000 + shift, 3000), (0, 5 + shift, 20_000), (0, 99_000, 1000), (1, shift, 0)]
            .map(|(storage, offset, len)| Extent::new(storage, offset, len, "t"))
            .to_vec()
    };
    prefetcher.schedule((0..50).map(|tag| Block::new(tag, extents(tag)))).unwrap();
    for tag in 0..50 {
        let lease = prefetcher.next().unwrap();
        assert_eq!((lease.tag(), lease.extents()), (tag, &extents(tag)[..]));
        check(&lease);
        assert!(lease.read_span().start <= lease.read_span().end);
    }
    assert!(matches!(prefetcher.next(), Err(IoError::NothingScheduled)));
}

#[test]
fn a_checkpoint_streams_its_layers() {
    let folder = tempfile::tempdir().unwrap();
    let layers: Vec<(String, usize)> =
        (0..6).map(|layer| (format!("layers.{layer}.weight"), 9000 + layer)).collect();
    let named: Vec<(&str, usize)> = layers.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    write(folder.path(), "model.safetensors", vectors(&named));
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    for io in [IoMode::Auto, IoMode::Direct, IoMode::Cached] {
        let blocks = || {
            checkpoint
                .tensors()
                .enumerate()
                .map(|(layer, tensor)| Block::new(layer as u64, vec![checkpoint.extent(tensor)]))
        };
        let slot = blocks().map(|block| block.slot_bytes()).max().unwrap();
        let options = options(&[slot; 2]).with_io(io);
        let prefetcher = checkpoint.prefetcher(options).unwrap();
        prefetcher.schedule(blocks()).unwrap();
        for (name, _) in &layers {
            let lease = prefetcher.next().unwrap();
            assert_eq!(&*lease.extents()[0].label, name);
            assert_eq!(lease.bytes(0), crate::support::read(&checkpoint, name));
        }
    }
}

#[test]
fn direct_and_cached_reads_lay_out_the_same_bytes() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for len in [1, PAGE - 1, PAGE, PAGE + 1, 300_001] {
        let path = folder.path().join(format!("{len} bytes"));
        fs::write(&path, bytes(0, 0, len)).unwrap();
        let file: Arc<dyn Storage> = Arc::new(FileStorage::open(&path).unwrap());
        for io in [IoMode::Direct, IoMode::Cached] {
            let options = options(&[400_000]).with_io(io);
            let prefetcher = Prefetcher::start(vec![Arc::clone(&file)], options).unwrap();
            let direct = prefetcher.stats().direct;
            assert!(direct <= usize::from(io == IoMode::Direct && file.direct().is_some()));
            for offset in [0, len / 3, len / 2, len - 1] {
                prefetcher.schedule([block(1, offset as u64, len - offset)]).unwrap();
                let lease = prefetcher.next().unwrap();
                check(&lease);
                assert_eq!(lease.bytes(0).as_ptr().addr() % PAGE, offset % PAGE, "as in the file");
            }
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_that_was_replaced_is_not_read_past_the_cache() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    write(folder.path(), "old", bytes(0, 0, PAGE));
    write(folder.path(), "new", bytes(1, 0, PAGE));
    let path = folder.path().join("old");
    let file = FileStorage::open(&path).unwrap();
    fs::rename(folder.path().join("new"), path).unwrap();
    assert!(file.direct().is_none());
    let prefetcher = start(Arc::new(file), &[PAGE]);
    prefetcher.schedule([block(1, 0, PAGE)]).unwrap();
    check(&prefetcher.next().unwrap());
}

#[test]
fn counters_count() {
    let file = faulty(0, 100_000, Faults::default());
    let prefetcher = start(file, &[40_960; 2]);
    prefetcher.schedule([block(1, 1000, 30_000), block(2, 50_000, 10)]).unwrap();
    for _ in 0..2 {
        prefetcher.next().unwrap();
    }
    let stats = prefetcher.stats();
    assert_eq!((stats.bytes, stats.reads, stats.failed_reads), (30_010, 9, 0));
    assert_eq!(stats.direct, 0);
}

#[test]
fn the_consumers_waits_and_the_readers_are_told_apart() {
    within(Duration::from_secs(60), || {
        // Whether somebody waits already cannot be seen from outside: it is tried until a wait is counted.
        loop {
            let disk = Gated::new(storage(0, 2 * PAGE), 0);
            let prefetcher = start(Arc::clone(&disk) as _, &[PAGE]);
            prefetcher.schedule([block(1, 0, PAGE), block(2, 4096, PAGE)]).unwrap();
            disk.wait_for(1);
            thread::scope(|scope| {
                scope.spawn(|| {
                    (0..100).for_each(|_| thread::yield_now());
                    disk.open();
                });
                drop(prefetcher.next().unwrap());
            });
            let stats = prefetcher.stats();
            assert!(stats.read_time > Duration::ZERO);
            if stats.consumer_wait > Duration::ZERO {
                break;
            }
        }
        loop {
            let prefetcher = start(storage(0, 2 * PAGE), &[PAGE]);
            prefetcher.schedule([block(1, 0, PAGE), block(2, 4096, PAGE)]).unwrap();
            settle(&prefetcher);
            let lease = prefetcher.next().unwrap();
            // It was there: nobody waited.
            assert_eq!(prefetcher.stats().consumer_wait, Duration::ZERO);
            (0..100).for_each(|_| thread::yield_now());
            drop(lease);
            settle(&prefetcher);
            drop(prefetcher.next().unwrap());
            assert_eq!(prefetcher.stats().consumer_wait, Duration::ZERO);
            if prefetcher.stats().reader_wait > Duration::ZERO {
                break; // The second block waited for its slot.
            }
        }
    });
}

/// A storage without a direct way that remembers what need not be kept.
#[derive(Debug)]
struct Forgetful(Arc<dyn Storage>, std::sync::Mutex<Vec<(u64, u64)>>);

impl Storage for Forgetful {
    fn len(&self) -> u64 {
        self.0.len()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), IoError> {
        self.0.read_at(offset, buf)
    }
    fn name(&self) -> &str {
        self.0.name()
    }
    fn not_needed(&self, offset: u64, len: u64) {
        self.1.lock().unwrap().push((offset, len));
    }
}

#[test]
fn where_there_is_no_direct_way_the_cache_is_told_to_forget() {
    for (io, expected) in
        [(IoMode::Direct, vec![(100, 3996), (4096, 104)]), (IoMode::Cached, vec![])]
    {
        let file = Arc::new(Forgetful(storage(0, 10_000), Default::default()));
        let options = options(&[2 * PAGE]).with_io(io).with_readers(1);
        let prefetcher = Prefetcher::start(vec![Arc::clone(&file) as _], options).unwrap();
        prefetcher.schedule([block(1, 100, 4100)]).unwrap();
        check(&prefetcher.next().unwrap());
        assert_eq!(prefetcher.stats().direct, 0);
        assert_eq!(*file.1.lock().unwrap(), expected);
    }
}

#[test]
fn a_large_file_is_read_past_the_cache_by_default() {
    // A storage that says it is larger than any memory.
    #[derive(Debug)]
    struct Huge(FileStorage);
    impl Storage for Huge {
        fn len(&self) -> u64 {
            u64::MAX
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), IoError> {
            self.0.read_at(offset, buf)
        }
        fn name(&self) -> &str {
            self.0.name()
        }
        fn direct(&self) -> Option<Arc<dyn grating_io::DirectStorage>> {
            self.0.direct()
        }
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    write(folder.path(), "file", image("{}", &[]));
    let open = || FileStorage::open(folder.path().join("file")).unwrap();
    let auto = || options(&[]).with_io(IoMode::Auto);
    let small = Prefetcher::start(vec![Arc::new(open())], auto()).unwrap();
    assert_eq!(small.stats().direct, 0);
    let supported = cfg!(target_os = "linux") && open().direct().is_some();
    let large = Prefetcher::start(vec![Arc::new(Huge(open()))], auto()).unwrap();
    assert_eq!(large.stats().direct, usize::from(supported));
}
