//! A model, and requests to it.

use std::sync::{Arc, Mutex, PoisonError};

use grating::prune::MassTrace;
use grating::{Request, Texts};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::errors::{exception, raised, refused};
use crate::request::{Callback, LongTexts, Options, text, texts, token_policy};
use crate::selection::{AttentionTuple, Selection, json};
use crate::settings::{Location, Settings, source};
use crate::waiting::interruptible;

/// A reranker until it is closed.
#[pyclass(frozen, module = "grating._native")]
pub(crate) struct Reranker(Mutex<Option<Arc<grating::Reranker>>>);

/// A query with its texts, which several may share.
type Asked<'py> = (Bound<'py, PyAny>, Bound<'py, PyList>);

#[pymethods]
impl Reranker {
    #[new]
    fn new(py: Python<'_>, place: Location, settings: Settings) -> PyResult<Self> {
        let builder = settings.builder(py)?.source(source(py, &place)?);
        let reranker = py.detach(|| builder.build()).map_err(|error| raised(py, &error))?;
        Ok(Reranker(Mutex::new(Some(Arc::new(reranker)))))
    }

    fn run(
        &self,
        py: Python<'_>,
        query: &Bound<'_, PyAny>,
        list: &Bound<'_, PyList>,
        options: Options,
        on_progress: Option<Py<PyAny>>,
        wait_for_a_place: bool,
    ) -> PyResult<Selection> {
        let reranker = self.open(py)?;
        let query = text(query, || "the query".into())?;
        let cancel = options.token();
        let request = Request::new(query, texts(list)?, options.k);
        let request = options.apply(py, request, &cancel)?;
        answered(py, &reranker, request, &cancel, on_progress, wait_for_a_place)
    }

    /// Answers in the order of the requests; the first that fails ends all.
    fn run_many(
        &self,
        py: Python<'_>,
        asked: Vec<Asked<'_>>,
        options: Options,
        on_answer: Option<Py<PyAny>>,
    ) -> PyResult<Vec<Selection>> {
        let reranker = self.open(py)?;
        let cancel = options.token();
        let mut last: Option<(usize, Texts)> = None;
        let mut requests = Vec::<Request>::with_capacity(asked.len());
        for (i, (query, list)) in asked.iter().enumerate() {
            let query = text(query, || format!("query {i}"))?;
            let place = list.as_ptr() as usize;
            let pool = match &last {
                Some((of, pool)) if *of == place => pool.clone(),
                _ => Texts::from(texts(list)?),
            };
            last = Some((place, pool.clone()));
            requests.push(options.apply(py, Request::new(query, pool, options.k), &cancel)?);
        }
        let mut callback = Callback::new(on_answer, &cancel);
        let answers = interruptible(py, &cancel, || {
            let count = requests.len();
            let mut answers = Vec::with_capacity(count);
            for (i, answer) in reranker.rerank_many(requests).enumerate() {
                answers.push(Selection(answer?));
                callback.call(|py, function| function.call1(py, (i + 1, count)).map(drop));
            }
            Ok(answers)
        });
        callback.finish()?;
        answers?.map_err(|error| raised(py, &error))
    }

    /// Logits of pairs, in their order.
    fn score_pairs(
        &self,
        py: Python<'_>,
        queries: &Bound<'_, PyList>,
        list: &Bound<'_, PyList>,
        options: Options,
        on_progress: Option<Py<PyAny>>,
    ) -> PyResult<Vec<f32>> {
        let reranker = self.open(py)?;
        let cancel = options.token();
        let request = Request::pairs(texts(queries)?, texts(list)?);
        let request = options.apply(py, request, &cancel)?;
        let selection = answered(py, &reranker, request, &cancel, on_progress, true)?;
        Ok(selection.logits())
    }

    /// How a pool would be run, as JSON.
    fn plan(
        &self,
        py: Python<'_>,
        candidates: usize,
        tokens: usize,
        long: Option<LongTexts>,
    ) -> PyResult<String> {
        let reranker = self.open(py)?;
        let long = long.map(|long| long.long()).transpose();
        let long = long.map_err(|e| exception(py, "InputError", &format!("long: {e}")))?;
        let plan = match long {
            Some(long) => reranker.plan_long(candidates, tokens, &long),
            None => reranker.plan(candidates, tokens),
        };
        json(&plan.map_err(|error| raised(py, &error))?)
    }

    /// What a token policy would have done with recorded attention: places of the rows that are left after each stage, how
    /// many of the stages are exact, and token-layers.
    fn replay_tokens(
        &self,
        py: Python<'_>,
        policy: &str,
        attention: AttentionTuple,
    ) -> PyResult<(Vec<Vec<u32>>, usize, u64)> {
        let policy = token_policy(policy);
        let policy = policy.map_err(|e| exception(py, "InputError", &format!("policy: {e}")))?;
        let (prefix_tokens, (start, end), mass) = attention;
        let trace = MassTrace::new(prefix_tokens, start..end, mass);
        let outcome = self.open(py)?.replay_tokens(&policy, &trace);
        let outcome = outcome.map_err(|error| raised(py, &error))?;
        Ok((outcome.left, outcome.exact_stages, outcome.token_layers))
    }

    /// What the model is, as JSON.
    fn info(&self, py: Python<'_>) -> PyResult<String> {
        json(self.open(py)?.info())
    }

    /// How audited requests have agreed with the full model, as JSON.
    fn audits(&self, py: Python<'_>) -> PyResult<String> {
        json(&self.open(py)?.audits())
    }

    /// How the profiles that prune are doing, as JSON.
    fn monitored(&self, py: Python<'_>) -> PyResult<String> {
        json(&self.open(py)?.monitored())
    }

    /// What pruning has learned for each K, as JSON.
    fn learned(&self, py: Python<'_>) -> PyResult<String> {
        json(&self.open(py)?.learned())
    }

    /// Requests that wait, and those that wait for a place.
    fn waiting(&self, py: Python<'_>) -> PyResult<(usize, usize)> {
        let waiting = self.open(py)?.waiting();
        Ok((waiting.jobs.len(), waiting.blocked))
    }

    /// Ends it; requests that run are answered before.
    fn close(&self, py: Python<'_>) {
        let reranker = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        py.detach(|| drop(reranker));
    }

    /// Forgets it without ending its threads: after a fork there are none.
    fn forget(&self) {
        std::mem::forget(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// The answer to a request, the interpreter free meanwhile.
fn answered(
    py: Python<'_>,
    reranker: &grating::Reranker,
    request: Request,
    cancel: &grating::CancelToken,
    on_progress: Option<Py<PyAny>>,
    wait_for_a_place: bool,
) -> PyResult<Selection> {
    let mut callback = Callback::new(on_progress, cancel);
    let answer = interruptible(py, cancel, || {
        let ticket = match wait_for_a_place {
            true => reranker.submit(request)?,
            false => reranker.try_submit(request)?,
        };
        Ok(ticket.wait_with(|progress| callback.progress(progress))?)
    });
    callback.finish()?;
    answer?.map(Selection).map_err(|error| refused(py, error))
}

impl Reranker {
    pub(crate) fn open(&self, py: Python<'_>) -> PyResult<Arc<grating::Reranker>> {
        let reranker = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        reranker.ok_or_else(|| exception(py, "InputError", "the reranker is closed"))
    }
}
