//! Rotary embedding, in both spellings: `rope_parameters` and, before it, `rope_theta` with `rope_scaling`.

use serde::Deserialize;

use super::raw::{Raw, field};
use crate::error::Result;
use crate::rope::{RopeScaling, RopeSpec};

#[derive(Deserialize, Default, Clone)]
pub(super) struct RawRope {
    rope_type: Option<String>,
    r#type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    partial_rotary_factor: Option<f64>,
    mixed_b: Option<f64>,
}

/// What differs between families.
#[derive(Clone, Copy)]
pub(crate) struct RopeReading {
    /// Base where no field says one.
    pub(crate) theta: f64,
    /// Whether `ntk` is a kind of scaling.
    pub(crate) ntk: bool,
}

impl Raw {
    /// The rotary embedding of heads of `head_dim` columns.
    pub(crate) fn rope(&self, head_dim: usize) -> Result<RopeSpec> {
        // 10000 is transformers' default where neither spelling is there.
        self.rope_as(head_dim, RopeReading { theta: 10_000.0, ntk: false })
    }

    /// [`Self::rope`] as a family reads it.
    pub(crate) fn rope_as(&self, head_dim: usize, reading: RopeReading) -> Result<RopeSpec> {
        if !head_dim.is_multiple_of(2) {
            let expected = "an even number (rotary embedding turns pairs)";
            return Err(field("head_dim", expected, head_dim));
        }
        let parameters: Option<RawRope> = self.own("rope_parameters")?;
        let rope = parameters.or_else(|| self.rope_scaling.clone()).unwrap_or_default();
        let theta = rope.rope_theta.or(self.rope_theta).unwrap_or(reading.theta);
        if !(theta.is_finite() && theta > 1.0) {
            return Err(field("rope_theta", "a number above 1", theta));
        }
        if let Some(part) = rope.partial_rotary_factor
            && part != 1.0
        {
            return Err(field("partial_rotary_factor", "1", part));
        }
        Ok(RopeSpec { theta, scaling: rope.scaling(reading.ntk)?, width: head_dim })
    }
}

impl RawRope {
    fn scaling(&self, ntk: bool) -> Result<RopeScaling> {
        let positive = |name: &'static str, value: Option<f64>| match value {
            Some(v) if v.is_finite() && v > 0.0 => Ok(v),
            Some(v) => Err(field(name, "a positive number", v)),
            None => Err(field(name, "a positive number", "absent")),
        };
        match self.rope_type.as_deref().or(self.r#type.as_deref()).unwrap_or("default") {
            "default" => Ok(RopeScaling::None),
            "linear" => {
                Ok(RopeScaling::Linear { factor: positive("rope_scaling.factor", self.factor)? })
            }
            "ntk" if ntk => match self.mixed_b {
                None => {
                    Ok(RopeScaling::Ntk { factor: positive("rope_scaling.factor", self.factor)? })
                }
                Some(found) => Err(field("rope_scaling.mixed_b", "none", found)),
            },
            "llama3" => Ok(RopeScaling::Llama3 {
                factor: positive("rope_scaling.factor", self.factor)?,
                low_freq_factor: positive("rope_scaling.low_freq_factor", self.low_freq_factor)?,
                high_freq_factor: positive("rope_scaling.high_freq_factor", self.high_freq_factor)?,
                original: positive(
                    "rope_scaling.original_max_position_embeddings",
                    self.original_max_position_embeddings,
                )?,
            }),
            other => Err(field("rope_scaling.rope_type", "default, linear or llama3", other)),
        }
    }
}
