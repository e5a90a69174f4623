//! What holds for any bytes whatsoever; the fuzz targets run the same functions.

use std::collections::BTreeMap;
use std::sync::Arc;

use grating_io::{Checkpoint, IoError, MemoryStorage, Storage};

/// Opens `data` as one image; whether it is good.
pub(crate) fn header(data: &[u8]) -> bool {
    let storage = MemoryStorage::from_vec("fuzz", data.to_vec());
    examine(Checkpoint::from_storage(Arc::new(storage)))
}

/// Opens `data` as what follows the magic number and version of a GGUF file; whether it is good.
pub(crate) fn gguf(data: &[u8]) -> bool {
    header(&[b"GGUF\x03\0\0\0", data].concat())
}

/// Opens `data` as an index over two good shards: `1` holds `a` and `b`, `2` holds `c`.
/// Returns whether it is good.
pub(crate) fn index(data: &[u8]) -> bool {
    const ONE: &[u8] = b"\x69\0\0\0\0\0\0\0{\
        \"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\
        \"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}123";
    const TWO: &[u8] = b"\x35\0\0\0\0\0\0\0{\
        \"c\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}4";
    let storage = MemoryStorage::from_vec("fuzz", data.to_vec());
    examine(Checkpoint::from_index(&storage, |shard| {
        assert!(!shard.contains(['/', '\\', ':', '\0']) && shard != "..", "{shard:?}");
        match shard {
            "1" => Ok(Arc::new(MemoryStorage::from_static("1", ONE))),
            "2" => Ok(Arc::new(MemoryStorage::from_static("2", TWO))),
            _ => Err(IoError::NotFound { path: shard.into() }),
        }
    }))
}

fn examine(opened: Result<Checkpoint, IoError>) -> bool {
    match opened {
        Ok(checkpoint) => {
            check(&checkpoint);
            true
        }
        Err(error) => {
            let message = error.to_string();
            assert!(!message.chars().any(char::is_control), "{message:?}");
            assert!(message.len() < 5000, "{} bytes", message.len());
            false
        }
    }
}

/// What every open checkpoint promises.
pub(crate) fn check(checkpoint: &Checkpoint) {
    let mut used: BTreeMap<usize, u64> = BTreeMap::new();
    let mut ranges: Vec<_> = Vec::new();
    let mut last: Option<&str> = None;
    for tensor in checkpoint.tensors() {
        assert!(last.is_none_or(|name| name < &tensor.name), "sorted, each name once");
        last = Some(&tensor.name);
        assert_eq!(checkpoint.get(&tensor.name), Some(tensor));

        let shard = &checkpoint.shards()[tensor.shard];
        assert!(tensor.range.start <= tensor.range.end && tensor.range.end <= shard.len());
        let expected = tensor.dtype.byte_len(&tensor.shape).map(|bytes| bytes as u64);
        assert_eq!(expected, Some(tensor.byte_len()));
        if !tensor.range.is_empty() {
            ranges.push((tensor.shard, tensor.range.start, tensor.range.end));
        }
        *used.entry(tensor.shard).or_default() += tensor.byte_len();

        let mut bytes = vec![0; tensor.byte_len() as usize];
        checkpoint.read(tensor, &mut bytes).expect("a checked range can be read");
        checkpoint.read_range(tensor, tensor.byte_len(), &mut [0]).expect_err("one byte too far");
    }
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|p| p[0].0 != p[1].0 || p[0].2 <= p[1].1), "no byte twice");
    assert_eq!(used.values().sum::<u64>(), checkpoint.data_bytes());

    for (at, shard) in checkpoint.shards().iter().enumerate() {
        let data = used.get(&at).copied().unwrap_or(0);
        let storage = &**shard.storage();
        match storage_begins_with(storage, b"GGUF") {
            // Padding between tensors, by an alignment that may be any.
            true => assert!(data <= shard.len()),
            false => assert_eq!(8 + header_length(storage) + data, shard.len(), "no byte unused"),
        }
    }
}

fn storage_begins_with(storage: &dyn Storage, magic: &[u8; 4]) -> bool {
    let mut first = [0; 4];
    storage.read_at(0, &mut first).expect("a checked file has a header");
    first == *magic
}

fn header_length(storage: &dyn Storage) -> u64 {
    let mut prefix = [0; 8];
    storage.read_at(0, &mut prefix).expect("a checked file has a prefix");
    u64::from_le_bytes(prefix)
}
