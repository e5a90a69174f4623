//! What a pass costs: counters before and after it, and the times of its layers.

use std::time::{Duration, Instant};

use grating_backend::{Copies, Meter, OperationTimes};
use grating_io::{PrefetchStats, RowCacheStats, SpillStats};
use grating_sched::{Measurement, Transfer};

use crate::stats::LayerStats;

/// What the worker's parts have counted since they began.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) window: PrefetchStats,
    pub(crate) rows: RowCacheStats,
    pub(crate) spill: SpillStats,
}

/// Times and bytes of the pass that a job was in, and the job's own chunks and layers.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Costs {
    /// In the queue, until the worker took the job.
    pub queued: Duration,
    /// From the queue to the answer.
    pub total: Duration,
    /// Jobs of the pass, this one included.
    pub jobs: usize,
    /// Runs of the job's candidates that went through layer 0 together.
    pub chunks: usize,
    /// Tokens to hidden states.
    pub embed: Duration,
    /// Layers and head, without the waiting for weights.
    pub compute: Duration,
    /// What of `compute` each kind of operation took.
    pub operations: OperationTimes,
    /// Weight bytes read from the checkpoint, those read ahead for the next job included.
    pub weight_bytes_read: u64,
    /// Time in which weights were being read.
    pub read: Duration,
    /// Time in which computing waited for weights.
    pub stall: Duration,
    /// Whether weights were read past the page cache.
    pub direct: bool,
    /// Distinct embedding rows found in the row cache.
    pub row_hits: u64,
    /// Distinct embedding rows that were read.
    pub row_misses: u64,
    /// Embedding bytes read.
    pub row_bytes_read: u64,
    /// Hidden states written to disk, bytes.
    pub spill_bytes_written: u64,
    /// Hidden states read from disk, bytes.
    pub spill_bytes_read: u64,
    /// Time in which hidden states were being written or read.
    pub spill: Duration,
    /// Time in which computing waited for hidden states.
    pub spill_wait: Duration,
    /// Weights that went to the device's own memory, those on their way for the next job included.
    pub copies: Copies,
    /// Each layer that ran for the job.
    pub layers: Vec<LayerStats>,
}

/// Measures a pass from its start.
pub(crate) struct PassMeter {
    started: Instant,
    before: Counters,
    costs: Costs,
}

impl PassMeter {
    /// For a pass that began at `started`, when the worker's parts had counted `before`.
    pub(crate) fn new(started: Instant, before: Counters) -> Self {
        PassMeter { started, before, costs: Costs::default() }
    }

    /// All candidates have hidden states; returns when that began and ended.
    pub(crate) fn embedded(&mut self) -> (Instant, Instant) {
        let now = Instant::now();
        self.costs.embed = now - self.started;
        (self.started, now)
    }

    /// A layer has run, in so much time, waiting for weights included.
    pub(crate) fn layer(&mut self, time: Duration, stall: Duration) {
        self.costs.compute += time.saturating_sub(stall);
        self.costs.stall += stall;
    }

    /// The pass has ended, and the worker's parts have counted `after`, the backend `meter`.
    pub(crate) fn finish(self, after: &Counters, meter: Meter) -> Costs {
        let (window, rows, spill) = (&after.window, &after.rows, &after.spill);
        let before = &self.before;
        let spilling = spill.write_time + spill.read_time;
        Costs {
            operations: meter.times,
            copies: meter.copies,
            weight_bytes_read: window.bytes - before.window.bytes,
            read: window.read_time.saturating_sub(before.window.read_time),
            direct: window.direct > 0,
            row_hits: rows.hits - before.rows.hits,
            row_misses: rows.misses - before.rows.misses,
            row_bytes_read: rows.bytes - before.rows.bytes,
            spill_bytes_written: spill.bytes_written - before.spill.bytes_written,
            spill_bytes_read: spill.bytes_read - before.spill.bytes_read,
            spill: spilling - before.spill.write_time - before.spill.read_time,
            spill_wait: spill.wait.saturating_sub(before.spill.wait),
            ..self.costs
        }
    }
}

impl Costs {
    /// Hidden states written and read, bytes.
    pub(crate) fn spill_bytes(&self) -> u64 {
        self.spill_bytes_written + self.spill_bytes_read
    }

    /// What the planner learns from a job of `flops` FLOP.
    pub(crate) fn measurement(&self, flops: f64) -> Measurement {
        let seconds = |time: Duration| time.as_secs_f64();
        let disk = Transfer::new(self.weight_bytes_read, seconds(self.read));
        let hidden = Transfer::new(self.spill_bytes(), seconds(self.spill));
        let run = Measurement::new(flops, seconds(self.compute)).with_disk(disk, hidden);
        run.with_device(Transfer::new(self.copies.bytes, seconds(self.copies.time)))
    }
}

/// VmHWM of this process; Linux only.
pub fn peak_rss_bytes() -> Option<u64> {
    status_bytes("VmHWM:")
}

/// VmRSS of this process; Linux only.
pub fn current_rss_bytes() -> Option<u64> {
    status_bytes("VmRSS:")
}

fn status_bytes(field: &str) -> Option<u64> {
    bytes_of(&std::fs::read("/proc/self/status").ok()?, field)
}

/// A field of `/proc/self/status`, whose first line is the program's name, of which any bytes may have been cut off.
fn bytes_of(status: &[u8], field: &str) -> Option<u64> {
    let status = String::from_utf8_lossy(status);
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_name_that_is_no_text_hides_no_field() {
        let status = b"Name:\t\xd0\xb0\xd1\nVmHWM:\t   70 kB\nVmRSS:\t   50 kB\n";
        assert_eq!(bytes_of(status, "VmHWM:"), Some(70 << 10));
        assert_eq!(bytes_of(status, "VmRSS:"), Some(50 << 10));
        assert_eq!(bytes_of(status, "VmSwap:"), None);
    }

    #[test]
    fn a_job_is_charged_with_what_came_since_it_began() {
        let counters = |n: u32| {
            let mut counters = Counters::default();
            counters.window.bytes = 100 * u64::from(n);
            counters.window.read_time = n * MS;
            counters.rows.hits = u64::from(n);
            counters.spill.bytes_read = 7 * u64::from(n);
            counters.spill.read_time = n * MS;
            counters
        };
        let mut meter = PassMeter::new(Instant::now(), counters(3));
        meter.embedded();
        for stall in [MS, 2 * MS] {
            meter.layer(10 * MS, stall);
        }
        let copies = Copies::new(300, 4 * MS, MS);
        let costs = meter.finish(&counters(5), Meter::default().with_copies(copies));
        assert_eq!((costs.weight_bytes_read, costs.read), (200, 2 * MS));
        assert_eq!((costs.stall, costs.compute), (3 * MS, 17 * MS));
        assert_eq!((costs.row_hits, costs.spill_bytes_read, costs.spill), (2, 14, 2 * MS));
        let measured = costs.measurement(1e9);
        assert_eq!((measured.disk_to_host.bytes, measured.host_to_disk.bytes), (200, 14));
        assert_eq!((measured.host_to_disk.seconds, measured.flops), (0.002, 1e9));
        assert_eq!(measured.compute_seconds, 0.017);
        assert_eq!(measured.host_to_device, Transfer::new(300, 0.004));
    }
}
