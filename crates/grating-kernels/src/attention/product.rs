//! Products of matrices whose second operand is packed in panels that fit the first-level cache.
//!
//! Every sum runs in the order of the depth, whatever tile and part it is computed in.

use std::ops::Range;

use crate::simd::Simd;

/// Columns of a panel; the last of an operand may be narrower.
pub(super) const PANEL: usize = 64;

/// Depth that is passed at a time: that much of a panel stays in the first-level cache.
const PART: usize = 64;

/// Rows of the tallest tile.
const TALLEST: usize = 6;

/// The first operand: rows `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub(super) rows: usize,
    pub(super) stride: usize,
    pub(super) elements: &'a [f32],
}

/// The second operand, `[panels, depth, columns of a panel]`; see [`place`].
#[derive(Clone, Copy)]
pub(super) struct Panels<'a> {
    pub(super) depth: usize,
    /// A multiple of the widest vector.
    pub(super) columns: usize,
    pub(super) elements: &'a [f32],
}

/// Where the first row of the panel of `column` begins in `[depth, columns]`, and the width of the panel.
pub(super) fn place(column: usize, depth: usize, columns: usize) -> (usize, usize) {
    let first = column / PANEL * PANEL;
    (first * depth, PANEL.min(columns - first))
}

/// `out[r][c] = sum over d of left[r][d] * right[d][c]` for `depth` of the depth and `columns` of the columns, whose end is
/// rounded up to whole vectors. Rows of `out` are `right.columns` apart.
///
/// # Panics
/// If an operand is too short, or a range does not begin at a whole panel.
#[inline(always)]
pub(super) fn product<V: Simd>(
    left: Left<'_>,
    right: Panels<'_>,
    depth: Range<usize>,
    columns: Range<usize>,
    out: &mut [f32],
) {
    let columns = columns.start..columns.end.next_multiple_of(V::LANES);
    assert!(depth.end <= right.depth && depth.end <= left.stride && columns.end <= right.columns);
    assert!(depth.start.is_multiple_of(PART) && columns.start.is_multiple_of(PANEL));
    assert!(left.elements.len() >= left.rows * left.stride);
    assert!(right.elements.len() >= right.depth * right.columns);
    assert!(out.len() >= left.rows * right.columns);
    for first in columns.clone().step_by(PANEL) {
        let (start, width) = place(first, right.depth, right.columns);
        for part in depth.clone().step_by(PART) {
            let mut row = 0;
            while row < left.rows {
                let tile = Tile {
                    left: left.elements[row * left.stride + part..].as_ptr(),
                    left_stride: left.stride,
                    right: right.elements[start + part * width..].as_ptr(),
                    right_stride: width,
                    depth: PART.min(depth.end - part),
                    columns: PANEL.min(columns.end - first),
                    add: part > depth.start,
                    out: out[row * right.columns + first..].as_mut_ptr(),
                    out_stride: right.columns,
                };
                // SAFETY: the rows and columns of the tile lie within the operands, whose lengths were checked above.
                row += unsafe {
                    match left.rows - row {
                        TALLEST.. => tile.rows::<V, TALLEST>(),
                        4.. => tile.rows::<V, 4>(),
                        2.. => tile.rows::<V, 2>(),
                        _ => tile.rows::<V, 1>(),
                    }
                };
            }
        }
    }
}

/// Some rows of one panel's part of the product.
struct Tile {
    left: *const f32,
    left_stride: usize,
    right: *const f32,
    right_stride: usize,
    depth: usize,
    columns: usize,
    /// Whether the sums go on from what `out` holds.
    add: bool,
    out: *mut f32,
    out_stride: usize,
}

impl Tile {
    /// All columns of `R` rows; returns `R`.
    ///
    /// # Safety
    /// Pointers must be valid for so many rows, `depth` and `columns`.
    #[inline(always)]
    unsafe fn rows<V: Simd, const R: usize>(&self) -> usize {
        // AVX-512 has registers for four vectors a row, the others for two.
        let wide = V::LANES == 16;
        let mut column = 0;
        while column < self.columns {
            // SAFETY: as promised to this function.
            let vectors = unsafe {
                match (self.columns - column) / V::LANES {
                    4.. if wide => self.block::<V, R, 4>(column),
                    2.. => self.block::<V, R, 2>(column),
                    _ => self.block::<V, R, 1>(column),
                }
            };
            column += vectors * V::LANES;
        }
        R
    }

    /// `R` rows by `C` vectors; returns `C`.
    ///
    /// # Safety
    /// As for [`Self::rows`].
    #[inline(always)]
    unsafe fn block<V: Simd, const R: usize, const C: usize>(&self, column: usize) -> usize {
        let mut sums = [[V::splat(0.0); C]; R];
        let mut right = self.right.wrapping_add(column);
        let out = self.out.wrapping_add(column);
        // SAFETY: as promised to this function.
        unsafe {
            if self.add {
                for (r, sums) in sums.iter_mut().enumerate() {
                    for (c, sum) in sums.iter_mut().enumerate() {
                        *sum = V::load_from(out.add(r * self.out_stride + c * V::LANES));
                    }
                }
            }
            for d in 0..self.depth {
                let mut vectors = [V::splat(0.0); C];
                for (c, vector) in vectors.iter_mut().enumerate() {
                    *vector = V::load_from(right.add(c * V::LANES));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let factor = V::splat(self.left.add(r * self.left_stride + d).read());
                    for (sum, vector) in sums.iter_mut().zip(vectors) {
                        *sum = vector.mul_add(factor, *sum);
                    }
                }
                right = right.wrapping_add(self.right_stride);
            }
            for (r, sums) in sums.iter().enumerate() {
                for (c, sum) in sums.iter().enumerate() {
                    sum.store_to(out.add(r * self.out_stride + c * V::LANES));
                }
            }
        }
        C
    }
}
