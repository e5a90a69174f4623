//! Instruction sets: what the machine has, and what the user asks for.

#[cfg(target_arch = "x86_64")]
mod amx;

use std::fmt;

use thiserror::Error;

/// Instructions that the kernels are written in, in ascending order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust: whatever the compiler makes of it for the target's baseline.
    Portable,
    /// x86-64: AVX2, FMA, F16C.
    Avx2,
    /// [`Isa::Avx2`] and VNNI in 256 bits: int8 dot products, in the encoding of AVX-VNNI or, where a
    /// processor lacks that, in the one of AVX-512 VNNI and VL.
    AvxVnni,
    /// x86-64: AVX-512 F, BW, VL, DQ.
    Avx512,
    /// [`Isa::Avx512`] and VNNI: int8 dot products.
    Avx512Vnni,
    /// [`Isa::Avx512Vnni`] and BF16: bfloat16 dot products.
    Avx512Bf16,
    /// [`Isa::Avx512Bf16`] and AMX: products of whole tiles of bfloat16. Those of f32 are taken as products of their
    /// bfloat16 parts, those of bytes are taken in bfloat16.
    Amx,
}

/// An instruction set was asked for that cannot be given.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IsaError {
    /// The name is none of ours.
    #[error(
        "{name:?} is no instruction set: use one of native, portable, avx2, avxvnni, avx512, avx512vnni, avx512bf16, amx"
    )]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// This machine lacks the instructions.
    #[error("this machine has no {isa}: use `native` or one of {}", list(.supported))]
    Unsupported {
        /// What was asked for.
        isa: Isa,
        /// What the machine has.
        supported: Vec<Isa>,
    },
}

impl Isa {
    const ALL: [Self; 7] = [
        Self::Portable,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512,
        Self::Avx512Vnni,
        Self::Avx512Bf16,
        Self::Amx,
    ];

    /// The fastest of what this machine has: the last of [`Isa::supported`], save that
    /// [`Isa::Avx512Bf16`] is taken on AMD processors only. Those of Intel take twice as long for
    /// a dot product of bfloat16 as for the same work in f32.
    pub fn detect() -> Self {
        let fast = |isa: &Self| *isa != Self::Avx512Bf16 || is_amd();
        Self::supported().into_iter().rfind(fast).unwrap_or(Self::Portable)
    }

    /// All that this machine has, [`Isa::Portable`] first.
    pub fn supported() -> Vec<Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_supported()).collect()
    }

    /// The instruction set of that name, as [`Isa`] displays it; `native` or nothing for [`Isa::detect`].
    ///
    /// # Errors
    ///
    /// [`IsaError`] when the name is unknown or this machine lacks the instructions.
    pub fn from_name(name: &str) -> Result<Self, IsaError> {
        if name.is_empty() || name == "native" {
            return Ok(Self::detect());
        }
        let found = Self::ALL.into_iter().find(|isa| isa.name() == name);
        found.ok_or_else(|| IsaError::Unknown { name: name.to_owned() })?.checked()
    }

    /// Itself, where this machine has the instructions.
    ///
    /// # Errors
    ///
    /// [`IsaError::Unsupported`] where it lacks them.
    pub fn checked(self) -> Result<Self, IsaError> {
        match self.is_supported() {
            true => Ok(self),
            false => Err(IsaError::Unsupported { isa: self, supported: Self::supported() }),
        }
    }

    /// Whether this machine has these instructions.
    #[cfg(target_arch = "x86_64")]
    pub fn is_supported(self) -> bool {
        use std::arch::is_x86_feature_detected as has;
        match self {
            Self::Portable => true,
            Self::Avx2 => has!("avx2") && has!("fma") && has!("f16c"),
            Self::AvxVnni => {
                Self::Avx2.is_supported()
                    && (has!("avxvnni") || has!("avx512vnni") && has!("avx512vl"))
            }
            Self::Avx512 => {
                Self::Avx2.is_supported()
                    && has!("avx512f")
                    && has!("avx512bw")
                    && has!("avx512vl")
                    && has!("avx512dq")
            }
            Self::Avx512Vnni => Self::Avx512.is_supported() && has!("avx512vnni"),
            Self::Avx512Bf16 => Self::Avx512Vnni.is_supported() && has!("avx512bf16"),
            Self::Amx => Self::Avx512Bf16.is_supported() && amx::is_supported(),
        }
    }

    /// Whether this machine has these instructions.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn is_supported(self) -> bool {
        self == Self::Portable
    }

    fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512vnni",
            Self::Avx512Bf16 => "avx512bf16",
            Self::Amx => "amx",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(target_arch = "x86_64")]
fn is_amd() -> bool {
    // Safe from Rust 1.94 on.
    #[allow(unused_unsafe)]
    // SAFETY: every x86-64 processor has the instruction and this leaf.
    let vendor = unsafe { std::arch::x86_64::__cpuid(0) };
    [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD"
}

#[cfg(not(target_arch = "x86_64"))]
fn is_amd() -> bool {
    false
}

fn list(isas: &[Isa]) -> String {
    isas.iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_supported_name_is_understood() {
        for isa in Isa::supported() {
            assert_eq!(Isa::from_name(&isa.to_string()), Ok(isa));
        }
        assert_eq!(Isa::from_name("native"), Ok(Isa::detect()));
        assert!(Isa::supported().contains(&Isa::detect()));
    }

    /// The order is that of preference, and what kernels compare.
    #[test]
    fn wider_and_newer_instructions_come_later() {
        assert!(Isa::ALL.is_sorted());
        assert!(Isa::Avx2 < Isa::AvxVnni && Isa::AvxVnni < Isa::Avx512);
        assert!(Isa::supported().is_sorted());
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_choices() {
        let error = Isa::from_name("sse9").unwrap_err();
        assert!(error.to_string().contains("portable"), "{error}");
    }
}
