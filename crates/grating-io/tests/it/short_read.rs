//! Reads that fail after everything looked well: files that shrink, storages that break, callers
//! that ask for the wrong thing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use grating_io::{Checkpoint, Dtype, IoError, MemoryStorage, Storage, TensorInfo};

use crate::support::{open, variant, vectors, write};

#[test]
fn a_file_that_shrinks_while_open() {
    let folder = tempfile::tempdir().unwrap();
    let image = vectors(&[("a", 100), ("b", 100)]);
    write(folder.path(), "model.safetensors", &image);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let file = std::fs::File::options().write(true).open(checkpoint.name()).unwrap();
    file.set_len(image.len() as u64 - 30).unwrap();

    let mut bytes = [0; 100];
    checkpoint.read(checkpoint.tensor("a").unwrap(), &mut bytes).unwrap();
    let error = checkpoint.read(checkpoint.tensor("b").unwrap(), &mut bytes).unwrap_err();
    assert!(matches!(error, IoError::ShortRead { expected: 100, found: 70, .. }), "{error:?}");
}

/// Fails every read from the given one on, as a disk does that dies.
#[derive(Debug)]
struct Dying {
    image: MemoryStorage,
    reads_left: AtomicU64,
}

impl Storage for Dying {
    fn len(&self) -> u64 {
        self.image.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), IoError> {
        let left = self
            .reads_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if left.is_err() {
            let reason = Arc::new(io::Error::other("EIO"));
            let length = buf.len() as u64;
            return Err(IoError::Read { file: self.name().into(), offset, length, reason });
        }
        self.image.read_at(offset, buf)
    }

    fn name(&self) -> &str {
        self.image.name()
    }
}

#[test]
fn a_disk_that_dies_at_any_moment_is_an_error() {
    let mut reads = 0;
    loop {
        let image = MemoryStorage::from_vec("disk", vectors(&[("a", 10)]));
        let disk = Arc::new(Dying { image, reads_left: AtomicU64::new(reads) });
        let outcome = Checkpoint::from_storage(disk).and_then(|checkpoint| {
            let tensor = checkpoint.tensor("a")?;
            checkpoint.read(tensor, &mut [0; 10])
        });
        match outcome {
            Ok(()) => break,
            Err(error) => assert_eq!(variant(&error), "Read"),
        }
        reads += 1;
    }
    assert_eq!(reads, 3, "first bytes, header, tensor: opening reads no more than the header");
}

/// Reports a length that it does not have.
#[derive(Debug)]
struct Boasting(MemoryStorage);

impl Storage for Boasting {
    fn len(&self) -> u64 {
        u64::MAX
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), IoError> {
        self.0.read_at(offset, buf)
    }

    fn name(&self) -> &str {
        "boasting"
    }
}

#[test]
fn a_storage_that_lies_about_its_length_is_an_error() {
    let image = MemoryStorage::from_vec("image", vectors(&[("a", 10)]));
    assert_eq!(
        variant(&Checkpoint::from_storage(Arc::new(Boasting(image))).unwrap_err()),
        "Header::TrailingBytes"
    );
    let tiny = MemoryStorage::from_vec("image", b"123456789".to_vec());
    assert_eq!(
        variant(&Checkpoint::from_storage(Arc::new(Boasting(tiny))).unwrap_err()),
        "OutOfBounds"
    );
}

#[test]
fn a_buffer_of_another_length() {
    let checkpoint = open(vectors(&[("a", 10)])).unwrap();
    let tensor = checkpoint.tensor("a").unwrap();
    for length in [0, 9, 11] {
        let error = checkpoint.read(tensor, &mut vec![0; length]).unwrap_err();
        assert!(matches!(error, IoError::BufferLength { expected: 10, found, .. }
            if found == length as u64));
    }
}

#[test]
fn a_range_beyond_the_tensor_never_reads_its_neighbour() {
    let checkpoint = open(vectors(&[("a", 10), ("b", 10)])).unwrap();
    let tensor = checkpoint.tensor("a").unwrap();
    let mut two = [0; 2];
    checkpoint.read_range(tensor, 8, &mut two).unwrap();
    assert_eq!(two, [8, 9]);
    checkpoint.read_range(tensor, 10, &mut []).unwrap();
    for offset in [9, 10, u64::MAX] {
        let error = checkpoint.read_range(tensor, offset, &mut two).unwrap_err();
        assert!(matches!(error, IoError::OutsideTensor { expected: 10, length: 2, .. }));
    }
    assert_eq!(two, [8, 9], "a refused read leaves the buffer alone");
}

#[test]
fn a_tensor_of_another_checkpoint() {
    let checkpoint = open(vectors(&[("a", 10)])).unwrap();
    let foreign = |shard, range: std::ops::Range<u64>| {
        let shape = vec![range.clone().count()];
        TensorInfo::new("t", Dtype::U8, shape, shard, range)
    };
    let error = checkpoint.read(&foreign(1, 0..4), &mut [0; 4]).unwrap_err();
    assert!(matches!(error, IoError::ForeignTensor { expected: 1, found: 1, .. }));
    let error = checkpoint.read(&foreign(0, 1000..1004), &mut [0; 4]).unwrap_err();
    assert!(matches!(error, IoError::OutOfBounds { offset: 1000, .. }));
}

#[test]
fn a_name_without_its_prefix_is_answered_with_a_suggestion() {
    let checkpoint = open(vectors(&[("model.norm.weight", 1), ("score.weight", 1)])).unwrap();
    let suggestion = |name: &str| match checkpoint.tensor(name).unwrap_err() {
        IoError::MissingTensor { similar, found: 2, .. } => similar,
        other => panic!("{other:?}"),
    };
    assert_eq!(suggestion("norm.weight").as_deref(), Some("model.norm.weight"));
    assert_eq!(suggestion("model.score.weight").as_deref(), Some("score.weight"));
    assert_eq!(suggestion("m.weight"), None);
    assert_eq!(suggestion(""), None);
    assert!(checkpoint.get("norm.weight").is_none());
}
