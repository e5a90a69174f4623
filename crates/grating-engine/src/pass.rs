//! One walk through the layers: every live candidate goes through layer `i`, chunk by chunk, before any enters `i + 1`.

use std::sync::Arc;
use std::time::Instant;

use grating_backend::Ops;
use grating_model::{Attention, Encoding, FeedForward, LayerWeights, PassContext, RowSource, Stem};
use grating_sched::{BlockPart, PoolShape, chunk};

use crate::error::Result;
use crate::executor::Executor;
use crate::meter::Meter;
use crate::pool::{self, Chunk, HiddenStore, Member, Origin};
use crate::prefix::{self, Prefix};
use crate::progress::Reporter;
use crate::scoring::{Score, Scoring, Unread};
use crate::selecting::Selecting;
use crate::stats::LayerStats;
use crate::timeline::{Timeline, Track};
use crate::window::{self, Weights, Window};

/// A job's candidates on their way.
pub(crate) struct Pass<'a, 'w, B: Ops> {
    pub(crate) on: Executor<'a, B>,
    /// Rotary angles up to the longest candidate.
    pub(crate) context: PassContext<B>,
    pub(crate) prefix: Prefix<B>,
    /// Whether slots are the host's blocks themselves.
    pub(crate) shares_host_memory: bool,
    /// The slot of the block before, to be used again.
    pub(crate) spare: Option<B::Slot>,
    pub(crate) scoring: Scoring<'a, 'w, B>,
    /// Whether only scored tokens go through the last layer.
    pub(crate) scored_rows: bool,
    /// Most tokens of a chunk.
    pub(crate) chunk_tokens: usize,
    /// The live candidates.
    pub(crate) chunks: Vec<Chunk<B>>,
    pub(crate) store: HiddenStore<'a, B>,
    pub(crate) reporter: Reporter<'a>,
    pub(crate) timeline: &'a mut Timeline,
}

/// A block bound to its weights: a layer, or one of its halves.
struct Block<'w, B: Ops> {
    layer: usize,
    part: BlockPart,
    /// Its number in the order of computing.
    index: usize,
    attention: Option<Attention<'w, B>>,
    feed_forward: Option<FeedForward<'w, B>>,
    /// Whether it is of the last layer.
    last: bool,
    /// Whether scores are wanted after the layer.
    due: bool,
}

impl<B: Ops> Pass<'_, '_, B> {
    /// Hidden states before layer 0, chunk by chunk; takes the tokens out of `encodings`.
    pub(crate) fn embed(
        &mut self,
        stem: &Stem<'_, B>,
        rows: &mut dyn RowSource,
        encodings: &mut [Encoding],
        pool: &PoolShape,
    ) -> Result<()> {
        let on = self.on;
        let Executor { model, ops, .. } = on;
        let fail = |e| on.fail(e);
        let prefix = pool.prefix_tokens;
        if prefix > 0 {
            let leading =
                Encoding { ids: encodings[0].ids[..prefix].to_vec(), ..Encoding::default() };
            let hidden = model.embed(ops, stem, rows, &[leading]).map_err(fail)?;
            self.prefix = Prefix::new(on, &self.context, prefix, hidden).map_err(fail)?;
        }
        for range in chunk::plan(&pool.lengths, self.chunk_tokens) {
            self.reporter.check()?;
            // The ids have done their work with this: their memory goes to the hidden states.
            let own = encodings[range.clone()].iter_mut().map(|e| prefix::take_own(e, prefix));
            let own: Vec<Encoding> = own.collect();
            let hidden = model.embed(ops, stem, rows, &own).map_err(fail)?;
            let member = |candidate| Member { candidate, rows: pool.lengths[candidate] };
            let origin = Origin { layer: None, chunk: self.chunks.len() };
            let chunk = Chunk::new(range.map(member).collect(), hidden, origin, &mut self.store)?;
            self.chunks.push(chunk);
        }
        Ok(())
    }

    /// All layers, or as many as there are candidates for.
    pub(crate) fn run(
        &mut self,
        window: &mut Window,
        selecting: &mut Selecting,
        meter: &mut Meter,
    ) -> Result<()> {
        for layer in 0..self.on.layers() {
            if self.chunks.is_empty() {
                break;
            }
            let live = self.chunks.iter().map(|c| c.members.len()).sum();
            let due = selecting.is_due(layer);
            let (before, waited) = (Instant::now(), window.stats().consumer_wait);
            let scores = self.layer(layer, due, window)?;
            let (time, stall) = (before.elapsed(), window.stats().consumer_wait - waited);
            let mut stats = LayerStats { layer, live, stall, time, ..LayerStats::default() };
            if due && let Some(verdicts) = selecting.take_in(layer, &scores)? {
                stats.decided(&verdicts);
                self.retain(layer, &selecting.running())?;
            }
            meter.layer(stats);
        }
        self.store.report(self.timeline);
        Ok(())
    }

    /// Forgets the candidates that do not go on after `layer` and packs the others anew.
    fn retain(&mut self, layer: usize, goes_on: &[bool]) -> Result<()> {
        let members = self.chunks.iter().flat_map(|chunk| &chunk.members);
        let ended = members.filter(|member| !goes_on[member.candidate]).count();
        if ended > 0 {
            self.reporter.ended(ended, layer);
            let chunks = std::mem::take(&mut self.chunks);
            self.chunks = pool::retain(chunks, |c| goes_on[c], self.chunk_tokens, &self.store)?;
        }
        Ok(())
    }

    /// All chunks through one layer; where scores are `due`, every candidate's score after it.
    fn layer(&mut self, layer: usize, due: bool, window: &mut Window) -> Result<Vec<Score>> {
        let on = self.on;
        let Executor { model, ops, .. } = on;
        let fail = |e| on.fail(e);
        let last = layer + 1 == self.on.layers();
        let mut unread = Vec::new();
        for planned in window.blocks_of(layer) {
            let (index, part) = (planned.index, planned.part);
            let weights = self.wait_for(window, layer, part, index)?;
            let slot = ops.admit(Arc::new(weights), self.spare.take()).map_err(|e| on.fail(e))?;
            let weights = LayerWeights::new(ops, &slot, window::parts(model, layer, part));
            let (attends, feeds) = (part != BlockPart::FeedForward, part != BlockPart::Attention);
            let attention = attends.then(|| model.attention(&weights)).transpose().map_err(fail)?;
            let feed_forward = feeds.then(|| model.feed_forward(&weights)).transpose();
            let feed_forward = feed_forward.map_err(fail)?;
            let block = Block { layer, part, index, attention, feed_forward, last, due };
            self.block(&block, &mut unread)?;
            drop(block);
            // Where a slot is the host's block, the window waits for it.
            self.spare = Some(slot).filter(|_| !self.shares_host_memory);
        }
        let mut scores = Vec::new();
        for unread in unread {
            scores.extend(self.scoring.wait(on, unread)?);
        }
        Ok(scores)
    }

    fn wait_for(
        &mut self,
        window: &mut Window,
        layer: usize,
        part: BlockPart,
        index: usize,
    ) -> Result<Weights> {
        let before = Instant::now();
        let weights = window.block(index)?;
        self.timeline.span(Track::Compute, "wait for weights", before, Instant::now());
        self.timeline.weights(layer, part, &weights);
        Ok(weights)
    }

    /// The prefix and all chunks through one block.
    fn block(&mut self, block: &Block<'_, B>, unread: &mut Vec<Unread<B>>) -> Result<()> {
        let (attention, feed_forward) = (block.attention.as_ref(), block.feed_forward.as_ref());
        self.prefix
            .run(self.on, &self.context, attention, feed_forward, block.last)
            .map_err(|e| self.on.fail(e))?;
        let order: Vec<usize> = chunk::order(self.chunks.len(), block.index).collect();
        for (at, &index) in order.iter().enumerate() {
            self.reporter.check()?;
            self.chunk(block, index, order.get(at + 1).copied(), unread)?;
        }
        Ok(())
    }

    /// Chunk `index` through a block, while the `next` one's hidden states come from where they are.
    fn chunk(
        &mut self,
        block: &Block<'_, B>,
        index: usize,
        next: Option<usize>,
        unread: &mut Vec<Unread<B>>,
    ) -> Result<()> {
        let before = Instant::now();
        let Executor { model, ops, .. } = self.on;
        let mut hidden = self.chunks[index].take(&self.store)?; // [rows, hidden]
        if let Some(next) = next {
            self.chunks[next].prefetch(&self.store)?;
        }
        if let Some(attention) = &block.attention {
            let attended = self.attend(attention, index, hidden, block.last);
            hidden = attended.map_err(|e| self.on.fail(e))?; // in the last layer [members, hidden]
        }
        if let Some(feed_forward) = &block.feed_forward {
            hidden = model.feed(ops, feed_forward, hidden).map_err(|e| self.on.fail(e))?;
            let chunk = &self.chunks[index];
            if block.due {
                unread.push(self.scoring.read(self.on, block.layer, chunk, &hidden)?);
            }
            self.reporter.done(chunk.members.len(), block.layer);
        }
        // After the last block nobody needs them.
        if !(block.last && block.feed_forward.is_some()) {
            let origin = Origin { layer: Some(block.layer), chunk: index };
            self.chunks[index].put(hidden, origin, &mut self.store)?;
        }
        self.timeline.chunk(block.layer, block.part, index, before);
        Ok(())
    }

    /// One chunk through an attention block; in the last layer only the scored tokens go on.
    fn attend(
        &mut self,
        attention: &Attention<'_, B>,
        index: usize,
        hidden: B::Tensor,
        last: bool,
    ) -> grating_model::Result<B::Tensor> {
        let Executor { model, ops, .. } = self.on;
        let chunk = &mut self.chunks[index];
        chunk.lay_out(self.on, &self.context, self.prefix.tokens())?;
        let context = self.context.chunk(chunk.layout(), self.prefix.keys_values());
        if last && self.scored_rows {
            let scored = model.attend_scored(ops, attention, hidden, &context)?;
            chunk.leave_scored();
            return Ok(scored);
        }
        model.attend(ops, attention, hidden, &context)
    }
}
