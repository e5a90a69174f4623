//! How weights lie in a checkpoint.

/// How the elements of a tensor are stored. Little-endian throughout; the block formats are
/// those of GGML.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// Blocks of 32: an f16 scale, 32 signed bytes.
    Q8_0,
    /// Blocks of 32: an f16 scale, 32 half-bytes that stand for -8..8.
    Q4_0,
    /// Blocks of 32: an f16 scale and an f16 minimum, 32 half-bytes.
    Q4_1,
    /// Blocks of 32: an f16 scale, 32 fifth bits, 32 half-bytes; both stand for -16..16.
    Q5_0,
    /// Blocks of 32: an f16 scale and an f16 minimum, 32 fifth bits, 32 half-bytes.
    Q5_1,
    /// Blocks of 256: an f16 scale of scales and one of minima, eight 6-bit scales and minima, 256
    /// half-bytes.
    Q4K,
    /// Blocks of 256: as [`Format::Q4K`], with 256 fifth bits before the half-bytes.
    Q5K,
    /// Blocks of 256: 256 half-bytes and as many pairs of upper bits, which stand for -32..32, 16
    /// signed 8-bit scales, an f16 scale of scales.
    Q6K,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 11] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// Elements that are stored together; a row is a whole number of blocks.
    pub fn block_elements(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q8_0 => 2 + 32,
            Self::Q4_0 => 2 + 16,
            Self::Q4_1 => 2 + 2 + 16,
            Self::Q5_0 => 2 + 4 + 16,
            Self::Q5_1 => 2 + 2 + 4 + 16,
            Self::Q4K => 2 + 2 + 12 + 128,
            Self::Q5K => 2 + 2 + 12 + 32 + 128,
            Self::Q6K => 128 + 64 + 16 + 2,
        }
    }

    /// Bytes of a row of `columns` elements, which are whole blocks. `None` if they are not, or
    /// on overflow.
    pub fn row_bytes(self, columns: usize) -> Option<usize> {
        let elements = self.block_elements();
        columns
            .is_multiple_of(elements)
            .then(|| (columns / elements).checked_mul(self.block_bytes()))?
    }
}
