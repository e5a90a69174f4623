//! Where bytes come from: the one trait through which everything in this crate reads.

mod available;
mod direct;
mod faulty;
mod file;
mod memory;
mod program;

use std::fmt;
use std::sync::Arc;

pub(crate) use available::available_memory;
pub use faulty::{Faults, FaultyStorage};
pub use file::FileStorage;
pub use memory::MemoryStorage;
pub use program::ProgramStorage;

use crate::error::{IoError, Result};

/// A sequence of bytes of fixed length that many threads may read at once.
///
/// Implement it to read weights from anywhere else: an archive, an object store, a test that
/// injects faults.
pub trait Storage: Send + Sync + fmt::Debug {
    /// Length, bytes. It must not change while the storage lives.
    fn len(&self) -> u64;

    /// Whether there are no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` with the bytes from `offset` on. There is no cursor: reads from several threads
    /// do not disturb each other.
    ///
    /// # Errors
    /// Whenever `buf` cannot be filled completely; what it holds then is unspecified.
    /// [`IoError::OutOfBounds`] when the range does not lie within the storage.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), IoError>;

    /// A path or a label, for messages.
    fn name(&self) -> &str;

    /// A hint that this range will be read soon. It returns at once.
    fn will_need(&self, offset: u64, len: u64) {
        _ = (offset, len);
    }

    /// A hint that this range will not be read again soon, so that caches need not keep it.
    fn not_needed(&self, offset: u64, len: u64) {
        _ = (offset, len);
    }

    /// The same bytes past the operating system's page cache, if there is such a way.
    fn direct(&self) -> Option<Arc<dyn DirectStorage>> {
        None
    }
}

/// Offsets, lengths and addresses of direct reads are multiples of this, bytes. It suits disks with
/// blocks of 512 and of 4096 bytes.
pub const DIRECT_ALIGNMENT: usize = 4096;

/// Bytes that are read past the page cache.
pub trait DirectStorage: Send + Sync + fmt::Debug {
    /// Fills at least the first `needed` bytes of `buf` with those from `offset` on. What follows
    /// them up to the end of `buf` may lie beyond the end of the storage.
    ///
    /// `offset`, the length of `buf` and its address are multiples of [`DIRECT_ALIGNMENT`].
    ///
    /// # Errors
    /// Whenever fewer than `needed` bytes can be read.
    fn read_aligned(&self, offset: u64, buf: &mut [u8], needed: usize) -> Result<(), IoError>;
}

/// Checks that `length` bytes from `offset` on lie within `storage`.
pub(crate) fn check_bounds(storage: &dyn Storage, offset: u64, length: usize) -> Result<()> {
    let length = length as u64; // usize is at most 64 bits wide
    match offset.checked_add(length) {
        Some(end) if end <= storage.len() => Ok(()),
        _ => Err(IoError::OutOfBounds {
            file: storage.name().to_string(),
            offset,
            length,
            found: storage.len(),
        }),
    }
}
