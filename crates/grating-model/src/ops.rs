//! The vocabulary of tensor operations that models are written in.
//!
//! A model is one definition over [`Ops`]; an implementation decides where tensors live and how weights are held.
//! Activations are f32, row-major `[rows, columns]`. Weights arrive as bytes ([`TensorView`]) and are bound to the
//! implementation's own form, which may borrow them: an implementation that computes on bf16 bytes as they lie in
//! the window copies nothing, one on another device uploads. Operations that can work where their input lies take it
//! by value.

pub(crate) mod cpu;

use grating_kernels::attention::{Heads, Span};
use grating_kernels::rows::Activation;

use crate::error::Result;
use crate::weights::TensorView;

/// An affine map `x · weightᵀ + bias`, weight `[out, in]`.
pub struct Affine<'a, W> {
    /// The matrix.
    pub weight: &'a W,
    /// One element for each row of the matrix.
    pub bias: Option<&'a W>,
}

/// Tensor operations of transformer layers. Shapes: `t` tokens (rows) of a chunk, `h` hidden width.
pub trait Ops: Send + Sync {
    /// An activation tensor, f32 `[rows, columns]`.
    type Tensor: Send + Sync;
    /// A weight as the implementation computes on it.
    type Weight<'w>: Send + Sync;

    /// Which implementation and device, for people.
    fn name(&self) -> String;

    /// Makes a weight usable. Vectors are `[n]`, matrices `[out, in]`.
    ///
    /// # Errors
    /// [`crate::ModelError::UnsupportedDtype`], or the tensor library's.
    fn bind<'w>(&self, view: TensorView<'w>) -> Result<Self::Weight<'w>>;

    /// [`Self::bind`] for the few weights whose products are never rounded: the scoring head's.
    ///
    /// # Errors
    /// As [`Self::bind`].
    fn bind_unrounded<'w>(&self, view: TensorView<'w>) -> Result<Self::Weight<'w>> {
        self.bind(view)
    }

    /// Host to device; `data` is row-major `[rows, columns]`.
    fn upload(&self, data: Vec<f32>, rows: usize, columns: usize) -> Result<Self::Tensor>;

    /// A tensor `[rows, columns]` that `write` writes, row-major, where the tensor lies if the host can reach it; what
    /// it holds before is unspecified.
    ///
    /// # Errors
    /// What `write` fails with, or the tensor library's.
    fn written(
        &self,
        rows: usize,
        columns: usize,
        write: impl FnOnce(&mut [f32]) -> Result<()>,
    ) -> Result<Self::Tensor> {
        let mut data = vec![0.0; rows * columns];
        write(&mut data)?;
        self.upload(data, rows, columns)
    }

    /// Device to host, row-major.
    fn download(&self, x: &Self::Tensor) -> Result<Vec<f32>>;

    /// `[t, in] -> [t, out]` for each of the maps.
    fn linear<const N: usize>(
        &self,
        x: &Self::Tensor,
        maps: [Affine<'_, Self::Weight<'_>>; N],
    ) -> Result<[Self::Tensor; N]>;

    /// `sum + map(x)`: a residual connection around the end of a block. `sum` `[t, out]`, `x` `[t, in]`.
    fn linear_add(
        &self,
        sum: Self::Tensor,
        x: &Self::Tensor,
        map: Affine<'_, Self::Weight<'_>>,
    ) -> Result<Self::Tensor>;

    /// `activation(gate) * up`, element by element.
    fn gate(
        &self,
        gate: Self::Tensor,
        up: &Self::Tensor,
        activation: Activation,
    ) -> Result<Self::Tensor>;

    /// RMSNorm of each row.
    fn rms_norm(
        &self,
        x: &Self::Tensor,
        weight: &Self::Weight<'_>,
        eps: f32,
    ) -> Result<Self::Tensor>;

    /// RMSNorm of each head of `[t, heads * head_dim]`, weight `[head_dim]`.
    fn rms_norm_heads(
        &self,
        x: Self::Tensor,
        weight: &Self::Weight<'_>,
        eps: f32,
    ) -> Result<Self::Tensor>;

    /// LayerNorm of each row.
    fn layer_norm(
        &self,
        x: Self::Tensor,
        weight: &Self::Weight<'_>,
        bias: &Self::Weight<'_>,
        eps: f32,
    ) -> Result<Self::Tensor>;

    /// A non-linearity, element by element.
    fn activate(&self, x: Self::Tensor, activation: Activation) -> Result<Self::Tensor>;

    /// Puts the columns of each head of `[t, heads * head_dim]` that stand at even places before those at odd ones:
    /// what [`Self::rope`] pairs were neighbours before.
    fn neighbours_to_halves(&self, x: Self::Tensor, head_dim: usize) -> Result<Self::Tensor>;

    /// Rotary embedding of each head of `[t, heads * head_dim]`, pairing column `i` with `i + head_dim / 2` (the
    /// "rotate half" of transformers). `cos` and `sin` are tables `[positions, head_dim / 2]`; `positions` has one
    /// entry for each row of `x`.
    fn rope(
        &self,
        x: Self::Tensor,
        cos: &Self::Tensor,
        sin: &Self::Tensor,
        head_dim: usize,
        positions: &[u32],
    ) -> Result<Self::Tensor>;

    /// Softmax attention within each sequence: `q [t, queries * width]`, `k`, `v` `[t', keys * width]` give
    /// `[t, queries * width]`. The keys and values of `prefix` come before every sequence's own.
    fn attention(
        &self,
        q: Self::Tensor,
        k: &Self::Tensor,
        v: &Self::Tensor,
        prefix: Option<(&Self::Tensor, &Self::Tensor)>,
        heads: Heads,
        spans: &[Span],
    ) -> Result<Self::Tensor>;

    /// The given rows, in the given order.
    fn select_rows(&self, x: &Self::Tensor, rows: &[usize]) -> Result<Self::Tensor>;
}
