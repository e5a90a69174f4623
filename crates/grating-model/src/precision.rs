//! How exactly products are taken.

use std::fmt;
use std::str::FromStr;

use grating_kernels::{Compute, Format};

/// In which type the products of linear layers are taken. Sums, norms, attention, residuals and the scoring head are
/// f32 in all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Always f32: nothing is rounded, whatever the weights' type.
    Full,
    /// The weights' own type, as the reference computes when it is loaded in the checkpoint's type: inputs of bf16
    /// matrices are rounded to bf16; f16 and f32 matrices are multiplied in f32.
    #[default]
    Exact,
    /// Eight-bit integers for inputs and weights, with scales; faster, and scores differ a little.
    Fast,
}

/// A name that is no precision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown precision {0:?}: use full, exact or fast")]
pub struct UnknownPrecision(String);

impl Precision {
    /// All of them, the most exact first.
    pub const ALL: [Precision; 3] = [Precision::Full, Precision::Exact, Precision::Fast];

    /// What is wanted for products with weights of `format`.
    pub(crate) fn products(self, format: Format) -> Compute {
        match (self, format) {
            (Precision::Fast, _) => Compute::Int8,
            (Precision::Exact, Format::Bf16) => Compute::Bf16,
            _ => Compute::F32,
        }
    }

    /// As users write it.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Full => "full",
            Precision::Exact => "exact",
            Precision::Fast => "fast",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(name: &str) -> Result<Self, UnknownPrecision> {
        let found = Precision::ALL.into_iter().find(|p| p.name() == name);
        found.ok_or_else(|| UnknownPrecision(name.to_owned()))
    }
}
