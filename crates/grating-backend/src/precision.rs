//! How exactly products are taken.

use std::fmt;
use std::str::FromStr;

/// In which type the products of linear layers are taken. Sums, norms, attention, residuals and the scoring head are
/// f32 in all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Always f32: nothing is rounded, whatever the weights' type.
    Full,
    /// The weights' own type, as the reference computes when it is loaded in the checkpoint's type: inputs of bf16
    /// matrices are rounded to bf16; f16 and f32 matrices are multiplied in f32, or as near to it by other ways.
    #[default]
    Exact,
    /// Eight-bit integers for inputs and weights, with scales, or bfloat16 where that is as fast (AMX); faster, and
    /// scores differ a little.
    Fast,
}

/// A name that is no precision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownPrecision(String);

impl fmt::Display for UnknownPrecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown precision {:?}: use full, exact or fast", self.0)
    }
}

impl std::error::Error for UnknownPrecision {}

impl Precision {
    /// All of them, the most exact first.
    pub const ALL: [Precision; 3] = [Precision::Full, Precision::Exact, Precision::Fast];

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
