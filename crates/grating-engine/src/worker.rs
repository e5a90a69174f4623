//! The loop over layers: every live candidate goes through layer `i`, chunk by chunk, before any enters `i + 1`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use grating_io::{Checkpoint, IoMode, SpillOptions, SpillStore};
use grating_model::{
    Attention, CpuOps, CpuTensor, Encoding, FeedForward, Head, KeysValues, Logit, Model, Ops,
    PartBuffer, Ragged, RequestContext,
};
use grating_prune::readout::normalise;
use grating_prune::{Mode, Policy, Pruner, Verdicts};
use grating_sched::{
    BlockPart, Machine, Measurement, ModelShape, Plan, PlanError, PoolShape, Settings, Workload,
    chunk,
};

use super::pool::{self, Chunk, Keeper, Member, Origin};
use super::rows::CachedRows;
use super::shape::model_shape;
use super::window::{self, Weights, Window, WindowPlan};
use super::{Job, Scored};
use crate::error::{Error, Result};
use crate::readouts::Readouts;
use crate::request::{CancelToken, Progress};
use crate::savings::Savings;
use crate::stats::{LayerStats, Memory};
use crate::timeline::{Timeline, Track};

/// How the engine is to run, for as long as it lives.
#[derive(Debug, Clone)]
pub(crate) struct EngineOptions {
    pub(crate) settings: Settings,
    pub(crate) spill_folder: PathBuf,
    pub(crate) io: IoMode,
    pub(crate) savings: Savings,
    pub(crate) threads: usize,
}

/// The model, its bytes, and the buffers that are reused from one request to the next.
pub(crate) struct Compute {
    name: String,
    model: Model,
    checkpoint: Checkpoint,
    ops: CpuOps,
    shape: ModelShape,
    machine: Machine,
    /// Whether the machine's rates come from a run.
    measured: bool,
    options: EngineOptions,
    stem: PartBuffer,
    head: PartBuffer,
    rows: CachedRows,
    window: Option<Window>,
    spill: Option<SpillStore>,
}

/// What a request has cost so far.
#[derive(Debug, Default)]
struct Costs {
    embed: Duration,
    compute: Duration,
    layers: Vec<LayerStats>,
    chunks: usize,
}

/// What the layers of a request share.
struct Run<'a> {
    name: &'a str,
    model: &'a Model,
    ops: &'a CpuOps,
    head: &'a Head<'a, CpuOps>,
    request: RequestContext<CpuOps>,
    prefix: Prefix,
    savings: Savings,
    readouts: Option<&'a Readouts>,
    /// Hidden states that scores are read from, where they are wanted, `[layer][candidate * hidden]`.
    states: Option<Vec<Vec<f32>>>,
    candidates: usize,
    cancel: &'a CancelToken,
    progress: &'a (dyn Fn(Progress) + Sync),
    timeline: &'a mut Timeline,
    /// Candidate-layers done, and of how many.
    done: u64,
    total: u64,
}

/// The tokens that all candidates begin with, on their way through the layers.
struct Prefix {
    ragged: Ragged,
    hidden: Option<CpuTensor>,
    keys_values: Option<KeysValues<CpuOps>>,
}

impl Compute {
    pub(crate) fn new(
        name: String,
        model: Model,
        checkpoint: Checkpoint,
        ops: CpuOps,
        options: EngineOptions,
    ) -> Result<Self> {
        let (mut stem, mut head) = (PartBuffer::new(), PartBuffer::new());
        let fail = |source| Error::of_model(&name, source);
        stem.fill(&checkpoint, model.stem_parts()).map_err(fail)?;
        head.fill(&checkpoint, model.head_parts()).map_err(fail)?;
        let rows = CachedRows::new(checkpoint.clone(), model.token_embeddings().tensor(), 0);
        let shape = model_shape(&model, &checkpoint, options.threads);
        let mut compute = Compute {
            shape,
            machine: Machine::default(),
            measured: false,
            window: None,
            spill: None,
            name,
            model,
            checkpoint,
            ops,
            options,
            stem,
            head,
            rows,
        };
        compute.start_reading()?;
        Ok(compute)
    }

    /// Opens the window for a pool of usual size, so that layer 0 is being read before the first request is.
    ///
    /// A budget too small for such a pool may do for the one that comes: that is for the request to find out.
    fn start_reading(&mut self) -> Result<()> {
        let tokens = self.model.config().max_positions.min(256);
        match self.plan(&PoolShape::uniform(20, tokens)) {
            Ok(plan) => self.open_window(&plan),
            Err(Error::Plan(PlanError::BudgetTooSmall { .. })) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// How a pool would be run.
    pub(crate) fn plan(&self, pool: &PoolShape) -> Result<Plan> {
        let settings = &self.options.settings;
        Ok(grating_sched::plan(&self.shape, pool, &self.machine, settings)?)
    }

    /// Runs a job to its end. Whatever the outcome, the next job finds the engine as this one did.
    pub(crate) fn run(
        &mut self,
        job: &mut Job,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Scored> {
        let result = self.layers(job, progress);
        if let Some(spill) = &self.spill {
            spill.clear();
        }
        self.ops.trim();
        // Reads the next request's first layers; an error in there will be that request's.
        if let Some(window) = &mut self.window
            && window.rewind().is_err()
        {
            self.window = None;
        }
        result
    }

    /// Drops what a panic may have left half-done; the next request makes it anew.
    pub(crate) fn recover(&mut self) {
        self.window = None;
        self.spill = None;
        self.ops.trim();
        let table = self.model.token_embeddings().tensor();
        self.rows = CachedRows::new(self.checkpoint.clone(), table, 0);
    }

    fn layers(&mut self, job: &mut Job, progress: &(dyn Fn(Progress) + Sync)) -> Result<Scored> {
        let started = Instant::now();
        let prefix = match self.options.savings.shared_prefix && self.model.can_share_prefix() {
            true => common_prefix(&job.encodings),
            false => 0,
        };
        let lengths: Vec<usize> = job.encodings.iter().map(|e| e.ids.len() - prefix).collect();
        let pool = PoolShape::new(lengths).with_prefix(prefix);
        let plan = self.plan(&pool)?;
        self.prepare(&plan)?;

        let window = self.window.as_mut().expect("a prepared engine has a window");
        let (before, rows_before) = (window.stats(), self.rows.stats());
        let spilled_before = self.spill.as_ref().map(SpillStore::stats).unwrap_or_default();
        let fail = |source| Error::of_model(&self.name, source);
        let (model, ops) = (&self.model, &self.ops);
        let stem_views = self.stem.views(model.stem_parts()).map_err(fail)?;
        let head_views = self.head.views(model.head_parts()).map_err(fail)?;
        let stem = model.stem(ops, &stem_views).map_err(fail)?;
        let head = model.head(ops, &head_views).map_err(fail)?;
        let layers = model.config().layers;
        let mut run = Run {
            name: &self.name,
            model,
            ops,
            head: &head,
            request: model.context(ops, prefix + pool.longest()).map_err(fail)?,
            prefix: Prefix {
                ragged: Ragged::from_lengths((prefix > 0).then_some(prefix)),
                hidden: None,
                keys_values: None,
            },
            savings: self.options.savings,
            readouts: job.readouts.as_ref(),
            states: job.states.then(Vec::new),
            candidates: job.encodings.len(),
            cancel: &job.cancel,
            progress,
            timeline: &mut job.timeline,
            done: 0,
            total: (job.encodings.len() * layers) as u64,
        };
        let spill = self.spill.as_ref().filter(|_| plan.spill);
        let room = self.options.settings.budget.is_none_or(|budget| {
            plan.ledger.total() + self.shape.hidden_bytes(pool.tokens()) <= budget
        });
        let mut keeper = Keeper::new(ops, spill, model.config().hidden, room);
        if let Some(spill) = spill {
            spill.record(run.timeline.is_on());
        }
        let mut costs = Costs::default();

        // Embedding, chunk by chunk.
        let mut chunks = Vec::new();
        if prefix > 0 {
            let leading =
                Encoding { ids: job.encodings[0].ids[..prefix].to_vec(), ..Encoding::default() };
            run.prefix.hidden =
                Some(model.embed(ops, &stem, &mut self.rows, &[leading]).map_err(fail)?);
        }
        for range in chunk::plan(&pool.lengths, plan.chunk_tokens) {
            cancelled(run.cancel)?;
            let of_chunk = &mut job.encodings[range.clone()];
            // The ids have done their work with this: their memory goes to the hidden states.
            let own: Vec<Encoding> = of_chunk.iter_mut().map(|e| tail(e, prefix)).collect();
            let hidden = model.embed(ops, &stem, &mut self.rows, &own).map_err(fail)?;
            let members =
                range.map(|candidate| Member { candidate, rows: pool.lengths[candidate] });
            let origin = Origin { layer: None, chunk: chunks.len() };
            chunks.push(Chunk::new(members.collect(), hidden, origin, &mut keeper)?);
        }
        costs.chunks = chunks.len();
        costs.embed = started.elapsed();
        run.timeline.span(Track::Compute, "embed", started, Instant::now());

        let mut selection =
            Selecting::new(job.k, job.policy.clone(), pool.lengths.len(), layers, job.trace)?;
        for layer in 0..layers {
            if chunks.is_empty() {
                break;
            }
            let live = chunks.iter().map(|c| c.members.len()).sum();
            let due = selection.is_due(layer);
            let before = Instant::now();
            let waited = window.stats().consumer_wait;
            let scores = run.layer(layer, due, window, &mut chunks, &mut keeper)?;
            let stall = window.stats().consumer_wait - waited;
            costs.compute += before.elapsed().saturating_sub(stall);
            let mut layer_stats =
                LayerStats { layer, live, stall, time: before.elapsed(), ..LayerStats::default() };
            if due && let Some(verdicts) = selection.take_in(layer, scores)? {
                layer_stats.decided(&verdicts);
                let stays = selection.running();
                if stays.iter().any(|s| !s) {
                    run.done +=
                        (stays.iter().filter(|s| !*s).count() * (layers - layer - 1)) as u64;
                    run.done = run.done.min(run.total);
                    chunks = pool::retain(chunks, |c| stays[c], plan.chunk_tokens, &keeper);
                }
            }
            costs.layers.push(layer_stats);
        }
        keeper.report(run.timeline);
        let states = run.states.take();
        let fallen_back = keeper.fallen_back.take().map(|e| e.to_string());
        drop(chunks);
        let window_stats = window.stats();
        let spilled = self.spill.as_ref().map(SpillStore::stats).unwrap_or_default();
        let rows = self.rows.stats();
        let memory = Memory {
            budget: self.options.settings.budget,
            planned: plan.ledger,
            window: plan.slots.iter().sum(),
            pinned: window.pinned_bytes(),
            row_cache: self.rows.memory_bytes(),
            activations: self.ops.peak_bytes(),
        };
        let read_busy = window_stats.read_time.saturating_sub(before.read_time);
        let bytes_read = window_stats.bytes - before.bytes;
        let workload = Workload::full(&self.shape, &pool, plan.chunk_tokens);
        let share = costs.layers.iter().map(|l| l.live).sum::<usize>() as f64
            / (pool.lengths.len() * layers) as f64;
        let run = Measurement {
            read_bytes: bytes_read,
            read_seconds: read_busy.as_secs_f64(),
            spill_bytes: spilled.bytes_written + spilled.bytes_read
                - spilled_before.bytes_written
                - spilled_before.bytes_read,
            spill_seconds: (spilled.write_time + spilled.read_time
                - spilled_before.write_time
                - spilled_before.read_time)
                .as_secs_f64(),
            flops: workload.flops(&self.shape) * share,
            compute_seconds: costs.compute.as_secs_f64(),
        };
        match std::mem::replace(&mut self.measured, true) {
            false => self.machine.adopt(&run),
            true => self.machine.observe(&run),
        }
        let (selected, decided, logits, trace) = selection.finish();
        Ok(Scored {
            selected,
            decided,
            logits,
            trace,
            states,
            prefix_tokens: prefix,
            chunks: costs.chunks,
            weight_bytes_read: bytes_read,
            read: read_busy,
            stall: costs.layers.iter().map(|l| l.stall).sum(),
            embed: costs.embed,
            compute: costs.compute,
            operations: self.ops.times(),
            row_hits: rows.hits - rows_before.hits,
            row_misses: rows.misses - rows_before.misses,
            row_bytes_read: rows.bytes - rows_before.bytes,
            spill_bytes_written: spilled.bytes_written - spilled_before.bytes_written,
            spill_bytes_read: spilled.bytes_read - spilled_before.bytes_read,
            spill_wait: spilled.wait.saturating_sub(spilled_before.wait),
            fallen_back,
            direct: window_stats.direct > 0,
            layers: costs.layers,
            memory,
            plan,
        })
    }

    /// Makes the window, the row cache and the spill store those of the plan.
    fn prepare(&mut self, plan: &Plan) -> Result<()> {
        let rows = plan.row_cache_rows;
        let budgeted = self.options.settings.budget.is_some();
        if self.rows.capacity() < rows || (budgeted && self.rows.capacity() > rows) {
            let table = self.model.token_embeddings().tensor();
            self.rows = CachedRows::new(self.checkpoint.clone(), table, rows);
        }
        if plan.spill && self.spill.is_none() {
            let folder = &self.options.spill_folder;
            self.spill = Some(SpillStore::create(folder, SpillOptions::default())?);
        }
        self.open_window(plan)
    }

    fn open_window(&mut self, plan: &Plan) -> Result<()> {
        let wanted = WindowPlan {
            unit: plan.block,
            slots: plan.slots.iter().map(|&bytes| bytes as usize).collect(),
            pinned_layers: plan.pinned_layers,
            io: self.options.io,
        };
        if self.window.as_ref().is_none_or(|window| *window.plan() != wanted) {
            // The old slots go before the new ones come.
            self.window = None;
            self.window = Some(Window::open(&self.model, &self.checkpoint, wanted)?);
        }
        Ok(())
    }
}

impl Run<'_> {
    /// Takes all chunks through one layer; with `score`, returns every candidate's score after it.
    fn layer(
        &mut self,
        layer: usize,
        score: bool,
        window: &mut Window,
        chunks: &mut [Chunk],
        keeper: &mut Keeper<'_>,
    ) -> Result<Vec<(usize, Logit)>> {
        let parts = window.plan().unit.parts();
        let mut scores = Vec::new();
        for (place, &part) in parts.iter().enumerate() {
            let before = Instant::now();
            let weights = window.block(layer * parts.len() + place)?;
            self.timeline.span(Track::Compute, "wait for weights", before, Instant::now());
            self.timeline.weights(layer, part, &weights);
            let pass = layer * parts.len() + place;
            self.block(layer, part, &weights, pass, score, chunks, keeper, &mut scores)?;
        }
        Ok(scores)
    }

    #[allow(clippy::too_many_arguments)]
    fn block(
        &mut self,
        layer: usize,
        part: BlockPart,
        weights: &Weights,
        pass: usize,
        score: bool,
        chunks: &mut [Chunk],
        keeper: &mut Keeper<'_>,
        scores: &mut Vec<(usize, Logit)>,
    ) -> Result<()> {
        let model = self.model;
        let name = self.name;
        let fail = |source| Error::of_model(name, source);
        let views = weights.views(window::parts(model, layer, part), 0)?;
        let (attends, feeds) = (part != BlockPart::FeedForward, part != BlockPart::Attention);
        let attention =
            attends.then(|| model.attention(self.ops, &views)).transpose().map_err(fail)?;
        let feed_forward =
            feeds.then(|| model.feed_forward(self.ops, &views)).transpose().map_err(fail)?;
        let last = layer + 1 == model.config().layers;
        self.prefix_block(attention.as_ref(), feed_forward.as_ref(), last).map_err(fail)?;

        let order: Vec<usize> = chunk::order(chunks.len(), pass).collect();
        for (at, &index) in order.iter().enumerate() {
            cancelled(self.cancel)?;
            let before = Instant::now();
            let mut hidden = chunks[index].take(keeper)?;
            if let Some(&next) = order.get(at + 1) {
                chunks[next].prefetch(keeper)?;
            }
            if let Some(attention) = &attention {
                hidden = self.attend(attention, &mut chunks[index], hidden, last).map_err(fail)?;
            }
            let chunk = &mut chunks[index];
            if let Some(feed_forward) = &feed_forward {
                hidden = model.feed(self.ops, feed_forward, hidden).map_err(fail)?;
                if score {
                    self.score(layer, chunk, &hidden, scores)?;
                }
                self.done += chunk.members.len() as u64;
                let (done, total, layers) = (self.done, self.total, model.config().layers);
                (self.progress)(Progress { done, total, layer, layers });
            }
            // After the last block nobody needs them.
            if !(last && feeds) {
                chunk.put(hidden, Origin { layer: Some(layer), chunk: index }, keeper)?;
            }
            self.timeline.chunk(layer, part, index, before);
        }
        Ok(())
    }

    /// One chunk through an attention block; in the last layer only the scored tokens go on.
    fn attend(
        &self,
        attention: &Attention<'_, CpuOps>,
        chunk: &mut Chunk,
        hidden: CpuTensor,
        last: bool,
    ) -> grating_model::Result<CpuTensor> {
        let ragged = chunk.ragged(self.prefix.ragged.tokens());
        let context = self.request.chunk(&ragged, self.prefix.keys_values.as_ref());
        if last && self.savings.scored_rows {
            let scored = self.model.attend_scored(self.ops, attention, hidden, &context)?;
            chunk.members.iter_mut().for_each(|m| m.rows = 1);
            return Ok(scored);
        }
        self.model.attend(self.ops, attention, hidden, &context)
    }

    /// The shared prefix through a block.
    fn prefix_block(
        &mut self,
        attention: Option<&Attention<'_, CpuOps>>,
        feed_forward: Option<&FeedForward<'_, CpuOps>>,
        last: bool,
    ) -> grating_model::Result<()> {
        if let (Some(attention), Some(hidden)) = (attention, self.prefix.hidden.take()) {
            let context = self.request.chunk(&self.prefix.ragged, None);
            if last {
                let keys_values =
                    self.model.prefix_keys_values(self.ops, attention, &hidden, &context)?;
                self.prefix.keys_values = Some(keys_values);
            } else {
                self.prefix.keys_values = None;
                let (hidden, keys_values) =
                    self.model.attend_prefix(self.ops, attention, hidden, &context)?;
                self.prefix.hidden = Some(hidden);
                self.prefix.keys_values = Some(keys_values);
            }
        }
        if let (Some(feed_forward), Some(hidden)) = (feed_forward, self.prefix.hidden.take()) {
            self.prefix.hidden = Some(self.model.feed(self.ops, feed_forward, hidden)?);
        }
        Ok(())
    }

    /// Every member's score from the chunk's hidden states: by a readout where there is one, else by the model's head.
    fn score(
        &mut self,
        layer: usize,
        chunk: &Chunk,
        hidden: &CpuTensor,
        scores: &mut Vec<(usize, Logit)>,
    ) -> Result<()> {
        let fail = |source| Error::of_model(self.name, source);
        let rows = self.model.scored_rows(&chunk.ragged(0));
        let scored = self.ops.select_rows(hidden, &rows).map_err(fail)?;
        let last = layer + 1 == self.model.config().layers;
        let readout = self.readouts.and_then(|readouts| readouts.layer(layer));
        let mut read = None;
        if !last && (readout.is_some() || self.states.is_some()) {
            let normalised = normalised(self.ops.download(&scored).map_err(fail)?, rows.len());
            if let Some(states) = &mut self.states {
                keep(states, layer, self.candidates, chunk, &normalised);
            }
            read = readout.map(|r| normalised.iter().map(|state| Logit(r.score(state))).collect());
        }
        let logits = match read {
            Some(logits) => logits,
            None => self.model.scores(self.ops, self.head, &scored).map_err(fail)?,
        };
        for (member, logit) in chunk.members.iter().zip(logits) {
            if !logit.0.is_finite() {
                let candidate = member.candidate;
                return Err(Error::NotFinite { candidate, layer, score: logit.0 });
            }
            scores.push((member.candidate, logit));
        }
        Ok(())
    }
}

/// Who is decided when: a pruner where there is a policy, and the scores so far.
struct Selecting {
    pruner: Option<Pruner>,
    layers: usize,
    candidates: usize,
    /// The latest score of each candidate, and the layer after which it was read.
    latest: Vec<(Logit, usize)>,
    trace: Option<Vec<Vec<f32>>>,
}

impl Selecting {
    fn new(
        k: usize,
        policy: Option<Policy>,
        candidates: usize,
        layers: usize,
        trace: bool,
    ) -> Result<Self> {
        // Where all are selected there is nothing to decide, but scores were asked for.
        let policy = policy.filter(|_| k < candidates && !trace);
        let pool = grating_prune::Pool { candidates, layers, k };
        Ok(Selecting {
            pruner: policy.map(|policy| Pruner::new(policy, pool)).transpose()?,
            layers,
            candidates,
            latest: vec![(Logit(f32::NAN), 0); candidates],
            trace: trace.then(Vec::new),
        })
    }

    /// Whether scores after `layer` are needed.
    fn is_due(&self, layer: usize) -> bool {
        layer + 1 == self.layers
            || self.trace.is_some()
            || self.pruner.as_ref().is_some_and(|p| p.next_due() == Some(layer))
    }

    /// Takes the scores after a layer; returns what the pruner made of them.
    fn take_in(&mut self, layer: usize, scores: Vec<(usize, Logit)>) -> Result<Option<Verdicts>> {
        for &(candidate, logit) in &scores {
            self.latest[candidate] = (logit, layer);
        }
        if let Some(trace) = &mut self.trace {
            trace.push(self.latest.iter().map(|(logit, _)| logit.0).collect());
        }
        let Some(pruner) = self.pruner.as_mut().filter(|p| p.next_due() == Some(layer)) else {
            return Ok(None);
        };
        let mut live = vec![false; self.candidates];
        pruner.live().for_each(|c| live[c] = true);
        let (ids, values): (Vec<usize>, Vec<f32>) =
            scores.iter().filter(|(c, _)| live[*c]).map(|(c, l)| (*c, l.0)).unzip();
        Ok(Some(pruner.observe(layer, &ids, &values)?))
    }

    /// Who goes on.
    fn running(&self) -> Vec<bool> {
        let mut running = vec![self.pruner.is_none(); self.candidates];
        if let Some(pruner) = &self.pruner {
            pruner.running().for_each(|c| running[c] = true);
        }
        running
    }

    /// Who is selected, best first where that is known; per candidate the layer of decision and the latest score.
    #[allow(clippy::type_complexity)]
    fn finish(self) -> (Option<Vec<usize>>, Vec<usize>, Vec<Logit>, Option<Vec<Vec<f32>>>) {
        let logits = self.latest.iter().map(|(logit, _)| *logit).collect();
        let last = self.layers - 1;
        match self.pruner {
            None => (None, vec![last; self.candidates], logits, self.trace),
            Some(pruner) => {
                let decided = pruner.outcome().decided_after_layer;
                let decided = decided.into_iter().map(|l| l.unwrap_or(last)).collect();
                // In rank mode the selected ones have run to the end: their own scores order them.
                let mut selected = pruner.accepted().to_vec();
                if pruner.policy().mode == Mode::Rank {
                    selected.sort_by(|&a, &b| {
                        self.latest[b].0.0.total_cmp(&self.latest[a].0.0).then(a.cmp(&b))
                    });
                }
                (Some(selected), decided, logits, self.trace)
            }
        }
    }
}

/// `[rows, hidden]` as readouts want it, row by row.
fn normalised(mut states: Vec<f32>, rows: usize) -> Vec<Vec<f32>> {
    let hidden = states.len() / rows;
    states.chunks_exact_mut(hidden).for_each(normalise);
    states.chunks_exact(hidden).map(<[f32]>::to_vec).collect()
}

/// Files the chunk's states under layer and candidate.
fn keep(
    states: &mut Vec<Vec<f32>>,
    layer: usize,
    candidates: usize,
    chunk: &Chunk,
    rows: &[Vec<f32>],
) {
    let hidden = rows.first().map_or(0, Vec::len);
    states.resize_with(states.len().max(layer + 1), || vec![0.0; candidates * hidden]);
    for (member, row) in chunk.members.iter().zip(rows) {
        let start = member.candidate * hidden;
        states[layer][start..start + hidden].copy_from_slice(row);
    }
}

/// What of an encoding comes after the prefix; takes it out.
fn tail(encoding: &mut Encoding, prefix: usize) -> Encoding {
    let mut own = std::mem::take(encoding);
    own.ids.drain(..prefix);
    own.type_ids.drain(..prefix.min(own.type_ids.len()));
    own
}

/// Tokens that all candidates begin with, leaving each at least one of its own.
fn common_prefix(encodings: &[Encoding]) -> usize {
    let [first, others @ ..] = encodings else { return 0 };
    if others.is_empty() {
        return 0;
    }
    let shared = |e: &Encoding| first.ids.iter().zip(&e.ids).take_while(|(a, b)| a == b).count();
    let shortest = encodings.iter().map(|e| e.ids.len()).min().unwrap_or(0);
    others.iter().map(shared).min().unwrap_or(0).min(shortest.saturating_sub(1))
}

fn cancelled(cancel: &CancelToken) -> Result<()> {
    match cancel.is_cancelled() {
        true => Err(Error::Cancelled),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoding(ids: &[u32]) -> Encoding {
        Encoding { ids: ids.to_vec(), ..Encoding::default() }
    }

    #[test]
    fn a_prefix_leaves_everybody_a_token() {
        assert_eq!(common_prefix(&[encoding(&[1, 2, 3]), encoding(&[1, 2, 4, 5])]), 2);
        assert_eq!(common_prefix(&[encoding(&[1, 2]), encoding(&[1, 2, 4])]), 1);
        assert_eq!(common_prefix(&[encoding(&[1, 2])]), 0);
        assert_eq!(common_prefix(&[encoding(&[1]), encoding(&[2])]), 0);
    }
}
