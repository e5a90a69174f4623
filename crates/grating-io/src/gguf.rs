//! GGUF files: the header of one, from untrusted bytes to descriptions that can be relied on, and
//! writing one.
//!
//! A file is a header (counts, metadata by key, tensors), padding, then data
//! (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>). Versions 2 and 3 are read, both
//! little-endian; version 3 is written. The header's length is not known beforehand, so it is read
//! through a small buffer, and nothing is allocated that the file has no bytes for.

mod cursor;
mod layout;
mod metadata;
mod problem;
mod types;
mod writer;

use std::collections::BTreeMap;

use crate::error::{IoError, Result};
use crate::storage::Storage;
use crate::tensor::TensorInfo;
use cursor::Cursor;
use layout::{Entry, Place};

pub use metadata::GgufValue;
pub use problem::GgufProblem;
pub use writer::{GgufTensor, GgufWriter};

/// The first bytes of every file.
const MAGIC: [u8; 4] = *b"GGUF";
/// The key that says to which multiples data is padded.
const ALIGNMENT_KEY: &str = "general.alignment";
/// Padding where the file does not say.
const DEFAULT_ALIGNMENT: u64 = 32;
/// Larger alignments are damage.
const MAX_ALIGNMENT: u64 = 1 << 20;
/// GGML's limit.
const MAX_RANK: u32 = 4;

/// What a header says; the tensors are sorted by name.
pub(crate) struct Contents {
    pub(crate) tensors: Vec<TensorInfo>,
    pub(crate) metadata: BTreeMap<String, GgufValue>,
}

/// Whether the file begins as a GGUF file does.
pub(crate) fn has_magic(storage: &dyn Storage) -> bool {
    let mut magic = [0; MAGIC.len()];
    storage.len() >= magic.len() as u64 && storage.read_at(0, &mut magic).is_ok() && magic == MAGIC
}

/// Reads and checks the header of one file.
pub(crate) fn read(storage: &dyn Storage) -> Result<Contents> {
    let file = storage.name();
    let fail = |problem| IoError::Gguf { file: file.to_string(), problem };
    if storage.is_empty() {
        return Err(IoError::EmptyFile { file: file.to_string() });
    }
    let mut cursor = Cursor::new(storage);
    if cursor.array()? != MAGIC {
        return Err(fail(GgufProblem::Magic));
    }
    match cursor.u32()? {
        2 | 3 => {}
        found if (1..=0xffff).contains(&found.swap_bytes()) => {
            return Err(fail(GgufProblem::BigEndian));
        }
        found => return Err(fail(GgufProblem::Version { found })),
    }
    let (tensors, keys) = (cursor.u64()?, cursor.u64()?);
    let metadata = metadata::read(&mut cursor, keys)?;
    if let Some(GgufValue::Unsigned(count @ 2..)) = metadata.get("split.count") {
        return Err(fail(GgufProblem::Split { count: *count }));
    }
    let alignment = alignment(&metadata).map_err(fail)?;
    // A count is a claim: entries are read one by one until the file ends.
    let mut entries = Vec::new();
    for _ in 0..tensors {
        entries.push(entry(&mut cursor)?);
    }
    let header_bytes = cursor.position();
    let place = Place { file, header_bytes, alignment, file_bytes: storage.len() };
    Ok(Contents { tensors: layout::check(entries, place)?, metadata })
}

fn alignment(metadata: &BTreeMap<String, GgufValue>) -> Result<u64, GgufProblem> {
    match metadata.get(ALIGNMENT_KEY) {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(&GgufValue::Unsigned(n)) if n.is_power_of_two() && n <= MAX_ALIGNMENT => Ok(n),
        Some(other) => Err(GgufProblem::Key {
            key: ALIGNMENT_KEY.into(),
            reason: format!("it is {other}, expected a power of two of at most {MAX_ALIGNMENT}"),
        }),
    }
}

/// Name, extents (innermost first in the file), type, offset.
fn entry(cursor: &mut Cursor<'_>) -> Result<Entry> {
    let name = cursor.text()?;
    let rank = cursor.u32()?;
    if rank > MAX_RANK {
        return Err(cursor.fail(GgufProblem::Rank { tensor: name, found: rank }));
    }
    let mut extents = Vec::with_capacity(rank as usize);
    for _ in 0..rank {
        extents.push(cursor.u64()?);
    }
    extents.reverse();
    Ok(Entry { name, extents, kind: cursor.u32()?, offset: cursor.u64()? })
}
