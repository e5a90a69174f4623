//! What a prefetcher has done so far.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Counters since the start; they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefetchStats {
    /// Bytes read, with the gaps between neighbours and what alignment adds, and with requests
    /// whose block was forgotten meanwhile.
    pub bytes: u64,
    /// Requests that succeeded.
    pub reads: u64,
    /// Requests that failed.
    pub failed_reads: u64,
    /// Time that callers of [`Prefetcher::next`](super::Prefetcher::next) waited: the stall.
    pub consumer_wait: Duration,
    /// Time that readers waited because no slot was free for a scheduled block, summed over
    /// readers: the slack. Long here and short in `consumer_wait` means that reading is hidden.
    pub reader_wait: Duration,
    /// Time spent in reads, summed over readers.
    pub read_time: Duration,
    /// Storages that are read past the page cache.
    pub direct: usize,
}

/// The part of the counters that readers keep.
#[derive(Debug, Default)]
pub(super) struct Counters {
    bytes: AtomicU64,
    reads: AtomicU64,
    failed_reads: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Counters {
    /// A request of `bytes` is over.
    pub(super) fn count(&self, bytes: usize, succeeded: bool, time: Duration) {
        self.nanoseconds.fetch_add(time.as_nanos() as u64, Relaxed);
        if succeeded {
            self.bytes.fetch_add(bytes as u64, Relaxed);
            self.reads.fetch_add(1, Relaxed);
        } else {
            self.failed_reads.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn snapshot(&self) -> PrefetchStats {
        PrefetchStats {
            bytes: self.bytes.load(Relaxed),
            reads: self.reads.load(Relaxed),
            failed_reads: self.failed_reads.load(Relaxed),
            read_time: Duration::from_nanos(self.nanoseconds.load(Relaxed)),
            ..PrefetchStats::default()
        }
    }
}
