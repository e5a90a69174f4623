//! The data types of tensor elements.

use std::fmt;

/// Data type of a tensor's elements, little-endian in the file.
///
/// `Display` prints the name that the file format uses, for example `BF16` or `F8_E4M3`.
/// Elements are stored in blocks ([`Dtype::block`]), of one element for most types.
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
    /// GGML's blocks of 32: an f16 scale, 32 signed bytes.
    Q8_0,
    /// GGML's blocks of 32: an f16 scale, 32 half-bytes.
    Q4_0,
    /// GGML's blocks of 32: f16 scale and minimum, 32 half-bytes.
    Q4_1,
    /// GGML's blocks of 32: an f16 scale, 32 numbers of 5 bits.
    Q5_0,
    /// GGML's blocks of 32: f16 scale and minimum, 32 numbers of 5 bits.
    Q5_1,
    /// GGML's blocks of 256: f16 scales of eight scales and minima of 6 bits, 256 half-bytes.
    Q4K,
    /// GGML's blocks of 256: f16 scales of eight scales and minima of 6 bits, 256 numbers of 5 bits.
    Q5K,
    /// GGML's blocks of 256: 256 numbers of 6 bits, 16 scales of 8 bits, an f16 scale of them.
    Q6K,
}

/// Every type, its name in a file, elements and bytes of a block: the one place that knows them.
const TABLE: [(Dtype, &str, usize, usize); 30] = [
    (Dtype::F64, "F64", 1, 8),
    (Dtype::F32, "F32", 1, 4),
    (Dtype::F16, "F16", 1, 2),
    (Dtype::BF16, "BF16", 1, 2),
    (Dtype::C64, "C64", 1, 8),
    (Dtype::I64, "I64", 1, 8),
    (Dtype::I32, "I32", 1, 4),
    (Dtype::I16, "I16", 1, 2),
    (Dtype::I8, "I8", 1, 1),
    (Dtype::U64, "U64", 1, 8),
    (Dtype::U32, "U32", 1, 4),
    (Dtype::U16, "U16", 1, 2),
    (Dtype::U8, "U8", 1, 1),
    (Dtype::Bool, "BOOL", 1, 1),
    (Dtype::F8E5M2, "F8_E5M2", 1, 1),
    (Dtype::F8E4M3, "F8_E4M3", 1, 1),
    (Dtype::F8E8M0, "F8_E8M0", 1, 1),
    (Dtype::F8E4M3FNUZ, "F8_E4M3FNUZ", 1, 1),
    (Dtype::F8E5M2FNUZ, "F8_E5M2FNUZ", 1, 1),
    (Dtype::F6E2M3, "F6_E2M3", 4, 3),
    (Dtype::F6E3M2, "F6_E3M2", 4, 3),
    (Dtype::F4, "F4", 2, 1),
    (Dtype::Q8_0, "Q8_0", 32, 2 + 32),
    (Dtype::Q4_0, "Q4_0", 32, 2 + 16),
    (Dtype::Q4_1, "Q4_1", 32, 2 + 2 + 16),
    (Dtype::Q5_0, "Q5_0", 32, 2 + 4 + 16),
    (Dtype::Q5_1, "Q5_1", 32, 2 + 2 + 4 + 16),
    (Dtype::Q4K, "Q4_K", 256, 2 + 2 + 12 + 128),
    (Dtype::Q5K, "Q5_K", 256, 2 + 2 + 12 + 32 + 128),
    (Dtype::Q6K, "Q6_K", 256, 128 + 64 + 16 + 2),
];

impl Dtype {
    /// Elements that are stored together and the bytes that they take: `(1, 2)` for `F16`,
    /// `(32, 34)` for `Q8_0`.
    pub fn block(self) -> (usize, usize) {
        let row = self.row();
        (row.2, row.3)
    }

    /// Whether this is one of GGML's block formats, whose rows are whole blocks. Safetensors files
    /// do not have them.
    pub fn is_quantized(self) -> bool {
        use Dtype::{Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
        matches!(self, Q8_0 | Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q4K | Q5K | Q6K)
    }

    /// Bytes of a tensor of this shape. `None` if its elements (each of its rows, in a block
    /// format) are no whole number of blocks, or on overflow.
    ///
    /// ```
    /// # use grating_io::Dtype;
    /// assert_eq!(Dtype::BF16.byte_len(&[2, 3]), Some(12));
    /// assert_eq!(Dtype::Q8_0.byte_len(&[2, 64]), Some(2 * 2 * 34));
    /// assert_eq!(Dtype::Q8_0.byte_len(&[64, 2]), None);
    /// ```
    pub fn byte_len(self, shape: &[usize]) -> Option<usize> {
        let (elements, bytes) = self.block();
        let count = shape.iter().try_fold(1_usize, |product, &n| product.checked_mul(n))?;
        let packed = if self.is_quantized() { *shape.last()? } else { count };
        packed.is_multiple_of(elements).then(|| (count / elements).checked_mul(bytes))?
    }

    /// The name that the file format uses.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The type of this name, `None` when there is none. Case matters.
    pub fn from_name(name: &str) -> Option<Dtype> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// All types, in no particular order.
    pub fn all() -> impl Iterator<Item = Dtype> {
        TABLE.iter().map(|row| row.0)
    }

    /// The names that a safetensors file may use.
    pub(crate) fn safetensors_names() -> String {
        let names: Vec<_> = Dtype::all().filter(|d| !d.is_quantized()).map(Dtype::name).collect();
        names.join(", ")
    }

    /// The table is in the order of the variants (a test holds it to that).
    fn row(self) -> &'static (Dtype, &'static str, usize, usize) {
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

    #[test]
    fn sizes_are_whole_blocks() {
        assert_eq!(Dtype::F32.byte_len(&[]), Some(4));
        assert_eq!(Dtype::F6E2M3.byte_len(&[2, 2]), Some(3));
        assert_eq!(Dtype::F4.byte_len(&[3]), None);
        assert_eq!(Dtype::Q4_0.byte_len(&[3, 32]), Some(54));
        assert_eq!(Dtype::Q4_0.byte_len(&[32, 48]), None, "rows end within a block");
        assert_eq!(Dtype::Q4K.byte_len(&[2, 512]), Some(2 * 2 * 144));
        assert_eq!(Dtype::Q8_0.byte_len(&[]), None);
        assert_eq!(Dtype::F64.byte_len(&[usize::MAX / 4]), None);
        assert_eq!(Dtype::U8.byte_len(&[usize::MAX, 2]), None);
    }
}
