//! Host memory as a device's.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use grating_backend::{
    Backend, BackendError, Caps, Format, HostBlock, Meter, Precision, Ragged, Result, Rows, Scored,
    Source, TensorRef, Then, Widths, Workspace,
};
use grating_kernels::attention::{Heads, KeysValues, Span, release_scratch, scratch_bytes};
use grating_kernels::{Compute, Kernels, Matrix};

use crate::{CpuOps, CpuTensor, CpuWeight, awake};

/// Where a chunk's rows are. Positions and spans are made of it when they are asked for: kept for all chunks of a pool of
/// short texts they would take more than the texts.
#[derive(Debug, Clone)]
pub struct CpuLayout(Ragged);

impl CpuLayout {
    pub(crate) fn ragged(&self) -> &Ragged {
        &self.0
    }

    pub(crate) fn positions(&self, rows: Rows) -> Vec<u32> {
        match rows {
            Rows::All => self.0.positions(),
            Rows::Scored => self.0.scored_positions(),
        }
    }

    /// Keys and values of its rows.
    pub(crate) fn keys_values<'a>(
        &'a self,
        keys: &'a CpuTensor,
        values: &'a CpuTensor,
    ) -> KeysValues<'a> {
        let positions = self.0.given_positions();
        KeysValues { positions, ..KeysValues::new(keys.as_slice(), values.as_slice()) }
    }

    pub(crate) fn spans(&self, rows: Rows) -> Vec<Span> {
        let whole = |keys: Range<usize>| Span { queries: keys.clone(), keys, first_query: 0 };
        let scored = |(i, keys): (usize, Range<usize>)| {
            let first_query = match self.0.scored() {
                Scored::First => 0,
                Scored::Last => keys.len() - 1,
                Scored::Mean => unreachable!("no token of a sequence is scored alone"),
            };
            Span { queries: i..i + 1, keys, first_query }
        };
        match rows {
            Rows::All => self.0.sequences().map(whole).collect(),
            Rows::Scored => self.0.sequences().enumerate().map(scored).collect(),
        }
    }
}

impl Backend for CpuOps {
    type Tensor = CpuTensor;
    /// The host's block: nothing is copied.
    type Slot = Arc<dyn HostBlock>;
    type Weight<'s> = CpuWeight<'s>;
    type Layout = CpuLayout;
    type Pending = Vec<f32>;

    fn caps(&self) -> Caps {
        Caps::on_host(format!("cpu ({}, {})", self.kernels.isa(), self.precision))
    }

    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.threads {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    fn run_closely<R>(&self, work: impl FnOnce() -> R) -> R {
        awake::while_running(work)
    }

    fn admit(&self, block: Arc<dyn HostBlock>, _spare: Option<Self::Slot>) -> Result<Self::Slot> {
        Ok(block)
    }

    fn bind<'s>(&self, slot: &'s Self::Slot, tensor: TensorRef<'_>) -> Result<CpuWeight<'s>> {
        let TensorRef { index, format, shape, unrounded, one_added, then, .. } = tensor;
        let bytes = slot.bytes(index);
        let [rows, columns] = *shape else {
            let mut vector = elements(format, shape, bytes)?;
            if one_added {
                vector.iter_mut().for_each(|x| *x += 1.0);
            }
            return Ok(CpuWeight::Vector(vector));
        };
        let matrix = Matrix::new(format, rows, columns, bytes).map_err(BackendError::failed)?;
        let precision = if unrounded { Precision::Full } else { self.precision };
        let then = match then {
            Then::Multiplied(Some(next)) => Some(self.compute(next, self.precision)),
            _ => None,
        };
        Ok(CpuWeight::Matrix(matrix, self.compute(format, precision), then))
    }

    fn layout(&self, rows: &Ragged) -> Result<CpuLayout> {
        Ok(CpuLayout(rows.clone()))
    }

    fn empty(&self, rows: usize, columns: usize) -> Result<CpuTensor> {
        Ok(self.scratch(rows, columns))
    }

    fn written<E: From<BackendError>>(
        &self,
        rows: usize,
        columns: usize,
        write: impl FnOnce(&mut [f32]) -> Result<(), E>,
    ) -> Result<CpuTensor, E> {
        let mut tensor = self.scratch(rows, columns);
        write(tensor.as_mut_slice())?;
        Ok(tensor)
    }

    fn copy_rows(
        &self,
        out: &mut CpuTensor,
        at: usize,
        source: Source<'_, CpuTensor>,
        rows: Range<usize>,
    ) -> Result<()> {
        let columns = out.columns;
        let source = match source {
            Source::Tensor(tensor) => Cow::Borrowed(tensor.as_slice()),
            Source::Host(bytes) => numbers(bytes),
        };
        let from = &source[rows.start * columns..rows.end * columns];
        out.as_mut_slice()[at * columns..][..from.len()].copy_from_slice(from);
        Ok(())
    }

    fn park(&self, x: &CpuTensor, out: &mut [u8]) -> Result<()> {
        out.copy_from_slice(bytemuck::cast_slice(x.as_slice()));
        Ok(())
    }

    fn read(&self, x: &CpuTensor) -> Result<Vec<f32>> {
        Ok(x.as_slice().to_vec())
    }

    fn wait(&self, pending: Vec<f32>) -> Result<Vec<f32>> {
        Ok(pending)
    }

    fn workspace(&self, widths: &Widths, longest: usize) -> Workspace {
        let threads = match &self.threads {
            Some(pool) => pool.current_num_threads(),
            None => rayon::current_num_threads(),
        };
        let fixed = per_thread(widths, &self.kernels, longest).saturating_mul(threads);
        let tables = angle_bytes(widths, longest) + distance_bytes(widths);
        Workspace::new(self.per_token(widths), fixed.saturating_add(tables))
    }

    fn meter(&self) -> Meter {
        Meter::new(self.arena.peak_bytes(), self.clock.times())
    }

    fn trim(&self) {
        self.clock.reset();
        self.arena.trim();
        self.most_rows.store(0, std::sync::atomic::Ordering::Relaxed);
        self.inputs.clear();
        self.outcomes.clear();
        // Threads that encode for other callers meanwhile do it when they come to it.
        match &self.threads {
            Some(pool) => pool.spawn_broadcast(|_| release_scratch()),
            None => rayon::spawn_broadcast(|_| release_scratch()),
        }
    }
}

impl CpuOps {
    /// Most bytes that a layer needs for each token of a chunk, the hidden state itself not counted.
    fn per_token(&self, widths: &Widths) -> usize {
        let Widths { hidden: h, intermediate: f, gated, heads, kv_heads, head_dim, .. } = *widths;
        let (q, kv) = (heads * head_dim, 2 * kv_heads * head_dim);
        // Queries, keys and values with their input, then what attention makes of them; or that and the output with its norm.
        let attention = (h + 2 * q + kv).max(q + 2 * h);
        // Where the outcome of an activation is multiplied as it is, and in products of the same kind, it is only ever laid out
        // for them. Else both halves of a gated block or the one of a plain one are there, too; buffers that are used again
        // are up to half larger than what is in them.
        let alike = self.compute_of_all(widths);
        let wide = match (alike.filter(|_| !widths.scaled), gated) {
            (Some(_), _) => 0,
            (None, true) => 3 * f,
            (None, false) => 2 * f,
        };
        let feed_forward = 2 * h + wide;
        // Inputs of linear layers, and outcomes of activations.
        let prepared = match alike {
            Some(compute) => {
                let bytes = |columns| self.kernels.row_bytes(columns, compute);
                match widths.scaled {
                    true => bytes(h.max(q).max(f)),
                    false => bytes(h.max(q)) + bytes(f),
                }
            }
            None => self.kernels.prepared_bytes(h.max(q).max(f)) + self.kernels.prepared_bytes(f),
        };
        size_of::<f32>() * attention.max(feed_forward) + prepared
    }

    /// In what products with the layers' matrices are taken, where it is the same for all of them.
    fn compute_of_all(&self, widths: &Widths) -> Option<Compute> {
        let of = |format| self.compute(format, self.precision);
        match widths.format {
            Some(format) => Some(of(format)),
            // Of the others all have the same.
            None => Some(of(Format::F32)).filter(|&all| !widths.bf16 || of(Format::Bf16) == all),
        }
    }
}

/// A vector's elements in f32.
fn elements(format: Format, shape: &[usize], bytes: &[u8]) -> Result<Vec<f32>> {
    let mut elements = vec![0.0; shape.iter().product()];
    grating_quant::dequantize_into(format, bytes, &mut elements).map_err(BackendError::failed)?;
    Ok(elements)
}

/// What was parked, where it lies if it is aligned as the buffers of spill stores are.
fn numbers(bytes: &[u8]) -> Cow<'_, [f32]> {
    match bytemuck::try_cast_slice(bytes) {
        Ok(numbers) => Cow::Borrowed(numbers),
        Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(bytes)),
    }
}

/// Bytes of scratch that each thread takes: of linear layers, and of attention over sequences of up to `keys` tokens.
fn per_thread(widths: &Widths, kernels: &Kernels, keys: usize) -> usize {
    let Widths { hidden, heads, kv_heads, head_dim, whole_attention, distance_rows, .. } = *widths;
    let linear = kernels.scratch_bytes(hidden, widths.gated);
    let heads = Heads::new(heads, kv_heads, head_dim, !whole_attention);
    linear + scratch_bytes(heads, keys, distance_rows)
}

/// Bytes of the table of distances, of its keys and queries in the layer at hand, and of what making them takes.
fn distance_bytes(widths: &Widths) -> usize {
    let Widths { hidden: h, heads, head_dim, distance_rows, .. } = *widths;
    let q = heads * head_dim;
    distance_rows * (h + 2 * q + h.max(q)) * size_of::<f32>()
}

/// Bytes of the tables of rotary angles up to `tokens` positions.
fn angle_bytes(widths: &Widths, tokens: usize) -> usize {
    2 * widths.angle_tables * tokens * (widths.head_dim / 2) * size_of::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn what_distances_add_counts_for_each_thread_and_once() {
        let ops = CpuOps::new(Isa::Portable, Precision::Full);
        let (rows, tokens, head) = (512, 300, 64);
        let plain = Widths::new(768, 3072).with_heads(12, 12, head).with_whole_attention(true);
        let fixed = |widths: Widths| ops.workspace(&widths, tokens).fixed;
        let added = fixed(plain.with_distance_rows(rows)) - fixed(plain);
        // Of each thread: products of the table's queries with all keys, and of a block's queries with the table.
        let of_thread = rows * tokens + 64 * rows + 2 * head * rows;
        // The table, and its keys and queries.
        let once = rows * 3 * 768;
        let least = rayon::current_num_threads() * of_thread + once;
        assert!(added >= 4 * least, "{added} for {}", 4 * least);
        assert!(added <= 6 * least, "{added} for {}", 4 * least);
        let short = ops.workspace(&plain.with_distance_rows(rows), 20).fixed;
        assert!(short < fixed(plain.with_distance_rows(rows)));
    }

    #[test]
    fn products_are_named_with_those_of_attention() {
        let products = |isa, precision| CpuOps::new(isa, precision).products([Format::F16]);
        assert_eq!(products(Isa::Portable, Precision::Fast), "f32");
        if Isa::Amx.is_supported() {
            assert_eq!(products(Isa::Amx, Precision::Fast), "bf16, bf16 in attention");
            assert_eq!(products(Isa::Amx, Precision::Exact), "f32");
        }
    }
}
