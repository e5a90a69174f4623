//! Safetensors images made by hand, so that they can be wrong.

use std::path::Path;
use std::sync::Arc;

use grating_io::{Checkpoint, IoError, MemoryStorage};

/// Length, header, data.
pub(crate) fn image(header: &str, data: &[u8]) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length, header.as_bytes(), data].concat()
}

/// An image of `U8` vectors one after another; each byte is its position in the data.
pub(crate) fn vectors(tensors: &[(&str, usize)]) -> Vec<u8> {
    let mut end = 0;
    let entries: Vec<String> = tensors
        .iter()
        .map(|(name, length)| {
            let begin = end;
            end += length;
            format!(
                r#"{name:?}:{{"dtype":"U8","shape":[{length}],"data_offsets":[{begin},{end}]}}"#
            )
        })
        .collect();
    let data: Vec<u8> = (0..end).map(|at| at as u8).collect();
    image(&format!("{{{}}}", entries.join(",")), &data)
}

pub(crate) fn open(bytes: impl Into<Vec<u8>>) -> Result<Checkpoint, IoError> {
    Checkpoint::from_storage(Arc::new(MemoryStorage::from_vec("image", bytes.into())))
}

/// The error of an image that must not open; its message names the file.
#[track_caller]
pub(crate) fn refused(bytes: impl Into<Vec<u8>>) -> IoError {
    let error = open(bytes).expect_err("the image must be refused");
    assert!(error.to_string().starts_with("image: "), "{error}");
    error
}

pub(crate) fn read(checkpoint: &Checkpoint, name: &str) -> Vec<u8> {
    let tensor = checkpoint.tensor(name).unwrap();
    let mut bytes = vec![0; tensor.byte_len() as usize];
    checkpoint.read(tensor, &mut bytes).unwrap();
    bytes
}

pub(crate) fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    std::fs::write(folder.join(name), bytes).unwrap();
}

/// The variant's name and nothing else, for tables of expectations; `Header::NotJson` of an error within another.
pub(crate) fn variant(error: &IoError) -> String {
    let debug = format!("{error:?}");
    let mut words = debug.split(|c: char| !c.is_alphanumeric());
    match (words.next().unwrap(), words.next()) {
        (outer @ ("Header" | "Index"), Some(inner)) => format!("{outer}::{inner}"),
        (name, _) => name.to_string(),
    }
}

/// SplitMix64: small, seeded, the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}
