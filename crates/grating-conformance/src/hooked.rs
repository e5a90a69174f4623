//! A backend that is interrupted: something happens on the worker's thread before a block of weights is computed.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use grating_backend::{
    Activation, Affine, Attended, AttentionSpec, Backend, BackendError, ByDistance, Caps,
    HostAllocator, HostBlock, Meter, Ops, OverHeads, Ragged, Result, Rows, Source, TensorRef,
    Widths, Workspace,
};

type Hook = Box<dyn FnMut() -> Result<()> + Send>;

/// What happens before each block of weights, on the thread that computes; clones share it.
#[derive(Clone, Default)]
pub(crate) struct BeforeBlock(Arc<Mutex<Option<Hook>>>);

impl BeforeBlock {
    /// From the next block on. Where the hook panics, nothing happens any more.
    pub(crate) fn set(&self, hook: impl FnMut() -> Result<()> + Send + 'static) {
        *self.hook() = Some(Box::new(hook));
    }

    fn call(&self) -> Result<()> {
        // Not locked meanwhile: the hook may wait for the test.
        let Some(mut hook) = self.hook().take() else { return Ok(()) };
        let outcome = hook();
        self.hook().get_or_insert(hook);
        outcome
    }

    fn hook(&self) -> std::sync::MutexGuard<'_, Option<Hook>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Another backend, and what happens before its blocks.
pub(crate) struct Hooked<B> {
    pub(crate) inner: B,
    pub(crate) before_block: BeforeBlock,
}

impl<B: Ops> Backend for Hooked<B> {
    type Tensor = B::Tensor;
    type Slot = B::Slot;
    type Weight<'s> = B::Weight<'s>;
    type Layout = B::Layout;
    type Pending = B::Pending;

    fn caps(&self) -> Caps {
        self.inner.caps()
    }

    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.inner.run(work)
    }

    fn run_closely<R>(&self, work: impl FnOnce() -> R) -> R {
        self.inner.run_closely(work)
    }

    fn admit(&self, block: Arc<dyn HostBlock>, spare: Option<Self::Slot>) -> Result<Self::Slot> {
        self.before_block.call()?;
        self.inner.admit(block, spare)
    }

    fn host_memory(&self) -> Option<HostAllocator> {
        self.inner.host_memory()
    }

    fn finish_copies(&self) -> Result<()> {
        self.inner.finish_copies()
    }

    fn bind<'s>(&self, slot: &'s Self::Slot, tensor: TensorRef<'_>) -> Result<Self::Weight<'s>> {
        self.inner.bind(slot, tensor)
    }

    fn layout(&self, rows: &Ragged) -> Result<Self::Layout> {
        self.inner.layout(rows)
    }

    fn empty(&self, rows: usize, columns: usize) -> Result<Self::Tensor> {
        self.inner.empty(rows, columns)
    }

    fn written<E: From<BackendError>>(
        &self,
        rows: usize,
        columns: usize,
        write: impl FnOnce(&mut [f32]) -> Result<(), E>,
    ) -> Result<Self::Tensor, E> {
        self.inner.written(rows, columns, write)
    }

    fn copy_rows(
        &self,
        out: &mut Self::Tensor,
        at: usize,
        source: Source<'_, Self::Tensor>,
        rows: Range<usize>,
    ) -> Result<()> {
        self.inner.copy_rows(out, at, source, rows)
    }

    fn park(&self, x: &Self::Tensor, out: &mut [u8]) -> Result<()> {
        self.inner.park(x, out)
    }

    fn read(&self, x: &Self::Tensor) -> Result<Self::Pending> {
        self.inner.read(x)
    }

    fn wait(&self, pending: Self::Pending) -> Result<Vec<f32>> {
        self.inner.wait(pending)
    }

    fn workspace(&self, widths: &Widths, longest: usize) -> Workspace {
        self.inner.workspace(widths, longest)
    }

    fn meter(&self) -> Meter {
        self.inner.meter()
    }

    fn trim(&self) {
        self.inner.trim();
    }
}

impl<B: Ops> Ops for Hooked<B> {
    fn linear<const N: usize>(
        &self,
        x: &Self::Tensor,
        maps: [Affine<'_, Self::Weight<'_>>; N],
    ) -> Result<[Self::Tensor; N]> {
        self.inner.linear(x, maps)
    }

    fn linear_add(
        &self,
        sum: Self::Tensor,
        x: &Self::Tensor,
        map: Affine<'_, Self::Weight<'_>>,
    ) -> Result<Self::Tensor> {
        self.inner.linear_add(sum, x, map)
    }

    fn linear_activated(
        &self,
        x: &Self::Tensor,
        map: Affine<'_, Self::Weight<'_>>,
        activation: Activation,
    ) -> Result<Self::Tensor> {
        self.inner.linear_activated(x, map, activation)
    }

    fn linear_gated(
        &self,
        x: &Self::Tensor,
        gate_up: [Affine<'_, Self::Weight<'_>>; 2],
        activation: Activation,
    ) -> Result<Self::Tensor> {
        self.inner.linear_gated(x, gate_up, activation)
    }

    fn add(&self, sum: Self::Tensor, x: &Self::Tensor) -> Result<Self::Tensor> {
        self.inner.add(sum, x)
    }

    fn scaled(&self, x: Self::Tensor, factor: f32) -> Result<Self::Tensor> {
        self.inner.scaled(x, factor)
    }

    fn gate(
        &self,
        gate: Self::Tensor,
        up: &Self::Tensor,
        activation: Activation,
    ) -> Result<Self::Tensor> {
        self.inner.gate(gate, up, activation)
    }

    fn rms_norm(
        &self,
        x: &Self::Tensor,
        weight: &Self::Weight<'_>,
        eps: f32,
    ) -> Result<Self::Tensor> {
        self.inner.rms_norm(x, weight, eps)
    }

    fn rms_norm_heads(
        &self,
        x: Self::Tensor,
        weight: &Self::Weight<'_>,
        eps: f32,
    ) -> Result<Self::Tensor> {
        self.inner.rms_norm_heads(x, weight, eps)
    }

    fn layer_norm(
        &self,
        x: Self::Tensor,
        weight: &Self::Weight<'_>,
        bias: Option<&Self::Weight<'_>>,
        eps: f32,
    ) -> Result<Self::Tensor> {
        self.inner.layer_norm(x, weight, bias, eps)
    }

    fn layer_norm_of(
        &self,
        x: &Self::Tensor,
        weight: &Self::Weight<'_>,
        bias: Option<&Self::Weight<'_>>,
        eps: f32,
    ) -> Result<Self::Tensor> {
        self.inner.layer_norm_of(x, weight, bias, eps)
    }

    fn activate(&self, x: Self::Tensor, activation: Activation) -> Result<Self::Tensor> {
        self.inner.activate(x, activation)
    }

    fn neighbours_to_halves(&self, x: Self::Tensor, head_dim: usize) -> Result<Self::Tensor> {
        self.inner.neighbours_to_halves(x, head_dim)
    }

    fn rope(
        &self,
        x: Self::Tensor,
        cos_sin: (&Self::Tensor, &Self::Tensor),
        head_dim: usize,
        layout: &Self::Layout,
        rows: Rows,
    ) -> Result<Self::Tensor> {
        self.inner.rope(x, cos_sin, head_dim, layout, rows)
    }

    fn rms_norm_rope(
        &self,
        x: Self::Tensor,
        norm: (&Self::Weight<'_>, f32),
        cos_sin: (&Self::Tensor, &Self::Tensor),
        head_dim: usize,
        layout: &Self::Layout,
        rows: Rows,
    ) -> Result<Self::Tensor> {
        self.inner.rms_norm_rope(x, norm, cos_sin, head_dim, layout, rows)
    }

    fn attention(
        &self,
        q: Self::Tensor,
        keys_values: (&Self::Tensor, &Self::Tensor),
        prefix: Option<(&Self::Tensor, &Self::Tensor)>,
        spec: &AttentionSpec,
        layout: &Self::Layout,
        rows: Rows,
    ) -> Result<Self::Tensor> {
        self.inner.attention(q, keys_values, prefix, spec, layout, rows)
    }

    fn attention_by_distance(
        &self,
        q: Self::Tensor,
        keys_values: (&Self::Tensor, &Self::Tensor),
        by_distance: ByDistance<'_, Self::Tensor>,
        spec: &AttentionSpec,
        layout: &Self::Layout,
        rows: Rows,
    ) -> Result<Self::Tensor> {
        self.inner.attention_by_distance(q, keys_values, by_distance, spec, layout, rows)
    }

    fn attention_mass(
        &self,
        attended: Attended<'_, Self::Tensor>,
        spec: &AttentionSpec,
        over: OverHeads,
        layout: &Self::Layout,
    ) -> Result<Self::Pending> {
        self.inner.attention_mass(attended, spec, over, layout)
    }

    fn copied(&self, x: &Self::Tensor) -> Result<Self::Tensor> {
        self.inner.copied(x)
    }

    fn scored_rows(&self, x: &Self::Tensor, layout: &Self::Layout) -> Result<Self::Tensor> {
        self.inner.scored_rows(x, layout)
    }

    fn mean_rows(&self, x: &Self::Tensor, layout: &Self::Layout) -> Result<Self::Tensor> {
        self.inner.mean_rows(x, layout)
    }
}
