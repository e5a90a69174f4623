//! Matrices of weights as they lie in a checkpoint.

pub use grating_backend::Format;
pub use grating_quant::MatrixError;

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
