//! Activations in the layout of the microkernels.

use rayon::prelude::*;

use super::Compute;
use super::microkernel::{Microkernel, Source, UnitBuffer};
use crate::format::Format;
use crate::isa::Isa;

/// The input of linear layers, `[rows, columns]`, prepared by
/// [`Kernels::prepare`](super::Kernels::prepare). The memory is kept for the next use.
#[derive(Debug)]
pub struct Activations {
    isa: Isa,
    compute: Compute,
    rows: usize,
    columns: usize,
    tile_rows: usize,
    row_units: usize,
    /// Tile by tile `[row_units, rows of the tile]`; only the last tile may be short.
    units: UnitBuffer,
}

impl Default for Activations {
    /// No rows, no memory.
    fn default() -> Self {
        Self {
            isa: Isa::Portable,
            compute: Compute::F32,
            rows: 0,
            columns: 0,
            tile_rows: 1,
            row_units: 0,
            units: UnitBuffer::default(),
        }
    }
}

impl Activations {
    /// Rows that were prepared.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// In what products with these activations are taken.
    pub fn compute(&self) -> Compute {
        self.compute
    }

    pub(super) fn isa(&self) -> Isa {
        self.isa
    }

    pub(super) fn pack(
        &mut self,
        isa: Isa,
        compute: Compute,
        micro: &Microkernel,
        x: &[f32],
        rows: usize,
        columns: usize,
    ) {
        let (tile_rows, row_units) = (micro.tile_rows(), columns.div_ceil(micro.group));
        (self.isa, self.compute) = (isa, compute);
        (self.rows, self.columns) = (rows, columns);
        (self.tile_rows, self.row_units) = (tile_rows, row_units);
        if rows == 0 || columns == 0 {
            return;
        }
        let stride = columns * size_of::<f32>();
        let pack = |x: &[f32], into: &mut [u32]| {
            let rows = x.len() / columns;
            let source = Source { bytes: as_bytes(x), stride, rows, count: columns };
            micro.pack(Format::F32, &source, rows, into);
        };
        let units = self.units.units(rows * row_units);
        let (x_tile, unit_tile) = (tile_rows * columns, tile_rows * row_units);
        if rayon::current_num_threads() == 1 || rows <= 4 * tile_rows {
            x.chunks(x_tile).zip(units.chunks_mut(unit_tile)).for_each(|(x, to)| pack(x, to));
        } else {
            let tiles = x.par_chunks(x_tile).zip(units.par_chunks_mut(unit_tile));
            tiles.with_min_len(4).for_each(|(x, to)| pack(x, to));
        }
    }

    /// Number of row tiles.
    pub(super) fn tiles(&self) -> usize {
        self.rows.div_ceil(self.tile_rows)
    }

    /// First row and number of rows of a tile, and its units `first_unit..first_unit + count`,
    /// `[count, rows of the tile]`.
    pub(super) fn tile(&self, i: usize, first_unit: usize, count: usize) -> (usize, usize, &[u32]) {
        let first = i * self.tile_rows;
        let rows = self.tile_rows.min(self.rows - first);
        let offset = first * self.row_units + first_unit * rows;
        (first, rows, &self.units.as_units()[offset..][..count * rows])
    }
}

fn as_bytes(x: &[f32]) -> &[u8] {
    // SAFETY: any f32 is four initialised bytes.
    unsafe { std::slice::from_raw_parts(x.as_ptr().cast(), size_of_val(x)) }
}
