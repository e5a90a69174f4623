//! Pruning that is learned from a reranker's own requests, and where that is kept.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use grating_io::shown;
use grating_prune::online::{Decision, Learner, LearnerOptions, Signals, Status};
use grating_prune::{Policy, ScoreTrace, Target};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::profile::{ModelStamp, replace};

/// Requests that were run in full between two times that the file is written, where nothing changes for users.
const WRITE_EVERY: u32 = 50;
/// Of the file's form.
const VERSION: u32 = 2;
/// Most bytes of traces that are kept: three times as much in the file.
const TRACE_BYTES: usize = 1 << 20;

/// What is wrong with a file of learned pruning.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LearningError {
    /// It cannot be read or written.
    #[error("{}: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: io::Error,
    },
    /// It holds something else.
    #[error("{}: not what pruning has learned: {reason}; name another file, or remove it to learn anew", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It was learned with another model or setting, whose scores differ.
    #[error(
        "{}: learned with another {what} ({found}, here {expected}); name another file, or remove it to learn anew",
        .path.display()
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// In the file.
        found: String,
        /// Here.
        expected: String,
    },
}

/// The learner of a reranker.
#[derive(Debug)]
pub(crate) struct Learning {
    state: Mutex<State>,
    stamp: ModelStamp,
    file: Option<PathBuf>,
}

#[derive(Debug)]
struct State {
    learner: Learner,
    /// Requests run in full since the file was written.
    unwritten: u32,
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Stored<L> {
    grating_learning: u32,
    model: ModelStamp,
    learner: L,
}

/// What a file of learned pruning holds, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LearnedPruning {
    /// The model, and the settings that its scores depend on.
    pub model: ModelStamp,
    /// The promise.
    pub promise: Target,
    /// What is known for each K.
    pub learned: Vec<Status>,
}

impl LearnedPruning {
    /// Reads a file that [`RerankerBuilder::learning_file`](crate::RerankerBuilder::learning_file) has named.
    ///
    /// # Errors
    /// [`LearningError::File`], [`LearningError::Malformed`].
    pub fn read(path: &Path) -> Result<Self, LearningError> {
        let Stored { model, learner, .. } = read(path)?;
        Ok(LearnedPruning { model, promise: learner.options().target, learned: learner.status() })
    }
}

impl Learning {
    /// Goes on with what the file holds, if there is one.
    pub(crate) fn open(target: Target, stamp: ModelStamp, file: Option<PathBuf>) -> Result<Self> {
        let mut options = LearnerOptions::new(target);
        options.trace_bytes = TRACE_BYTES;
        let fresh = Learner::new(options)?;
        let learner = match &file {
            Some(path) if path.exists() => known(path, &stamp, target)?,
            _ => fresh,
        };
        let learning = Learning { state: Mutex::new(State { learner, unwritten: 0 }), stamp, file };
        // A file that cannot be written is said before anything is learned.
        learning.write(&mut learning.lock())?;
        Ok(learning)
    }

    /// What to do with the next request for `k`.
    pub(crate) fn decide(&self, k: usize) -> Decision {
        self.lock().learner.decide(k)
    }

    /// A request that was run in full: scores of its distinct texts, `[layer][text]`. What is known for `k` then.
    pub(crate) fn observe(&self, scores: &[Vec<f32>], k: usize) -> Result<Option<Status>> {
        let candidates = scores.first().map_or(0, Vec::len);
        let trace = ScoreTrace::from_vec(scores.len(), candidates, scores.concat())?;
        let mut state = self.lock();
        let before = state.learner.landmarks();
        state.learner.observe(&trace)?;
        state.unwritten += 1;
        if state.unwritten >= WRITE_EVERY || state.learner.landmarks() != before {
            self.write(&mut state)?;
        }
        Ok(state.learner.status_of(k))
    }

    /// A request that `policy` has pruned, and what was seen of it. What is known for `k` then.
    pub(crate) fn observe_pruned(
        &self,
        policy: &Policy,
        signals: &Signals,
        k: usize,
    ) -> Result<Option<Status>> {
        let mut state = self.lock();
        let before = state.learner.landmarks();
        state.learner.observe_pruned(k, policy, signals);
        if state.learner.landmarks() != before {
            self.write(&mut state)?;
        }
        Ok(state.learner.status_of(k))
    }

    /// What is known for `k`.
    pub(crate) fn status(&self, k: usize) -> Option<Status> {
        self.lock().learner.status_of(k)
    }

    /// What is known for each K.
    pub(crate) fn all(&self) -> Vec<Status> {
        self.lock().learner.status()
    }

    fn write(&self, state: &mut State) -> Result<(), LearningError> {
        state.unwritten = 0;
        let Some(path) = &self.file else { return Ok(()) };
        let fail = |reason| LearningError::File { path: path.clone(), reason };
        let (model, learner) = (self.stamp.clone(), &state.learner);
        let stored = Stored { grating_learning: VERSION, model, learner };
        let json = serde_json::to_vec(&stored).map_err(|error| fail(error.into()))?;
        replace(path, &json).map_err(fail)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Learning {
    fn drop(&mut self) {
        // Nobody is left to be told; what was written before stays.
        _ = self.write(&mut self.lock());
    }
}

fn read(path: &Path) -> Result<Stored<Learner>, LearningError> {
    let fail = |reason| LearningError::File { path: path.into(), reason };
    let bytes = crate::regular::read(path).map_err(fail)?;
    let malformed = |reason: String| LearningError::Malformed { path: path.into(), reason };
    let stored: Stored<Learner> =
        serde_json::from_slice(&bytes).map_err(|error| malformed(shown(&error.to_string())))?;
    if stored.grating_learning != VERSION {
        let found = stored.grating_learning;
        return Err(malformed(format!("it has version {found}, this reads {VERSION}")));
    }
    Ok(stored)
}

/// What a file holds, where it is of this model and promise.
fn known(path: &Path, stamp: &ModelStamp, target: Target) -> Result<Learner, LearningError> {
    let Stored { model, learner, .. } = read(path)?;
    let other = |what, expected: String, found: String| LearningError::Other {
        path: path.into(),
        what,
        found,
        expected,
    };
    if let Some((what, expected, found)) = stamp.difference(&model) {
        return Err(other(what, expected, found));
    }
    let shown =
        |target: Target| format!("{} with confidence {}", target.agreement, target.confidence);
    let found = learner.options().target;
    if found != target {
        return Err(other("promise", shown(target), shown(found)));
    }
    Ok(learner)
}
