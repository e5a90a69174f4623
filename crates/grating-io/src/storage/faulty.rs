//! A storage that fails on purpose, the same way each time.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::{Storage, check_bounds};
use crate::error::{IoError, Result};

/// What goes wrong, and how often. The default is nothing.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Faults {
    /// The same seed makes the same reads fail: a read's fate depends on its offset, on its length
    /// and on how many reads came before, but on no clock.
    pub seed: u64,
    /// Share of reads that fail with an input/output error, 0 to 1.
    pub errors: f64,
    /// Share of reads that end early, as if the file had shrunk, 0 to 1.
    pub short_reads: f64,
    /// Share of reads that panic, 0 to 1.
    pub panics: f64,
    /// Reads beyond this byte fail as if the file had been cut there. Its length is unchanged, as
    /// that of a file that is cut while open.
    pub truncated_at: Option<u64>,
    /// Reads of this byte fail with an input/output error: a bad sector.
    pub bad_byte: Option<u64>,
    /// Each read takes at least this long.
    pub delay: Duration,
    /// All reads together are no faster than this, bytes per second.
    pub bytes_per_second: Option<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Faults {
            seed: 0,
            errors: 0.0,
            short_reads: 0.0,
            panics: 0.0,
            truncated_at: None,
            bad_byte: None,
            delay: Duration::ZERO,
            bytes_per_second: None,
        }
    }
}

impl Faults {
    /// With the [seed](Self::seed).
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Faults { seed, ..self }
    }

    /// With a share of [errors](Self::errors).
    #[must_use]
    pub fn with_errors(self, errors: f64) -> Self {
        Faults { errors, ..self }
    }

    /// With a share of [short reads](Self::short_reads).
    #[must_use]
    pub fn with_short_reads(self, short_reads: f64) -> Self {
        Faults { short_reads, ..self }
    }

    /// With a share of [panics](Self::panics).
    #[must_use]
    pub fn with_panics(self, panics: f64) -> Self {
        Faults { panics, ..self }
    }

    /// [Truncated](Self::truncated_at) at this byte.
    #[must_use]
    pub fn with_truncated_at(self, byte: u64) -> Self {
        Faults { truncated_at: Some(byte), ..self }
    }

    /// With a [bad byte](Self::bad_byte).
    #[must_use]
    pub fn with_bad_byte(self, byte: u64) -> Self {
        Faults { bad_byte: Some(byte), ..self }
    }

    /// With a [delay](Self::delay) of each read.
    #[must_use]
    pub fn with_delay(self, delay: Duration) -> Self {
        Faults { delay, ..self }
    }

    /// With a [bandwidth](Self::bytes_per_second).
    #[must_use]
    pub fn with_bytes_per_second(self, bytes_per_second: u64) -> Self {
        Faults { bytes_per_second: Some(bytes_per_second), ..self }
    }
}

/// Another storage's bytes, with [`Faults`]: for tests, and for measuring with a slower disk.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use grating_io::{Faults, FaultyStorage, IoError, MemoryStorage, Storage};
///
/// let bytes = Arc::new(MemoryStorage::from_static("disk", b"0123456789"));
/// let disk = FaultyStorage::new(bytes, Faults::default().with_bad_byte(7));
/// let mut two = [0; 2];
/// assert!(disk.read_at(5, &mut two).is_ok());
/// assert!(matches!(disk.read_at(6, &mut two), Err(IoError::Read { offset: 7, .. })));
/// ```
#[derive(Debug)]
pub struct FaultyStorage {
    inner: Arc<dyn Storage>,
    faults: Mutex<Faults>,
    reads: AtomicU64,
    /// When the bandwidth's next byte may pass.
    free_at: Mutex<Option<Instant>>,
}

impl FaultyStorage {
    /// Wraps a storage. It has no direct way: everything passes the faults.
    pub fn new(inner: Arc<dyn Storage>, faults: Faults) -> Self {
        let (faults, free_at) = (Mutex::new(faults), Mutex::new(None));
        FaultyStorage { inner, faults, reads: AtomicU64::new(0), free_at }
    }

    /// Changes what goes wrong from the next read on.
    pub fn set_faults(&self, faults: Faults) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// Reads so far, failed ones included.
    pub fn reads(&self) -> u64 {
        self.reads.load(Relaxed)
    }

    fn faults(&self) -> Faults {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sleeps for as long as a slower disk would take; reads queue up behind each other.
    fn be_slow(&self, faults: &Faults, length: usize) {
        let begin = Instant::now();
        let mut until = begin + faults.delay;
        if let Some(rate) = faults.bytes_per_second {
            let takes = Duration::from_secs_f64(length as f64 / rate.max(1) as f64);
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let passed = free_at.map_or(begin, |free| free.max(begin)) + takes;
            *free_at = Some(passed);
            until = until.max(passed);
        }
        thread::sleep(until.saturating_duration_since(begin));
    }

    fn broken(&self, offset: u64, length: u64) -> IoError {
        let reason = Arc::new(std::io::Error::other("injected input/output error"));
        IoError::Read { file: self.name().to_string(), offset, length, reason }
    }

    fn short(&self, offset: u64, expected: u64, found: u64) -> IoError {
        IoError::ShortRead { file: self.name().to_string(), offset, expected, found }
    }

    /// The fault that this read meets, if any.
    fn fate(&self, faults: &Faults, offset: u64, length: u64) -> Result<()> {
        let end = offset + length;
        if let Some(cut) = faults.truncated_at.filter(|&cut| end > cut) {
            return Err(self.short(offset, length, cut.saturating_sub(offset)));
        }
        if let Some(bad) = faults.bad_byte.filter(|bad| (offset..end).contains(bad)) {
            return Err(self.broken(bad, end - bad));
        }
        let mut dice = Dice(faults.seed ^ mix(offset ^ mix(length ^ mix(self.reads()))));
        if dice.hits(faults.panics) {
            panic!("injected panic at offset {offset} of {}", self.name());
        }
        if dice.hits(faults.errors) {
            return Err(self.broken(offset, length));
        }
        if length > 0 && dice.hits(faults.short_reads) {
            return Err(self.short(offset, length, dice.next() % length));
        }
        Ok(())
    }
}

impl Storage for FaultyStorage {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_bounds(self, offset, buf.len())?;
        let faults = self.faults();
        self.be_slow(&faults, buf.len());
        self.reads.fetch_add(1, Relaxed);
        match self.fate(&faults, offset, buf.len() as u64) {
            Ok(()) => self.inner.read_at(offset, buf),
            Err(error) => {
                // As the trait allows: what a failed read leaves behind must not be trusted.
                buf.fill(0xa5);
                Err(error)
            }
        }
    }

    fn name(&self) -> &str {
        self.inner.name()
    }
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    fn hits(&mut self, share: f64) -> bool {
        ((self.next() >> 11) as f64) < share * (1u64 << 53) as f64
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    fn disk(faults: Faults) -> FaultyStorage {
        FaultyStorage::new(Arc::new(MemoryStorage::from_vec("disk", vec![7; 1000])), faults)
    }

    /// What becomes of a hundred reads.
    fn fates(faults: Faults) -> Vec<&'static str> {
        let disk = disk(faults);
        let fate = |at| match disk.read_at(at, &mut [0; 10]) {
            Ok(()) => "read",
            Err(IoError::Read { .. }) => "error",
            Err(IoError::ShortRead { expected: 10, found: 0..10, .. }) => "short",
            Err(other) => panic!("{other:?}"),
        };
        (0..100).map(fate).collect()
    }

    #[test]
    fn a_seed_decides() {
        let faults =
            |seed| Faults::default().with_seed(seed).with_errors(0.2).with_short_reads(0.2);
        assert_eq!(fates(faults(1)), fates(faults(1)));
        assert_ne!(fates(faults(1)), fates(faults(2)));
        for kind in ["read", "error", "short"] {
            let count = fates(faults(3)).iter().filter(|&&fate| fate == kind).count();
            assert!((5..90).contains(&count), "{count} of kind {kind}");
        }
        assert_eq!(fates(Faults::default()), ["read"; 100]);
        assert_eq!(fates(Faults::default().with_errors(1.0)), ["error"; 100]);
    }

    #[test]
    fn a_failed_read_leaves_rubbish() {
        let disk = disk(Faults::default().with_truncated_at(5));
        let mut bytes = [7; 10];
        let error = disk.read_at(0, &mut bytes).unwrap_err();
        assert!(matches!(error, IoError::ShortRead { expected: 10, found: 5, .. }));
        assert_ne!(bytes, [7; 10]);
        assert_eq!((disk.len(), disk.reads()), (1000, 1));
    }

    #[test]
    fn a_panic_says_where() {
        let disk = disk(Faults::default().with_panics(1.0));
        let read = std::panic::AssertUnwindSafe(|| disk.read_at(3, &mut [0]));
        let panic = std::panic::catch_unwind(read).expect_err("a panic was injected");
        let message = panic.downcast_ref::<String>().expect("it names the place");
        assert_eq!(message, "injected panic at offset 3 of disk");
    }

    #[test]
    fn bandwidth_is_shared_by_all_readers() {
        let disk = disk(Faults::default().with_bytes_per_second(20_000));
        // A lower bound: a busy machine only makes it longer.
        let begin = Instant::now();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| disk.read_at(0, &mut [0; 250]).unwrap());
            }
        });
        assert!(begin.elapsed() >= Duration::from_millis(50), "1000 bytes at 20 kB/s");
    }
}
