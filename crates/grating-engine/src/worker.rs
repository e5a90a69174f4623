//! The worker: a model, its bytes, and what is reused from one job to the next.

use std::sync::Arc;
use std::time::Instant;

use grating_backend::{Ops, Widths};
use grating_io::{Checkpoint, SpillOptions, SpillStore};
use grating_model::{Head, LayerWeights, Model, PartBuffer};
use grating_prune::{MassTrace, Pool};
use grating_sched::{Machine, ModelShape, Plan, PlanError, PoolShape, Workload};

use crate::account::{Account, Registration, Share};
use crate::compression::Compressing;
use crate::device::DeviceSlots;
use crate::error::{EngineError, Result};
use crate::executor::Executor;
use crate::job::{Job, JobOutput};
use crate::meter::{Costs, Counters, PassMeter};
use crate::options::EngineOptions;
use crate::pass::{Pass, PassJob};
use crate::pool::HiddenStore;
use crate::progress::{Progress, Reporter};
use crate::readouts::Readouts;
use crate::rows::CachedRows;
use crate::scoring::Scoring;
use crate::selecting::{Selected, Selecting};
use crate::shape::{floor_bytes, for_pool, model_shape};
use crate::stats::{LayerStats, LinkStats, MemoryStats};
use crate::timeline::{Timeline, Track};
use crate::tokens::{RowRules, TokenPruning};
use crate::window::{Window, slot_memory};

/// The model, its bytes, and the buffers that are reused from one job to the next.
pub(crate) struct Worker<B: Ops> {
    name: String,
    pub(crate) model: Model,
    checkpoint: Checkpoint,
    pub(crate) ops: Arc<B>,
    pub(crate) shape: ModelShape,
    pub(crate) machine: Machine,
    pub(crate) options: EngineOptions,
    stem: Arc<PartBuffer>,
    stem_slot: B::Slot,
    head_slot: B::Slot,
    pub(crate) rows: CachedRows,
    pub(crate) window: Option<Window>,
    /// What the window takes at most, bytes, pinned layers included.
    pub(crate) window_bytes: u64,
    /// What of the weights is in the device's own memory.
    device: Option<DeviceSlots<B>>,
    pub(crate) spill: Option<SpillStore>,
    /// What buffers the spill store keeps at most, bytes.
    pub(crate) spill_bytes: u64,
    /// This worker's part of what the process holds. Last: it ends when all else is gone.
    pub(crate) share: Arc<Share>,
}

/// A job that is about to be computed.
pub(crate) struct Running<'a> {
    pub(crate) job: &'a mut Job,
    /// Its candidates by their lengths.
    pub(crate) pool: Arc<PoolShape>,
    /// Whom to tell how far it is.
    pub(crate) progress: &'a (dyn Fn(Progress) + Sync),
}

/// What came of a job in a pass.
struct Passed {
    selected: Selected,
    states: Option<Vec<Vec<f32>>>,
    attention: Option<Vec<Option<MassTrace>>>,
    chunks: usize,
    layers: Vec<LayerStats>,
}

/// What came of a pass.
struct PassEnd {
    jobs: Vec<Result<Passed>>,
    fallen_back: Option<String>,
    meter: PassMeter,
    timeline: Timeline,
}

impl<B: Ops> Worker<B> {
    /// Reads the stem and the head, and begins to read layer 0. What it holds goes on `account`; another engine that needs
    /// it calls `ask`.
    pub(crate) fn new(
        name: String,
        model: Model,
        checkpoint: Checkpoint,
        ops: B,
        options: EngineOptions,
        account: &Arc<Account>,
        ask: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Self> {
        let on = Executor { name: &name, model: &model, ops: &ops };
        let read =
            |parts| PartBuffer::read(&checkpoint, parts).map(Arc::new).map_err(|e| on.fail(e));
        let (stem, head) = (read(model.stem_parts())?, read(model.head_parts())?);
        let stem_slot = ops.admit(stem.clone(), None).map_err(|e| on.fail(e))?;
        let head_slot = ops.admit(head, None).map_err(|e| on.fail(e))?;
        let rows = CachedRows::new(checkpoint.clone(), model.token_embeddings().tensor(), 0);
        let shape = model_shape(&model, &checkpoint, &ops);
        let share = account.register(Registration {
            resident: options.resident_bytes,
            model: options.model_bytes,
            threads: options.thread_bytes,
            floor: floor_bytes(&model, &shape, &ops),
            gives_back: options.machine.host.budget.is_some(),
            ask,
        });
        let mut worker = Worker {
            shape,
            machine: options.machine,
            window: None,
            window_bytes: 0,
            device: None,
            spill: None,
            spill_bytes: 0,
            share: Arc::new(share),
            name,
            model,
            checkpoint,
            ops: Arc::new(ops),
            options,
            stem,
            stem_slot,
            head_slot,
            rows,
        };
        worker.start_reading()?;
        Ok(worker)
    }

    /// Opens the window for a pool of usual size, so that layer 0 is being read before the first job is.
    ///
    /// A budget too small for such a pool may do for the one that comes: that is for the job to find out.
    fn start_reading(&mut self) -> Result<()> {
        let tokens = self.model.config().max_positions.min(256);
        let pool = PoolShape::uniform(20, tokens);
        match self.plan_beside(&pool, self.share.occupied().now) {
            Ok(plan) => {
                self.open_window(&plan)?;
                self.share.rest(self.kept());
                Ok(())
            }
            Err(EngineError::Plan(PlanError::BudgetTooSmall { .. })) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The model's sizes with what a pool of such lengths takes beside its chunks.
    pub(crate) fn shape_for(&self, pool: &PoolShape) -> ModelShape {
        let workspace = |widths: &Widths, longest| self.ops.workspace(widths, longest);
        for_pool(self.shape, &self.model, &workspace, pool)
    }

    /// Runs jobs to their ends, in one pass. Whatever the outcomes, the next ones find the worker as these did.
    pub(crate) fn run(&mut self, jobs: &mut [Running<'_>]) -> Vec<Result<JobOutput>> {
        let results = self.select(jobs);
        if let Some(spill) = &self.spill {
            spill.clear();
        }
        self.ops.trim();
        // Reads the next job's first layers; an error in there will be that job's.
        if let (Some(window), Some(device)) = (&mut self.window, &mut self.device) {
            device.rewind();
            if window.rewind(device.kept()).is_err() {
                self.close_window();
            }
        }
        self.share.rest(self.kept());
        results
    }

    /// Drops what a panic may have left half-done; the next job makes it anew.
    pub(crate) fn recover(&mut self) {
        self.close_window();
        self.spill = None;
        self.ops.trim();
        let table = self.model.token_embeddings().tensor();
        self.rows = CachedRows::new(self.checkpoint.clone(), table, 0);
    }

    fn select(&mut self, jobs: &mut [Running<'_>]) -> Vec<Result<JobOutput>> {
        let started = Instant::now();
        let pools: Vec<Arc<PoolShape>> =
            jobs.iter().map(|running| Arc::clone(&running.pool)).collect();
        let pool = joint(&pools);
        // The others wait with the first, who waits only for memory.
        let stop = jobs[0].job.stop();
        let plan = self.admit(&pool, &stop).and_then(|plan| self.prepare(&plan).map(|()| plan));
        let plan = match plan {
            Ok(plan) => plan,
            Err(error) if jobs.len() == 1 => return vec![Err(error)],
            // Nothing has been computed yet: what holds for all of them need not hold for each. Each is a run of its own, so
            // that the next one finds the window at its beginning.
            Err(_) => {
                return jobs
                    .iter_mut()
                    .flat_map(|job| self.run(std::slice::from_mut(job)))
                    .collect();
            }
        };
        let prefixes: Vec<usize> = pools.iter().map(|pool| pool.prefix_tokens).collect();
        let end = match self.pass(jobs, &pools, &plan, started) {
            Ok(end) => end,
            Err(error) => return jobs.iter().map(|_| Err(error.clone())).collect(),
        };
        let counted = self.ops.meter();
        let mut timeline = end.timeline;
        counted.copy_spans.iter().for_each(|copy| timeline.copied(copy));
        let device_most = counted.device_memory.map(|memory| memory.most);
        let costs = end.meter.finish(&self.counters(), counted);
        // What a job that ended early has computed, nobody knows.
        if end.jobs.iter().all(Result::is_ok) {
            let live = |passed: &Passed| passed.layers.iter().map(|layer| layer.tokens).sum();
            let computed: Vec<usize> = end.jobs.iter().flatten().map(live).collect();
            self.learn(&pools, &plan, &costs, &computed);
        }
        let memory = MemoryStats { device_most, ..self.memory(&plan) };
        let links = LinkStats::of(&self.machine, &costs);
        let count = jobs.len();
        let scored =
            |((passed, running), prefix_tokens): ((Result<Passed>, &Running<'_>), usize)| {
                let Passed { selected, states, attention, chunks, layers } = passed?;
                let Selected { selected, decided, logits, read_after, trace, passages } = selected;
                let timeline = match running.job.timeline {
                    true => timeline.clone(),
                    false => Timeline::off(),
                };
                Ok(JobOutput {
                    selected,
                    decided,
                    logits,
                    read_after,
                    trace,
                    passages,
                    states,
                    attention,
                    prefix_tokens,
                    fallen_back: end.fallen_back.clone(),
                    costs: Costs { jobs: count, chunks, layers, ..costs.clone() },
                    memory,
                    links: links.clone(),
                    plan: plan.clone(),
                    timeline,
                })
            };
        end.jobs.into_iter().zip(jobs.iter()).zip(prefixes).map(scored).collect()
    }

    /// The candidates through embedding and layers. The worker is [prepared](Self::prepare) for the plan.
    fn pass(
        &mut self,
        jobs: &mut [Running<'_>],
        pools: &[Arc<PoolShape>],
        plan: &Plan,
        started: Instant,
    ) -> Result<PassEnd> {
        let mut meter = PassMeter::new(started, self.counters());
        let records = jobs.iter().any(|running| running.job.timeline);
        let mut timeline = if records { Timeline::recording() } else { Timeline::off() };
        timeline.describe(&self.machine);
        let (model, ops) = (&self.model, &*self.ops);
        let on = Executor { name: &self.name, model, ops };
        let fail = |e| on.fail(e);
        let weights = LayerWeights::new(ops, &self.stem_slot, model.stem_parts());
        let stem = model.stem(&weights, &*self.stem).map_err(fail)?;
        let weights = LayerWeights::new(ops, &self.head_slot, model.head_parts());
        let head = model.head(&weights).map_err(fail)?;
        let spill = self.spill.as_ref().filter(|_| plan.layout.spill);
        if let Some(spill) = spill {
            spill.record(records);
        }
        let tokens = pools.iter().map(|pool| pool.tokens()).sum();
        let may_fall_back = match self.machine.host.budget {
            Some(budget) if plan.layout.spill => {
                self.share.grow(self.shape.hidden_bytes(tokens), budget)
            }
            _ => true,
        };
        let readouts: Vec<Option<Readouts>> =
            jobs.iter_mut().map(|running| running.job.readouts.take()).collect();
        let longest = pools.iter().map(|pool| pool.prefix_tokens + pool.longest()).max();
        let mut pass = Pass {
            on,
            context: model.context(ops, &stem, longest.unwrap_or(0)).map_err(fail)?,
            scored_rows: self.options.savings.scored_rows && model.scores_one_token(),
            chunk_tokens: plan.layout.chunk_tokens,
            jobs: Vec::new(),
            store: HiddenStore::new(on, spill, model.config().hidden, may_fall_back)
                .parking(plan.layout.parked),
            timeline,
        };
        for (running, readouts) in jobs.iter().zip(&readouts) {
            pass.jobs.push(pass_job(on, &head, running, readouts.as_ref())?);
        }
        for (at, (running, pool)) in jobs.iter_mut().zip(pools).enumerate() {
            pass.embed(at, &stem, &mut self.rows, &mut running.job.encodings, pool)?;
        }
        let (began, ended) = meter.embedded();
        pass.timeline.span(Track::Compute, "embed", began, ended);
        let window = self.window.as_mut().expect("a prepared worker has a window");
        let device = self.device.as_mut().expect("a window has the device's slots with it");
        pass.run(window, device, &mut meter)?;
        let fallen_back = pass.store.fallen_back.map(|e| e.to_string());
        let jobs = pass.jobs.into_iter().map(passed).collect();
        Ok(PassEnd { jobs, fallen_back, meter, timeline: pass.timeline })
    }

    /// What the parts have counted so far.
    fn counters(&self) -> Counters {
        Counters {
            window: self.window.as_ref().map(Window::stats).unwrap_or_default(),
            rows: self.rows.stats(),
            spill: self.spill.as_ref().map(SpillStore::stats).unwrap_or_default(),
        }
    }

    /// Corrects the machine's rates by those of a pass that computed so many tokens of each pool, summed over the layers.
    fn learn(&mut self, pools: &[Arc<PoolShape>], plan: &Plan, costs: &Costs, computed: &[usize]) {
        let flops = |(pool, &computed): (&Arc<PoolShape>, &usize)| {
            let workload = Workload::full(&self.shape, pool, plan.layout.chunk_tokens);
            let layers = 0..self.model.config().layers;
            let all: usize = layers.flat_map(|layer| pool.lengths_in(layer)).sum();
            workload.flops(&self.shape) * computed as f64 / all as f64
        };
        let run = costs.measurement(pools.iter().zip(computed).map(flops).sum());
        self.machine.observe(&run);
    }

    fn memory(&self, plan: &Plan) -> MemoryStats {
        MemoryStats {
            name: self.machine.host.name,
            budget: self.machine.host.budget,
            planned: plan.ledger,
            window: plan.ledger.window,
            pinned: self.window.as_ref().map_or(0, Window::pinned_bytes),
            row_cache: self.rows.memory_bytes(),
            activations: self.ops.meter().peak_bytes,
            device: plan.memories.get(1).copied(),
            device_most: None,
        }
    }

    /// Makes the window, the row cache and the spill store those of the plan.
    fn prepare(&mut self, plan: &Plan) -> Result<()> {
        let rows = plan.layout.row_cache_rows;
        let budgeted = self.machine.host.budget.is_some();
        if self.rows.capacity() < rows || (budgeted && self.rows.capacity() > rows) {
            let table = self.model.token_embeddings().tensor();
            self.rows = CachedRows::new(self.checkpoint.clone(), table, rows);
        }
        if plan.layout.spill && self.spill.is_none() {
            let folder = &self.options.spill_folder;
            self.spill = Some(SpillStore::create(folder, SpillOptions::default())?);
        }
        if plan.layout.spill {
            self.spill_bytes = plan.ledger.spill_buffers;
        }
        self.open_window(plan)
    }

    fn open_window(&mut self, plan: &Plan) -> Result<()> {
        let (weights, staging) = (&plan.layout.weights, plan.layout.staging.as_ref());
        if self.window.as_ref().is_none_or(|window| !window.is_of(weights, staging)) {
            // The old slots go before the new ones come.
            self.close_window();
            self.window_bytes = plan.ledger.window.saturating_add(plan.ledger.pinned);
            self.window = Some(Window::open(
                &self.model,
                &self.checkpoint,
                &self.shape,
                (weights.clone(), staging.cloned()),
                self.options.io,
                slot_memory(&*self.ops),
            )?);
            self.device = Some(DeviceSlots::new(&*self.ops, weights));
        }
        Ok(())
    }

    fn close_window(&mut self) {
        (self.window, self.device) = (None, None);
    }
}

/// The candidates of all pools, as memory is planned for them: the prefixes count as one long one, which takes as much as
/// all of them.
pub(crate) fn joint(pools: &[Arc<PoolShape>]) -> PoolShape {
    let prefixes = pools.iter().map(|pool| pool.prefix_tokens).sum();
    PoolShape::joined(pools.iter().map(|pool| &**pool), prefixes)
}

/// A job as it begins its pass, its tokens still there; one whose policy cannot be used has ended.
fn pass_job<'a, 'w, B: Ops>(
    on: Executor<'_, B>,
    head: &'a Head<'w, B>,
    running: &Running<'a>,
    readouts: Option<&'a Readouts>,
) -> Result<PassJob<'a, 'w, B>> {
    let Running { job, progress, .. } = running;
    let (layers, candidates) = (on.layers(), job.encodings.len());
    let scoring = Scoring::new(head, readouts, job.states.then_some(candidates));
    let pool = Pool { candidates: job.texts(), layers, k: job.k };
    let (selecting, mut ended) = match Selecting::new(pool, job.policy.clone(), job.trace) {
        Ok(selecting) => (selecting.of_passages(job.passages.clone()), None),
        Err(error) => (Selecting::new(pool, None, false)?, Some(error)),
    };
    let tokens = job.tokens.as_ref().map(|policy| {
        let row_rules = RowRules::of(on.model);
        let pruning = TokenPruning::new(policy, &row_rules, &job.encodings)?;
        Ok(if job.attention { pruning.recording() } else { pruning })
    });
    let tokens = tokens.transpose().unwrap_or_else(|error| {
        ended.get_or_insert(error);
        None
    });
    let reporter = Reporter::new(job.stop(), *progress, candidates, layers);
    let compressing = on.model.compression().map(|compression| {
        Compressing::new(compression, &job.encodings, running.pool.prefix_tokens)
    });
    Ok(PassJob { ended, tokens, compressing, ..PassJob::new(scoring, selecting, reporter) })
}

/// What a job comes to at the end of its pass.
fn passed<B: Ops>(job: PassJob<'_, '_, B>) -> Result<Passed> {
    match job.ended {
        Some(error) => Err(error),
        None => Ok(Passed {
            selected: job.selecting.finish(),
            states: job.scoring.into_states(),
            attention: job.tokens.and_then(TokenPruning::into_recorded),
            chunks: job.chunks_at_first,
            layers: job.layers,
        }),
    }
}

#[cfg(test)]
mod tests;
