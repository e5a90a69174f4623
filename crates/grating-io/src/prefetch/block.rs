//! What is read: byte ranges, and blocks of them.

use std::sync::Arc;

use super::placement;

/// A byte range of one storage.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extent {
    /// Position in the list of storages with which the prefetcher was started; for a checkpoint,
    /// the tensor's shard.
    pub storage: usize,
    /// First byte, counted from the storage's beginning.
    pub offset: u64,
    /// Length, bytes. May be 0.
    pub len: usize,
    /// What lies there, for error messages: a tensor's name.
    pub label: Arc<str>,
}

impl Extent {
    /// `len` bytes from byte `offset` of the storage at position `storage` on.
    pub fn new(storage: usize, offset: u64, len: usize, label: impl Into<Arc<str>>) -> Self {
        Extent { storage, offset, len, label: label.into() }
    }

    /// One past the last byte; saturates where the extent cannot exist.
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.len as u64)
    }
}

/// What one slot holds and one lease gives: byte ranges that are needed together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Block {
    /// The caller's name for it; the lease gives it back.
    pub tag: u64,
    /// Its byte ranges, in the order in which the lease shows them. They may lie in any order and
    /// in several storages, and may overlap.
    pub extents: Vec<Extent>,
    /// It takes no slot smaller than this, bytes; 0 leaves it to the extents.
    pub least_slot: usize,
}

impl Block {
    /// A block of `extents`, called `tag`.
    pub fn new(tag: u64, extents: Vec<Extent>) -> Self {
        Block { tag, extents, least_slot: 0 }
    }

    /// In a slot of `bytes` or more, where one that holds it would be smaller: for blocks that are to share the slots of
    /// the largest of them.
    #[must_use]
    pub fn with_least_slot(self, bytes: usize) -> Self {
        Block { least_slot: bytes, ..self }
    }

    /// The smallest slot for this block, bytes: its extents, the gaps between those that are
    /// read in one go, and what alignment adds (less than 8 KiB for each run of neighbours); at least
    /// [`least_slot`](Self::least_slot). The one definition of a slot's size: size slots with it.
    pub fn slot_bytes(&self) -> usize {
        placement::slot_bytes(&self.extents).max(self.least_slot)
    }
}
