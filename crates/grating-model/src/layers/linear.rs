//! A linear layer bound to its weights.

use grating_backend::{Affine, Ops, Then};

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
        Self::bind_then(weights, spec, Then::Kept)
    }

    /// [`Self::bind`], where this becomes of the outcome.
    pub(crate) fn bind_then(
        weights: &LayerWeights<'w, B>,
        spec: &LinearSpec,
        then: Then,
    ) -> Result<Self> {
        let bias = weights.bind_optional(spec.bias.as_ref())?;
        let weight = weights.bind_then(&spec.weight, then)?;
        Ok(Linear { weight, bias, factor: spec.factor })
    }

    /// [`Self::bind`] for the scoring head, whose products are never rounded.
    pub(crate) fn bind_unrounded(weights: &LayerWeights<'w, B>, spec: &LinearSpec) -> Result<Self> {
        let bias = weights.bind_optional(spec.bias.as_ref())?;
        let weight = weights.bind_unrounded(&spec.weight)?;
        Ok(Linear { weight, bias, factor: spec.factor })
    }

    /// What becomes of the input of a map that ends a block: it is multiplied, and scaled before where the map has a factor.
    pub(crate) fn ended(weights: &LayerWeights<'w, B>, spec: &LinearSpec) -> Result<Then> {
        match spec.factor {
            Some(_) => Ok(Then::Kept),
            None => weights.input_of([spec]),
        }
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
