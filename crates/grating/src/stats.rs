//! What a request cost.

use std::time::Duration;

use grating_model::OperationTimes;
use grating_prune::{Cluster, Verdicts};
use grating_sched::Ledger;
use serde::{Serialize, Serializer};

use crate::audit::Audit;

/// Figures of one request. Times serialize as milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Texts of the request.
    pub candidates: usize,
    /// Different texts among them; equal ones are computed once.
    pub distinct_candidates: usize,
    /// Tokens of all candidates, templates and the shared prefix included.
    pub tokens: usize,
    /// Tokens that all candidates begin with and that were computed once.
    pub prefix_tokens: usize,
    /// Candidates whose text was cut at the maximum length.
    pub truncated: usize,
    /// Candidates beside whose text the query was cut. In a decoder's prompt nothing of the text is left then.
    pub query_truncated: usize,
    /// Layers of the model.
    pub layers: usize,
    /// Layers computed for a candidate, summed over the candidates; without pruning `candidates * layers`.
    pub candidate_layers: u64,
    /// Runs of candidates that went through layer 0 together.
    pub chunks: usize,
    /// Threads that computed.
    pub threads: usize,
    /// Weight bytes read from the checkpoint, those read ahead for the next request included.
    pub weight_bytes_read: u64,
    /// Whether weights were read past the system's page cache.
    pub direct_io: bool,
    /// Time in which weights were being read.
    #[serde(rename = "read_ms", serialize_with = "milliseconds")]
    pub read: Duration,
    /// Time in which computing waited for weights.
    #[serde(rename = "stall_ms", serialize_with = "milliseconds")]
    pub stall: Duration,
    /// Share of the reading that computing covered, 0 to 1; 1 where nothing was read.
    pub overlap: f64,
    /// Distinct embedding rows found in the row cache, and those that were read.
    pub row_cache_hits: u64,
    /// See `row_cache_hits`.
    pub row_cache_misses: u64,
    /// Embedding bytes read from the checkpoint.
    pub row_bytes_read: u64,
    /// Hidden states written to disk, bytes.
    pub spill_bytes_written: u64,
    /// Hidden states read from disk, bytes.
    pub spill_bytes_read: u64,
    /// Time in which computing waited for hidden states.
    #[serde(rename = "spill_wait_ms", serialize_with = "milliseconds")]
    pub spill_wait: Duration,
    /// Why hidden states stayed in memory that should have gone to disk, if that happened.
    pub spill_error: Option<String>,
    /// Text to tokens.
    #[serde(rename = "tokenize_ms", serialize_with = "milliseconds")]
    pub tokenize: Duration,
    /// Tokens to hidden states.
    #[serde(rename = "embed_ms", serialize_with = "milliseconds")]
    pub embed: Duration,
    /// Layers and head, without the waiting for weights.
    #[serde(rename = "compute_ms", serialize_with = "milliseconds")]
    pub compute: Duration,
    /// What of `compute` each kind of operation took.
    #[serde(rename = "operations_ms", serialize_with = "milliseconds_by_operation")]
    pub operations: OperationTimes,
    /// From the call to its return, time in the queue included.
    #[serde(rename = "total_ms", serialize_with = "milliseconds")]
    pub total: Duration,
    /// The funnel: what happened after each layer that ran.
    pub funnel: Vec<LayerStats>,
    /// What pruning would have done, where the request was audited.
    pub audit: Option<Audit>,
    /// Who takes how much memory.
    pub memory: Memory,
    /// Largest resident set of the process so far (VmHWM), where the system tells.
    pub peak_rss_bytes: Option<u64>,
}

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

fn milliseconds_by_operation<S: Serializer>(
    times: &OperationTimes,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let rounded = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
    serializer.collect_map(times.iter().map(|(name, time)| (name, rounded(time))))
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1e6).round() / 1e3)
}

/// VmHWM of this process; Linux only.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    status_bytes("VmHWM:")
}

/// VmRSS of this process; Linux only.
pub(crate) fn current_rss_bytes() -> Option<u64> {
    status_bytes("VmRSS:")
}

fn status_bytes(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
