//! Full runs that record what the scores were after every layer.

use std::path::Path;

use grating_engine::CancelToken;
use grating_prune::{ScoreTrace, TokenPolicy};

use super::states::States;
use super::traces::{Recorded, TokensLeft, TraceFile, Traces};
use super::{CalibrateError, Dataset, Query};
use crate::error::{Error, Result};
use crate::long::Long;
use crate::request::{Pruning, Request};
use crate::reranker::Reranker;

/// How far the recording is.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct RecordProgress {
    /// Queries done, those found in the file included. With token policies a query counts once for each and once more.
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
    /// Policies to run each query with, too, by which tokens leave long texts; those that [`fit`](super::fit) may choose from.
    pub tokens: &'a [TokenPolicy],
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

    /// Replaces [`RecordOptions::tokens`].
    #[must_use]
    pub fn tokens(mut self, policies: &'a [TokenPolicy]) -> Self {
        self.tokens = policies;
        self
    }

    /// Replaces [`RecordOptions::cancel`].
    #[must_use]
    pub fn cancel(mut self, token: &'a CancelToken) -> Self {
        self.cancel = Some(token);
        self
    }
}

/// Runs the full model on every query of `data` that has no trace yet, and then each token policy in its place.
///
/// With a file, a run that was stopped goes on where it was. A file of another model, or of other settings that scores depend on, is refused and left as it is.
///
/// # Errors
/// What a request can end with, and [`CalibrateError`] about the file; [`Error::Setting`] for a
/// reranker that does either with long texts itself: a profile does not say for which passages it is, and for tokens that
/// leave there are [`RecordOptions::tokens`].
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
    data.queries.iter().try_for_each(refuse_blanks)?;
    let model = reranker.stamp()?;
    let (mut file, mut traces) = match options.file {
        Some(path) => {
            let (file, traces) = TraceFile::open(path, &model)?;
            (Some(file), traces)
        }
        None => (None, Traces::new(model.clone())),
    };
    let policies = std::iter::once(None).chain(options.tokens.iter().map(Some));
    let runs = policies.flat_map(|tokens| data.queries.iter().map(move |query| (tokens, query)));
    let runs: Vec<(Option<&TokenPolicy>, &Query)> = runs.collect();
    let queries = runs.len();
    for (done, (tokens, query)) in runs.into_iter().enumerate() {
        on_progress(RecordProgress { done, queries, query_share: 0.0 });
        let key = query.key_under(tokens);
        // Readouts are fitted to whole texts alone.
        let states = options.states && tokens.is_none();
        if let Some(recorded) = traces.recorded(&key) {
            recorded.check(query, model.layers, Some(reranker.info().hidden))?;
            if recorded.states.is_some() || !states {
                continue;
            }
        }
        if query.texts.is_empty() {
            continue;
        }
        let run = Run { reranker, query, tokens, states, cancel: options.cancel };
        let recorded =
            run.record(|query_share| on_progress(RecordProgress { done, queries, query_share }))?;
        if let Some(file) = &mut file {
            file.append(&key, &recorded)?;
        }
        traces.insert(key, recorded);
    }
    traces.tokens = options.tokens.to_vec();
    on_progress(RecordProgress { done: queries, queries, query_share: 0.0 });
    Ok(traces)
}

/// Before hours of computing end at the one query that no request takes.
fn refuse_blanks(query: &Query) -> Result<(), CalibrateError> {
    let blank = |text: &String| text.trim().is_empty();
    let nothing = !query.texts.is_empty() && query.texts.iter().all(blank);
    let what = match (blank(&query.text), nothing) {
        (true, _) => "the text",
        (false, true) => "every candidate",
        (false, false) => return Ok(()),
    };
    Err(CalibrateError::Blank { query: query.id.clone(), what })
}

/// One query in full, or with tokens that leave.
struct Run<'a> {
    reranker: &'a Reranker,
    query: &'a Query,
    tokens: Option<&'a TokenPolicy>,
    states: bool,
    cancel: Option<&'a CancelToken>,
}

impl Run<'_> {
    fn record(&self, mut on_share: impl FnMut(f64)) -> Result<Recorded> {
        let Run { query, tokens, .. } = self;
        let request = Request::new(&query.text, &query.texts, 1).trace(true).pruning(Pruning::Off);
        let mut request = request.states(self.states);
        if let Some(token) = self.cancel {
            request = request.cancel(token);
        }
        if let Some(policy) = tokens {
            request = request.long(Long::Prune((*policy).clone()));
        }
        let selection = self.reranker.submit(request)?.wait_with(|progress| {
            on_share(progress.done as f64 / progress.total as f64);
        })?;
        let (scores, candidates) = (selection.trace.unwrap_or_default(), query.texts.len());
        let entered = || selection.stats.funnel.iter().map(|layer| layer.tokens as f64);
        let all = entered().next().unwrap_or(1.0);
        let left = tokens.map(|policy| TokensLeft {
            policy: policy.clone(),
            shares: entered().map(|tokens| tokens / all).collect(),
        });
        Ok(Recorded {
            trace: ScoreTrace::from_vec(scores.len(), candidates, scores.concat())?,
            states: selection.states.map(|states| States::new(candidates, &states)),
            left,
        })
    }
}
