//! What a prefetcher has done so far.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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
    fn time(&self) -> Duration {
        self.time + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Counters {
    /// A request begins.
    pub(super) fn begin(&self) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.in_flight += 1;
        busy.since.get_or_insert_with(Instant::now);
    }

    /// A request of `bytes` is over.
    pub(super) fn end(&self, bytes: usize, succeeded: bool) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.in_flight -= 1;
        if busy.in_flight == 0 {
            busy.time = busy.time();
            busy.since = None;
        }
        drop(busy);
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
            read_time: self.busy.lock().unwrap_or_else(PoisonError::into_inner).time(),
            ..PrefetchStats::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    #[test]
    fn reads_at_one_time_count_once() {
        let (counters, step) = (Counters::default(), Duration::from_millis(20));
        let begin = Instant::now();
        (0..4).for_each(|_| counters.begin());
        sleep(step);
        (0..4).for_each(|_| counters.end(10, true));
        let (busy, all) = (counters.snapshot().read_time, begin.elapsed());
        assert!(busy >= step && busy <= all, "{busy:?} of {all:?}");
        sleep(step);
        assert_eq!(counters.snapshot().read_time, busy, "nothing is in flight");
        counters.begin();
        sleep(step);
        assert!(counters.snapshot().read_time >= busy + step, "still in flight");
    }
}
