//! A linear layer bound to its weights.

use grating_backend::{Affine, Ops};

use super::norm::Norm;
use crate::error::Result;
use crate::spec::LinearSpec;
use crate::weights::LayerWeights;

/// A weight matrix with its bias, where there is one.
pub(crate) struct Linear<'w, B: Ops> {
    weight: B::Weight<'w>,
    bias: Option<B::Weight<'w>>,
    factor: Option<f32>,
}

impl<'w, B: Ops> Linear<'w, B> {
    pub(crate) fn bind(weights: &LayerWeights<'w, B>, spec: &LinearSpec) -> Result<Self> {
        let bias = weights.bind_optional(spec.bias.as_ref())?;
        Ok(Linear { weight: weights.bind(&spec.weight)?, bias, factor: spec.factor })
    }

    /// [`Self::bind`] for the scoring head, whose products are never rounded.
    pub(crate) fn bind_unrounded(weights: &LayerWeights<'w, B>, spec: &LinearSpec) -> Result<Self> {
        let bias = weights.bind_optional(spec.bias.as_ref())?;
        let weight = weights.bind_unrounded(&spec.weight)?;
        Ok(Linear { weight, bias, factor: spec.factor })
    }

    /// For [`Ops::linear`].
    pub(crate) fn map(&self) -> Affine<'_, B::Weight<'w>> {
        Affine { weight: &self.weight, bias: self.bias.as_ref() }
    }

    /// `[t, in] -> [t, out]`
    pub(crate) fn forward(&self, ops: &B, x: &B::Tensor) -> Result<B::Tensor> {
        let [y] = ops.linear(x, [self.map()])?;
        Ok(y)
    }

    /// `sum + added(factor * self(x))`, `sum` `[t, out]`, `x` `[t, in]`; a norm that is not there is the identity.
    pub(crate) fn forward_add(
        &self,
        ops: &B,
        sum: B::Tensor,
        x: B::Tensor,
        added: Option<&Norm<'w, B>>,
    ) -> Result<B::Tensor> {
        let x = match self.factor {
            Some(factor) => ops.scaled(x, factor)?,
            None => x,
        };
        let Some(added) = added else { return Ok(ops.linear_add(sum, &x, self.map())?) };
        let y = self.forward(ops, &x)?; // [t, out]
        drop(x);
        Ok(ops.add(sum, &added.of_owned(ops, y)?)?)
    }
}
