//! Full runs that record what the scores were after every layer.

use std::path::Path;

use grating_engine::CancelToken;
use grating_prune::ScoreTrace;

use super::Dataset;
use super::states::States;
use super::traces::{Recorded, TraceFile, Traces};
use crate::error::{Error, Result};
use crate::long::Long;
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

/// What is to be recorded, and where.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct RecordOptions<'a> {
    /// A file that each trace is appended to as soon as it is there.
    pub file: Option<&'a Path>,
    /// Whether to keep the hidden states that readouts are fitted to: two bytes for each candidate, layer and
    /// component, held in memory (60 candidates of a model with 6 layers of 384: 225 KiB a query).
    pub states: bool,
    /// Ends the recording with [`Error::Cancelled`](crate::Error::Cancelled); what is in the file stays.
    pub cancel: Option<&'a CancelToken>,
}

impl<'a> RecordOptions<'a> {
    /// Replaces [`RecordOptions::file`].
    #[must_use]
    pub fn file(mut self, file: Option<&'a Path>) -> Self {
        self.file = file;
        self
    }

    /// Replaces [`RecordOptions::states`].
    #[must_use]
    pub fn states(mut self, keep: bool) -> Self {
        self.states = keep;
        self
    }

    /// Replaces [`RecordOptions::cancel`].
    #[must_use]
    pub fn cancel(mut self, token: &'a CancelToken) -> Self {
        self.cancel = Some(token);
        self
    }
}

/// Runs the full model on every query of `data` that has no trace yet.
///
/// With a file, a run that was stopped goes on where it was. A file of another model, or of other settings that scores depend on, is refused and left as it is.
///
/// # Errors
/// What a request can end with, and [`CalibrateError`](super::CalibrateError) about the file; [`Error::Setting`] for a
/// reranker that cuts long texts into passages or lets their tokens leave: a profile does not say for which it is.
pub fn record(
    reranker: &Reranker,
    data: &Dataset,
    options: RecordOptions<'_>,
    mut on_progress: impl FnMut(RecordProgress),
) -> Result<Traces> {
    if *reranker.long() != Long::Truncate {
        return Err(Error::Setting {
            setting: "what becomes of long texts in a calibration",
            expected: "that they are truncated".into(),
            found: reranker.long().name().into(),
        });
    }
    let model = reranker.stamp()?;
    let (mut file, mut traces) = match options.file {
        Some(path) => {
            let (file, traces) = TraceFile::open(path, &model)?;
            (Some(file), traces)
        }
        None => (None, Traces::new(model.clone())),
    };
    let queries = data.queries.len();
    for (done, query) in data.queries.iter().enumerate() {
        on_progress(RecordProgress { done, queries, query_share: 0.0 });
        let key = query.key();
        if let Some(recorded) = traces.recorded(&key) {
            recorded.check(query, model.layers, Some(reranker.info().hidden))?;
            if recorded.states.is_some() || !options.states {
                continue;
            }
        }
        if query.texts.is_empty() {
            continue;
        }
        let request = Request::new(&query.text, &query.texts, 1).trace(true).pruning(Pruning::Off);
        let mut request = request.states(options.states);
        if let Some(token) = options.cancel {
            request = request.cancel(token);
        }
        let selection = reranker.submit(request)?.wait_with(|progress| {
            let query_share = progress.done as f64 / progress.total as f64;
            on_progress(RecordProgress { done, queries, query_share });
        })?;
        let (scores, candidates) = (selection.trace.unwrap_or_default(), query.texts.len());
        let recorded = Recorded {
            trace: ScoreTrace::from_vec(scores.len(), candidates, scores.concat())?,
            states: selection.states.map(|states| States::new(candidates, &states)),
        };
        if let Some(file) = &mut file {
            file.append(&key, &recorded)?;
        }
        traces.insert(key, recorded);
    }
    on_progress(RecordProgress { done: queries, queries, query_share: 0.0 });
    Ok(traces)
}
