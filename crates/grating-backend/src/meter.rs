//! What a backend counts.

use std::ops::Range;
use std::time::{Duration, Instant};

/// What a backend has counted since it was [trimmed](crate::Backend::trim) last.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Meter {
    /// Most bytes of activations that lived at one time.
    pub peak_bytes: u64,
    /// Time by kind of operation.
    pub times: OperationTimes,
    /// Weights that went to the device; zeros where it shares the host's memory.
    pub copies: Copies,
    /// When they went there, of the first some thousand blocks.
    pub copy_spans: Vec<CopySpan>,
    /// Bytes of a memory of the device's own that are allocated, buffers that are kept for later included, and most of
    /// them at one time. `None` where it shares the host's.
    pub device_memory: Option<DeviceMemory>,
}

/// A block on its way to a device's own memory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopySpan {
    /// Its bytes.
    pub bytes: u64,
    /// From the start of the copy to its end.
    pub span: Range<Instant>,
}

impl CopySpan {
    /// A copy of so many bytes.
    pub const fn new(bytes: u64, span: Range<Instant>) -> Self {
        CopySpan { bytes, span }
    }
}

/// What is allocated of a device's own memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceMemory {
    /// Now, bytes.
    pub now: u64,
    /// At most at one time, bytes.
    pub most: u64,
}

impl DeviceMemory {
    /// So much now, and at most.
    pub const fn new(now: u64, most: u64) -> Self {
        DeviceMemory { now, most }
    }
}

/// Weights on their way from the host's memory to a device's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copies {
    /// Bytes.
    pub bytes: u64,
    /// Time in which they were being copied.
    pub time: Duration,
    /// Time in which computing waited for them.
    pub waited: Duration,
}

impl Copies {
    /// So many bytes, in this time, of which computing waited so long.
    pub const fn new(bytes: u64, time: Duration, waited: Duration) -> Self {
        Copies { bytes, time, waited }
    }
}

impl Meter {
    /// So many bytes, and those times.
    pub fn new(peak_bytes: u64, times: OperationTimes) -> Self {
        Meter { peak_bytes, times, ..Meter::default() }
    }

    /// With what went to the device.
    #[must_use]
    pub fn with_copies(self, copies: Copies) -> Self {
        Meter { copies, ..self }
    }

    /// With when it went there.
    #[must_use]
    pub fn with_copy_spans(self, copy_spans: Vec<CopySpan>) -> Self {
        Meter { copy_spans, ..self }
    }

    /// With what is allocated of the device's own memory.
    #[must_use]
    pub fn with_device_memory(self, memory: DeviceMemory) -> Self {
        Meter { device_memory: Some(memory), ..self }
    }
}

/// Time by kind of operation, under the backend's own names; empty where it does not tell them apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OperationTimes(Vec<(&'static str, Duration)>);

impl OperationTimes {
    /// Names and times, in the backend's order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Duration)> + '_ {
        self.0.iter().copied()
    }
}

impl FromIterator<(&'static str, Duration)> for OperationTimes {
    fn from_iter<I: IntoIterator<Item = (&'static str, Duration)>>(times: I) -> Self {
        OperationTimes(times.into_iter().collect())
    }
}
