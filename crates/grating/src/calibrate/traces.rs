//! Recorded score traces, in memory and in a file that grows with each query.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use grating_io::shown;
use grating_prune::{ScoreTrace, TokenPolicy};
use serde::{Deserialize, Serialize};

use super::states::States;
use super::{CalibrateError, Query};
use crate::profile::ModelStamp;

/// Score traces of queries, by [`Query::key`](super::Query::key), and the model they are of.
#[derive(Debug, Clone, PartialEq)]
pub struct Traces {
    /// The model, and the settings that scores depend on.
    pub model: ModelStamp,
    /// Policies by which tokens left in further runs of the queries.
    pub(super) tokens: Vec<TokenPolicy>,
    traces: HashMap<String, Recorded>,
}

/// What is recorded of one query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Recorded {
    pub(super) trace: ScoreTrace,
    /// For readouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) states: Option<States>,
    /// Where tokens left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) left: Option<TokensLeft>,
}

/// How tokens left in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TokensLeft {
    pub(super) policy: TokenPolicy,
    /// For each layer the share of all tokens that entered it.
    pub(super) shares: Vec<f64>,
}

impl Recorded {
    /// Refuses a trace that is not of this query's pool and a model of so many layers and, where it is known, this
    /// width of hidden states. (That a file is of this model its heading says, but not of each line.)
    pub(super) fn check(
        &self,
        query: &Query,
        layers: usize,
        hidden: Option<usize>,
    ) -> Result<(), CalibrateError> {
        let (trace, pool) = (&self.trace, query.texts.len());
        let mut counts =
            vec![("candidates", trace.candidates(), pool), ("layers", trace.layers(), layers)];
        if let Some(states) = &self.states {
            counts.push(("candidates in its hidden states", states.candidates(), pool));
            counts.push(("layers with hidden states", states.layers() + 1, layers));
            if let Some(hidden) = hidden.filter(|_| states.layers() > 0) {
                counts.push(("components in its hidden states", states.hidden(), hidden));
            }
        }
        if let Some(left) = &self.left {
            counts.push(("layers with shares of tokens", left.shares.len(), layers));
        }
        match counts.into_iter().find(|(_, found, expected)| found != expected) {
            None => Ok(()),
            Some((what, found, expected)) => {
                let query = query.id.clone();
                Err(CalibrateError::TraceShape { query, what, found, expected })
            }
        }
    }
}

/// The first line of a file of traces.
#[derive(Serialize, Deserialize)]
struct Heading {
    grating_traces: u32,
    model: ModelStamp,
}

/// Each other line.
#[derive(Serialize, Deserialize)]
struct Record {
    key: String,
    #[serde(flatten)]
    recorded: Recorded,
}

/// Of the file's form.
const VERSION: u32 = 1;

impl Traces {
    pub(super) fn new(model: ModelStamp) -> Self {
        Traces { model, tokens: Vec::new(), traces: HashMap::new() }
    }

    /// Reads a file of traces: JSON lines, the model first. A last line that was not written to its end is left out.
    ///
    /// # Errors
    /// [`CalibrateError::File`], [`CalibrateError::Line`].
    pub fn read(path: &Path) -> Result<Self, CalibrateError> {
        let text = crate::regular::read_to_string(path);
        let text = text.map_err(|reason| CalibrateError::File { path: path.into(), reason })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, CalibrateError> {
        let wrong = |line, reason| CalibrateError::Line { path: path.into(), line, reason };
        let mut lines = complete(text).lines();
        let heading = lines.next().unwrap_or_default();
        let heading: Heading = serde_json::from_str(heading)
            .map_err(|e| shown(&e.to_string()))
            .map_err(|e| wrong(1, format!("this is no heading of score traces: {e}")))?;
        if heading.grating_traces != VERSION {
            let found = heading.grating_traces;
            return Err(wrong(1, format!("traces of version {found}, this reads {VERSION}")));
        }
        let mut traces = Self::new(heading.model);
        for (at, line) in lines.enumerate() {
            let record: Record =
                serde_json::from_str(line).map_err(|e| wrong(at + 2, shown(&e.to_string())))?;
            traces.insert(record.key, record.recorded);
        }
        Ok(traces)
    }

    /// The trace of the query with this key.
    pub fn get(&self, key: &str) -> Option<&ScoreTrace> {
        self.traces.get(key).map(|recorded| &recorded.trace)
    }

    /// Normalised hidden states of that query's candidates after `layer`, `[candidates, hidden]`; `None` where they
    /// are not recorded, as after the last layer.
    pub fn states(&self, key: &str, layer: usize) -> Option<Vec<f32>> {
        let states = self.recorded(key)?.states.as_ref()?;
        (layer < states.layers()).then(|| states.layer(layer))
    }

    pub(super) fn recorded(&self, key: &str) -> Option<&Recorded> {
        self.traces.get(key)
    }

    /// Token policies that the queries were run with beside the full run of each.
    pub fn tokens(&self) -> &[TokenPolicy] {
        &self.tokens
    }

    /// The keys of all runs, in no order: those of the queries, and where tokens left each with its policy behind it.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.traces.keys().map(String::as_str)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.traces.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.traces.is_empty()
    }

    pub(super) fn insert(&mut self, key: String, recorded: Recorded) {
        if let Some(TokensLeft { policy, .. }) = &recorded.left
            && !self.tokens.contains(policy)
        {
            self.tokens.push(policy.clone());
        }
        self.traces.insert(key, recorded);
    }
}

/// Without a last line that has no end.
fn complete(text: &str) -> &str {
    &text[..text.rfind('\n').map_or(0, |end| end + 1)]
}

/// A file that traces are appended to.
pub(super) struct TraceFile {
    path: PathBuf,
    file: File,
}

impl TraceFile {
    /// Opens or makes the file; returns the traces that it holds already.
    pub(super) fn open(path: &Path, model: &ModelStamp) -> Result<(Self, Traces), CalibrateError> {
        let fail = |reason| CalibrateError::File { path: path.into(), reason };
        let text = match crate::regular::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(fail(error)),
        };
        let kept = complete(&text);
        // A file of something else is not overwritten, whatever its last line is like.
        let traces = match kept.is_empty() && !text.starts_with(|c| c != '{') {
            true => Traces::new(model.clone()),
            false => Traces::parse(path, &text)?,
        };
        if let Some((what, expected, found)) = model.difference(&traces.model) {
            return Err(CalibrateError::OtherTraces { path: path.into(), what, found, expected });
        }
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(fail)?;
        file.set_len(kept.len() as u64).map_err(fail)?;
        let mut file = TraceFile { path: path.into(), file };
        if kept.is_empty() {
            file.line(&Heading { grating_traces: VERSION, model: model.clone() })?;
        }
        Ok((file, traces))
    }

    pub(super) fn append(&mut self, key: &str, recorded: &Recorded) -> Result<(), CalibrateError> {
        self.line(&Record { key: key.to_string(), recorded: recorded.clone() })
    }

    fn line(&mut self, value: &impl Serialize) -> Result<(), CalibrateError> {
        let fail = |reason| CalibrateError::File { path: self.path.clone(), reason };
        let mut line = serde_json::to_vec(value).map_err(|e| fail(e.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(fail)
    }
}
