//! Feed-forward blocks: with a gate or without, normalised before, after, or both.

use grating_backend::{Activation, Ops};

use super::linear::Linear;
use super::norm::Norm;
use crate::error::Result;
use crate::spec::FeedForwardSpec;
use crate::weights::LayerWeights;

/// A feed-forward block bound to weights, ready to run over any number of chunks.
pub struct FeedForward<'w, B: Ops> {
    before: Option<Norm<'w, B>>,
    gate: Option<Linear<'w, B>>,
    up: Linear<'w, B>,
    activation: Activation,
    down: Linear<'w, B>,
    /// Of what the block adds.
    added: Option<Norm<'w, B>>,
    after: Option<Norm<'w, B>>,
}

// Shapes: t rows, h hidden, f intermediate.
impl<'w, B: Ops> FeedForward<'w, B> {
    pub(crate) fn bind(weights: &LayerWeights<'w, B>, spec: &FeedForwardSpec) -> Result<Self> {
        let input = weights.input_of(spec.gate.iter().chain([&spec.up]))?;
        let wide = Linear::ended(weights, &spec.down)?;
        let before = spec.before.as_ref().map(|norm| Norm::bind_then(weights, norm, input));
        let gate = spec.gate.as_ref().map(|gate| Linear::bind_then(weights, gate, wide));
        Ok(FeedForward {
            before: before.transpose()?,
            gate: gate.transpose()?,
            up: Linear::bind_then(weights, &spec.up, wide)?,
            activation: spec.activation,
            down: Linear::bind(weights, &spec.down)?,
            added: Norm::bind_optional(weights, spec.added.as_ref())?,
            after: Norm::bind_optional(weights, spec.after.as_ref())?,
        })
    }

    /// `[t, h] -> [t, h]`
    pub(crate) fn forward(&self, ops: &B, x: B::Tensor) -> Result<B::Tensor> {
        let normed = self.before.as_ref().map(|norm| norm.of(ops, &x)).transpose()?; // [t, h]
        let wide = self.wide(ops, normed.as_ref().unwrap_or(&x))?; // [t, f]
        drop(normed);
        let x = self.down.forward_add(ops, x, wide, self.added.as_ref())?; // [t, h]
        Norm::of_optional(self.after.as_ref(), ops, x)
    }

    /// `[t, h] -> [t, f]`
    fn wide(&self, ops: &B, x: &B::Tensor) -> Result<B::Tensor> {
        Ok(match &self.gate {
            Some(gate) => ops.linear_gated(x, [gate.map(), self.up.map()], self.activation)?,
            None => ops.linear_activated(x, self.up.map(), self.activation)?,
        })
    }
}
