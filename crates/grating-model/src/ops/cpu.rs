//! [`Ops`] on the CPU, computing on weights as they lie in the window.
//!
//! Matrices keep their stored type; a linear layer reads them where they are. Activations live in buffers of an
//! [`Arena`] and go back to it when they are dropped, so that a layer allocates nothing that the one before it did not
//! need too. Every operation shares its work out over the threads of the current rayon pool, and no bit of a result
//! depends on how many there are or on what else is in the chunk.

mod arena;
mod clock;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use grating_kernels::attention::{Heads, KeysValues, Span, attention, scratch_bytes};
use grating_kernels::rows::{self, Activation};
use grating_kernels::{Activations, Compute, Format, Isa, Kernels, Matrix};

use super::{Affine, Ops};
use crate::config::{ModelConfig, Positions};
use crate::error::{ModelError, Result};
use crate::model::Model;
use crate::precision::Precision;
use crate::weights::{TensorView, format_of};
use arena::{Arena, Buffer};
use clock::Clock;
use clock::Operation::{self, Activation as Activate};
pub use clock::OperationTimes;

/// Tensor operations of the CPU path.
#[derive(Debug)]
pub struct CpuOps {
    kernels: Kernels,
    precision: Precision,
    arena: Arc<Arena>,
    /// Most rows of a tensor since the last trim.
    most_rows: AtomicUsize,
    /// Prepared inputs of linear layers, reused.
    prepared: Mutex<Vec<Activations>>,
    clock: Clock,
}

/// An activation tensor, f32 `[rows, columns]`.
#[derive(Debug)]
pub struct CpuTensor {
    data: Buffer,
    rows: usize,
    columns: usize,
}

/// A weight: the bytes of the window, or, for vectors, their elements.
#[derive(Debug)]
pub enum CpuWeight<'w> {
    /// `[n]`
    Vector(Vec<f32>),
    /// `[out, in]`, and in what its products are taken.
    Matrix(Matrix<'w>, Compute),
}

impl CpuOps {
    /// With the given instructions and precision.
    ///
    /// # Panics
    /// If this machine lacks the instructions ([`Isa::is_supported`]).
    pub fn new(isa: Isa, precision: Precision) -> Self {
        CpuOps {
            kernels: Kernels::new(isa),
            precision,
            arena: Arc::default(),
            most_rows: AtomicUsize::new(0),
            prepared: Mutex::default(),
            clock: Clock::default(),
        }
    }

    /// In which types products with the matrices of a model's layers are taken, `f32` for instance, or `f32, int8`. It
    /// depends on precision, instructions and the weights' types; scores of two machines where it is the same differ by
    /// no more than rounding in f32.
    pub fn products(&self, model: &Model) -> String {
        let layers = 0..model.config().layers;
        let parts = layers.flat_map(|layer| model.layer_parts(layer));
        let matrices = parts.filter(|part| part.shape().len() == 2);
        let formats = matrices.filter_map(|part| format_of(part.dtype()));
        let kinds: BTreeSet<&str> = formats.map(|format| self.compute(format).name()).collect();
        Vec::from_iter(kinds).join(", ")
    }

    fn compute(&self, format: Format) -> Compute {
        self.kernels.compute_for(format, self.precision.products(format))
    }

    /// Most bytes of activations that lived at one time since the last [`Self::trim`].
    pub fn peak_bytes(&self) -> u64 {
        self.arena.peak_bytes()
    }

    /// Time by operation since the last [`Self::trim`].
    pub fn times(&self) -> OperationTimes {
        self.clock.times()
    }

    /// Gives memory that no tensor uses back to the system, and starts a new peak and new times.
    pub fn trim(&self) {
        self.clock.reset();
        self.arena.trim();
        self.most_rows.store(0, Ordering::Relaxed);
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A tensor to be written; what it holds is unspecified.
    pub fn scratch(&self, rows: usize, columns: usize) -> CpuTensor {
        // Chunks differ in their rows; what the largest fits in does for all that are not far smaller.
        let most = self.most_rows.fetch_max(rows, Ordering::Relaxed).max(rows);
        let room = if 2 * rows >= most { most } else { rows };
        CpuTensor { data: self.arena.take(rows * columns, room * columns), rows, columns }
    }

    /// Most bytes that a layer of such a model needs for each token of a chunk, the hidden state itself not counted.
    pub fn workspace_per_token(config: &ModelConfig) -> usize {
        let (q, kv) = (config.heads * config.head_dim, 2 * config.kv_heads * config.head_dim);
        let (h, f) = (config.hidden, config.intermediate);
        // Queries, keys and values with their input, then what attention makes of them.
        let attention = h + 2 * q + kv;
        // Both halves of a gated feed-forward block or the one of a plain one, with their input, and the output; buffers
        // that are used again are up to half larger than what is in them.
        let wide = if config.family.is_decoder() { 3 * f } else { 2 * f };
        let feed_forward = 2 * h + wide;
        // The input of one linear layer, laid out for the kernels.
        let prepared = h.max(q).max(f);
        size_of::<f32>() * (attention.max(feed_forward) + prepared)
    }

    /// Bytes of scratch that each thread takes: packed weights, and attention over sequences of up to `keys` tokens, a
    /// shared prefix included.
    pub fn workspace_per_thread(config: &ModelConfig, keys: usize) -> usize {
        const PACKED: usize = 1 << 20;
        let heads = Heads {
            queries: config.heads,
            keys: config.kv_heads,
            width: config.head_dim,
            causal: config.family.is_decoder(),
        };
        PACKED + scratch_bytes(heads, keys)
    }

    /// Bytes of the tables of rotary angles of a request whose longest sequence has `tokens` tokens.
    pub fn angle_bytes(config: &ModelConfig, tokens: usize) -> usize {
        match config.positions {
            Positions::Absolute { .. } => 0,
            Positions::Rope { .. } => 2 * tokens * (config.head_dim / 2) * size_of::<f32>(),
        }
    }

    /// Gives the calling thread's scratch of attention back, which has grown to the longest sequence so far.
    pub fn release_scratch() {
        grating_kernels::attention::release_scratch();
    }

    /// Memory for prepared inputs, to be given back.
    fn prepared(&self) -> Activations {
        let mut spare = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        spare.pop().unwrap_or_default()
    }

    fn give_back(&self, prepared: Activations) {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).push(prepared);
    }

    fn prepare(&self, x: &CpuTensor, compute: Compute, into: &mut Activations) {
        self.clock.time(Operation::Prepare, || {
            self.kernels.prepare(&x.data, x.rows, x.columns, compute, into);
        });
    }

    fn matrix<'w>(&self, view: TensorView<'w>, precision: Precision) -> Result<CpuWeight<'w>> {
        let found = view.dtype();
        let format = format_of(found)
            .ok_or_else(|| ModelError::UnsupportedDtype { tensor: "(weight)".into(), found })?;
        let [rows, columns] = *view.shape() else {
            return Ok(CpuWeight::Vector(view.to_f32()));
        };
        let matrix = Matrix::new(format, rows, columns, view.bytes())
            .map_err(|e| ModelError::Backend { reason: e.to_string() })?;
        let compute = self.kernels.compute_for(format, precision.products(format));
        Ok(CpuWeight::Matrix(matrix, compute))
    }
}

impl CpuTensor {
    /// The elements, row-major.
    pub fn as_slice(&self) -> &[f32] {
        &self.data
    }

    /// The elements, row-major.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.data
    }
}

impl CpuWeight<'_> {
    fn vector(&self) -> &[f32] {
        match self {
            CpuWeight::Vector(elements) => elements,
            CpuWeight::Matrix(..) => unreachable!("models use norms and biases as vectors"),
        }
    }

    fn matrix(&self) -> (&Matrix<'_>, Compute) {
        match self {
            CpuWeight::Matrix(matrix, compute) => (matrix, *compute),
            CpuWeight::Vector(_) => unreachable!("models use matrices as matrices"),
        }
    }
}

impl Ops for CpuOps {
    type Tensor = CpuTensor;
    type Weight<'w> = CpuWeight<'w>;

    fn name(&self) -> String {
        format!("cpu ({}, {})", self.kernels.isa(), self.precision)
    }

    fn bind<'w>(&self, view: TensorView<'w>) -> Result<CpuWeight<'w>> {
        self.matrix(view, self.precision)
    }

    fn bind_unrounded<'w>(&self, view: TensorView<'w>) -> Result<CpuWeight<'w>> {
        self.matrix(view, Precision::Full)
    }

    fn upload(&self, data: Vec<f32>, rows: usize, columns: usize) -> Result<CpuTensor> {
        assert_eq!(data.len(), rows * columns, "data and shape differ");
        // Copied, so that the memory is the arena's and is used again.
        let mut tensor = self.scratch(rows, columns);
        tensor.as_mut_slice().copy_from_slice(&data);
        Ok(tensor)
    }

    fn written(
        &self,
        rows: usize,
        columns: usize,
        write: impl FnOnce(&mut [f32]) -> Result<()>,
    ) -> Result<CpuTensor> {
        let mut tensor = self.scratch(rows, columns);
        write(tensor.as_mut_slice())?;
        Ok(tensor)
    }

    fn download(&self, x: &CpuTensor) -> Result<Vec<f32>> {
        Ok(x.data.to_vec())
    }

    fn linear<const N: usize>(
        &self,
        x: &CpuTensor,
        maps: [Affine<'_, CpuWeight<'_>>; N],
    ) -> Result<[CpuTensor; N]> {
        let mut prepared = self.prepared();
        let mut ready = None;
        let outputs = maps.map(|Affine { weight, bias }| {
            let (matrix, compute) = weight.matrix();
            if ready != Some(compute) {
                self.prepare(x, compute, &mut prepared);
                ready = Some(compute);
            }
            let mut out = self.scratch(x.rows, matrix.rows());
            let bias = bias.map(CpuWeight::vector);
            self.clock.time(Operation::Linear, || {
                self.kernels.linear(&prepared, matrix, bias, &mut out.data, matrix.rows());
            });
            out
        });
        self.give_back(prepared);
        Ok(outputs)
    }

    fn linear_add(
        &self,
        mut sum: CpuTensor,
        x: &CpuTensor,
        Affine { weight, bias }: Affine<'_, CpuWeight<'_>>,
    ) -> Result<CpuTensor> {
        let (matrix, compute) = weight.matrix();
        let mut prepared = self.prepared();
        self.prepare(x, compute, &mut prepared);
        let bias = bias.map(CpuWeight::vector);
        self.clock.time(Operation::Linear, || {
            self.kernels.linear_add(&prepared, matrix, bias, &mut sum.data, matrix.rows());
        });
        self.give_back(prepared);
        Ok(sum)
    }

    fn gate(
        &self,
        mut gate: CpuTensor,
        up: &CpuTensor,
        activation: Activation,
    ) -> Result<CpuTensor> {
        let isa = self.kernels.isa();
        self.clock.time(Activate, || rows::gate(isa, &mut gate.data, &up.data, activation));
        Ok(gate)
    }

    fn rms_norm(&self, x: &CpuTensor, weight: &CpuWeight<'_>, eps: f32) -> Result<CpuTensor> {
        let mut out = self.scratch(x.rows, x.columns);
        let isa = self.kernels.isa();
        self.clock.time(Operation::Norm, || {
            rows::rms_norm(isa, &x.data, weight.vector(), eps, &mut out.data);
        });
        Ok(out)
    }

    fn rms_norm_heads(
        &self,
        mut x: CpuTensor,
        weight: &CpuWeight<'_>,
        eps: f32,
    ) -> Result<CpuTensor> {
        let isa = self.kernels.isa();
        self.clock.time(Operation::Norm, || {
            rows::rms_norm_in_place(isa, &mut x.data, weight.vector(), eps);
        });
        Ok(x)
    }

    fn layer_norm(
        &self,
        mut x: CpuTensor,
        weight: &CpuWeight<'_>,
        bias: &CpuWeight<'_>,
        eps: f32,
    ) -> Result<CpuTensor> {
        let (weight, bias) = (weight.vector(), bias.vector());
        let isa = self.kernels.isa();
        self.clock.time(Operation::Norm, || {
            rows::layer_norm_in_place(isa, &mut x.data, weight, bias, eps);
        });
        Ok(x)
    }

    fn activate(&self, mut x: CpuTensor, activation: Activation) -> Result<CpuTensor> {
        let isa = self.kernels.isa();
        self.clock.time(Activate, || rows::activate(isa, &mut x.data, activation));
        Ok(x)
    }

    fn neighbours_to_halves(&self, mut x: CpuTensor, head_dim: usize) -> Result<CpuTensor> {
        let mut pairs = vec![0.0; head_dim];
        for head in x.data.chunks_exact_mut(head_dim) {
            pairs.copy_from_slice(head);
            let (low, high) = head.split_at_mut(head_dim / 2);
            for ((low, high), pair) in low.iter_mut().zip(high).zip(pairs.chunks_exact(2)) {
                (*low, *high) = (pair[0], pair[1]);
            }
        }
        Ok(x)
    }

    fn rope(
        &self,
        mut x: CpuTensor,
        cos: &CpuTensor,
        sin: &CpuTensor,
        head_dim: usize,
        positions: &[u32],
    ) -> Result<CpuTensor> {
        let isa = self.kernels.isa();
        self.clock.time(Operation::Rope, || {
            rows::rope(isa, &mut x.data, x.columns, &cos.data, &sin.data, head_dim / 2, positions);
        });
        Ok(x)
    }

    fn attention(
        &self,
        q: CpuTensor,
        k: &CpuTensor,
        v: &CpuTensor,
        prefix: Option<(&CpuTensor, &CpuTensor)>,
        heads: Heads,
        spans: &[Span],
    ) -> Result<CpuTensor> {
        let own = KeysValues { keys: &k.data, values: &v.data };
        let prefix = prefix.map(|(k, v)| KeysValues { keys: &k.data, values: &v.data });
        let mut out = self.scratch(q.rows, q.columns);
        let isa = self.kernels.isa();
        self.clock.time(Operation::Attention, || {
            attention(isa, heads, &q.data, own, prefix, spans, &mut out.data);
        });
        Ok(out)
    }

    fn select_rows(&self, x: &CpuTensor, rows: &[usize]) -> Result<CpuTensor> {
        let mut out = self.scratch(rows.len(), x.columns);
        for (out, &row) in out.data.chunks_exact_mut(x.columns).zip(rows) {
            out.copy_from_slice(&x.data[row * x.columns..(row + 1) * x.columns]);
        }
        Ok(out)
    }
}
