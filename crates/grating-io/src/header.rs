//! The header of a safetensors file: from untrusted bytes to descriptions that can be relied on.
//!
//! A file is `n: u64` little-endian, `n` bytes of JSON, then data
//! (<https://github.com/huggingface/safetensors#format>). This is our own reader, not that of the
//! `safetensors` crate, for three reasons: that one wants the whole file as one slice (a memory
//! map or a copy, we read the header alone); it keeps the last of several equal names silently; and
//! its errors name neither the file nor what was expected. The tests run both against each other.
//!
//! Memory is bounded by the file: nothing is allocated before the header is known to fit into it,
//! and the parsed form takes a small multiple of the text.

mod entries;
mod layout;

use std::str;

use crate::error::{HeaderError, IoError, Result};
use crate::storage::Storage;
use crate::tensor::TensorInfo;

pub(crate) use layout::is_addressable;

/// The longest header, and the longest index, that is accepted, bytes. The format's own limit.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Bytes of the length before the header.
const PREFIX_BYTES: u64 = 8;
/// Bytes that are enough to recognise other formats.
const PROBE_BYTES: u64 = 64;

/// Reads and checks the header of one file. The tensors are sorted by name.
pub(crate) fn read(storage: &dyn Storage, shard: usize) -> Result<Vec<TensorInfo>> {
    let length = header_length(storage)?;
    let mut text = vec![0; length as usize]; // at most MAX_HEADER_BYTES
    storage.read_at(PREFIX_BYTES, &mut text)?;
    let file = storage.name();
    let text = str::from_utf8(&text).map_err(|error| {
        IoError::Header(HeaderError::NotUtf8 {
            file: file.to_string(),
            offset: PREFIX_BYTES + error.valid_up_to() as u64,
        })
    })?;
    let entries = entries::parse(file, text)?;
    let data_start = PREFIX_BYTES + length;
    layout::check(entries, layout::FileInfo { file, shard, data_start, file_bytes: storage.len() })
}

/// The length of the JSON text, once it is certain that the file holds so much.
fn header_length(storage: &dyn Storage) -> Result<u64> {
    let file = || storage.name().to_string();
    let found = storage.len();
    if found == 0 {
        return Err(IoError::EmptyFile { file: file() });
    }
    let mut probe = vec![0; found.min(PROBE_BYTES) as usize];
    storage.read_at(0, &mut probe)?;
    let (Some(prefix), Some(first)) = (probe.first_chunk::<8>(), probe.get(8)) else {
        // Too short even for the smallest file, whatever it is.
        return Err(IoError::Header(HeaderError::TruncatedHeader {
            file: file(),
            expected: PREFIX_BYTES + 2,
            found,
        }));
    };
    // The format demands that the header begins with a brace; what does not is something else.
    if *first != b'{' {
        return Err(foreign_format(storage, &probe));
    }
    let length = u64::from_le_bytes(*prefix);
    if length < 2 {
        return Err(not_safetensors(storage, &probe, "its header is shorter than `{}`"));
    }
    if length > MAX_HEADER_BYTES {
        let expected = MAX_HEADER_BYTES;
        return Err(IoError::Header(HeaderError::TooLarge {
            file: file(),
            expected,
            found: length,
        }));
    }
    let expected = PREFIX_BYTES + length;
    if found < expected {
        return Err(IoError::Header(HeaderError::TruncatedHeader {
            file: file(),
            expected,
            found,
        }));
    }
    Ok(length)
}

/// What people have instead of a safetensors file, told apart by its first bytes.
fn foreign_format(storage: &dyn Storage, probe: &[u8]) -> IoError {
    let file = storage.name().to_string();
    if probe.starts_with(b"GGUF") {
        return not_safetensors(storage, probe, "it is a GGUF file, which has no shards");
    }
    // `torch.save` writes a zip archive, and wrote a bare pickle before 1.6.
    if probe.starts_with(b"PK\x03\x04") || probe.starts_with(b"\x80\x02\x8a\x0a") {
        return IoError::Pickle { file };
    }
    if probe.starts_with(b"version https://git-lfs") {
        return IoError::GitLfsPointer { file, found: storage.len() };
    }
    not_safetensors(storage, probe, "its header does not begin with `{`")
}

fn not_safetensors(storage: &dyn Storage, probe: &[u8], reason: &'static str) -> IoError {
    let found = probe[..probe.len().min(16)].escape_ascii().to_string();
    IoError::Header(HeaderError::NotSafetensors { file: storage.name().to_string(), reason, found })
}
