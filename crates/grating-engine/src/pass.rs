//! One walk through the layers: every live candidate goes through layer `i`, chunk by chunk, before any enters `i + 1`.

use std::time::Instant;

use grating_backend::Ops;
use grating_model::{Attention, Encoding, FeedForward, LayerWeights, PassContext, RowSource, Stem};
use grating_sched::{Block, BlockPart, PoolShape, chunk};

use crate::compression::Compressing;
use crate::device::DeviceSlots;
use crate::error::{EngineError, Result};
use crate::executor::Executor;
use crate::meter::PassMeter;
use crate::pool::{self, Chunk, HiddenStore, Member, Origin};
use crate::prefix::{self, Prefix};
use crate::progress::Reporter;
use crate::scoring::{Score, Scoring, Unread};
use crate::selecting::Selecting;
use crate::stats::LayerStats;
use crate::timeline::{Timeline, Track};
use crate::tokens::TokenPruning;
use crate::window::{self, Weights, Window};

/// The candidates of one job or several on their way.
pub(crate) struct Pass<'a, 'w, B: Ops> {
    pub(crate) on: Executor<'a, B>,
    /// Rotary angles up to the longest candidate.
    pub(crate) context: PassContext<B>,
    /// Whether only scored tokens go through the last layer.
    pub(crate) scored_rows: bool,
    /// Most tokens of a chunk.
    pub(crate) chunk_tokens: usize,
    pub(crate) jobs: Vec<PassJob<'a, 'w, B>>,
    pub(crate) store: HiddenStore<'a, B>,
    pub(crate) timeline: Timeline,
}

/// One job of a pass. A chunk holds candidates of one job.
pub(crate) struct PassJob<'a, 'w, B: Ops> {
    pub(crate) prefix: Prefix<B>,
    pub(crate) scoring: Scoring<'a, 'w, B>,
    pub(crate) selecting: Selecting,
    pub(crate) reporter: Reporter<'a>,
    /// Which tokens leave; none where all are computed.
    pub(crate) tokens: Option<TokenPruning>,
    /// Whose rows become one; none where passages are not compressed.
    pub(crate) compressing: Option<Compressing>,
    /// The live candidates.
    pub(crate) chunks: Vec<Chunk<B>>,
    /// Chunks before layer 0.
    pub(crate) chunks_at_first: usize,
    /// Each layer that it went through.
    pub(crate) layers: Vec<LayerStats>,
    /// What ended it before its time; the others go on.
    pub(crate) ended: Option<EngineError>,
}

impl<'a, 'w, B: Ops> PassJob<'a, 'w, B> {
    pub(crate) fn new(
        scoring: Scoring<'a, 'w, B>,
        selecting: Selecting,
        reporter: Reporter<'a>,
    ) -> Self {
        PassJob {
            prefix: Prefix::none(),
            scoring,
            selecting,
            reporter,
            tokens: None,
            compressing: None,
            chunks: Vec::new(),
            chunks_at_first: 0,
            layers: Vec::new(),
            ended: None,
        }
    }

    /// Ends the job, and nobody else's.
    fn end(&mut self, error: EngineError, store: &HiddenStore<'_, B>) {
        pool::discard(std::mem::take(&mut self.chunks), store);
        self.prefix = Prefix::none();
        self.ended = Some(error);
    }

    /// Whether it goes on; ends it where nobody wants it any more.
    fn goes_on(&mut self, store: &HiddenStore<'_, B>) -> bool {
        if self.ended.is_none()
            && let Err(error) = self.reporter.check()
        {
            self.end(error, store);
        }
        self.ended.is_none()
    }

    /// Candidates that are computed.
    fn live(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.members.len()).sum()
    }

    /// Tokens that a layer computes of those who come to it, without the prefix.
    fn live_tokens(&self, layer: usize) -> usize {
        let rows = |member: &Member| match &self.compressing {
            Some(compressing) => compressing.rows_in(layer, member),
            None => member.rows,
        };
        self.chunks.iter().flat_map(|chunk| &chunk.members).map(rows).sum()
    }

    /// After a layer in which or before which rows have left: packs what is left anew.
    fn repack(
        &mut self,
        stats: &mut LayerStats,
        chunk_tokens: usize,
        store: &HiddenStore<'_, B>,
    ) -> Result<()> {
        if let Some(tokens) = self.tokens.as_mut().filter(|tokens| tokens.is_at(stats.layer)) {
            stats.tokens_left = tokens.take_left();
        }
        let compressing = self.compressing.as_ref();
        if stats.tokens_left > 0 || compressing.is_some_and(|c| c.is_before(stats.layer)) {
            let chunks = std::mem::take(&mut self.chunks);
            self.chunks = pool::retain(chunks, |_| true, chunk_tokens, store)?;
        }
        Ok(())
    }

    /// Decides after a layer, forgets those who do not go on, and packs the others anew.
    fn decide(
        &mut self,
        stats: &mut LayerStats,
        scores: &[Score],
        chunk_tokens: usize,
        store: &HiddenStore<'_, B>,
    ) -> Result<()> {
        let Some(verdicts) = self.selecting.observe(stats.layer, scores)? else { return Ok(()) };
        stats.decided(&verdicts);
        self.reporter.decided(stats.accepted.len(), stats.dropped.len());
        let goes_on = self.selecting.running();
        let members = self.chunks.iter().flat_map(|chunk| &chunk.members);
        let ended = members.filter(|member| !goes_on[member.candidate]).count();
        if ended > 0 {
            self.reporter.ended(ended, stats.layer);
            let chunks = std::mem::take(&mut self.chunks);
            self.chunks = pool::retain(chunks, |c| goes_on[c], chunk_tokens, store)?;
        }
        Ok(())
    }
}

/// A block bound to its weights: a layer, or one of its halves.
struct BoundBlock<'w, B: Ops> {
    layer: usize,
    part: BlockPart,
    /// Its number in the order of computing.
    index: usize,
    attention: Option<Attention<'w, B>>,
    feed_forward: Option<FeedForward<'w, B>>,
    /// Whether it is of the last layer.
    last: bool,
}

/// Scores on their way, and whose they are.
type Reads<B> = Vec<(usize, Unread<B>)>;

impl<B: Ops> Pass<'_, '_, B> {
    /// Hidden states of a job's candidates before layer 0, chunk by chunk; takes the tokens out of `encodings`.
    pub(crate) fn embed(
        &mut self,
        job: usize,
        stem: &Stem<'_, B>,
        rows: &mut dyn RowSource,
        encodings: &mut [Encoding],
        pool: &PoolShape,
    ) -> Result<()> {
        let on = self.on;
        let Executor { model, ops, .. } = on;
        let fail = |e| on.fail(e);
        let prefix = pool.prefix_tokens;
        let of = &mut self.jobs[job];
        if prefix > 0 {
            let leading =
                Encoding { ids: encodings[0].ids[..prefix].to_vec(), ..Encoding::default() };
            let hidden = model.embed(ops, stem, rows, &[leading]).map_err(fail)?;
            of.prefix = Prefix::new(on, &self.context, prefix, hidden).map_err(fail)?;
        }
        for range in chunk::plan(&pool.lengths, self.chunk_tokens) {
            if !of.goes_on(&self.store) {
                return Ok(());
            }
            // The ids have done their work with this: their memory goes to the hidden states.
            let own = encodings[range.clone()].iter_mut().map(|e| prefix::take_suffix(e, prefix));
            let own: Vec<Encoding> = own.collect();
            let hidden = model.embed(ops, stem, rows, &own).map_err(fail)?;
            let member = |candidate| Member { candidate, rows: pool.lengths[candidate] };
            let origin = Origin { job, layer: None, chunk: of.chunks.len() };
            let chunk = Chunk::new(range.map(member).collect(), hidden, origin, &mut self.store)?;
            of.chunks.push(chunk);
        }
        of.chunks_at_first = of.chunks.len();
        Ok(())
    }

    /// All layers, or as many as there are candidates for.
    ///
    /// # Errors
    /// What ends all jobs; what ends one alone is in its [`PassJob::ended`].
    pub(crate) fn run(
        &mut self,
        window: &mut Window,
        device: &mut DeviceSlots<B>,
        meter: &mut PassMeter,
    ) -> Result<()> {
        for layer in 0..self.on.layers() {
            let count = |job: &PassJob<'_, '_, B>| (job.live(), job.live_tokens(layer));
            let live: Vec<(usize, usize)> = self.jobs.iter().map(count).collect();
            if live.iter().all(|&(live, _)| live == 0) {
                break;
            }
            self.timeline.tokens(live.iter().map(|(_, tokens)| tokens).sum(), Instant::now());
            let (before, waited) = (Instant::now(), window.stats().consumer_wait);
            let reads = self.layer(layer, window, device)?;
            let scores = self.wait_for_scores(reads)?;
            let (time, stall) = (before.elapsed(), window.stats().consumer_wait - waited);
            meter.layer(time, stall);
            if self.timeline.is_on()
                && let Some(memory) = self.on.ops.meter().device_memory
            {
                self.timeline.on_device(memory, Instant::now());
            }
            for ((job, (live, tokens)), scores) in self.jobs.iter_mut().zip(live).zip(scores) {
                if live == 0 || job.ended.is_some() {
                    continue;
                }
                let stats = LayerStats { layer, live, tokens, ..LayerStats::default() };
                let mut stats = LayerStats { stall, time, ..stats };
                let decided = match job.selecting.is_due(layer) {
                    true => scores.and_then(|scores| {
                        job.decide(&mut stats, &scores, self.chunk_tokens, &self.store)
                    }),
                    false => Ok(()),
                };
                let packed =
                    decided.and_then(|()| job.repack(&mut stats, self.chunk_tokens, &self.store));
                match packed {
                    Ok(()) => job.layers.push(stats),
                    Err(error) => job.end(error, &self.store),
                }
            }
        }
        self.store.report(self.jobs.len(), &mut self.timeline);
        Ok(())
    }

    /// Scores by job; one that is no number is an error of its job alone.
    fn wait_for_scores(&mut self, reads: Reads<B>) -> Result<Vec<Result<Vec<Score>>>> {
        let mut scores: Vec<Result<Vec<Score>>> =
            self.jobs.iter().map(|_| Ok(Vec::new())).collect();
        for (job, unread) in reads {
            let read = self.jobs[job].scoring.wait(self.on, unread);
            match (&mut scores[job], read) {
                (Ok(scores), Ok(read)) => scores.extend(read),
                (of_job @ Ok(_), Err(error @ EngineError::NotFinite { .. })) => {
                    *of_job = Err(error)
                }
                (Err(_), Ok(_) | Err(EngineError::NotFinite { .. })) => {}
                (_, Err(error)) => return Err(error),
            }
        }
        Ok(scores)
    }

    /// All chunks through one layer; the scores after it of jobs that are due.
    fn layer(
        &mut self,
        layer: usize,
        window: &mut Window,
        device: &mut DeviceSlots<B>,
    ) -> Result<Reads<B>> {
        let on = self.on;
        let Executor { model, ops, .. } = on;
        let fail = |e| on.fail(e);
        let last = layer + 1 == self.on.layers();
        let mut reads = Vec::new();
        for planned in window.blocks_of(layer) {
            let (index, part) = (planned.index, planned.part);
            let slot = device.take(on, &planned, || self.wait_for(window, &planned))?;
            let weights = LayerWeights::new(ops, &slot, window::parts(model, layer, part));
            let (attends, feeds) = (part != BlockPart::FeedForward, part != BlockPart::Attention);
            let attention =
                attends.then(|| model.attention(layer, &weights)).transpose().map_err(fail)?;
            let feed_forward = feeds.then(|| model.feed_forward(layer, &weights)).transpose();
            let feed_forward = feed_forward.map_err(fail)?;
            let block = BoundBlock { layer, part, index, attention, feed_forward, last };
            ops.run_closely(|| self.block(&block, &mut reads))?;
            drop(block);
            device.put(&planned, slot);
            if let Some(next) = window.after(&planned).filter(|next| device.has_room(next, window))
            {
                device.admit_ahead(on, &next, || self.wait_for(window, &next));
            }
        }
        Ok(reads)
    }

    fn wait_for(&mut self, window: &mut Window, planned: &Block) -> Result<Weights> {
        let before = Instant::now();
        if !window.is_ready(planned.index) {
            // The slot that it waits for may be one that is being copied from.
            self.on.ops.finish_copies().map_err(|e| self.on.fail(e))?;
        }
        let weights = window.block(planned.index)?;
        self.timeline.span(Track::Compute, "wait for weights", before, Instant::now());
        self.timeline.weights(planned.layer, planned.part, &weights);
        Ok(weights)
    }

    /// The prefixes and all chunks through one block.
    fn block(&mut self, block: &BoundBlock<'_, B>, reads: &mut Reads<B>) -> Result<()> {
        let on = self.on;
        let (attention, feed_forward) = (block.attention.as_ref(), block.feed_forward.as_ref());
        for job in self.jobs.iter_mut().filter(|job| !job.chunks.is_empty()) {
            job.prefix
                .run(on, &self.context, attention, feed_forward, block.last)
                .map_err(|e| on.fail(e))?;
        }
        let jobs = self.jobs.iter().enumerate();
        let chunks: Vec<(usize, usize)> = jobs
            .flat_map(|(job, of)| (0..of.chunks.len()).map(move |chunk| (job, chunk)))
            .collect();
        let order: Vec<usize> = chunk::order(chunks.len(), block.index).collect();
        for (at, &place) in order.iter().enumerate() {
            let (job, index) = chunks[place];
            if self.jobs[job].goes_on(&self.store) {
                let next = order.get(at + 1).map(|&place| chunks[place]);
                self.chunk(block, (job, index), next, reads)?;
            }
        }
        Ok(())
    }

    /// A job's chunk `index` through a block, while the `next` one's hidden states come from where they are.
    fn chunk(
        &mut self,
        block: &BoundBlock<'_, B>,
        (job, index): (usize, usize),
        next: Option<(usize, usize)>,
        reads: &mut Reads<B>,
    ) -> Result<()> {
        let before = Instant::now();
        let on = self.on;
        let mut hidden = self.jobs[job].chunks[index].take(&self.store)?; // [rows, hidden]
        if let Some((job, chunk)) = next
            && let Some(next) = self.jobs[job].chunks.get(chunk)
        {
            next.prefetch(&self.store)?;
        }
        if let Some(attention) = &block.attention {
            hidden = self.attend(attention, (job, index), hidden, block)?; // in the last layer [members, hidden]
        }
        let of = &mut self.jobs[job];
        if let Some(feed_forward) = &block.feed_forward {
            hidden = on.model.feed(on.ops, feed_forward, hidden).map_err(|e| on.fail(e))?;
            let chunk = &of.chunks[index];
            if of.selecting.is_due(block.layer) {
                reads.push((job, of.scoring.read(on, block.layer, chunk, &hidden)?));
            }
            of.reporter.done(chunk.members.len(), block.layer);
        }
        // After the last block nobody needs them.
        if !(block.last && block.feed_forward.is_some()) {
            let origin = Origin { job, layer: Some(block.layer), chunk: index };
            of.chunks[index].put(hidden, origin, &mut self.store)?;
        }
        let whose = Origin { job, layer: Some(block.layer), chunk: index }.chunk(self.jobs.len());
        self.timeline.chunk(block.layer, block.part, &whose, before);
        Ok(())
    }

    /// One chunk through an attention block, its passages compressed where they are before this layer; in the last layer only
    /// the scored tokens go on, and where it is a stage of the token policy, those that stay.
    fn attend(
        &mut self,
        attention: &Attention<'_, B>,
        (job, index): (usize, usize),
        hidden: B::Tensor,
        block: &BoundBlock<'_, B>,
    ) -> Result<B::Tensor> {
        let on = self.on;
        let Executor { model, ops, .. } = on;
        let fail = |e| on.fail(e);
        let PassJob { chunks, prefix, tokens, compressing, .. } = &mut self.jobs[job];
        let (chunk, prefix_tokens) = (&mut chunks[index], prefix.tokens());
        let merged = compressing.as_ref().and_then(|c| c.merged(block.layer, &chunk.members));
        let hidden = match merged {
            Some(merged) => chunk.merge(on, merged, hidden).map_err(fail)?,
            None => hidden,
        };
        chunk.lay_out(on, &self.context, prefix_tokens).map_err(fail)?;
        let context = self.context.chunk(chunk.layout(), prefix.keys_values());
        if block.last && self.scored_rows {
            let scored = model.attend_scored(ops, attention, hidden, &context).map_err(fail)?;
            chunk.leave_scored();
            return Ok(scored);
        }
        let stage = tokens.as_mut().and_then(|tokens| {
            let stage = tokens.stage(block.layer, &chunk.members)?;
            Some((tokens, stage))
        });
        let Some((tokens, stage)) = stage else {
            return model.attend(ops, attention, hidden, &context).map_err(fail);
        };
        let positions = chunk.positions(prefix_tokens);
        let query = tokens.query_rows(&chunk.members, prefix_tokens, &positions);
        let mass = stage.mass(&query);
        let attended = model.attend_with_mass(ops, attention, hidden, &context, mass);
        let (hidden, mass) = attended.map_err(fail)?;
        let mass = mass.wait(ops).map_err(fail)?;
        // A feed-forward block works row by row: those who leave after the layer need none.
        let scored =
            model.ragged(chunk.members.iter().map(|m| m.rows), prefix_tokens).scored_rows();
        let stays = tokens.stays(stage, &chunk.members, &mass, &positions, &scored);
        if stays.iter().all(|&stays| stays) {
            return Ok(hidden);
        }
        let hidden = chunk.leave(&stays, hidden, &self.store)?;
        chunk.lay_out(on, &self.context, prefix_tokens).map_err(fail)?;
        Ok(hidden)
    }
}

#[cfg(test)]
mod tests;
