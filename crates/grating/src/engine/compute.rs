//! The loop over layers: every live candidate goes through layer `i`, chunk by chunk, before any enters `i + 1`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use grating_io::Checkpoint;
use grating_model::{CandleOps, ChunkContext, Encoding, Logit, Model, Ops, PartBuffer, Ragged};
use grating_sched::chunk;
use rayon::prelude::*;

use super::Scored;
use crate::error::{Error, Result};
use crate::request::{CancelToken, Progress};

/// The model, its bytes, and the buffers that are reused from one request to the next.
pub(crate) struct Compute {
    name: String,
    model: Model,
    checkpoint: Checkpoint,
    ops: CandleOps,
    stem: PartBuffer,
    head: PartBuffer,
    layer: PartBuffer,
    chunk_tokens: usize,
}

/// A run of candidates that goes through a layer together.
struct Chunk<O: Ops> {
    candidates: usize,
    context: ChunkContext<O>,
    /// `[tokens, hidden]`; taken while a layer computes.
    hidden: Option<O::Tensor>,
}

impl Compute {
    pub(crate) fn new(
        name: String,
        model: Model,
        checkpoint: Checkpoint,
        chunk_tokens: usize,
    ) -> Result<Self> {
        let (mut stem, mut head) = (PartBuffer::new(), PartBuffer::new());
        let fail = |source| Error::of_model(&name, source);
        stem.fill(&checkpoint, model.stem_parts()).map_err(fail)?;
        head.fill(&checkpoint, model.head_parts()).map_err(fail)?;
        let (ops, layer) = (CandleOps::cpu(), PartBuffer::new());
        Ok(Compute { name, model, checkpoint, ops, stem, head, layer, chunk_tokens })
    }

    /// Scores of all candidates after the last layer.
    pub(crate) fn run(
        &mut self,
        encodings: &[Encoding],
        cancel: &CancelToken,
        progress: impl Fn(Progress) + Sync,
    ) -> Result<Scored> {
        let Compute { name, model, checkpoint, ops, stem, head, layer, chunk_tokens } = self;
        let fail = |source| Error::of_model(name, source);
        let started = Instant::now();
        let layers = model.config().layers;
        let total = (encodings.len() * layers) as u64;
        let done = AtomicU64::new(0);

        let stem = model.stem(ops, &stem.views(model.stem_parts()).map_err(fail)?).map_err(fail)?;
        let head = model.head(ops, &head.views(model.head_parts()).map_err(fail)?).map_err(fail)?;
        let mut chunks = Vec::new();
        let lengths: Vec<usize> = encodings.iter().map(|e| e.ids.len()).collect();
        // At least one chunk for each thread, where there are candidates enough.
        let share = lengths.iter().sum::<usize>().div_ceil(rayon::current_num_threads());
        for range in chunk::plan(&lengths, share.clamp(1, *chunk_tokens)) {
            cancelled(cancel)?;
            let chunk = &encodings[range.clone()];
            let ragged = Ragged::from_lengths(lengths[range].iter().copied());
            let context = model.context(ops, ragged).map_err(fail)?;
            let hidden = model.embed(ops, &stem, checkpoint, chunk).map_err(fail)?;
            chunks.push(Chunk { candidates: chunk.len(), context, hidden: Some(hidden) });
        }

        let mut read = Duration::ZERO;
        let mut bytes_read = 0;
        for index in 0..layers {
            let parts = model.layer_parts(index);
            let reading = Instant::now();
            bytes_read += layer.fill(checkpoint, parts).map_err(fail)?;
            read += reading.elapsed();
            let bound = model.layer(ops, &layer.views(parts).map_err(fail)?).map_err(fail)?;
            let forward = |chunk: &mut Chunk<CandleOps>| -> Result<()> {
                cancelled(cancel)?;
                let hidden =
                    chunk.hidden.take().expect("each chunk holds its hidden states between layers");
                let hidden = model.forward(ops, &bound, hidden, &chunk.context).map_err(fail)?;
                chunk.hidden = Some(hidden);
                let done = done.fetch_add(chunk.candidates as u64, Ordering::Relaxed)
                    + chunk.candidates as u64;
                progress(Progress { done, total, layer: index, layers });
                Ok(())
            };
            // Chunks do not touch each other: as many run at a time as the pool has threads.
            chunks.par_iter_mut().try_for_each(forward)?;
        }

        let after_layer = layers - 1;
        let mut logits: Vec<Logit> = Vec::with_capacity(encodings.len());
        for chunk in &chunks {
            let hidden =
                chunk.hidden.as_ref().expect("each chunk holds its hidden states between layers");
            logits.extend(model.scores(ops, &head, hidden, chunk.context.ragged()).map_err(fail)?);
        }
        if let Some(candidate) = logits.iter().position(|l| !l.0.is_finite()) {
            return Err(Error::NotFinite {
                candidate,
                layer: after_layer,
                score: logits[candidate].0,
            });
        }
        let compute = started.elapsed() - read;
        Ok(Scored { logits, after_layer, chunks: chunks.len(), bytes_read, read, compute })
    }
}

fn cancelled(cancel: &CancelToken) -> Result<()> {
    match cancel.is_cancelled() {
        true => Err(Error::Cancelled),
        false => Ok(()),
    }
}
