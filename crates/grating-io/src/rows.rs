//! Rows of one tensor kept in memory: the least recently used ones go.

mod lru;

use std::ops::Range;
use std::sync::Arc;

use memmap2::MmapMut;

use crate::checkpoint::Checkpoint;
use crate::error::{IoError, Result};
use crate::tensor::TensorInfo;
use lru::Lru;

/// Missing rows closer than this are read in one go with what lies between them, bytes.
///
/// From a disk, gaps of 0 to 128 KiB took the same time within the noise (what counts is the number
/// of places, not of bytes); from the page cache, copying a longer gap costs more than a second call.
const COALESCED_GAP: usize = 4 << 10;

/// Reads that the system is told of before they are made, so that the disk works on several:
/// 915 rows of 2 KiB from a cold disk took 22 ms instead of 155.
const HINTED_READS: usize = 64;

/// Largest read, bytes; the cache reads through one buffer of at most this size.
const READ_BYTES: usize = 256 << 10;

/// The places of one row in a request: row and position, the row being the same in all.
type Same<'a> = &'a [(u32, u32)];

/// A cache of rows of one tensor, such as a matrix of token embeddings.
///
/// ```
/// use std::sync::Arc;
/// use grating_io::{Checkpoint, MemoryStorage, RowCache};
///
/// # fn main() -> Result<(), grating_io::IoError> {
/// # let header = br#"{"rows": {"dtype": "U8", "shape": [4, 2], "data_offsets": [0, 8]}}"#;
/// # let image = [&(header.len() as u64).to_le_bytes()[..], header, b"aAbBcCdD"].concat();
/// # let checkpoint = Checkpoint::from_storage(Arc::new(MemoryStorage::from_vec("m", image)))?;
/// let tensor = checkpoint.tensor("rows")?; // four rows of two bytes: aA bB cC dD
/// let mut cache = RowCache::new(2, 2);
/// let mut text = [0; 6];
/// cache.get(&checkpoint, tensor, &[3, 0, 3], |position, row| {
///     text[2 * position..][..2].copy_from_slice(row);
/// })?;
/// assert_eq!(&text, b"dDaAdD");
/// # Ok(())
/// # }
/// ```
///
/// Memory is at most [`RowCache::max_bytes`], taken as the cache fills.
#[derive(Debug)]
pub struct RowCache {
    row_bytes: usize,
    /// Rows by the numbers that `lru` gives them, one after another. Reserved whole when the first
    /// row comes; the system provides pages as they are first written.
    rows: Option<MmapMut>,
    lru: Lru,
    /// For reads of several rows.
    scratch: Vec<u8>,
    stats: RowCacheStats,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RowCacheStats {
    /// Distinct rows of a request that were in memory.
    pub hits: u64,
    /// Distinct rows of a request that were read.
    pub misses: u64,
    /// Read calls.
    pub reads: u64,
    /// Bytes read, with the gaps between rows that were read in one go.
    pub bytes: u64,
}

impl RowCache {
    /// A cache of at most `capacity_rows` rows of `row_bytes` bytes each. 0 rows is a cache that
    /// keeps nothing.
    pub fn new(capacity_rows: usize, row_bytes: usize) -> Self {
        RowCache {
            row_bytes,
            rows: None,
            lru: Lru::new(capacity_rows),
            scratch: Vec::new(),
            stats: RowCacheStats::default(),
        }
    }

    /// The most memory that such a cache takes, bytes: its rows, less than 48 bytes for each to
    /// find it, and a buffer of 256 KiB (or one row, if that is longer) to read through.
    pub fn max_bytes(capacity_rows: usize, row_bytes: usize) -> usize {
        let rows = capacity_rows.saturating_mul(row_bytes.saturating_add(48));
        rows.saturating_add(row_bytes.max(READ_BYTES))
    }

    /// Calls `each` with the position in `ids` and the bytes of the row, once for each position, in
    /// no particular order. Rows that are not in memory are read, sorted and neighbours together.
    ///
    /// All calls concern the same tensor: the cache knows rows by their number alone.
    ///
    /// # Errors
    /// [`IoError::RowLength`] if the tensor's rows have another length, [`IoError::NoSuchRow`] for
    /// an id beyond the last row; both before anything is read. [`IoError::OutOfMemory`]. What reading reports, when `each`
    /// may have been called for some positions; the cache stays usable.
    pub fn get(
        &mut self,
        checkpoint: &Checkpoint,
        tensor: &TensorInfo,
        ids: &[u32],
        mut each: impl FnMut(usize, &[u8]),
    ) -> Result<()> {
        self.check(tensor, ids)?;
        // Positions by row, so that equal rows are neighbours and rows come in the file's order.
        let mut order: Vec<(u32, u32)> =
            ids.iter().enumerate().map(|(position, &id)| (id, position as u32)).collect();
        order.sort_unstable();
        let mut missing = Vec::new();
        for same in order.chunk_by(|a, b| a.0 == b.0) {
            match self.lru.get(same[0].0) {
                Some(number) => {
                    self.stats.hits += 1;
                    let rows = self.rows.as_deref().unwrap_or_default();
                    let row = &rows[number * self.row_bytes..][..self.row_bytes];
                    same.iter().for_each(|&(_, position)| each(position as usize, row));
                }
                None => missing.push(same),
            }
        }
        let runs = self.runs(&missing);
        let mut hinted = 1; // The first is read at once.
        for (at, run) in runs.iter().enumerate() {
            for ahead in runs.iter().take(at + HINTED_READS).skip(hinted) {
                let range = self.range(ahead);
                checkpoint.will_need(tensor, range.start, range.end - range.start);
                hinted += 1;
            }
            self.read_run(checkpoint, tensor, run, &mut each)?;
        }
        Ok(())
    }

    /// Counters since the start.
    pub fn stats(&self) -> RowCacheStats {
        self.stats
    }

    /// Rows in memory.
    pub fn len(&self) -> usize {
        self.lru.len()
    }

    /// Whether no row is in memory.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The largest number of rows that it keeps.
    pub fn capacity(&self) -> usize {
        self.lru.capacity()
    }

    /// Bytes that it takes now.
    pub fn memory_bytes(&self) -> usize {
        self.len() * self.row_bytes + self.scratch.capacity() + self.lru.memory_bytes()
    }

    fn check(&self, tensor: &TensorInfo, ids: &[u32]) -> Result<()> {
        let rows = tensor.shape.first().copied().unwrap_or(0);
        let found = if rows == 0 { 0 } else { tensor.byte_len() / rows as u64 };
        if rows > 0 && found != self.row_bytes as u64 {
            return Err(IoError::RowLength {
                tensor: tensor.name.clone(),
                expected: self.row_bytes as u64,
                found,
            });
        }
        match ids.iter().find(|&&id| id as usize >= rows) {
            Some(&row) => {
                Err(IoError::NoSuchRow { tensor: tensor.name.clone(), expected: rows, found: row })
            }
            None => Ok(()),
        }
    }

    /// Cuts the missing rows, which are sorted, into what one read fetches.
    fn runs<'a, 'b>(&self, missing: &'a [Same<'b>]) -> Vec<&'a [Same<'b>]> {
        let mut runs = Vec::new();
        let mut rest = missing;
        while !rest.is_empty() {
            let first = rest[0][0].0 as usize;
            let fits = |pair: &[Same<'_>]| {
                let (before, this) = (pair[0][0].0 as usize, pair[1][0].0 as usize);
                let gap = (this - before - 1).saturating_mul(self.row_bytes);
                let length = (this - first + 1).saturating_mul(self.row_bytes);
                gap <= COALESCED_GAP && length <= READ_BYTES
            };
            let (run, after) = rest.split_at(1 + rest.windows(2).take_while(|p| fits(p)).count());
            runs.push(run);
            rest = after;
        }
        runs
    }

    /// The bytes of the tensor that a run spans.
    fn range(&self, run: &[Same<'_>]) -> Range<u64> {
        let (first, last) = (u64::from(run[0][0].0), u64::from(run[run.len() - 1][0].0));
        first * self.row_bytes as u64..(last + 1) * self.row_bytes as u64
    }

    fn read_run(
        &mut self,
        checkpoint: &Checkpoint,
        tensor: &TensorInfo,
        run: &[Same<'_>],
        each: &mut impl FnMut(usize, &[u8]),
    ) -> Result<()> {
        let first = run[0][0].0 as usize;
        let range = self.range(run);
        self.scratch.resize((range.end - range.start) as usize, 0);
        checkpoint.read_range(tensor, range.start, &mut self.scratch).map_err(|error| {
            IoError::Tensor {
                file: checkpoint.name().to_string(),
                label: tensor.name.clone(),
                offset: checkpoint.extent(tensor).offset + range.start,
                reason: Arc::new(error),
            }
        })?;
        self.stats.reads += 1;
        self.stats.bytes += self.scratch.len() as u64;
        let rows = match &mut self.rows {
            Some(rows) => rows,
            none => none.insert(reserve(self.lru.capacity().saturating_mul(self.row_bytes))?),
        };
        for same in run {
            let id = same[0].0;
            let row = &self.scratch[(id as usize - first) * self.row_bytes..][..self.row_bytes];
            same.iter().for_each(|&(_, position)| each(position as usize, row));
            self.stats.misses += 1;
            if let Some(number) = self.lru.insert(id) {
                rows[number * self.row_bytes..][..self.row_bytes].copy_from_slice(row);
            }
        }
        Ok(())
    }
}

/// Zeros that take no memory until they are written.
fn reserve(bytes: usize) -> Result<MmapMut> {
    MmapMut::map_anon(bytes.max(1))
        .map_err(|source| IoError::OutOfMemory { needed: bytes, reason: Arc::new(source) })
}

#[cfg(test)]
mod tests;
