//! From settings to a [`Reranker`].

mod opening;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use grating_backend::Precision;
use grating_cpu::Isa;
use grating_engine::{EngineOptions, Savings, current_rss_bytes};
use grating_io::{IoMode, Storage, in_memory};
use grating_model::LoadedModel;
use grating_sched::{Machine, RowCacheSize, Settings, Spill, WindowSize};

use crate::audit::Auditor;
use crate::compression::CompressionSettings;
use crate::default_pruning::{DefaultPruning, WatchedProfile};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::files::ModelFiles;
use crate::fingerprint::Fingerprint;
use crate::inspect::ModelInfo;
use crate::learning::Learning;
use crate::long::Long;
use crate::profile::{Profile, SHIPPED};
use crate::request::Pruning;
use crate::reranker::Reranker;
use crate::source::ModelSource;

/// Settings of a [`Reranker`]; every one has a default.
#[derive(Debug, Clone, Default)]
pub struct RerankerBuilder {
    source: SourceSetting,
    revision: Option<String>,
    threads: Option<usize>,
    max_length: Option<usize>,
    cutoff_layers: Option<usize>,
    compression: CompressionSettings,
    instruction: Option<String>,
    long: Option<Long>,
    settings: Settings,
    machine: Machine,
    spill_folder: Option<PathBuf>,
    io: IoMode,
    storages: Option<WrapStorage>,
    isa: Option<Isa>,
    precision: Precision,
    device: Device,
    device_memory_budget: Option<u64>,
    savings: Savings,
    pruning: Option<Pruning>,
    profile: Option<Box<Profile>>,
    audit: Option<f64>,
    learning_file: Option<PathBuf>,
    queue_length: Option<usize>,
    separate_passes: bool,
    special_tokens_in_text: bool,
    refuse_long_query: bool,
    #[cfg(feature = "hub")]
    hub: Option<crate::hub::HubOptions>,
}

#[derive(Debug, Clone)]
enum SourceSetting {
    Given(ModelSource),
    /// Text is read at `build`, where an error can be returned.
    Text(OsString),
}

type Wrap = dyn Fn(Arc<dyn Storage>) -> Arc<dyn Storage> + Send + Sync;

/// See [`RerankerBuilder::map_storages`].
#[derive(Clone)]
struct WrapStorage(Arc<Wrap>);

impl fmt::Debug for WrapStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a function")
    }
}

impl Default for SourceSetting {
    fn default() -> Self {
        SourceSetting::Given(ModelSource::Default)
    }
}

/// What a process takes before it computes, where the system does not tell.
const UNKNOWN_BASE: u64 = 64 << 20;
/// Stack and allocator of a thread, and the piece of a text that it tokenizes: measured with all threads at it at once.
const THREAD_BYTES: u64 = 1 << 20;
/// What two processes of the same program differ by when they have opened the same model: pages that the loader and the
/// allocator happen to touch, how much of the program the system maps at each of them (up to 1.5 MiB after a program was
/// written anew), and counts of the system that are brought up to date late.
const NOISE_BYTES: u64 = 2 << 20;
/// More threads than any one machine has are a mistake.
pub const MAX_THREADS: usize = 1024;

impl RerankerBuilder {
    /// A local folder or file of weights, or a hub id of the form `owner/name` or `owner/name:Q4_K_M`; what exists wins.
    pub fn model(mut self, model: impl Into<OsString>) -> Self {
        self.source = SourceSetting::Text(model.into());
        self
    }

    /// The model's place, already told apart.
    pub fn source(mut self, source: ModelSource) -> Self {
        self.source = SourceSetting::Given(source);
        self
    }

    /// Branch, tag or commit of a hub id; `main` by default.
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = Some(revision.into());
        self
    }

    /// Threads that compute; by default as many as the machine has cores.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Most tokens of a candidate with its query and template. Texts are cut there and the result says so. By default the model's
    /// own limit: what `grating.json` says, or else `model_max_length`, for decoders at most 8192, never more than its positions.
    pub fn max_length(mut self, tokens: usize) -> Self {
        self.max_length = Some(tokens);
        self
    }

    /// What becomes of longer texts where a request does not say; by default they are cut, or it is a profile that says.
    pub fn long(mut self, long: Long) -> Self {
        self.long = Some(long);
        self
    }

    /// Runs only so many layers and takes the score of the head after them, for models that have a head for each of the
    /// later layers (bge-reranker-v2-minicpm-layerwise); others are refused. By default all.
    pub fn cutoff_layers(mut self, layers: usize) -> Self {
        self.cutoff_layers = Some(layers);
        self
    }

    /// Compresses passages on their way through the layers: so many neighbouring tokens of a passage become one, 2, 4 or 8 (1
    /// compresses nothing), for models that were trained to read them so (bge-reranker-v2.5-gemma2-lightweight); others are
    /// refused. Scores change, and requests take less. By default nothing is compressed.
    pub fn compress_ratio(mut self, tokens: usize) -> Self {
        self.compression.ratio = Some(tokens);
        self
    }

    /// The layers, counted from 0, before which passages are [compressed](Self::compress_ratio), each time by the same
    /// ratio; by default layer 8, as the reference has it.
    pub fn compress_layers(mut self, layers: impl Into<Vec<usize>>) -> Self {
        self.compression.layers = Some(layers.into());
        self
    }

    /// What queries are for, where a request does not say; replaces the template's default.
    pub fn instruction(mut self, instruction: impl Into<String>) -> Self {
        self.instruction = Some(instruction.into());
        self
    }

    /// Most bytes of memory that the process may use, the rest of the program included. The planner fits window, chunks,
    /// row cache and hidden states into it, and `build` or a request fails where that cannot be, saying how much is
    /// needed. Without a budget, GRATING uses as little as costs no time.
    ///
    /// Rerankers of one process share it: a request is planned beside what the others hold, idle ones give back what
    /// they keep where that is needed, and those that compute are waited for. With different budgets the process stays
    /// within the largest.
    pub fn memory_budget(mut self, bytes: u64) -> Self {
        self.machine.host.budget = Some(bytes);
        self.machine.host.base_noise = NOISE_BYTES;
        self
    }

    /// Layers whose weights are in memory at one time; by default two, one computing and one being read.
    pub fn window(mut self, window: WindowSize) -> Self {
        self.settings.window = window;
        self
    }

    /// Most tokens that go through a layer together (at least one candidate does); bounds the memory of
    /// intermediate tensors.
    pub fn chunk_tokens(mut self, tokens: usize) -> Self {
        self.settings.chunk_tokens = Some(tokens);
        self
    }

    /// Whether hidden states go to disk between layers; by default where the budget demands it.
    pub fn spill(mut self, spill: Spill) -> Self {
        self.settings.spill = spill;
        self
    }

    /// Folder of the hidden states' temporary file; by default the system's, or `/var/tmp` where that lies in memory.
    /// The file has no name and is gone with the process, whatever happens.
    pub fn spill_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.spill_folder = Some(folder.into());
        self
    }

    /// Rows of the token-embedding matrix to keep in memory; by default a tenth of the vocabulary at most.
    pub fn row_cache(mut self, rows: RowCacheSize) -> Self {
        self.settings.row_cache = rows;
        self
    }

    /// How weights are read: through or past the system's page cache. By default past it where the model takes more
    /// than half of the free memory.
    pub fn io(mut self, io: IoMode) -> Self {
        self.io = io;
        self
    }

    /// Reads weights through what `wrap` makes of each of their files' storage: one that measures, decrypts, is slower
    /// or, in tests, fails on purpose ([`FaultyStorage`](grating_io::FaultyStorage)). What it returns must have the
    /// same length.
    pub fn map_storages(
        mut self,
        wrap: impl Fn(Arc<dyn Storage>) -> Arc<dyn Storage> + Send + Sync + 'static,
    ) -> Self {
        self.storages = Some(WrapStorage(Arc::new(wrap)));
        self
    }

    /// Instructions to compute with; by default the best that the processor has.
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// How exactly products are taken; by default in the weights' own type.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Exact savings; all on by default.
    pub fn savings(mut self, savings: Savings) -> Self {
        self.savings = savings;
        self
    }

    /// How requests prune that do not say it themselves; wins over any profile. By default, as the model's own
    /// `grating-profile.json` says, or not at all.
    pub fn pruning(mut self, pruning: Pruning) -> Self {
        self.pruning = Some(pruning);
        self
    }

    /// Prunes as a calibration found. [`build`](Self::build) refuses it for another model, precision or maximum
    /// length than it was made for, and requests for another K are refused; wins over the model's own profile.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = Some(Box::new(profile));
        self
    }

    /// Where what [`Pruning::Auto`] learns is kept, so that a later process goes on with it: policies with their proofs, and
    /// traces of scores, but no texts. Written as a whole or not at all, when something changes for users, now and then, and
    /// when the reranker is dropped. [`build`](Self::build) refuses a file of another model, setting or promise.
    pub fn learning_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.learning_file = Some(file.into());
        self
    }

    /// Runs this fraction of the requests that have a policy, 0 to 1, through the full model, and reports how far the
    /// policy would have agreed with it: [`Stats::audit`](crate::Stats::audit) and
    /// [`Reranker::audits`](crate::Reranker::audits). Audited requests return the full model's result. Where a profile prunes,
    /// the caller's or the model's own, by default a fifth of the first 100 requests, then fewer and fewer, 0.02 from the 1000th on,
    /// and none where a policy does that promises nothing. A profile whose audits show its promise broken is put out of use
    /// ([`Reranker::monitored`](crate::Reranker::monitored)).
    pub fn audit(mut self, fraction: f64) -> Self {
        self.audit = Some(fraction);
        self
    }

    /// Most requests that wait while others are computed, at least 1, by default 8; each holds the tokens of its texts.
    /// Callers past that wait for a place. [`Reranker::waiting`](crate::Reranker::waiting) says who waits.
    pub fn queue_length(mut self, requests: usize) -> Self {
        self.queue_length = Some(requests);
        self
    }

    /// Whether requests that wait may share a pass through the layers with the one that is next; by default they do
    /// where reading the weights is what takes the time, so that it costs the first one next to nothing. No bit of any
    /// score depends on it.
    pub fn joint_passes(mut self, joint: bool) -> Self {
        self.separate_passes = !joint;
        self
    }

    /// Lets strings such as `<|im_end|>` or `[SEP]` in queries and texts become control tokens, as the reference
    /// does by default. Off by default: user text is text, and cannot rewrite the prompt.
    pub fn special_tokens_in_text(mut self, allow: bool) -> Self {
        self.special_tokens_in_text = allow;
        self
    }

    /// Refuses a query that would have to be cut to fit the maximum length beside a text
    /// ([`TokenizeError::QueryTooLong`](grating_model::TokenizeError::QueryTooLong)). By default it is cut as the
    /// reference does, which [`Stats::query_truncated`](crate::Stats::query_truncated) says: of a pair the longer side
    /// is cut first, of a decoder's prompt the end, so that a query which fills it leaves nothing of any text.
    pub fn refuse_long_query(mut self, refuse: bool) -> Self {
        self.refuse_long_query = refuse;
        self
    }

    /// Where and how hub ids are fetched; by default from the environment, as Python's `huggingface_hub`.
    #[cfg(feature = "hub")]
    pub fn hub(mut self, options: crate::hub::HubOptions) -> Self {
        self.hub = Some(options);
        self
    }

    /// Opens and checks the model, and starts the threads.
    ///
    /// # Errors
    /// Anything that is wrong with the settings or the model's files; nothing is left running.
    pub fn build(self) -> Result<Reranker> {
        self.check()?;
        let threads = self.thread_count()?;
        let isa = self.instruction_set()?;
        let source = self.model_source()?;
        grating_engine::settle();
        let before = current_rss_bytes().unwrap_or(UNKNOWN_BASE);
        let (files, loaded) = self.open_model(&source)?;
        let fingerprint = Fingerprint::new(&files, &loaded.identity);
        let ModelFiles { name, checkpoint, profile: shipped, .. } = files;
        let mut info = ModelInfo::new(&name, &checkpoint, &loaded);
        let LoadedModel { model, encoder, .. } = loaded;
        let compression = model.compression().cloned();
        let pool = pool(threads)?;
        let embedded =
            if source == ModelSource::Default { crate::default_model::kept_bytes() } else { 0 };
        let resident = current_rss_bytes().unwrap_or(UNKNOWN_BASE);
        let spill_folder = self.spill_folder.clone().unwrap_or_else(default_spill_folder);
        let mut options = EngineOptions::new(spill_folder);
        options.settings = self.settings;
        options.machine = self.machine;
        options.resident_bytes = resident;
        options.model_bytes = resident.saturating_sub(before);
        options.thread_bytes = THREAD_BYTES * threads as u64 + embedded;
        (options.io, options.savings) = (self.io, self.savings);
        options.queue_length = self.queue_length.unwrap_or(options.queue_length);
        options.joint_passes = !self.separate_passes;
        let parts = (name, model, checkpoint);
        let (engine, products, said) = self.start(parts, isa, &pool, options)?;
        info.warnings.extend(said);
        let mut reranker = Reranker {
            engine,
            encoder,
            pool,
            info,
            compression,
            fingerprint,
            precision: self.precision,
            products,
            instruction: self.instruction,
            long: self.long,
            default_pruning: DefaultPruning::Set(self.pruning.clone().unwrap_or(Pruning::Off)),
            auditor: Arc::new(Auditor::new(self.audit.unwrap_or_default())),
            savings: self.savings,
            budget: self.machine.host.budget,
        };
        if let Some(Pruning::Auto(target)) = self.pruning {
            let learning = Learning::open(target, reranker.stamp()?, self.learning_file)?;
            reranker.default_pruning = DefaultPruning::Learned(Arc::new(learning));
        }
        if self.pruning.is_none() {
            reranker.default_pruning =
                default_pruning(&reranker, self.profile, shipped.as_deref())?;
            let promised = !matches!(reranker.default_pruning, DefaultPruning::Set(_));
            if promised && self.audit.is_none() {
                reranker.auditor = Arc::new(Auditor::thinning());
            }
        }
        Ok(reranker)
    }

    /// What is wrong with settings by themselves.
    fn check(&self) -> Result<()> {
        if let Some(audit) = self.audit.filter(|audit| !(0.0..=1.0).contains(audit)) {
            return Err(Error::Setting {
                setting: "the audited fraction of requests",
                expected: "0 to 1".into(),
                found: audit.to_string(),
            });
        }
        if self.queue_length == Some(0) {
            return Err(setting("the length of the queue", "at least 1", 0));
        }
        Ok(())
    }

    fn thread_count(&self) -> Result<usize> {
        match self.threads {
            None => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
            Some(n) if (1..=MAX_THREADS).contains(&n) => Ok(n),
            Some(n) => Err(setting("threads", &format!("1 to {MAX_THREADS}"), n)),
        }
    }

    fn instruction_set(&self) -> Result<Isa> {
        Ok(self.isa.map_or_else(|| Ok(Isa::detect()), Isa::checked)?)
    }

    fn model_source(&self) -> Result<ModelSource> {
        let source = match &self.source {
            SourceSetting::Given(source) => source.clone(),
            SourceSetting::Text(text) => ModelSource::parse(text)?,
        };
        Ok(match (source, &self.revision) {
            (ModelSource::Hub { id, revision: None }, Some(revision)) => {
                ModelSource::Hub { id, revision: Some(revision.clone()) }
            }
            (source, _) => source,
        })
    }

    fn fetch(&self, id: &str, revision: Option<&str>) -> Result<PathBuf> {
        #[cfg(feature = "hub")]
        if let Some(options) = &self.hub {
            return Ok(crate::hub::fetch(id, revision, options, |_| ())?);
        }
        fetch_quietly(id, revision)
    }
}

/// Threads that compute.
fn pool(threads: usize) -> Result<Arc<rayon::ThreadPool>> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("grating-worker-{i}"))
        .build();
    pool.map(Arc::new).map_err(|e| Error::Threads { reason: e.to_string() })
}

/// Fetches with the environment's settings and without showing progress.
#[cfg(feature = "hub")]
pub(crate) fn fetch_quietly(id: &str, revision: Option<&str>) -> Result<PathBuf> {
    Ok(crate::hub::fetch(id, revision, &crate::hub::HubOptions::from_env()?, |_| ())?)
}

#[cfg(not(feature = "hub"))]
pub(crate) fn fetch_quietly(id: &str, _revision: Option<&str>) -> Result<PathBuf> {
    Err(Error::NoHub { model: id.to_string() })
}

/// The caller's profile, or else those that came with the model, after a look whether they are this model's. The caller
/// may not know of the latter: where only settings differ they are left out, and everything is computed.
fn default_pruning(
    reranker: &Reranker,
    given: Option<Box<Profile>>,
    shipped: Option<&[u8]>,
) -> Result<DefaultPruning> {
    if let Some(profile) = given {
        profile.check_model(&reranker.stamp()?)?;
        check_readouts(reranker, &profile)?;
        return Ok(DefaultPruning::Profile(Box::new(WatchedProfile::new(*profile)?)));
    }
    let Some(bytes) = shipped else { return Ok(DefaultPruning::Set(Pruning::Off)) };
    let mut profiles = Profile::parse(SHIPPED, bytes)?;
    let stamp = reranker.stamp()?;
    profiles.iter().try_for_each(|profile| profile.check_weights(&stamp))?;
    profiles.retain(|profile| profile.check_model(&stamp).is_ok());
    profiles.iter().try_for_each(|profile| check_readouts(reranker, profile))?;
    let watched = profiles.into_iter().map(WatchedProfile::new).collect::<Result<_>>()?;
    Ok(DefaultPruning::Shipped(watched))
}

fn check_readouts(reranker: &Reranker, profile: &Profile) -> Result<()> {
    let (layers, hidden) = (reranker.info.layers, reranker.info.hidden);
    let readouts = profile.readouts.as_ref();
    Ok(readouts.map_or(Ok(()), |readouts| readouts.validate(layers, hidden))?)
}

/// The system's folder for temporary files, unless that would put in memory what has no room there.
fn default_spill_folder() -> PathBuf {
    /// For files that may be large (Filesystem Hierarchy Standard 3.0, 5.15).
    const LARGE: &str = "/var/tmp";
    let usual = std::env::temp_dir();
    match in_memory(&usual) == Some(true) && in_memory(Path::new(LARGE)) == Some(false) {
        true => PathBuf::from(LARGE),
        false => usual,
    }
}

fn setting(setting: &'static str, expected: &str, found: usize) -> Error {
    Error::Setting { setting, expected: expected.into(), found: found.to_string() }
}
