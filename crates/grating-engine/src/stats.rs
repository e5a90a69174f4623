//! Figures of a job: its layers, its memory, what passed over the links.

use std::time::Duration;

use grating_backend::Copies;
use grating_prune::{Cluster, Verdicts};
use grating_sched::{Ledger, Link, Machine, PlannedMemory};
use serde::{Serialize, Serializer};

use crate::meter::Costs;

/// The host's memory by use, bytes; where the device has a memory of its own, what is planned there, too.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MemoryStats {
    /// What people call the host's memory.
    pub name: &'static str,
    /// What the user allows.
    pub budget: Option<u64>,
    /// The plan's ledger; its total is the promise.
    pub planned: Ledger,
    /// Slots of the sliding window.
    pub window: u64,
    /// Layers that stay.
    pub pinned: u64,
    /// Embedding rows in the cache.
    pub row_cache: u64,
    /// Most bytes of hidden states and intermediate tensors at one time.
    pub activations: u64,
    /// The device's own memory under the plan; `None` where it shares the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<PlannedMemory>,
    /// Most bytes of it that were allocated at one time, buffers kept for later included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_most: Option<u64>,
}

/// What a job moved over one link between memories.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LinkStats {
    /// From where to where.
    pub name: &'static str,
    /// Bytes, both ways, those included that are on their way for the next job.
    pub bytes: u64,
    /// Time in which at least one transfer was in flight.
    #[serde(rename = "busy_ms", serialize_with = "milliseconds")]
    pub busy: Duration,
    /// Time in which computing waited for it.
    #[serde(rename = "waited_ms", serialize_with = "milliseconds")]
    pub waited: Duration,
    /// Share of that traffic that computing covered, 0 to 1; 1 where nothing passed.
    pub overlap: f64,
    /// The rate that the next plan counts with, bytes per second.
    pub bytes_per_second: f64,
    /// Whether that comes from a run; else it is a guess.
    pub measured: bool,
}

impl LinkStats {
    /// The links of a machine after a job of these costs.
    pub(crate) fn of(machine: &Machine, costs: &Costs) -> Vec<Self> {
        let link = |link: &Link, bytes, busy, waited| LinkStats {
            name: link.name,
            bytes,
            busy,
            waited,
            overlap: covered(busy, waited),
            bytes_per_second: link.bytes_per_second,
            measured: link.measured,
        };
        let weights = link(&machine.disk_to_host, costs.weight_bytes_read, costs.read, costs.stall);
        let hidden =
            link(&machine.host_to_disk, costs.spill_bytes(), costs.spill, costs.spill_wait);
        let device = machine.device.as_ref().map(|device| {
            let Copies { bytes, time, waited, .. } = costs.copies;
            link(&device.link, bytes, time, waited)
        });
        [Some(weights), device, Some(hidden)].into_iter().flatten().collect()
    }
}

/// The share of `busy` in which nobody waited.
fn covered(busy: Duration, waited: Duration) -> f64 {
    match busy.is_zero() {
        true => 1.0,
        false => (1.0 - waited.as_secs_f64() / busy.as_secs_f64()).max(0.0),
    }
}

/// One layer of the funnel.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LayerStats {
    /// The layer, from 0.
    pub layer: usize,
    /// Candidates that it computed; passages, where texts are cut into such.
    pub live: usize,
    /// Their tokens that entered it, without a shared prefix.
    pub tokens: usize,
    /// Of those, the ones that left their candidates by its attention, and are in no later layer.
    pub tokens_left: usize,
    /// Texts (by index in the request) accepted after it.
    pub accepted: Vec<usize>,
    /// Texts dropped after it.
    pub dropped: Vec<usize>,
    /// Texts that nothing was decided about.
    pub deferred: usize,
    /// Dispersion of the live candidates' scores in the policy's measure, where it was looked at.
    pub dispersion: Option<f64>,
    /// Clusters of the scores, best first, where they were clustered.
    pub clusters: Vec<Cluster>,
    /// Why these are the verdicts; `None` where there were none.
    pub reason: Option<String>,
    /// Time in which computing waited for the layer's weights.
    #[serde(rename = "stall_ms", serialize_with = "milliseconds")]
    pub stall: Duration,
    /// Time of the layer, waiting included.
    #[serde(rename = "time_ms", serialize_with = "milliseconds")]
    pub time: Duration,
}

impl LayerStats {
    pub(crate) fn decided(&mut self, verdicts: &Verdicts) {
        self.accepted.clone_from(&verdicts.accepted);
        self.dropped.clone_from(&verdicts.dropped);
        self.deferred = verdicts.deferred.len();
        self.dispersion = Some(verdicts.dispersion);
        self.clusters.clone_from(&verdicts.clusters);
        self.reason = Some(verdicts.reason.to_string());
    }
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1e6).round() / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_link_has_its_bytes_its_times_and_the_rate_that_is_learned() {
        let mut machine = Machine::default();
        machine.disk_to_host.measured = true;
        let costs = Costs {
            weight_bytes_read: 100,
            read: 3 * MS,
            stall: MS,
            spill_bytes_written: 20,
            spill_bytes_read: 10,
            spill: 5 * MS,
            spill_wait: 2 * MS,
            ..Costs::default()
        };
        let links = LinkStats::of(&machine, &costs);
        let moved: Vec<_> = links.iter().map(|l| (l.name, l.bytes, l.busy, l.waited)).collect();
        let expected =
            [("disk to memory", 100, 3 * MS, MS), ("memory to disk", 30, 5 * MS, 2 * MS)];
        assert_eq!(moved, expected);
        let rates: Vec<_> = links.iter().map(|l| (l.bytes_per_second, l.measured)).collect();
        assert_eq!(rates, [(1e9, true), (5e8, false)]);
        let machine = machine.with_device(grating_sched::Memory::new("device memory"), 1e10);
        let costs = Costs { copies: Copies::new(70, 4 * MS, 2 * MS), ..costs };
        let links = LinkStats::of(&machine, &costs);
        let moved: Vec<_> = links.iter().map(|l| (l.name, l.bytes, l.busy, l.waited)).collect();
        assert_eq!(moved[1], ("host to device", 70, 4 * MS, 2 * MS));
        assert_eq!((moved.len(), moved[2].0), (3, "host to disk"));
        let json = serde_json::to_value(links[0]).unwrap();
        assert_eq!((&json["busy_ms"], &json["waited_ms"]), (&3.0.into(), &1.0.into()));
        let overlaps: Vec<_> = links.iter().map(|link| (100.0 * link.overlap).round()).collect();
        assert_eq!(overlaps, [67.0, 50.0, 60.0]);
        let more = [(MS, 2 * MS), (Duration::ZERO, MS)].map(|(busy, waited)| covered(busy, waited));
        assert_eq!(more, [0.0, 1.0]);
    }
}
