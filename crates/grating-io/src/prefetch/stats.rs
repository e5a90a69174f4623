//! What a prefetcher has done so far.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counters since the start; they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
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
    /// Time in which at least one read was in flight: bytes by this are the disk's bandwidth.
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
    busy: Mutex<Busy>,
}

/// How long something has been in flight.
#[derive(Debug, Default)]
struct Busy {
    /// Reads in flight, and since when there has been one.
    in_flight: usize,
    since: Option<Instant>,
    /// Before that.
    time: Duration,
}

impl Busy {
    fn begin(&mut self, now: Instant) {
        self.in_flight += 1;
        self.since.get_or_insert(now);
    }

    fn end(&mut self, now: Instant) {
        self.in_flight -= 1;
        if self.in_flight == 0 {
            self.time = self.time(now);
            self.since = None;
        }
    }

    fn time(&self, now: Instant) -> Duration {
        self.time + self.since.map_or(Duration::ZERO, |since| now.duration_since(since))
    }
}

impl Counters {
    /// A request begins.
    pub(super) fn begin(&self) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).begin(Instant::now());
    }

    /// A request of `bytes` is over.
    pub(super) fn end(&self, bytes: usize, succeeded: bool) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).end(Instant::now());
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
            read_time: self
                .busy
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .time(Instant::now()),
            ..PrefetchStats::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_at_one_time_count_once() {
        let origin = Instant::now();
        let at = |ms| origin + Duration::from_millis(ms);
        let mut busy = Busy::default();
        (0..4).for_each(|read| busy.begin(at(read)));
        (0..4).for_each(|read| busy.end(at(20 + read)));
        assert_eq!(busy.time(at(23)), Duration::from_millis(23));
        assert_eq!(busy.time(at(50)), Duration::from_millis(23), "nothing is in flight");
        busy.begin(at(60));
        assert_eq!(busy.time(at(65)), Duration::from_millis(28), "still in flight");
    }

    #[test]
    fn requests_are_counted_by_their_outcome() {
        let counters = Counters::default();
        for succeeded in [true, false, true] {
            counters.begin();
            counters.end(10, succeeded);
        }
        let stats = counters.snapshot();
        assert_eq!((stats.bytes, stats.reads, stats.failed_reads), (20, 2, 1));
    }
}
