//! Settings and counters of a spill store.

use std::ops::Range;
use std::time::{Duration, Instant};

/// Settings of a [`SpillStore`](super::SpillStore).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpillOptions {
    /// Buffers that wait to be written or are being written; one more waits in
    /// [`SpillStore::write`](super::SpillStore::write). The default is 1.
    pub writes_in_flight: usize,
    /// Buffers that have been read ahead, or are being read, before they are taken. The default
    /// is 1.
    pub reads_ahead: usize,
    /// Buffers that are kept for reuse. The default is 1.
    pub spare_buffers: usize,
    /// Largest size of the file, bytes. The default is no limit of its own.
    pub max_bytes: u64,
    /// Bytes of the disk that are left to others. The default is 64 MiB.
    pub keep_free_bytes: u64,
}

impl Default for SpillOptions {
    fn default() -> Self {
        SpillOptions {
            writes_in_flight: 1,
            reads_ahead: 1,
            spare_buffers: 1,
            max_bytes: u64::MAX,
            keep_free_bytes: 64 << 20,
        }
    }
}

/// Counters since the start; they only grow, but for `file_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpillStats {
    /// Bytes written to the file.
    pub bytes_written: u64,
    /// Bytes read from the file.
    pub bytes_read: u64,
    /// Buffers written.
    pub writes: u64,
    /// Buffers read.
    pub reads: u64,
    /// Buffers that were taken back before they were written, or while they were: no read.
    pub reads_saved: u64,
    /// Time that callers waited.
    pub wait: Duration,
    /// Time spent writing.
    pub write_time: Duration,
    /// Time spent reading.
    pub read_time: Duration,
    /// Size of the file now, bytes.
    pub file_bytes: u64,
}

/// A read or a write of the store's thread.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpillEvent {
    /// The buffer's key.
    pub key: u64,
    /// Whether it was a write.
    pub write: bool,
    /// Its bytes.
    pub bytes: u64,
    /// From when to when.
    pub span: Range<Instant>,
}
