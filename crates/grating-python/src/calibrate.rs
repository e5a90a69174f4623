//! From sample queries to a profile.

use std::path::{Path, PathBuf};

use grating::calibrate::{Dataset, Options, Query, Reading, RecordOptions, fit, record};
use grating::prune::Target;
use grating::{Mode, Profile};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::errors::{exception, of_profile, raised};
use crate::request::{Callback, text, texts};
use crate::reranker::Reranker;
use crate::selection::json;
use crate::waiting::interruptible;

/// What is promised and how it is found.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Promise {
    k: usize,
    agreement: f64,
    confidence: f64,
    mode: String,
    readout: String,
    traces: Option<PathBuf>,
    /// Token policies to try, each as JSON.
    token_policies: Vec<String>,
}

/// The sample: a file, or queries with their texts.
#[derive(FromPyObject)]
pub(crate) enum Sample<'py> {
    /// As `grating calibrate --data` has it.
    File(PathBuf),
    /// Query and texts.
    Queries(Vec<(Bound<'py, PyAny>, Bound<'py, PyList>)>),
}

/// The profile, as JSON.
#[pyfunction]
pub(crate) fn calibrate(
    py: Python<'_>,
    reranker: &Reranker,
    sample: Sample<'_>,
    promise: Promise,
    on_progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let reranker = reranker.open(py)?;
    let data = dataset(py, sample)?;
    let (options, states) = options(py, &promise)?;
    let policies = token_policies(py, &promise)?;
    let states = states && policies.is_empty();
    let cancel = grating::CancelToken::new();
    let mut callback = Callback::new(on_progress, &cancel);
    let fitted = interruptible(py, &cancel, || {
        let recording =
            RecordOptions::default().file(promise.traces.as_deref()).states(states).cancel(&cancel);
        let recording = recording.tokens(&policies);
        let traces = record(&reranker, &data, recording, |progress| {
            let (done, queries) = (progress.done, progress.queries);
            callback.call(|py, function| function.call1(py, (done, queries)).map(drop));
        })?;
        fit(&data, &traces, &options)
    });
    callback.finish()?;
    json(&fitted?.map_err(|error| raised(py, &error))?)
}

fn token_policies(py: Python<'_>, promise: &Promise) -> PyResult<Vec<grating::TokenPolicy>> {
    let policy = |json: &String| {
        let value = serde_json::from_str(json).map_err(|error| error.to_string());
        let policy = value.and_then(grating::token_policy);
        policy.map_err(|e| exception(py, "InputError", &format!("token_policies: {e}")))
    };
    promise.token_policies.iter().map(policy).collect()
}

fn dataset(py: Python<'_>, sample: Sample<'_>) -> PyResult<Dataset> {
    match sample {
        Sample::File(path) => {
            let read = py.detach(|| Dataset::read(&path));
            read.map_err(|error| raised(py, &grating::Error::from(error)))
        }
        Sample::Queries(queries) => {
            let query = |(i, (query, list)): (usize, (Bound<'_, PyAny>, Bound<'_, PyList>))| {
                let query = text(&query, || format!("query {i}"))?;
                Ok(Query::new((i + 1).to_string(), query, texts(&list)?))
            };
            let queries = queries.into_iter().enumerate().map(query);
            Ok(Dataset::new("queries", queries.collect::<PyResult<_>>()?))
        }
    }
}

fn options(py: Python<'_>, promise: &Promise) -> PyResult<(Options, bool)> {
    let wrong = |reason: &str| exception(py, "InputError", reason);
    let mode = match promise.mode.as_str() {
        "select" => Mode::Select,
        "rank" => Mode::Rank,
        _ => return Err(wrong("mode: it must be select or rank")),
    };
    let reading = match promise.readout.as_str() {
        "best" => Reading::Best,
        "head" => Reading::Head,
        "fitted" => Reading::Fitted,
        _ => return Err(wrong("readout: it must be best, head or fitted")),
    };
    let target = Target { agreement: promise.agreement, confidence: promise.confidence };
    Ok((Options::new(promise.k, target).mode(mode).reading(reading), reading != Reading::Head))
}

/// A profile from a file, as JSON.
#[pyfunction]
pub(crate) fn read_profile(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    json(&Profile::read(&path).map_err(|error| of_profile(py, error))?)
}

/// Checks a profile and writes it.
#[pyfunction]
pub(crate) fn write_profile(py: Python<'_>, profile: &str, path: PathBuf) -> PyResult<()> {
    let wrote = |path: &Path| Profile::from_json("profile", profile.as_bytes())?.write(path);
    wrote(&path).map_err(|error| of_profile(py, error))
}

/// The paper's policy with a threshold, as JSON.
#[pyfunction]
pub(crate) fn paper_policy(threshold: f64) -> PyResult<String> {
    json(&grating::Policy::paper(threshold))
}
