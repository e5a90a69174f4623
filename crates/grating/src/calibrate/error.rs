//! What can be wrong with sample queries and recorded traces.

use std::path::PathBuf;

use grating_io::shown;

/// Why there is no calibration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrateError {
    /// A file cannot be read or written.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: std::io::Error,
    },
    /// A line is not what it should be.
    #[error("{path}, line {line}: {reason}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A query or text is named that no file holds.
    #[error("{path}: {kind} `{}` is not in {holder}", shown(id))]
    Unknown {
        /// The file that names it.
        path: PathBuf,
        /// `query` or `text`.
        kind: &'static str,
        /// Its id.
        id: String,
        /// The file that should hold it.
        holder: &'static str,
    },
    /// Traces of another model, or of other settings.
    #[error(
        "{path} holds traces with {what} {found}, but this is {expected}: name another file for the traces, \
         or delete this one to record them again"
    )]
    OtherTraces {
        /// The file.
        path: PathBuf,
        /// The field that differs.
        what: &'static str,
        /// In the file.
        found: String,
        /// Of the reranker at hand.
        expected: String,
    },
    /// A trace has another shape than the query's pool and the model.
    #[error(
        "the trace of query `{query}` is of {found} {what}, but there are {expected}: it is damaged, or of another \
         model or pool; name another file for the traces, or delete this one to record them again"
    )]
    TraceShape {
        /// The query's id.
        query: String,
        /// What is counted.
        what: &'static str,
        /// In the trace.
        found: usize,
        /// Of the pool or the model.
        expected: usize,
    },
    /// A sample query, or all of its texts, have no words.
    #[error("{what} of sample query `{}` is blank: leave it out of the data", shown(query))]
    Blank {
        /// Its id.
        query: String,
        /// The text, or each of the candidates.
        what: &'static str,
    },
    /// A query has no trace.
    #[error("there is no trace of query `{query}`: record the traces of these data first")]
    NoTrace {
        /// Its id.
        query: String,
    },
    /// Readouts cannot be fitted.
    #[error(
        "readouts cannot be fitted: hidden states are not recorded for every query, or fewer than {needed} queries \
         calibrate; record them (`--readout fitted` with a new file of traces), or read scores by the model's own head \
         (`--readout head`)"
    )]
    NoStates {
        /// The least.
        needed: usize,
    },
    /// Readouts are asked for where tokens leave.
    #[error(
        "readouts are fitted to whole texts: with token policies scores are read by the model's own head \
         (`--readout head`)"
    )]
    ReadoutsOfTokens,
    /// Too few queries have more candidates than K.
    #[error(
        "{found} queries have more than K = {k} candidates, at least {needed} are needed for any calibration; \
         give more queries, larger pools or a smaller K"
    )]
    TooFewQueries {
        /// So many do.
        found: usize,
        /// The least.
        needed: usize,
        /// K.
        k: usize,
    },
}
