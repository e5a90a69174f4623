//! Disks that fail: the error names file, tensor and place, and the next schedule is served.

use grating_io::{FileStorage, IoError};

use super::*;

const LIMIT: Duration = Duration::from_secs(1);

/// Ten blocks of three tensors of 3000 bytes each.
fn blocks() -> impl Iterator<Item = Block> {
    (0..10).map(|tag| {
        let tensor = |at: u64| {
            let offset = tag * 9000 + at * 3000;
            Extent::new(0, offset, 3000, format!("layers.{tag}.{at}"))
        };
        Block::new(tag, (0..3).map(tensor).collect())
    })
}

/// Runs the schedule up to its error: the blocks before it, and the error.
fn run(prefetcher: &Prefetcher) -> (u64, IoError) {
    for tag in 0.. {
        match prefetcher.next() {
            Ok(lease) => {
                assert_eq!(lease.tag(), tag);
                check(&lease);
            }
            Err(error) => return (tag, error),
        }
    }
    unreachable!()
}

fn serves_the_next_schedule(prefetcher: &Prefetcher) {
    assert!(matches!(prefetcher.next(), Err(IoError::NothingScheduled)));
    prefetcher.schedule(blocks()).unwrap();
    let (served, end) = run(prefetcher);
    assert!(served == 10 && matches!(end, IoError::NothingScheduled), "{served}: {end}");
}

#[test]
fn a_bad_sector() {
    let faults = Faults::default().with_bad_byte(4 * 9000 + 3100);
    let disk = faulty(0, 90_000, faults);
    let prefetcher = start(Arc::clone(&disk) as _, &[16 * PAGE; 2]);
    prefetcher.schedule(blocks()).unwrap();
    let (served, error) = within(LIMIT, move || {
        let outcome = run(&prefetcher);
        disk.set_faults(Faults::default());
        serves_the_next_schedule(&prefetcher);
        outcome
    });
    assert_eq!(served, 4, "blocks before the bad one are served");
    let IoError::Tensor { file, label, offset, reason: source } = &error else {
        panic!("{error:?}")
    };
    assert_eq!((&**file, &**label, *offset), ("storage 0", "layers.4.1", 4 * 9000 + 3100));
    assert!(matches!(**source, IoError::Read { .. }));
    let message = error.to_string();
    assert!(message.contains("storage 0: reading") && message.contains("layers.4.1"), "{message}");
}

#[test]
fn a_file_that_was_cut_while_open() {
    for io in [IoMode::Cached, IoMode::Direct] {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = folder.path().join("weights");
        std::fs::write(&path, bytes(0, 0, 90_000)).unwrap();
        let file = Arc::new(FileStorage::open(&path).unwrap());
        let options = options(&[16 * PAGE; 2]).with_io(io);
        let prefetcher = Prefetcher::start(vec![file], options).unwrap();
        let writable = std::fs::File::options().write(true).open(&path).unwrap();
        writable.set_len(2 * 9000 + 6500).unwrap();
        prefetcher.schedule(blocks()).unwrap();
        let (served, error) = within(LIMIT, move || run(&prefetcher));
        assert_eq!(served, 2);
        let IoError::Tensor { file, label, reason: source, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!((file, &**label), (&path.display().to_string(), "layers.2.2"));
        assert!(matches!(**source, IoError::ShortRead { .. }), "{source:?}");
    }
}

#[test]
fn a_truncated_storage() {
    let faults = Faults::default().with_truncated_at(9000 + 10);
    // One reader: several would meet the end of the file at once, each in a request of its own.
    let options = options(&[16 * PAGE; 2]).with_readers(1);
    let prefetcher = Prefetcher::start(vec![faulty(0, 90_000, faults)], options).unwrap();
    prefetcher.schedule(blocks()).unwrap();
    let (served, error) = within(LIMIT, move || run(&prefetcher));
    assert_eq!(served, 1);
    let named = matches!(&error, IoError::Tensor { label, offset: 9010, .. }
        if label == "layers.1.0");
    assert!(named, "{error:?}");
}

#[test]
fn a_panic_of_the_storage() {
    let disk = faulty(0, 90_000, Faults::default().with_panics(1.0));
    let prefetcher = start(Arc::clone(&disk) as _, &[16 * PAGE; 2]);
    prefetcher.schedule(blocks()).unwrap();
    let error = within(LIMIT, move || {
        let (served, error) = run(&prefetcher);
        assert_eq!(served, 0);
        disk.set_faults(Faults::default());
        serves_the_next_schedule(&prefetcher);
        error
    });
    let IoError::Tensor { reason: source, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(&**source, IoError::Panicked { reason, .. } if reason.contains("injected")));
}

#[test]
fn an_error_does_not_wait_for_the_blocks_other_requests() {
    // The first page fails at once; all others stand at the gate.
    let bad = faulty(0, 20 * PAGE, Faults::default().with_bad_byte(0));
    let disk = Gated::new(bad, PAGE as u64);
    let prefetcher = start(Arc::clone(&disk) as _, &[20 * PAGE]);
    prefetcher.schedule([block(1, 0, 20 * PAGE)]).unwrap();
    let prefetcher = within(LIMIT, move || {
        assert!(prefetcher.next().is_err());
        prefetcher
    });
    let before = disk.arrived();
    disk.open();
    within(LIMIT, move || drop(prefetcher)); // It waits for those in flight,
    assert!(disk.arrived() <= before.max(3), "and makes no more");
}

#[test]
fn after_an_error_nothing_more_of_the_schedule_is_read() {
    let disk = faulty(0, 90_000, Faults::default().with_bad_byte(0));
    let prefetcher = start(Arc::clone(&disk) as _, &[16 * PAGE; 2]);
    prefetcher.schedule(blocks()).unwrap();
    assert!(prefetcher.next().is_err());
    let reads = disk.reads();
    settle(&prefetcher);
    assert!(disk.reads() <= reads + 3, "one for each reader at most");
}
