//! What a request cost.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// Figures of one request. Times serialize as milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Texts of the request.
    pub candidates: usize,
    /// Different texts among them; equal ones are computed once.
    pub distinct_candidates: usize,
    /// Tokens computed per layer, templates included.
    pub tokens: usize,
    /// Candidates whose text was cut at the maximum length.
    pub truncated: usize,
    /// Layers of the model, all of them run.
    pub layers: usize,
    /// Runs of candidates that went through a layer together.
    pub chunks: usize,
    /// Threads that computed.
    pub threads: usize,
    /// Weight and embedding bytes read from the checkpoint.
    pub bytes_read: u64,
    /// Text to tokens.
    #[serde(rename = "tokenize_ms", serialize_with = "milliseconds")]
    pub tokenize: Duration,
    /// Reading weights and embedding rows.
    #[serde(rename = "read_ms", serialize_with = "milliseconds")]
    pub read: Duration,
    /// Layers and head, without the reading.
    #[serde(rename = "compute_ms", serialize_with = "milliseconds")]
    pub compute: Duration,
    /// From the call to its return, time in the queue included.
    #[serde(rename = "total_ms", serialize_with = "milliseconds")]
    pub total: Duration,
    /// Largest resident set of the process so far (VmHWM), where the system tells.
    pub peak_rss_bytes: Option<u64>,
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1e6).round() / 1e3)
}

/// VmHWM of this process; Linux only.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
