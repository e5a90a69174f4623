//! What a backend counts.

use std::time::Duration;

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
        Meter { peak_bytes, times, copies: Copies::default() }
    }

    /// With what went to the device.
    #[must_use]
    pub fn with_copies(self, copies: Copies) -> Self {
        Meter { copies, ..self }
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
