//! The models that are served: opened one after another, found by name.

use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use grating::{MemoryStats, PruningNotices, Reranker, Stats};

use crate::failure::{Failure, Kind};
use crate::load::Load;

/// Why a model cannot be opened.
pub type OpenError = Box<dyn StdError + Send + Sync>;

type Open = Box<dyn FnOnce() -> Result<Reranker, OpenError> + Send>;

/// A model to serve: its name, and how it is opened.
pub struct ServedModel {
    pub(crate) name: String,
    open: Open,
}

impl ServedModel {
    /// `open` is called once, on a thread of its own.
    pub fn new(
        name: impl Into<String>,
        open: impl FnOnce() -> Result<Reranker, OpenError> + Send + 'static,
    ) -> Self {
        ServedModel { name: name.into(), open: Box::new(open) }
    }
}

impl fmt::Debug for ServedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedModel").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A model that is open.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) reranker: Reranker,
    /// SHA-256 of what identifies it.
    pub(crate) hash: String,
    pub(crate) load: Load,
    /// Seconds since 1970.
    pub(crate) opened: u64,
    /// What the last request planned and used.
    pub(crate) memory: Mutex<Option<MemoryStats>>,
    /// What was told of pruning.
    notices: Mutex<PruningNotices>,
}

/// Texts and tokens of the pool that the first prediction is made for.
const FIRST: (usize, usize) = (20, 128);

impl Model {
    fn open(model: ServedModel) -> Result<Self, OpenError> {
        let ServedModel { name, open } = model;
        let reranker = open()?;
        let (texts, tokens) = (FIRST.0, FIRST.1.min(reranker.info().max_length));
        let seconds = reranker.plan(texts, tokens)?.prediction.total_seconds;
        Ok(Model {
            name,
            hash: reranker.stamp()?.hash,
            load: Load::new(seconds / (texts * tokens) as f64),
            opened: seconds_since_1970(),
            memory: Mutex::new(None),
            notices: Mutex::default(),
            reranker,
        })
    }

    /// Logs what an answer says of changes in pruning.
    pub(crate) fn tell_of_pruning(&self, stats: &Stats) {
        let notice = self.notices.lock().unwrap_or_else(PoisonError::into_inner).of(stats);
        match notice {
            Some(notice) if notice.pruning => {
                tracing::info!(model = self.name, k = notice.k, "{}", notice.message);
            }
            Some(notice) => tracing::warn!(model = self.name, k = notice.k, "{}", notice.message),
            None => {}
        }
    }

    pub(crate) fn set_memory(&self, memory: &MemoryStats) {
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = Some(*memory);
    }

    pub(crate) fn memory(&self) -> Option<MemoryStats> {
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// All of them, once all are open.
#[derive(Debug)]
pub(crate) struct Models {
    names: Vec<String>,
    open: OnceLock<Vec<Arc<Model>>>,
}

impl Models {
    pub(crate) fn new(models: &[ServedModel]) -> Self {
        let names = models.iter().map(|model| model.name.clone()).collect();
        Models { names, open: OnceLock::new() }
    }

    /// Opens all of them; takes as long as that takes.
    pub(crate) fn open(&self, models: Vec<ServedModel>) -> Result<(), OpenError> {
        let opened = models.into_iter().map(|model| {
            let name = model.name.clone();
            let began = std::time::Instant::now();
            let model = Model::open(model)?;
            let (layers, ms) = (model.reranker.info().layers, began.elapsed().as_millis() as u64);
            tracing::info!(model = name, layers, ms, "model opened");
            Ok(Arc::new(model))
        });
        let opened = opened.collect::<Result<Vec<_>, OpenError>>()?;
        // There is one that opens.
        _ = self.open.set(opened);
        Ok(())
    }

    /// Nothing before all are open.
    pub(crate) fn all(&self) -> &[Arc<Model>] {
        self.open.get().map_or(&[], Vec::as_slice)
    }

    /// The model of that name, and where there is one only, that one by any name. Nobody's name is the first one.
    pub(crate) fn find(&self, name: Option<&str>) -> Result<&Arc<Model>, Failure> {
        let all = self.all();
        let named = |name: &str| all.iter().find(|model| model.name == name);
        let found = match (all, name) {
            ([], _) => {
                let message = "the model is being opened; try again soon";
                return Err(Failure::new(Kind::Unavailable, message));
            }
            ([only], _) => Some(only),
            ([first, ..], None | Some("")) => Some(first),
            (_, Some(name)) => named(name),
        };
        found.ok_or_else(|| {
            let message =
                format!("model: there is none of that name, only {}", self.names.join(", "));
            Failure::new(Kind::NotFound, message)
        })
    }
}
