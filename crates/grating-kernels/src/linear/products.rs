//! Products of two matrices of f32 whose elements are rounded, by the tiles of linear layers.

use std::ops::Range;
use std::ptr::null;

use super::microkernel::{Microkernel, PackFn, RowsToPack, Tile};
use super::pack::bytes_of;
use crate::isa::Isa;
use crate::numbers::Numbers;

/// A matrix of f32 as part of another one.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Elements from a row to the next.
    pub(crate) stride: usize,
    pub(crate) elements: &'a [f32],
}

/// How products are taken.
#[derive(Clone, Copy)]
pub(crate) struct Products {
    pub(super) micro: &'static Microkernel,
    /// Packs rows of the first operand.
    pub(super) left: PackFn,
    /// Packs columns of the second operand, stored as rows.
    pub(super) columns: PackFn,
    /// Packs some columns of the second operand, stored row by row.
    pub(super) rows: PackFn,
}

impl Products {
    /// Products in bfloat16, where they pay for what packing both operands costs.
    pub(crate) fn of(isa: Isa) -> Option<Self> {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => Some(super::x86_64::amx::products()),
            _ => None,
        }
    }

    /// Packs the second operand of a product, whose columns are the rows of `part`.
    pub(crate) fn pack_columns(&self, part: Part<'_>, into: &mut Numbers) {
        let panel = self.micro.panel;
        let words = self.micro.units(part.columns) * panel;
        let into = into.room::<u32>(part.rows.div_ceil(panel) * words);
        for (i, into) in into.chunks_exact_mut(words).enumerate() {
            let rows = panel.min(part.rows - i * panel);
            let source = part.cut(i * panel..i * panel + rows, 0..part.columns);
            // SAFETY: the source was checked; `into` has room for the units of a panel.
            unsafe { (self.columns)(&source, panel, into.as_mut_ptr()) };
        }
    }

    /// Packs the second operand of a product.
    pub(crate) fn pack_rows(&self, part: Part<'_>, into: &mut Numbers) {
        let panel = self.micro.panel;
        let words = self.micro.units(part.rows) * panel;
        let into = into.room::<u32>(part.columns.div_ceil(panel) * words);
        for (i, into) in into.chunks_exact_mut(words).enumerate() {
            let columns = i * panel..((i + 1) * panel).min(part.columns);
            let source = part.cut(0..part.rows, columns);
            // SAFETY: as above.
            unsafe { (self.rows)(&source, panel, into.as_mut_ptr()) };
        }
    }

    /// `out[r][c] = sum over d of left[r][d] * right[d][c]` for `along` of the sum's elements and some of the columns. `right`
    /// is packed, `depth` elements along the sum. Rows of `out` are `stride` apart.
    ///
    /// # Panics
    /// If an operand is too short, or a range does not begin at a whole step or panel.
    pub(crate) fn multiply(
        &self,
        left: Part<'_>,
        (right, depth): (&Numbers, usize),
        along: Range<usize>,
        columns: Range<usize>,
        (scratch, out): (&mut Numbers, &mut [f32]),
        stride: usize,
    ) {
        let micro = self.micro;
        let panel_words = micro.units(depth) * micro.panel;
        let panels = columns.end.div_ceil(micro.panel);
        let right = &right.as_slice::<u32>()[..panels * panel_words];
        assert!(along.end <= depth && along.start.is_multiple_of(micro.step));
        assert!(columns.start.is_multiple_of(micro.panel) && columns.end <= stride);
        assert!(left.rows == 0 || out.len() >= (left.rows - 1) * stride + columns.end);
        let units = micro.units(along.len());
        let skipped = micro.units(along.start) * micro.panel;
        for first in (0..left.rows).step_by(micro.tile_rows()) {
            let rows = micro.tile_rows().min(left.rows - first);
            let source = left.cut(first..first + rows, along.clone());
            let x = scratch.room::<u32>(rows * units);
            // SAFETY: the source was checked; `x` has room for the units of its rows.
            unsafe { (self.left)(&source, rows, x.as_mut_ptr()) };
            for panel in (columns.start / micro.panel..panels).step_by(micro.panels) {
                let column = panel * micro.panel;
                let some = micro.panels.min(panels - panel);
                let tile = Tile {
                    rows,
                    x: x.as_ptr(),
                    w: right[panel * panel_words + skipped..].as_ptr(),
                    panels: some,
                    panel_words,
                    units,
                    x_scales: null(),
                    x_zeros: null(),
                    w_scales: null(),
                    w_sums: null(),
                    bias: null(),
                    accumulate: false,
                    out: out[first * stride + column..].as_mut_ptr(),
                    out_stride: stride,
                    columns: (some * micro.panel).min(columns.end - column),
                };
                // SAFETY: units of the rows and of the panels are there, the part of the output was checked above, and
                // products of floats take no scales.
                unsafe { micro.tiles[rows - 1](&tile) };
            }
        }
    }
}

impl<'a> Part<'a> {
    /// # Panics
    /// If they are not there.
    fn cut(self, rows: Range<usize>, columns: Range<usize>) -> RowsToPack<'a> {
        assert!(rows.end <= self.rows && columns.end <= self.columns);
        let elements = &self.elements[rows.start * self.stride + columns.start..];
        assert!(elements.len() >= (rows.len() - 1) * self.stride + columns.len());
        let stride = self.stride * size_of::<f32>();
        RowsToPack { bytes: bytes_of(elements), stride, rows: rows.len(), count: columns.len() }
    }
}
