//! Figures of a job: its layers and its memory.

use std::time::Duration;

use grating_prune::{Cluster, Verdicts};
use grating_sched::Ledger;
use serde::{Serialize, Serializer};

/// Memory by use, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Memory {
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
}

/// One layer of the funnel.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LayerStats {
    /// The layer, from 0.
    pub layer: usize,
    /// Candidates that it computed.
    pub live: usize,
    /// Texts (by index in the request) accepted after it.
    pub accepted: Vec<usize>,
    /// Texts dropped after it.
    pub dropped: Vec<usize>,
    /// Candidates that nothing was decided about.
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
