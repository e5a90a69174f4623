//! One request, as the Python half passes it.

use std::time::Duration;

use grating::{Long, Mode, Passages, Progress, Request, TokenPolicy};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::cancel::CancelToken;
use crate::errors::exception;
use crate::settings;

/// What is asked of a query and its texts: every key is there, `None` is the reranker's own setting.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Options {
    pub(crate) k: usize,
    pub(crate) instruction: Option<String>,
    pub(crate) max_text_tokens: Option<usize>,
    pub(crate) long: Option<LongTexts>,
    pub(crate) pruning: Option<String>,
    pub(crate) mode: Option<String>,
    pub(crate) trace: bool,
    /// The token policy whose signals are recorded, as JSON.
    pub(crate) attention: Option<String>,
    pub(crate) timeline: bool,
    /// Seconds.
    pub(crate) deadline: Option<f64>,
    pub(crate) cancel: Option<CancelToken>,
}

/// What becomes of long texts: every key is there.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct LongTexts {
    /// Whether they are cut into passages; otherwise the rest says nothing.
    passages: bool,
    /// The token policy where tokens leave, as JSON.
    prune: Option<String>,
    tokens: Option<usize>,
    overlap: usize,
    score: String,
    max_passages: usize,
}

impl LongTexts {
    /// As the library has it.
    pub(crate) fn long(&self) -> Result<Long, String> {
        if let Some(json) = &self.prune {
            return token_policy(json).map(Long::Prune);
        }
        if !self.passages {
            return Ok(Long::Truncate);
        }
        let score = self.score.parse().map_err(|error| format!("score: {error}"))?;
        let passages =
            Passages::default().overlap(self.overlap).max_passages(self.max_passages).score(score);
        Ok(Long::Passages(match self.tokens {
            Some(tokens) => passages.tokens(tokens),
            None => passages,
        }))
    }
}

/// A token policy from JSON.
pub(crate) fn token_policy(json: &str) -> Result<TokenPolicy, String> {
    grating::token_policy(serde_json::from_str(json).map_err(|error| error.to_string())?)
}

impl Options {
    /// The token that ends it, its own or the caller's.
    pub(crate) fn token(&self) -> grating::CancelToken {
        self.cancel.as_ref().map_or_else(grating::CancelToken::new, |token| token.0.clone())
    }

    /// A request with them.
    pub(crate) fn apply(
        &self,
        py: Python<'_>,
        request: Request,
        cancel: &grating::CancelToken,
    ) -> PyResult<Request> {
        let wrong = |reason: String| exception(py, "InputError", &reason);
        let mut request = request.cancel(cancel).trace(self.trace).timeline(self.timeline);
        if let Some(instruction) = &self.instruction {
            request = request.instruction(instruction);
        }
        if let Some(tokens) = self.max_text_tokens {
            request = request.max_text_tokens(tokens);
        }
        if let Some(long) = &self.long {
            request = request.long(long.long().map_err(|e| wrong(format!("long: {e}")))?);
        }
        if let Some(json) = &self.pruning {
            let pruning = settings::pruning(json).map_err(|e| wrong(format!("pruning: {e}")))?;
            request = request.pruning(pruning);
        }
        if let Some(json) = &self.attention {
            let policy = token_policy(json).map_err(|e| wrong(format!("attention: {e}")))?;
            request = request.attention(policy);
        }
        match self.mode.as_deref() {
            None => {}
            Some("select") => request = request.mode(Mode::Select),
            Some("rank") => request = request.mode(Mode::Rank),
            Some(_) => return Err(wrong("mode: it must be select or rank".into())),
        }
        if let Some(seconds) = self.deadline {
            let allowed = Duration::try_from_secs_f64(seconds)
                .map_err(|_| wrong(format!("deadline: {seconds} is no number of seconds")))?;
            request = request.deadline(allowed);
        }
        Ok(request)
    }
}

/// A text, named by `what` where it is none.
pub(crate) fn text(value: &Bound<'_, PyAny>, what: impl Fn() -> String) -> PyResult<String> {
    let py = value.py();
    let Ok(string) = value.cast::<PyString>() else {
        let kind = value.get_type().name()?;
        return Err(PyTypeError::new_err(format!("{} is of type {kind}, not str", what())));
    };
    // What is no Unicode text cannot be tokenized.
    string.to_str().map(str::to_owned).map_err(|_| {
        let reason = "has a lone surrogate, which is no character: decode it with errors='replace'";
        exception(py, "InputError", &format!("{} {reason}", what()))
    })
}

/// Texts, which are copied once.
pub(crate) fn texts(list: &Bound<'_, PyList>) -> PyResult<Vec<String>> {
    let texts = list.iter().enumerate();
    texts.map(|(i, value)| text(&value, || format!("text {i}"))).collect()
}

/// A Python function that is told of progress. What it raises cancels the request and is raised when that has ended.
pub(crate) struct Callback {
    function: Option<Py<PyAny>>,
    cancel: grating::CancelToken,
    raised: Option<PyErr>,
}

impl Callback {
    pub(crate) fn new(function: Option<Py<PyAny>>, cancel: &grating::CancelToken) -> Self {
        Callback { function, cancel: cancel.clone(), raised: None }
    }

    /// Calls it, unless it has raised before.
    pub(crate) fn call(
        &mut self,
        arguments: impl for<'py> FnOnce(Python<'py>, &Py<PyAny>) -> PyResult<()>,
    ) {
        let (Some(function), None) = (&self.function, &self.raised) else { return };
        if let Err(error) = Python::attach(|py| arguments(py, function)) {
            self.cancel.cancel();
            self.raised = Some(error);
        }
    }

    pub(crate) fn progress(&mut self, progress: Progress) {
        let Progress { done, total, layer, layers, .. } = progress;
        self.call(|py, function| function.call1(py, (done, total, layer, layers)).map(drop));
    }

    /// What it raised.
    pub(crate) fn finish(self) -> PyResult<()> {
        self.raised.map_or(Ok(()), Err)
    }
}
