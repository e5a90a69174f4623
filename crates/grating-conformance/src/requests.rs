//! Whole requests through the engine: however they are run, whatever fails, pruned or not.

use std::sync::Arc;

use grating_backend::Ops;
use grating_engine::{CancelToken, Engine, EngineError, EngineOptions, Job, JobOutput, Savings};
use grating_io::{Checkpoint, Faults, FaultyStorage, Storage};
use grating_model::{Encoding, LoadOptions, LoadedModel, TokenCompression};
use grating_prune::{Mode, Policy, ScoreTrace, replay};
use grating_sched::{BlockUnit, PlanError, PoolShape, Spill, WindowSize};

use crate::golden::{folder, load_with};
use crate::layers::TOLERANCE;

mod compression;
mod joint;
mod tokens;

/// Golden checkpoints, and how much is tried of each.
#[derive(Debug, Clone, Copy)]
pub struct Cases {
    names: &'static [&'static str],
    /// Each way to run a request with each other one, or else each of them with some, other ones from case to case.
    all_ways: bool,
}

/// One of each family, and of each form of its own.
pub const FAMILIES: Cases = Cases {
    names: &[
        "bert-gelu-f32",
        "qwen3-tied-f32",
        "qwen3-score-bf16",
        "qwen2-bf16-sharded",
        "llama-f32",
        "xlm-roberta-f32",
        "modernbert-f32",
        "modernbert-mean-f32",
        "electra-f32",
        "roberta-f32",
        "camembert-f32",
        "distilbert-f32",
        "gte-f32",
        "minicpm-layerwise-f32",
        "gemma-f32",
        "deberta-v3-f32",
        "deberta-v2-bf16",
        "gemma2-f32",
        "gemma2-score-f16",
        "gemma2-lightweight-f32",
    ],
    all_ways: true,
};

/// One of those for each thing that the engine itself knows of a model: a shared prefix, two segments, shards, windows, a
/// mean of all rows, heads after many layers, distances. For backends that are slow, whose layers are checked for every
/// family.
pub const FORMS: Cases = Cases {
    names: &[
        "qwen3-tied-f32",
        "qwen2-bf16-sharded",
        "bert-gelu-f32",
        "modernbert-f32",
        "modernbert-mean-f32",
        "minicpm-layerwise-f32",
        "deberta-v3-f32",
        "gemma2-lightweight-f32",
    ],
    all_ways: false,
};

impl Cases {
    /// Whether these choices, each by its number, are tried together: of two choices, each with each.
    fn tried(&self, of_each: usize, choices: [usize; 3]) -> bool {
        self.all_ways || choices.iter().sum::<usize>().is_multiple_of(of_each)
    }
}

const QUERY: &str = "which window slides";
const TEXTS: [&str; 7] = [
    "two layers of weights slide",
    "the cat sat",
    "glass",
    "a river by the window, and the river is wide where the window of the house is",
    "weights on a disk",
    "東京",
    "a window of glass slides over the layers",
];

/// A model with candidates for it, on a backend that is made anew for each engine.
struct Subject<'a, B> {
    case: &'static str,
    compression: Option<TokenCompression>,
    backend: &'a (dyn Fn() -> B + Sync),
    checkpoint: Checkpoint,
}

impl<'a, B: Ops> Subject<'a, B> {
    fn new(case: &'static str, backend: &'a (dyn Fn() -> B + Sync)) -> Self {
        let checkpoint = Checkpoint::open(folder(case)).unwrap();
        Subject { case, compression: None, backend, checkpoint }
    }

    /// Each of them, and passages that are compressed.
    fn all(cases: &Cases, backend: &'a (dyn Fn() -> B + Sync)) -> impl Iterator<Item = Self> {
        let families = cases.names.iter().map(move |case| Subject::new(case, backend));
        families.chain([Subject::compressed(TokenCompression::new(2, [1, 3]), backend)])
    }

    /// The one that can read compressed passages.
    fn compressed(compression: TokenCompression, backend: &'a (dyn Fn() -> B + Sync)) -> Self {
        let subject = Subject::new(compression::CASE, backend);
        Subject { compression: Some(compression), ..subject }
    }

    /// Its name in messages.
    fn name(&self) -> String {
        let compressed = |how| format!("{}, compressed {how}", self.case);
        self.compression.as_ref().map_or_else(|| self.case.into(), compressed)
    }

    /// An engine, and the tokens of the candidates.
    fn engine(&self, set: impl FnOnce(&mut EngineOptions)) -> (Engine, Vec<Encoding>) {
        self.engine_on((self.backend)(), set)
    }

    fn engine_on(
        &self,
        backend: impl Ops,
        set: impl FnOnce(&mut EngineOptions),
    ) -> (Engine, Vec<Encoding>) {
        let load_options = LoadOptions::default().max_tokens(Some(120));
        let load_options = load_options.compression(self.compression.clone());
        let (LoadedModel { model, encoder, .. }, _) = load_with(&folder(self.case), load_options);
        let query = encoder.encode_query(QUERY, None).unwrap();
        let encodings = TEXTS.map(|text| encoder.encode(&query, text).unwrap()).to_vec();
        let mut options = EngineOptions::new(std::env::temp_dir());
        set(&mut options);
        let checkpoint = self.checkpoint.clone();
        let engine = Engine::start(self.case.into(), model, checkpoint, backend, options).unwrap();
        (engine, encodings)
    }

    /// Scores after the last layer, of two requests after each other.
    fn scores(&self, set: impl FnOnce(&mut EngineOptions)) -> [Vec<f32>; 2] {
        let (engine, encodings) = self.engine(set);
        [(); 2].map(|()| logits(&select(&engine, Job::new(encodings.clone(), 2)).unwrap()))
    }
}

fn select(engine: &Engine, job: Job) -> Result<JobOutput, EngineError> {
    engine.select(job, |_| ())
}

fn logits(scored: &JobOutput) -> Vec<f32> {
    scored.logits.iter().map(|logit| logit.0).collect()
}

/// |found - expected| ≤ `bound` × max(1, |expected|); with a bound of 0 the bits are the same.
#[track_caller]
fn assert_near(found: &[f32], expected: &[f32], bound: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let near = (found - expected).abs() <= bound * expected.abs().max(1.0);
        let same = found.to_bits() == expected.to_bits();
        assert!(same || (bound > 0.0 && near), "{what}: {found} for {expected}");
    }
}

/// Scores do not depend on window, chunks, disk, cache of rows, savings, or what was asked before.
fn scores_do_not_depend_on_how_a_request_is_run<B: Ops>(
    cases: &Cases,
    backend: &(dyn Fn() -> B + Sync),
    bound: f32,
) {
    let windows =
        [WindowSize::Slots(1), WindowSize::Slots(2), WindowSize::Slots(3), WindowSize::All];
    let pieces = [(Spill::Always, 1), (Spill::Always, 45), (Spill::Never, 70)];
    for (number, subject) in Subject::all(cases, backend).enumerate() {
        let case = subject.name();
        let [expected, again] = subject.scores(|_| ());
        assert_near(&again, &expected, 0.0, "the same request once more");
        for (at, window) in windows.into_iter().enumerate() {
            for (piece, (spill, chunk)) in pieces.into_iter().enumerate() {
                if !cases.tried(pieces.len(), [number, at, piece]) {
                    continue;
                }
                let savings = [Savings::default(), Savings::NONE][at % 2];
                let scores = subject.scores(|options| {
                    options.settings.window = window;
                    options.settings.spill = spill;
                    options.settings.chunk_tokens = Some(chunk);
                    options.savings = savings;
                });
                for scores in scores {
                    let what = format!("{case} {window:?} {spill:?} {chunk} {savings:?}");
                    assert_near(&scores, &expected, bound, &what);
                }
            }
        }
    }
}

/// Looks for a budget that takes halves of layers: above one that is refused, below one that has room for whole layers. What
/// else is resident in this process comes and goes between two engines, by more than a block of these small models takes: so
/// each error's least is tried with another slack, and a budget with too much room is lowered, the more the more often.
struct Search {
    /// To be tried next, bytes.
    budget: u64,
    /// What the next error's least is raised by, bytes.
    slack: u64,
    /// What a budget with too much room is lowered by, bytes.
    less: u64,
}

impl Search {
    /// Far more than it takes.
    const TRIES: usize = 200;
    const STEP: u64 = 1 << 10;

    fn new() -> Self {
        Search { budget: 1, slack: 0, less: Self::STEP }
    }

    fn refused(&mut self, minimum: u64) {
        self.budget = minimum + self.slack;
        self.slack = (self.slack + Self::STEP) % (64 << 10);
        self.less = Self::STEP;
    }

    fn roomy(&mut self) {
        self.budget = self.budget.saturating_sub(self.less);
        self.less *= 2;
    }

    /// A budget for halves has been found, one for whole layers is wanted, too.
    fn grow(&mut self) {
        self.budget += 64 << 10;
    }
}

/// From the least budget to one for whole layers: halves of layers, chunks on disk, and the scores are the same.
fn scores_within_every_budget_are_those_without_one<B: Ops>(
    cases: &Cases,
    backend: &(dyn Fn() -> B + Sync),
    bound: f32,
) {
    for subject in Subject::all(cases, backend) {
        let case = subject.name();
        let [expected, _] = subject.scores(|_| ());
        let (mut blocks, mut search) = (Vec::new(), Search::new());
        for _ in 0..Search::TRIES {
            let budget = search.budget;
            let (engine, encodings) =
                subject.engine(|options| options.machine.host.budget = Some(budget));
            match select(&engine, Job::new(encodings, 2)) {
                Ok(scored) => {
                    let block = scored.plan.layout.weights.unit;
                    let what = format!("{case} within {budget} bytes, {block:?}");
                    assert_near(&logits(&scored), &expected, bound, &what);
                    blocks.push(block);
                    match block {
                        BlockUnit::Layer => search.roomy(),
                        BlockUnit::HalfLayer => search.grow(),
                    }
                }
                Err(EngineError::Plan(PlanError::BudgetTooSmall { minimum, .. })) => {
                    search.refused(minimum);
                }
                Err(error) => panic!("{case}: {error}"),
            }
            if blocks.contains(&BlockUnit::HalfLayer) && blocks.contains(&BlockUnit::Layer) {
                break;
            }
        }
        for block in [BlockUnit::HalfLayer, BlockUnit::Layer] {
            assert!(blocks.contains(&block), "{case}: no budget made {block:?}s: {blocks:?}");
        }
    }
}

/// Pruning does what a replay of the full run's trace says, and ranks by the full model's own scores.
fn pruning_is_what_a_replay_says<B: Ops>(
    cases: &Cases,
    backend: &(dyn Fn() -> B + Sync),
    bound: f32,
) {
    for subject in Subject::all(cases, backend) {
        let case = subject.name();
        let (engine, encodings) = subject.engine(|options| {
            options.settings.chunk_tokens = Some(60);
            options.settings.spill = Spill::Always;
        });
        let mut job = Job::new(encodings.clone(), 2);
        job.trace = true;
        let full = select(&engine, job).unwrap();
        let trace = full.trace.clone().unwrap();
        let rows: Vec<f32> = trace.iter().flatten().copied().collect();
        let trace = ScoreTrace::from_vec(trace.len(), TEXTS.len(), rows).unwrap();
        for (threshold, k) in [(0.0, 1), (0.0, 3), (0.1, 2), (0.3, 4)] {
            for mode in [Mode::Select, Mode::Rank] {
                let policy = Policy::paper(threshold).with_mode(mode);
                let expected = replay(&policy, &trace, k).unwrap();
                let mut job = Job::new(encodings.clone(), k);
                job.policy = Some(policy);
                let pruned = select(&engine, job).unwrap();
                let last = trace.layers() - 1;
                let decided = expected.decided_after_layer.iter().map(|d| d.unwrap_or(last));
                assert_eq!(pruned.decided, decided.collect::<Vec<_>>(), "{case} {threshold} {k}");
                let mut selected = pruned.selected.clone().unwrap();
                if mode == Mode::Rank {
                    let of =
                        |logits: &[f32]| selected.iter().map(|&c| logits[c]).collect::<Vec<_>>();
                    let (own, all) = (of(&logits(&pruned)), of(&logits(&full)));
                    assert_near(&own, &all, bound, "the selected ones' own scores");
                    assert!(own.is_sorted_by(|a, b| a >= b), "{own:?}");
                }
                let mut wanted = expected.selected;
                selected.sort_unstable();
                wanted.sort_unstable();
                assert_eq!(selected, wanted, "{case} {threshold} {k} {mode:?}");
            }
        }
    }
}

/// A request that is cancelled on its way ends as cancelled, and the next one is served.
fn cancelled_requests_end_and_the_next_is_served<B: Ops>(backend: &(dyn Fn() -> B + Sync)) {
    let subject = Subject::new("qwen3-tied-f32", backend);
    let (engine, encodings) = subject.engine(|options| {
        options.settings.chunk_tokens = Some(30);
        options.settings.window = WindowSize::Slots(1);
    });
    let expected = logits(&select(&engine, Job::new(encodings.clone(), 2)).unwrap());
    for at in [0, 5] {
        let mut job = Job::new(encodings.clone(), 2);
        let cancel = CancelToken::new();
        job.cancel = cancel.clone();
        if at == 0 {
            cancel.cancel();
        }
        let outcome = engine.select(job, |progress| {
            if progress.done >= at {
                cancel.cancel();
            }
        });
        // The last chunk may have been under way.
        assert!(matches!(outcome, Err(EngineError::Cancelled)) || at > 0, "{outcome:?}");
        let next = select(&engine, Job::new(encodings.clone(), 2)).unwrap();
        assert_near(&logits(&next), &expected, 0.0, "after a cancelled request");
    }
}

/// A disk that fails or panics is an error of the request, and the next one is served.
fn faults_are_errors_of_their_request<B: Ops>(backend: &(dyn Fn() -> B + Sync)) {
    let mut subject = Subject::new("bert-gelu-f32", backend);
    let mut disks = Vec::new();
    subject.checkpoint = subject.checkpoint.map_storages(|storage| {
        let disk = Arc::new(FaultyStorage::new(storage, Faults::default()));
        disks.push(Arc::clone(&disk));
        disk as Arc<dyn Storage>
    });
    let set = |faults: &Faults| disks.iter().for_each(|disk| disk.set_faults(faults.clone()));
    let (engine, encodings) = subject.engine(|options| {
        options.settings.window = WindowSize::Slots(2);
        options.settings.spill = Spill::Always;
        options.settings.chunk_tokens = Some(30);
    });
    let ask = || select(&engine, Job::new(encodings.clone(), 2));
    let expected = logits(&ask().unwrap());
    let faults = [
        Faults::default().with_errors(1.0),
        Faults::default().with_short_reads(1.0),
        Faults::default().with_panics(1.0),
        Faults::default().with_truncated_at(0),
    ];
    for faults in faults {
        set(&faults);
        // What was read before the fault is still good; the request after that must meet it.
        let error = (0..3).find_map(|_| ask().err());
        assert!(error.is_some(), "{faults:?} went unnoticed");
        set(&Faults::default());
        assert_near(&logits(&ask().unwrap()), &expected, 0.0, &format!("after {faults:?}"));
    }
}

/// Where computing binds nobody is computed with others.
fn jobs_go_alone_where_computing_binds<B: Ops>(backend: &(dyn Fn() -> B + Sync)) {
    let (engine, encodings) = Subject::new("qwen3-tied-f32", backend).engine(|options| {
        options.settings.window = WindowSize::All;
        options.machine.disk_to_host.measured = true;
        options.machine.flops_measured = true;
    });
    for _ in 0..3 {
        let job = || Job::new(encodings.clone(), 2);
        let tickets = [(); 5].map(|()| engine.submit(job()).unwrap());
        for ticket in tickets {
            assert_eq!(ticket.wait(|_| ()).unwrap().costs.jobs, 1);
        }
    }
}

/// A plan needs no job.
fn plans_need_no_job<B: Ops>(backend: &(dyn Fn() -> B + Sync)) {
    let (engine, _) = Subject::new("bert-gelu-f32", backend).engine(|_| ());
    assert_eq!(engine.plan(PoolShape::uniform(4, 32)).unwrap().layers, 4);
}

/// All of them on goldens of [`FAMILIES`], or of [`FORMS`]. `bound` is how far scores of the same request may be apart that
/// is run in another way, as in [`crate`]'s words.
pub fn all<B: Ops>(cases: &Cases, backend: impl Fn() -> B + Sync, bound: f32) {
    all_off(cases, backend, bound, TOLERANCE);
}

/// [`all`] of a backend that rounds, and whose scores may be `off` the reference's.
pub fn all_off<B: Ops>(cases: &Cases, backend: impl Fn() -> B + Sync, bound: f32, off: f32) {
    let backend: &(dyn Fn() -> B + Sync) = &backend;
    // Alone, and first, while the process holds little that it may give back.
    scores_within_every_budget_are_those_without_one(cases, backend, bound);
    tokens::tokens_leave_within_the_least_budget(backend, bound);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            scores_do_not_depend_on_how_a_request_is_run(cases, backend, bound);
            pruning_is_what_a_replay_says(cases, backend, bound);
        });
        without_a_budget(cases, backend, bound, off);
    });
}

/// What takes about as long as [`scores_do_not_depend_on_how_a_request_is_run`].
fn without_a_budget<B: Ops>(cases: &Cases, backend: &(dyn Fn() -> B + Sync), bound: f32, off: f32) {
    cancelled_requests_end_and_the_next_is_served(backend);
    faults_are_errors_of_their_request(backend);
    joint::jobs_share_a_pass_where_reading_binds(backend, bound);
    joint::what_fails_in_a_pass_ends_its_jobs_and_the_worker_serves_on(backend);
    joint::deadlines_end_jobs_that_wait_and_jobs_that_are_computed(backend, bound);
    compression::passages_are_compressed_as_the_reference_does(backend, off);
    compression::passages_that_are_compressed_lose_no_tokens(backend);
    tokens::tokens_leave_as_in_a_plain_walk(cases, backend, bound);
    tokens::tokens_leave_beside_candidates(backend, bound);
    tokens::models_of_means_refuse_that_tokens_leave(backend);
    jobs_go_alone_where_computing_binds(backend);
    plans_need_no_job(backend);
}
