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
use layout::{Entry, FileInfo};

pub(crate) use metadata::Metadata;
pub use metadata::{GgufList, GgufValue};
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
    pub(crate) metadata: Metadata,
}

/// Whether the file begins as a GGUF file does.
pub(crate) fn has_magic(storage: &dyn Storage) -> bool {
    let mut magic = [0; MAGIC.len()];
    storage.len() >= magic.len() as u64 && storage.read_at(0, &mut magic).is_ok() && magic == MAGIC
}

/// Where a file stands among the parts of a model that was split.
#[derive(Clone, Copy)]
pub(crate) struct PartOf {
    /// Counted from 0.
    pub(crate) number: usize,
    pub(crate) count: usize,
}

/// Reads and checks the header of one file, a whole model or one part.
pub(crate) fn read(storage: &dyn Storage, part: PartOf) -> Result<Contents> {
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
    check_part(&metadata.values, part).map_err(fail)?;
    let alignment = alignment(&metadata.values).map_err(fail)?;
    // A count is a claim: entries are read one by one until the file ends.
    let mut entries = Vec::new();
    for _ in 0..tensors {
        entries.push(entry(&mut cursor)?);
    }
    let header_bytes = cursor.position();
    let file_info = FileInfo { file, header_bytes, alignment, file_bytes: storage.len() };
    let mut tensors = layout::check(entries, file_info)?;
    tensors.iter_mut().for_each(|tensor| tensor.shard = part.number);
    Ok(Contents { tensors, metadata })
}

/// The values of the list that begins at this byte of the file.
pub(crate) fn read_list(storage: &dyn Storage, key: &str, position: u64) -> Result<GgufList> {
    metadata::read_list(&mut Cursor::at(storage, position), key)
}

/// Tensors of all parts together, by what the first part says.
pub(crate) fn tensors_of_all_parts(metadata: &BTreeMap<String, GgufValue>) -> Option<u64> {
    match metadata.get("split.tensors.count") {
        Some(GgufValue::Unsigned(n)) => Some(*n),
        // llama-gguf-split writes an i32.
        Some(GgufValue::Signed(n)) => u64::try_from(*n).ok(),
        _ => None,
    }
}

/// A part says which of how many it is; a whole model says nothing, or that it is the only one.
fn check_part(metadata: &BTreeMap<String, GgufValue>, part: PartOf) -> Result<(), GgufProblem> {
    let number = |key: &str, default: u64| match metadata.get(key) {
        Some(&GgufValue::Unsigned(n)) => n,
        _ => default,
    };
    let (count, expected) = (number("split.count", 1).max(1), part.count as u64);
    if count != expected && expected == 1 {
        return Err(GgufProblem::Split { count });
    }
    let at = number("split.no", 0);
    if count != expected || at != part.number as u64 {
        let reason = format!(
            "it is part {} of {count}, its name says {} of {expected}",
            at.saturating_add(1),
            part.number + 1
        );
        return Err(GgufProblem::Key { key: "split.no".into(), reason });
    }
    Ok(())
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
