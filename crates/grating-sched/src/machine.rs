//! The machine: memories with their budgets, links with their rates, and how fast it computes; rates are learnt from
//! runs.

use crate::error::PlanError;

/// Weight of a new measurement against the estimate so far.
const WEIGHT: f64 = 0.3;
/// Transfers of fewer bytes say more about latency than about bandwidth.
const LEAST_BYTES: u64 = 8 << 20;
/// Shorter measurements say more about the clock than about the machine.
const LEAST_SECONDS: f64 = 1e-3;

/// A place that holds bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Memory {
    /// What people call it.
    pub name: &'static str,
    /// What may be used of it, bytes. `None`: as little as costs no time.
    pub budget: Option<u64>,
    /// What is taken before anything is planned, bytes: code, tokenizer, runtime; to be measured.
    pub base: u64,
    /// What `base` may be more in another process, bytes. The least budget that an error names has room for it, so that
    /// it does there, too.
    pub base_noise: u64,
}

impl Memory {
    /// A memory of which nothing is taken, without a budget.
    pub const fn new(name: &'static str) -> Self {
        Self { name, budget: None, base: 0, base_noise: 0 }
    }

    /// With a budget, bytes.
    #[must_use]
    pub const fn with_budget(self, bytes: u64) -> Self {
        Self { budget: Some(bytes), ..self }
    }

    /// Where so many bytes are taken.
    #[must_use]
    pub const fn with_base(self, bytes: u64) -> Self {
        Self { base: bytes, ..self }
    }
}

/// A way between two memories, with a queue of its own: what passes over one link delays nothing on another.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Link {
    /// What people call it: from where to where.
    pub name: &'static str,
    /// Sustained, bytes per second; where bytes go both ways, both together.
    pub bytes_per_second: f64,
    /// Whether the rate comes from a run; until then it is a guess.
    pub measured: bool,
}

impl Link {
    /// A link whose rate is a guess.
    pub const fn new(name: &'static str, bytes_per_second: f64) -> Self {
        Self { name, bytes_per_second, measured: false }
    }

    fn learn(&mut self, transfer: Transfer) {
        if transfer.bytes >= LEAST_BYTES {
            let rate = &mut self.bytes_per_second;
            learn(rate, &mut self.measured, transfer.bytes as f64, transfer.seconds);
        }
    }
}

/// A device that computes in a memory of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Device {
    /// Its memory.
    pub memory: Memory,
    /// From the host's memory to the device's, and back for hidden states.
    pub link: Link,
}

/// Memories, links and the rate of computing of a machine. Rates are estimates: they decide between plans and predict
/// times, and never change what fits.
///
/// A CPU computes in the host's memory: then that is the only one, and there is no link to a device.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Machine {
    /// The memory that files are read into.
    pub host: Memory,
    /// What computes, where it has a memory of its own.
    pub device: Option<Device>,
    /// Reads of weights and embedding rows.
    pub disk_to_host: Link,
    /// Hidden states that are written, and read again.
    pub host_to_disk: Link,
    /// Computing with all threads in large chunks, FLOP per second.
    pub flops_per_second: f64,
    /// Whether that comes from a run.
    pub flops_measured: bool,
}

/// What a machine is taken for before its first measurement: a modest disk (1 GB/s, half of that when it writes too) and
/// a few CPU cores (100 GFLOP/s) that share the host's memory.
impl Default for Machine {
    fn default() -> Self {
        Self {
            host: Memory::new("memory"),
            device: None,
            disk_to_host: Link::new("disk to memory", 1e9),
            host_to_disk: Link::new("memory to disk", 5e8),
            flops_per_second: 1e11,
            flops_measured: false,
        }
    }
}

/// Bytes over a link, and the time in which at least one transfer was in flight. Zeros where there was none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Transfer {
    /// Bytes, both ways.
    pub bytes: u64,
    /// Seconds.
    pub seconds: f64,
}

impl Transfer {
    /// So many bytes in so many seconds.
    pub const fn new(bytes: u64, seconds: f64) -> Self {
        Self { bytes, seconds }
    }
}

/// What a run did and how long each kind of work was busy (not waiting). Zeros where there was none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Measurement {
    /// Weights read.
    pub disk_to_host: Transfer,
    /// Hidden states written and read.
    pub host_to_disk: Transfer,
    /// Weights and hidden states to and from the device.
    pub host_to_device: Transfer,
    /// Work done, as [`Workload::flops`](crate::Workload::flops) counts it, FLOP.
    pub flops: f64,
    /// Time in which layers were computed, seconds.
    pub compute_seconds: f64,
}

impl Measurement {
    /// Work of so many FLOP in layers that took so many seconds; nothing was moved.
    pub fn new(flops: f64, compute_seconds: f64) -> Self {
        Self { flops, compute_seconds, ..Self::default() }
    }

    /// With the weights that were read, and the hidden states that were written and read.
    #[must_use]
    pub fn with_disk(self, disk_to_host: Transfer, host_to_disk: Transfer) -> Self {
        Self { disk_to_host, host_to_disk, ..self }
    }

    /// With what went to the device and came from it.
    #[must_use]
    pub fn with_device(self, host_to_device: Transfer) -> Self {
        Self { host_to_device, ..self }
    }
}

impl Machine {
    /// This machine with a device that has a memory of its own.
    #[must_use]
    pub fn with_device(self, memory: Memory, link_bytes_per_second: f64) -> Self {
        let link = Link::new("host to device", link_bytes_per_second);
        Self {
            host: Memory { name: "host memory", ..self.host },
            device: Some(Device { memory, link }),
            disk_to_host: Link { name: "disk to host", ..self.disk_to_host },
            host_to_disk: Link { name: "host to disk", ..self.host_to_disk },
            ..self
        }
    }

    /// The memories, the host's first.
    pub fn memories(&self) -> impl Iterator<Item = &Memory> {
        std::iter::once(&self.host).chain(self.device.as_ref().map(|device| &device.memory))
    }

    /// The links: disk to host, host to device where there is one, host to disk.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        let device = self.device.as_ref().map(|device| &device.link);
        std::iter::once(&self.disk_to_host).chain(device).chain([&self.host_to_disk])
    }

    /// Learns from a run, each rate for itself: the first measurement replaces the guess; later ones move the rate by an
    /// exponential average, in which the newest weighs 0.3.
    ///
    /// Transfers below 8 MiB and times below a millisecond are ignored, and so is what is not finite.
    pub fn observe(&mut self, run: &Measurement) {
        self.disk_to_host.learn(run.disk_to_host);
        self.host_to_disk.learn(run.host_to_disk);
        if let Some(device) = &mut self.device {
            device.link.learn(run.host_to_device);
        }
        let (rate, measured) = (&mut self.flops_per_second, &mut self.flops_measured);
        learn(rate, measured, run.flops, run.compute_seconds);
    }

    pub(crate) fn validate(&self) -> Result<(), PlanError> {
        let links = self.links().map(|link| (link.name, link.bytes_per_second));
        for (what, found) in links.chain([("flops_per_second", self.flops_per_second)]) {
            if !(found.is_finite() && found > 0.0) {
                let expected = "more than 0";
                return Err(PlanError::InvalidNumber { what, found, expected });
            }
        }
        Ok(())
    }
}

fn learn(rate: &mut f64, measured: &mut bool, amount: f64, seconds: f64) {
    let sample = amount / seconds;
    if seconds >= LEAST_SECONDS && sample.is_finite() && sample > 0.0 {
        let weight = if std::mem::replace(measured, true) { WEIGHT } else { 1.0 };
        *rate += weight * (sample - *rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_run_replaces_the_guess_and_later_ones_move_the_rate() {
        let mut machine = Machine::default();
        let compute = |flops| Measurement { flops, compute_seconds: 2.0, ..Default::default() };
        machine.observe(&compute(4e11));
        assert!(machine.flops_measured && machine.flops_per_second == 2e11);
        machine.observe(&compute(8e11));
        assert!((machine.flops_per_second - 2.6e11).abs() < 1.0);
        // Nothing was read: the disk is what it was taken for.
        assert_eq!(machine.disk_to_host, Machine::default().disk_to_host);
    }

    #[test]
    fn each_link_learns_from_its_own_transfers() {
        let memory = Memory::new("device memory");
        let mut machine = Machine::default().with_device(memory, 1e10);
        let run = Measurement {
            disk_to_host: Transfer::new(1 << 30, 0.5),
            host_to_device: Transfer::new(1 << 30, 0.125),
            ..Measurement::default()
        };
        machine.observe(&run);
        let rates: Vec<_> =
            machine.links().map(|l| (l.name, l.bytes_per_second, l.measured)).collect();
        let (read, copied) = (2.0 * f64::from(1 << 30), 8.0 * f64::from(1 << 30));
        assert_eq!(
            rates,
            [
                ("disk to host", read, true),
                ("host to device", copied, true),
                ("host to disk", 5e8, false)
            ]
        );
        for _ in 0..30 {
            machine.observe(&Measurement { disk_to_host: Transfer::new(1 << 30, 1.0), ..run });
        }
        assert!((machine.disk_to_host.bytes_per_second / f64::from(1 << 30) - 1.0).abs() < 1e-3);
        assert_eq!(machine.device.map(|d| d.link.bytes_per_second), Some(copied));
    }

    #[test]
    fn tiny_and_broken_samples_teach_nothing() {
        let mut machine = Machine::default();
        let none = Measurement::default();
        let tiny = Measurement { disk_to_host: Transfer::new(4096, 1.0), ..none };
        let instant = Measurement { flops: 1e9, compute_seconds: 0.0, ..none };
        let broken = Measurement { flops: f64::NAN, compute_seconds: 1.0, ..none };
        let backwards = Measurement { flops: 1e9, compute_seconds: -1.0, ..none };
        for run in [tiny, instant, broken, backwards, none] {
            machine.observe(&run);
        }
        assert_eq!(machine, Machine::default());
    }
}
