//! A linear layer: weight and, where the family has one, bias.

use crate::error::Result;
use crate::ops::Ops;
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
        let bias = weights.optional(bias).map(|view| ops.bind(view)).transpose()?;
        Ok(Linear { weight: ops.bind(weights.view(weight)?)?, bias })
    }

    pub(crate) fn forward(&self, ops: &O, x: &O::Tensor) -> Result<O::Tensor> {
        ops.linear(x, &self.weight, self.bias.as_ref())
    }
}
