//! Full runs that record what the scores were after every layer.

use std::path::Path;

use grating_prune::ScoreTrace;

use super::Dataset;
use super::traces::{TraceFile, Traces};
use crate::error::Result;
use crate::request::{Pruning, Request};
use crate::reranker::Reranker;

/// How far the recording is.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct RecordProgress {
    /// Queries done, those found in the file included.
    pub done: usize,
    /// Of how many.
    pub queries: usize,
    /// Share of the query at work, 0 to 1.
    pub query_share: f64,
}

/// Runs the full model on every query of `data` that has no trace yet.
///
/// With a `file`, each trace is appended as soon as it is there, and a run that was stopped goes on where it was. A
/// file of another model, or of other settings that scores depend on, is refused and left as it is.
///
/// # Errors
/// What a request can end with, and [`CalibrateError`](super::CalibrateError) about the file.
pub fn record(
    reranker: &Reranker,
    data: &Dataset,
    file: Option<&Path>,
    mut on_progress: impl FnMut(RecordProgress),
) -> Result<Traces> {
    let model = reranker.stamp()?;
    let (mut file, mut traces) = match file {
        Some(path) => {
            let (file, traces) = TraceFile::open(path, &model)?;
            (Some(file), traces)
        }
        None => (None, Traces::new(model)),
    };
    let queries = data.queries.len();
    for (done, query) in data.queries.iter().enumerate() {
        on_progress(RecordProgress { done, queries, query_share: 0.0 });
        let key = query.key();
        if traces.get(&key).is_some() || query.texts.is_empty() {
            continue;
        }
        let request = Request::new(&query.text, &query.texts, 1).trace(true).pruning(Pruning::Off);
        let request = request.on_progress(|progress| {
            let query_share = progress.done as f64 / progress.total as f64;
            on_progress(RecordProgress { done, queries, query_share });
        });
        let scores = reranker.run(request)?.trace.unwrap_or_default();
        let trace = ScoreTrace::from_vec(scores.len(), query.texts.len(), scores.concat())?;
        if let Some(file) = &mut file {
            file.append(&key, &trace)?;
        }
        traces.insert(key, trace);
    }
    on_progress(RecordProgress { done: queries, queries, query_share: 0.0 });
    Ok(traces)
}
