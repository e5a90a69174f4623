//! Elements of a tensor that are set by hand after its random fill.

use std::collections::BTreeMap;
use std::ops::Range;

use half::{bf16, f16};

use super::super::shapes::Dtype;

/// Changes to one tensor `[rows, columns]` (a vector is one row), in this order: columns, then whole
/// rows to zero, then single elements.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Patch {
    width: usize,
    columns: Vec<(usize, f32)>,
    zero_rows: Vec<Range<usize>>,
    elements: BTreeMap<u64, f32>,
}

impl Patch {
    /// No change to a tensor with `width` columns.
    pub(super) fn new(width: usize) -> Self {
        Self { width, ..Self::default() }
    }

    pub(super) fn column(mut self, column: usize, value: f32) -> Self {
        self.columns.push((column, value));
        self
    }

    pub(super) fn zero_columns(mut self, columns: Range<usize>) -> Self {
        self.columns.extend(columns.map(|column| (column, 0.0)));
        self
    }

    pub(super) fn zero_rows(mut self, rows: Range<usize>) -> Self {
        self.zero_rows.push(rows);
        self
    }

    pub(super) fn element(mut self, row: usize, column: usize, value: f32) -> Self {
        self.elements.insert((row * self.width + column) as u64, value);
        self
    }

    /// Changes the elements from `first` on, which lie in `bytes` as `dtype`.
    pub(crate) fn apply(&self, dtype: Dtype, first: u64, bytes: &mut [u8]) {
        let end = first + bytes.len() as u64 / dtype.bytes();
        let mut window = Elements { dtype, first, bytes };
        let rows = first / self.width as u64..end.div_ceil(self.width as u64);
        for row in rows.clone() {
            for &(column, value) in &self.columns {
                let at = row * self.width as u64 + column as u64;
                if (first..end).contains(&at) {
                    window.set(at, value);
                }
            }
        }
        for zero in &self.zero_rows {
            let start = (zero.start as u64 * self.width as u64).max(first);
            let stop = (zero.end as u64 * self.width as u64).min(end);
            (start..stop).for_each(|at| window.set(at, 0.0));
        }
        for (&at, &value) in self.elements.range(first..end) {
            window.set(at, value);
        }
    }
}

/// A run of a tensor's elements in memory.
struct Elements<'a> {
    dtype: Dtype,
    first: u64,
    bytes: &'a mut [u8],
}

impl Elements<'_> {
    fn set(&mut self, at: u64, value: f32) {
        let width = self.dtype.bytes() as usize;
        let start = (at - self.first) as usize * width;
        let bytes = &mut self.bytes[start..start + width];
        match self.dtype {
            Dtype::F32 => bytes.copy_from_slice(&value.to_le_bytes()),
            Dtype::Bf16 => bytes.copy_from_slice(&bf16::from_f32(value).to_le_bytes()),
            Dtype::F16 => bytes.copy_from_slice(&f16::from_f32(value).to_le_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 5;

    /// The element that `bytes` hold.
    fn read(dtype: Dtype, bytes: &[u8]) -> f32 {
        match (dtype, bytes) {
            (Dtype::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            (Dtype::Bf16, &[a, b]) => bf16::from_le_bytes([a, b]).to_f32(),
            (Dtype::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f32(),
            _ => unreachable!("an element of {dtype:?} is not {} bytes", bytes.len()),
        }
    }

    fn patch() -> Patch {
        Patch::new(WIDTH)
            .column(1, 0.5)
            .column(2, 7.0)
            .zero_rows(2..3)
            .element(2, 4, 9.0)
            .element(0, 2, -1.0)
    }

    /// Ones, patched from element `first` on.
    fn patched(dtype: Dtype, first: u64, elements: usize) -> Vec<f32> {
        let one: Vec<u8> = match dtype {
            Dtype::F32 => 1.0_f32.to_le_bytes().to_vec(),
            Dtype::Bf16 => bf16::ONE.to_le_bytes().to_vec(),
            Dtype::F16 => f16::ONE.to_le_bytes().to_vec(),
        };
        let mut bytes = one.repeat(elements);
        patch().apply(dtype, first, &mut bytes);
        bytes.chunks(one.len()).map(|element| read(dtype, element)).collect()
    }

    #[test]
    #[rustfmt::skip]
    fn columns_then_rows_then_elements() {
        let expected = [
            1.0, 0.5, -1.0, 1.0, 1.0,
            1.0, 0.5,  7.0, 1.0, 1.0,
            0.0, 0.0,  0.0, 0.0, 9.0,
            1.0, 0.5,  7.0, 1.0, 1.0,
        ];
        for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
            assert_eq!(patched(dtype, 0, 20), expected);
            // A tensor comes in blocks: any part is the same part of the whole.
            for first in 0..20 {
                for end in first..=20 {
                    assert_eq!(patched(dtype, first as u64, end - first), expected[first..end]);
                }
            }
        }
    }
}
