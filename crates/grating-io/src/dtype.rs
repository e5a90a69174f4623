//! The data types of tensor elements.

use std::fmt;

/// Data type of a tensor's elements, little-endian in the file.
///
/// `Display` prints the name that the file format uses, for example `BF16` or `F8_E4M3`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// IEEE 754 binary64.
    F64,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16: the upper half of a binary32.
    BF16,
    /// Two binary32: real and imaginary part.
    C64,
    /// Signed 64-bit integer.
    I64,
    /// Signed 32-bit integer.
    I32,
    /// Signed 16-bit integer.
    I16,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 64-bit integer.
    U64,
    /// Unsigned 32-bit integer.
    U32,
    /// Unsigned 16-bit integer.
    U16,
    /// Unsigned 8-bit integer.
    U8,
    /// One byte, 0 or 1 (not verified: data is not read when a checkpoint is opened).
    Bool,
    /// 8-bit float, 5 exponent bits (OCP FP8).
    F8E5M2,
    /// 8-bit float, 4 exponent bits (OCP FP8).
    F8E4M3,
    /// 8-bit power-of-two scale (OCP MX).
    F8E8M0,
    /// 8-bit float, 4 exponent bits, no infinities nor negative zero.
    F8E4M3FNUZ,
    /// 8-bit float, 5 exponent bits, no infinities nor negative zero.
    F8E5M2FNUZ,
    /// 6-bit float, 2 exponent bits (OCP MX), packed.
    F6E2M3,
    /// 6-bit float, 3 exponent bits (OCP MX), packed.
    F6E3M2,
    /// 4-bit float (OCP MX), packed.
    F4,
}

/// Every type, its name in a file and its bits: the one place that knows them.
const TABLE: [(Dtype, &str, u32); 22] = [
    (Dtype::F64, "F64", 64),
    (Dtype::F32, "F32", 32),
    (Dtype::F16, "F16", 16),
    (Dtype::BF16, "BF16", 16),
    (Dtype::C64, "C64", 64),
    (Dtype::I64, "I64", 64),
    (Dtype::I32, "I32", 32),
    (Dtype::I16, "I16", 16),
    (Dtype::I8, "I8", 8),
    (Dtype::U64, "U64", 64),
    (Dtype::U32, "U32", 32),
    (Dtype::U16, "U16", 16),
    (Dtype::U8, "U8", 8),
    (Dtype::Bool, "BOOL", 8),
    (Dtype::F8E5M2, "F8_E5M2", 8),
    (Dtype::F8E4M3, "F8_E4M3", 8),
    (Dtype::F8E8M0, "F8_E8M0", 8),
    (Dtype::F8E4M3FNUZ, "F8_E4M3FNUZ", 8),
    (Dtype::F8E5M2FNUZ, "F8_E5M2FNUZ", 8),
    (Dtype::F6E2M3, "F6_E2M3", 6),
    (Dtype::F6E3M2, "F6_E3M2", 6),
    (Dtype::F4, "F4", 4),
];

impl Dtype {
    /// Bits of one element; 4 and 6 for the packed types, so bytes are `elements * bits / 8`.
    pub fn bits(self) -> u32 {
        self.row().2
    }

    /// The name that the file format uses.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The type of this name, `None` when the format does not define it. Case matters.
    pub fn from_name(name: &str) -> Option<Dtype> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// All types, in no particular order.
    pub fn all() -> impl Iterator<Item = Dtype> {
        TABLE.iter().map(|row| row.0)
    }

    pub(crate) fn names() -> String {
        TABLE.map(|row| row.1).join(", ")
    }

    /// The table is in the order of the variants (a test holds it to that).
    fn row(self) -> &'static (Dtype, &'static str, u32) {
        &TABLE[self as usize]
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_variants() {
        for (at, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, at, "{}", row.1);
        }
    }

    #[test]
    fn names_are_unique_and_lead_back() {
        for dtype in Dtype::all() {
            assert_eq!(Dtype::from_name(&dtype.to_string()), Some(dtype));
        }
        assert_eq!(Dtype::from_name("f32"), None);
        assert_eq!(format!("[{:<6}]", Dtype::F16), "[F16   ]");
    }
}
