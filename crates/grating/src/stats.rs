//! What a request cost.

use std::time::Duration;

use grating_backend::OperationTimes;
use grating_engine::{LayerStats, LinkStats, MemoryStats};
use grating_prune::online::{MonitorStatus, Status};
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
    /// What was computed of them: passages where long texts are cut into such ([`Long::Passages`](crate::Long)), each text
    /// otherwise.
    pub passages: usize,
    /// Texts that were cut into several passages.
    pub in_passages: usize,
    /// Tokens of all candidates, templates and the shared prefix included; of passages those of each.
    pub tokens: usize,
    /// Tokens that all candidates begin with and that were computed once.
    pub prefix_tokens: usize,
    /// Candidates of whose text a part was left out: what is beyond the maximum length, or the most passages.
    pub truncated: usize,
    /// Candidates beside whose text the query was cut. In a decoder's prompt nothing of the text is left then.
    pub query_truncated: usize,
    /// Layers of the model.
    pub layers: usize,
    /// Layers computed for a candidate, summed over the candidates; without pruning `passages * layers`.
    pub candidate_layers: u64,
    /// Tokens that entered a layer, summed over the layers, without those of the shared prefix.
    pub token_layers: u64,
    /// Tokens that left their candidates on the way ([`Long::Prune`](crate::Long::Prune)).
    pub tokens_left: u64,
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
    /// In the queue, until computing began.
    #[serde(rename = "queued_ms", serialize_with = "milliseconds")]
    pub queued: Duration,
    /// Requests of the pass through the layers, this one included: those that share one read its weights once, and the
    /// times and bytes of the pass are those of all of them.
    pub requests_in_pass: usize,
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
    /// How the profile that prunes requests for this K is doing on them.
    pub monitor: Option<MonitorStatus>,
    /// What is known for this K, where pruning is learned from the requests ([`Pruning::Auto`](crate::Pruning::Auto)).
    pub learning: Option<Status>,
    /// Who takes how much memory.
    pub memory: MemoryStats,
    /// What passed over each link between memories, and how fast they are.
    pub links: Vec<LinkStats>,
    /// Largest resident set of the process so far (VmHWM), where the system tells.
    pub peak_rss_bytes: Option<u64>,
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
