//! The vocabulary of tensor operations that models are written in.
//!
//! A model is one definition over [`Ops`]; an implementation decides where tensors live and how weights are held.
//! Activations are f32, row-major `[rows, columns]`. Weights arrive as bytes ([`TensorView`]) and are bound to the
//! implementation's own form, which may borrow them: an implementation that computes on bf16 bytes as they lie in
//! the window copies nothing, one on another device uploads.

pub(crate) mod candle;

use crate::config::Activation;
use crate::error::Result;
use crate::ragged::Ragged;
use crate::weights::TensorView;

/// Heads of an attention block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`, query head `h` reads key head `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Width of a head; scores are scaled by `head_dim ^ -0.5`.
    pub head_dim: usize,
    /// Whether a token sees only itself and those before it.
    pub causal: bool,
}

/// Tensor operations of transformer layers. Shapes: `t` tokens (rows) of a chunk, `h` hidden width.
pub trait Ops: Send + Sync {
    /// An activation tensor, f32 `[rows, columns]`; cloning is cheap.
    type Tensor: Clone + Send;
    /// A weight as the implementation computes on it.
    type Weight<'w>: Send;

    /// Which implementation and device, for people.
    fn name(&self) -> String;

    /// Makes a weight usable. Vectors are `[n]`, matrices `[out, in]`.
    fn bind<'w>(&self, view: TensorView<'w>) -> Result<Self::Weight<'w>>;

    /// Host to device; `data` is row-major `[rows, columns]`.
    fn upload(&self, data: Vec<f32>, rows: usize, columns: usize) -> Result<Self::Tensor>;

    /// Device to host, row-major.
    fn download(&self, x: &Self::Tensor) -> Result<Vec<f32>>;

    /// `[t, in] -> [t, out]`: `x · wᵀ + bias`.
    fn linear(
        &self,
        x: &Self::Tensor,
        weight: &Self::Weight<'_>,
        bias: Option<&Self::Weight<'_>>,
    ) -> Result<Self::Tensor>;

    /// `x + y`, element by element.
    fn add(&self, x: &Self::Tensor, y: &Self::Tensor) -> Result<Self::Tensor>;

    /// `x * y`, element by element.
    fn mul(&self, x: &Self::Tensor, y: &Self::Tensor) -> Result<Self::Tensor>;

    /// RMSNorm over groups of `weight.len()` columns: the whole row, or each head of a `[t, heads * head_dim]` row.
    fn rms_norm(
        &self,
        x: &Self::Tensor,
        weight: &Self::Weight<'_>,
        eps: f32,
    ) -> Result<Self::Tensor>;

    /// LayerNorm over the columns.
    fn layer_norm(
        &self,
        x: &Self::Tensor,
        weight: &Self::Weight<'_>,
        bias: &Self::Weight<'_>,
        eps: f32,
    ) -> Result<Self::Tensor>;

    /// A feed-forward non-linearity, element by element.
    fn activate(&self, x: &Self::Tensor, activation: Activation) -> Result<Self::Tensor>;

    /// `tanh`, element by element.
    fn tanh(&self, x: &Self::Tensor) -> Result<Self::Tensor>;

    /// Rotary embedding of each head of `[t, heads * head_dim]` by the angles `cos`, `sin` `[t, head_dim / 2]`,
    /// pairing column `i` with `i + head_dim / 2` (the "rotate half" of transformers).
    fn rope(
        &self,
        x: &Self::Tensor,
        cos: &Self::Tensor,
        sin: &Self::Tensor,
        head_dim: usize,
    ) -> Result<Self::Tensor>;

    /// Softmax attention within each sequence: `q [t, heads * head_dim]`, `k`, `v` `[t, kv_heads * head_dim]`
    /// give `[t, heads * head_dim]`.
    fn attention(
        &self,
        q: &Self::Tensor,
        k: &Self::Tensor,
        v: &Self::Tensor,
        shape: AttentionShape,
        ragged: &Ragged,
    ) -> Result<Self::Tensor>;

    /// The given rows, in the given order.
    fn select_rows(&self, x: &Self::Tensor, rows: &[usize]) -> Result<Self::Tensor>;
}
