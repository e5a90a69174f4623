//! How weights lie in a checkpoint.

use thiserror::Error;

/// How the elements of a [`Matrix`] are stored. Little-endian throughout; the block formats are
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

/// Bytes that are not the matrix they are said to be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MatrixError {
    /// A row ends inside a block.
    #[error("{columns} columns are no whole number of {format:?} blocks of {} elements", .format.block_elements())]
    PartialBlock {
        /// The format.
        format: Format,
        /// Elements of a row.
        columns: usize,
    },
    /// Too few or too many bytes.
    #[error("a {format:?} matrix of {rows} x {columns} takes {expected:?} bytes, not {found}")]
    Length {
        /// The format.
        format: Format,
        /// Rows.
        rows: usize,
        /// Columns.
        columns: usize,
        /// Bytes that it takes; `None`: more than the address space.
        expected: Option<usize>,
        /// Bytes that were given.
        found: usize,
    },
}

/// The weights of a linear layer as they lie in a checkpoint: `[rows, columns]` = `[out, in]`,
/// row-major, at any alignment.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'w> {
    format: Format,
    rows: usize,
    columns: usize,
    bytes: &'w [u8],
}

impl<'w> Matrix<'w> {
    /// A view of `bytes` as `rows` × `columns` elements.
    ///
    /// # Errors
    ///
    /// [`MatrixError`] if the bytes are not exactly that many, or a row is no whole number of
    /// blocks.
    pub fn new(
        format: Format,
        rows: usize,
        columns: usize,
        bytes: &'w [u8],
    ) -> Result<Self, MatrixError> {
        if !columns.is_multiple_of(format.block_elements()) {
            return Err(MatrixError::PartialBlock { format, columns });
        }
        let expected = format.row_bytes(columns).and_then(|row| row.checked_mul(rows));
        if expected != Some(bytes.len()) {
            let found = bytes.len();
            return Err(MatrixError::Length { format, rows, columns, expected, found });
        }
        Ok(Self { format, rows, columns, bytes })
    }

    /// How the elements are stored.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Rows of the matrix: outputs of the layer.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of the matrix: inputs of the layer.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The stored bytes.
    pub fn bytes(&self) -> &'w [u8] {
        self.bytes
    }

    /// Bytes of one row.
    pub(crate) fn row_bytes(&self) -> usize {
        self.columns / self.format.block_elements() * self.format.block_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_checked() {
        let bytes = [0; 12];
        assert!(Matrix::new(Format::Bf16, 2, 3, &bytes).is_ok());
        let error = Matrix::new(Format::F32, 2, 3, &bytes).unwrap_err();
        assert!(matches!(error, MatrixError::Length { expected: Some(24), found: 12, .. }));
        let error = Matrix::new(Format::F32, usize::MAX, 3, &bytes).unwrap_err();
        assert!(matches!(error, MatrixError::Length { expected: None, .. }));
    }
}
