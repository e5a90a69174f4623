//! A linear layer: weight and, where the family has one, bias.

use crate::error::Result;
use crate::ops::{Affine, Ops};
use crate::weights::LayerWeights;

/// A weight matrix with its bias, where there is one.
pub(crate) struct Linear<'w, O: Ops> {
    weight: O::Weight<'w>,
    bias: Option<O::Weight<'w>>,
}

impl<'w, O: Ops> Linear<'w, O> {
    pub(crate) fn bind(
        ops: &O,
        weights: &LayerWeights<'w>,
        weight: &str,
        bias: &str,
    ) -> Result<Self> {
        Self::around(ops, ops.bind(weights.view(weight)?)?, weights, bias)
    }

    /// [`Self::bind`] for the scoring head.
    pub(crate) fn bind_unrounded(
        ops: &O,
        weights: &LayerWeights<'w>,
        weight: &str,
        bias: &str,
    ) -> Result<Self> {
        Self::around(ops, ops.bind_unrounded(weights.view(weight)?)?, weights, bias)
    }

    fn around(
        ops: &O,
        weight: O::Weight<'w>,
        weights: &LayerWeights<'w>,
        bias: &str,
    ) -> Result<Self> {
        let bias = weights.optional(bias).map(|view| ops.bind(view)).transpose()?;
        Ok(Linear { weight, bias })
    }

    /// For [`Ops::linear`].
    pub(crate) fn map(&self) -> Affine<'_, O::Weight<'w>> {
        Affine { weight: &self.weight, bias: self.bias.as_ref() }
    }

    pub(crate) fn forward(&self, ops: &O, x: &O::Tensor) -> Result<O::Tensor> {
        let [y] = ops.linear(x, [self.map()])?;
        Ok(y)
    }

    /// `sum + self(x)`.
    pub(crate) fn forward_add(&self, ops: &O, sum: O::Tensor, x: &O::Tensor) -> Result<O::Tensor> {
        ops.linear_add(sum, x, self.map())
    }
}
