//! The vocabulary of tensor operations that models are written in.

use crate::backend::Backend;
use crate::distance::Distances;
use crate::error::Result;
use crate::weights::Then;

/// A feed-forward non-linearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`
    Silu,
    /// `x * (1 + erf(x / sqrt 2)) / 2`
    GeluErf,
    /// `x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2`
    GeluTanh,
    /// `max(x, 0)`
    Relu,
    /// `tanh(x)`
    Tanh,
}

/// An affine map `x · weightᵀ + bias`, weight `[out, in]`.
pub struct Affine<'a, W> {
    /// The matrix.
    pub weight: &'a W,
    /// One element for each row of the matrix.
    pub bias: Option<&'a W>,
}

/// How an attention block attends.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct AttentionSpec {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Columns of a head.
    pub width: usize,
    /// Whether a query sees only the keys up to its own row.
    pub causal: bool,
    /// Keys further than so many positions away, to either side, are not seen; those of a prefix count, and so do gaps.
    pub window: Option<usize>,
    /// Factor of the products of queries and keys, before the softmax.
    pub scale: f32,
    /// What scaled products cannot go beyond: `cap * tanh(product / cap)` is in their place.
    pub softcap: Option<f32>,
    /// What becomes of the outcome.
    pub then: Then,
}

impl AttentionSpec {
    /// With the usual scale, `width ^ -0.5`.
    pub fn new(heads: usize, kv_heads: usize, width: usize, causal: bool) -> Self {
        let scale = (width as f32).powf(-0.5);
        let then = Then::Kept;
        AttentionSpec { heads, kv_heads, width, causal, window: None, scale, softcap: None, then }
    }

    /// With an outcome of which this becomes.
    #[must_use]
    pub fn with_then(self, then: Then) -> Self {
        AttentionSpec { then, ..self }
    }

    /// Only keys at most so many positions away are seen.
    #[must_use]
    pub fn with_window(self, positions: usize) -> Self {
        AttentionSpec { window: Some(positions), ..self }
    }
}

/// One number for a key from the attention that several heads pay to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OverHeads {
    /// Their mean.
    Mean,
    /// The largest.
    Maximum,
}

/// What is paid attention, and who pays it.
#[derive(Debug)]
pub struct Attended<'a, T> {
    /// Queries of the scored tokens, `[sequences, heads * width]`.
    pub queries: &'a T,
    /// Keys of the sequences' rows, `[tokens, kv_heads * width]`.
    pub keys: &'a T,
    /// Keys of the prefix, which take their share of the attention.
    pub prefix: Option<&'a T>,
    /// What distances add.
    pub by_distance: Option<ByDistance<'a, T>>,
    /// Values of the sequences' rows, `[tokens, kv_heads * width]`: the attention of a head then counts as often as the
    /// Euclidean norm of the value that it meets.
    pub values: Option<&'a T>,
}

/// What distances between tokens add to attention.
#[derive(Debug)]
pub struct ByDistance<'a, T> {
    /// Which row is that of a distance.
    pub distances: Distances,
    /// Keys of distances, `[rows, heads * width]`, which queries of tokens meet.
    pub keys: Option<&'a T>,
    /// Queries of distances, `[rows, heads * width]`, which keys of tokens meet.
    pub queries: Option<&'a T>,
}

/// Which rows of a chunk ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// All of them.
    All,
    /// The scored token of each sequence; tensors have one row for each. Not where the [mean](crate::Scored::Mean) is
    /// scored.
    Scored,
}

/// Tensor operations of transformer layers. Shapes: `t` rows of a chunk, or one for each sequence where only the scored
/// ones ask; `h` hidden width. Operations that can work where their input lies take it by value.
pub trait Ops: Backend {
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

    /// `activation(map(x))`: [`Self::activate`] of [`Self::linear`], in one step where a backend has such.
    fn linear_activated(
        &self,
        x: &Self::Tensor,
        map: Affine<'_, Self::Weight<'_>>,
        activation: Activation,
    ) -> Result<Self::Tensor> {
        let [y] = self.linear(x, [map])?;
        self.activate(y, activation)
    }

    /// `activation(gate(x)) * up(x)`: [`Self::gate`] of [`Self::linear`], in one step where a backend has such.
    fn linear_gated(
        &self,
        x: &Self::Tensor,
        gate_up: [Affine<'_, Self::Weight<'_>>; 2],
        activation: Activation,
    ) -> Result<Self::Tensor> {
        let [gate, up] = self.linear(x, gate_up)?;
        self.gate(gate, &up, activation)
    }

    /// `sum + x`, element by element: a residual connection around a block whose end is normalised.
    fn add(&self, sum: Self::Tensor, x: &Self::Tensor) -> Result<Self::Tensor>;

    /// `factor * x`, element by element.
    fn scaled(&self, x: Self::Tensor, factor: f32) -> Result<Self::Tensor>;

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

    /// LayerNorm of each row; without a `bias` it is 0.
    fn layer_norm(
        &self,
        x: Self::Tensor,
        weight: &Self::Weight<'_>,
        bias: Option<&Self::Weight<'_>>,
        eps: f32,
    ) -> Result<Self::Tensor>;

    /// [`Self::layer_norm`] of a tensor that stays.
    fn layer_norm_of(
        &self,
        x: &Self::Tensor,
        weight: &Self::Weight<'_>,
        bias: Option<&Self::Weight<'_>>,
        eps: f32,
    ) -> Result<Self::Tensor> {
        self.layer_norm(self.copied(x)?, weight, bias, eps)
    }

    /// A non-linearity, element by element.
    fn activate(&self, x: Self::Tensor, activation: Activation) -> Result<Self::Tensor>;

    /// Puts the columns of each head of `[t, heads * head_dim]` that stand at even places before those at odd ones:
    /// what [`Self::rope`] pairs were neighbours before.
    fn neighbours_to_halves(&self, x: Self::Tensor, head_dim: usize) -> Result<Self::Tensor>;

    /// Rotary embedding of each head of `[t, heads * head_dim]`, pairing column `i` with `i + head_dim / 2` (the
    /// "rotate half" of transformers), at the rows' positions. `cos_sin` are tables of cosines and sines, `[positions, head_dim / 2]`.
    fn rope(
        &self,
        x: Self::Tensor,
        cos_sin: (&Self::Tensor, &Self::Tensor),
        head_dim: usize,
        layout: &Self::Layout,
        rows: Rows,
    ) -> Result<Self::Tensor>;

    /// [`Self::rope`] of [`Self::rms_norm_heads`], in one step where a backend has such.
    fn rms_norm_rope(
        &self,
        x: Self::Tensor,
        (weight, eps): (&Self::Weight<'_>, f32),
        cos_sin: (&Self::Tensor, &Self::Tensor),
        head_dim: usize,
        layout: &Self::Layout,
        rows: Rows,
    ) -> Result<Self::Tensor> {
        let x = self.rms_norm_heads(x, weight, eps)?;
        self.rope(x, cos_sin, head_dim, layout, rows)
    }

    /// Softmax attention within each sequence: `q [t, heads * width]`, keys and values `[tokens, kv_heads * width]` give
    /// `[t, heads * width]`. The keys and values of `prefix` come before every sequence's own, and all see them.
    fn attention(
        &self,
        q: Self::Tensor,
        keys_values: (&Self::Tensor, &Self::Tensor),
        prefix: Option<(&Self::Tensor, &Self::Tensor)>,
        spec: &AttentionSpec,
        layout: &Self::Layout,
        rows: Rows,
    ) -> Result<Self::Tensor>;

    /// [`Self::attention`] in which distances have keys and queries, too (DeBERTa's disentangled attention): before the
    /// softmax a query `q` at `i` and a key `k` at `j` have `scale * (q . k + q . keys[r] + k . queries[r])`, where `r` is
    /// the row of `i - j`. There are as many heads of keys as of queries, every token sees all of its sequence, and
    /// nothing comes before it.
    fn attention_by_distance(
        &self,
        q: Self::Tensor,
        keys_values: (&Self::Tensor, &Self::Tensor),
        by_distance: ByDistance<'_, Self::Tensor>,
        spec: &AttentionSpec,
        layout: &Self::Layout,
        rows: Rows,
    ) -> Result<Self::Tensor>;

    /// How much attention the scored token of each sequence pays to each of the sequence's own rows, `[tokens]`: the
    /// probabilities of [`Self::attention`], or [`Self::attention_by_distance`], put together over the heads.
    ///
    /// Not where the [mean](crate::Scored::Mean) is scored.
    ///
    /// # Errors
    /// [`crate::BackendError::NoAttentionMass`] where a backend has it not, or the device's.
    fn attention_mass(
        &self,
        _attended: Attended<'_, Self::Tensor>,
        _spec: &AttentionSpec,
        _over: OverHeads,
        _layout: &Self::Layout,
    ) -> Result<Self::Pending> {
        Err(crate::BackendError::NoAttentionMass)
    }

    /// The same elements once more, for an operation that works where its input lies.
    fn copied(&self, x: &Self::Tensor) -> Result<Self::Tensor>;

    /// The rows of the scored tokens: `[tokens, columns] -> [sequences, columns]`.
    fn scored_rows(&self, x: &Self::Tensor, layout: &Self::Layout) -> Result<Self::Tensor>;

    /// The mean of each sequence's rows: `[tokens, columns] -> [sequences, columns]`.
    fn mean_rows(&self, x: &Self::Tensor, layout: &Self::Layout) -> Result<Self::Tensor>;
}
