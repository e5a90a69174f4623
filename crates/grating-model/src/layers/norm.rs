//! A norm bound to its weights.

use grating_backend::{Ops, Then};

use crate::error::Result;
use crate::spec::{NormKind, NormSpec};
use crate::weights::LayerWeights;

/// A norm over the columns of each row, or of each head.
pub(crate) struct Norm<'w, B: Ops> {
    kind: Kind<'w, B>,
    weight: B::Weight<'w>,
    eps: f32,
}

enum Kind<'w, B: Ops> {
    Rms,
    Layer { bias: Option<B::Weight<'w>> },
}

impl<'w, B: Ops> Norm<'w, B> {
    pub(crate) fn bind(weights: &LayerWeights<'w, B>, spec: &NormSpec) -> Result<Self> {
        Self::bind_then(weights, spec, Then::Kept)
    }

    /// [`Self::bind`], where this becomes of the outcome.
    pub(crate) fn bind_then(
        weights: &LayerWeights<'w, B>,
        spec: &NormSpec,
        then: Then,
    ) -> Result<Self> {
        let kind = match &spec.kind {
            NormKind::Rms | NormKind::RmsFromOne => Kind::Rms,
            NormKind::Layer { bias } => Kind::Layer { bias: weights.bind_optional(bias.as_ref())? },
        };
        let weight = match &spec.kind {
            NormKind::RmsFromOne => weights.bind_from_one(&spec.weight, then)?,
            _ => weights.bind_then(&spec.weight, then)?,
        };
        Ok(Norm { kind, weight, eps: spec.eps })
    }

    pub(crate) fn bind_optional(
        weights: &LayerWeights<'w, B>,
        spec: Option<&NormSpec>,
    ) -> Result<Option<Self>> {
        spec.map(|spec| Self::bind(weights, spec)).transpose()
    }

    /// Of each row of `x`, which stays.
    pub(crate) fn of(&self, ops: &B, x: &B::Tensor) -> Result<B::Tensor> {
        match &self.kind {
            Kind::Rms => Ok(ops.rms_norm(x, &self.weight, self.eps)?),
            Kind::Layer { bias } => {
                Ok(ops.layer_norm_of(x, &self.weight, bias.as_ref(), self.eps)?)
            }
        }
    }

    /// Of each row of `x`, where it lies.
    pub(crate) fn of_owned(&self, ops: &B, x: B::Tensor) -> Result<B::Tensor> {
        match &self.kind {
            Kind::Rms => Ok(ops.rms_norm(&x, &self.weight, self.eps)?),
            Kind::Layer { bias } => Ok(ops.layer_norm(x, &self.weight, bias.as_ref(), self.eps)?),
        }
    }

    /// [`Self::of_owned`], where there is a norm.
    pub(crate) fn of_optional(norm: Option<&Self>, ops: &B, x: B::Tensor) -> Result<B::Tensor> {
        match norm {
            Some(norm) => norm.of_owned(ops, x),
            None => Ok(x),
        }
    }

    /// The weight and the epsilon of a norm of heads.
    pub(crate) fn of_heads(&self) -> (&B::Weight<'w>, f32) {
        match &self.kind {
            Kind::Rms => (&self.weight, self.eps),
            Kind::Layer { .. } => unreachable!("no family has such norms of heads"),
        }
    }
}
