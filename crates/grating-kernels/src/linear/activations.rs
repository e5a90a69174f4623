//! Activations in the layout of the microkernels.

use std::marker::PhantomData;
use std::ops::Range;
use std::slice;

use rayon::prelude::*;

use super::Compute;
use super::microkernel::Microkernel;
use super::pack::Packed;
use super::scratch::UnitBuffer;
use crate::format::Format;
use crate::isa::Isa;

/// The input of linear layers, `[rows, columns]`, prepared by
/// [`Kernels::prepare`](super::Kernels::prepare). The memory is kept for the next use.
#[derive(Debug)]
pub struct Activations {
    isa: Isa,
    compute: Compute,
    rows: usize,
    layout: RowLayout,
    /// Tile by tile the units, then scales and offsets, `[scales, rows]` each, and [outliers](super::outliers). Only the last
    /// tile may be short.
    packed: UnitBuffer,
}

/// How a row is stored.
#[derive(Debug, Clone, Copy, Default)]
struct RowLayout {
    tile_rows: usize,
    columns: usize,
    units: usize,
    scales: usize,
    outliers: usize,
}

impl RowLayout {
    fn new(micro: &Microkernel, columns: usize) -> Self {
        Self {
            tile_rows: micro.tile_rows(),
            columns,
            units: micro.x_units(columns),
            scales: micro.scales(columns),
            outliers: micro.outlier_words(columns),
        }
    }

    /// Words of one row.
    fn words(self) -> usize {
        self.units + 2 * self.scales + self.outliers
    }

    /// Rows of some tiles, of `rows` in all.
    fn rows_of(self, tiles: &Range<usize>, rows: usize) -> Range<usize> {
        tiles.start * self.tile_rows..(tiles.end * self.tile_rows).min(rows)
    }

    /// A tile's units, scales, offsets and outliers.
    fn split(self, rows: usize, tile: &[u32]) -> [&[u32]; 4] {
        let (units, rest) = tile.split_at(rows * self.units);
        let (scales, rest) = rest.split_at(rows * self.scales);
        let (offsets, outliers) = rest.split_at(rows * self.scales);
        [units, scales, offsets, outliers]
    }

    /// The same, to be written.
    fn split_mut(self, rows: usize, tile: &mut [u32]) -> Packed<'_> {
        let (units, rest) = tile.split_at_mut(rows * self.units);
        let (scales, rest) = rest.split_at_mut(rows * self.scales);
        let (offsets, outliers) = rest.split_at_mut(rows * self.scales);
        Packed { lanes: rows, units, scales, offsets, outliers }
    }
}

/// [`Activations`] that are packed piece by piece.
pub(super) struct Target<'a> {
    micro: &'static Microkernel,
    rows: usize,
    layout: RowLayout,
    words: *mut u32,
    of: PhantomData<&'a mut Activations>,
}

// SAFETY: it stands for an exclusive borrow, and whoever takes a part promises that nobody else has it.
unsafe impl Sync for Target<'_> {}

impl<'a> Target<'a> {
    /// Columns `first..first + count` of tile `i`. `first` is a multiple of the elements that are packed together: those
    /// of a step, and where there are scales those that share one; so is `count`, but for the last columns.
    ///
    /// # Safety
    ///
    /// Nobody else has any of these columns of the tile.
    pub(super) unsafe fn part(&self, i: usize, first: usize, count: usize) -> Packed<'a> {
        let of_tile = self.layout.rows_of(&(i..i + 1), self.rows);
        let (rows, micro) = (of_tile.len(), self.micro);
        let tile = self.words.wrapping_add(of_tile.start * self.layout.words());
        let scales = tile.wrapping_add(rows * self.layout.units);
        let offsets = scales.wrapping_add(rows * self.layout.scales);
        let outliers = offsets.wrapping_add(rows * self.layout.scales);
        let slice = |of: *mut u32, first: usize, count: usize| {
            // SAFETY: a tile is its units, then its scales, offsets and outliers; the rest as promised to this function.
            unsafe { slice::from_raw_parts_mut(of.wrapping_add(rows * first), rows * count) }
        };
        Packed {
            lanes: rows,
            units: slice(tile, micro.x_units(first), micro.x_units(count)),
            scales: slice(scales, micro.scales(first), micro.scales(count)),
            offsets: slice(offsets, micro.scales(first), micro.scales(count)),
            outliers: slice(outliers, micro.outlier_words(first), micro.outlier_words(count)),
        }
    }
}

/// Some columns of a tile.
pub(super) struct TileOperand<'a> {
    /// First row of the tile.
    pub(super) first: usize,
    pub(super) rows: usize,
    /// As a microkernel takes them.
    pub(super) units: &'a [u32],
    /// Bits of f32, `[scales, rows]`.
    pub(super) scales: &'a [u32],
    /// Bits of i32, `[scales, rows]`; of digits, the number of outliers.
    pub(super) offsets: &'a [u32],
    /// `[scales, rows, `[`WORDS`](super::outliers::WORDS)`]`
    pub(super) outliers: &'a [u32],
}

impl Default for Activations {
    /// No rows, no memory.
    fn default() -> Self {
        Self {
            isa: Isa::Portable,
            compute: Compute::F32,
            rows: 0,
            layout: RowLayout::default(),
            packed: UnitBuffer::default(),
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
        self.layout.columns
    }

    /// Memory that is held.
    pub fn bytes(&self) -> usize {
        size_of_val(self.packed.as_units())
    }

    /// In what products with these activations are taken.
    pub fn compute(&self) -> Compute {
        self.compute
    }

    pub(super) fn isa(&self) -> Isa {
        self.isa
    }

    /// Bytes that a row of so many columns takes.
    pub(super) fn row_bytes(isa: Isa, compute: Compute, columns: usize) -> usize {
        let micro = Microkernel::of(isa, compute, Format::F32);
        RowLayout::new(micro, columns).words() * size_of::<u32>()
    }

    /// Packs `x`, `[rows, columns]`.
    pub(super) fn pack(
        &mut self,
        isa: Isa,
        compute: Compute,
        x: &[f32],
        rows: usize,
        columns: usize,
    ) {
        let micro = self.lay_out(isa, compute, rows, columns);
        let layout = self.layout;
        if rows == 0 || columns == 0 {
            return;
        }
        // Some tiles at a time, so that a task is worth its start.
        let block = 4 * layout.tile_rows;
        let packed = self.packed.units(rows * layout.words());
        let pack = |(x, packed): (&[f32], &mut [u32])| pack_tiles(micro, layout, x, packed);
        if rayon::current_num_threads() == 1 || rows <= block {
            pack((x, packed));
        } else {
            let packed = packed.par_chunks_mut(block * layout.words());
            x.par_chunks(block * columns).zip(packed).for_each(pack);
        }
    }

    /// Becomes `[rows, columns]` that somebody else packs.
    pub(super) fn target(
        &mut self,
        isa: Isa,
        compute: Compute,
        rows: usize,
        columns: usize,
    ) -> Target<'_> {
        let micro = self.lay_out(isa, compute, rows, columns);
        let words = self.packed.units(rows * self.layout.words()).as_mut_ptr();
        Target { micro, rows, layout: self.layout, words, of: PhantomData }
    }

    fn lay_out(
        &mut self,
        isa: Isa,
        compute: Compute,
        rows: usize,
        columns: usize,
    ) -> &'static Microkernel {
        let micro = Microkernel::of(isa, compute, Format::F32);
        self.layout = RowLayout::new(micro, columns);
        (self.isa, self.compute, self.rows) = (isa, compute, rows);
        micro
    }

    /// All that is packed; room for outliers that has none is 0.
    #[cfg(test)]
    pub(super) fn words(&self) -> Vec<u32> {
        use super::outliers::WORDS;

        let mut words = self.packed.as_units()[..self.rows * self.layout.words()].to_vec();
        for tile in words.chunks_mut(self.layout.tile_rows * self.layout.words().max(1)) {
            let rows = tile.len() / self.layout.words();
            let into = self.layout.split_mut(rows, tile);
            for (count, words) in into.offsets.iter().zip(into.outliers.chunks_mut(WORDS)) {
                words[2 * *count as usize..].fill(0);
            }
        }
        words
    }

    /// Rows of some tiles.
    pub(super) fn rows_of(&self, tiles: &Range<usize>) -> Range<usize> {
        self.layout.rows_of(tiles, self.rows)
    }

    /// Number of row tiles.
    pub(super) fn tiles(&self) -> usize {
        self.rows.div_ceil(self.layout.tile_rows)
    }

    /// Columns `first..first + count` of tile `i`, packed by `micro`. `first` is a multiple of
    /// [`BLOCK_COLUMNS`](super::tasks::BLOCK_COLUMNS).
    pub(super) fn tile(
        &self,
        i: usize,
        first: usize,
        count: usize,
        micro: &Microkernel,
    ) -> TileOperand<'_> {
        let first_row = i * self.layout.tile_rows;
        let rows = self.layout.tile_rows.min(self.rows - first_row);
        let words = self.layout.words();
        let tile = &self.packed.as_units()[first_row * words..][..rows * words];
        let [units, scales, offsets, outliers] = self.layout.split(rows, tile);
        let words = |count| micro.outlier_words(count) * rows;
        let (unit, unit_count) = (micro.x_units(first) * rows, micro.x_units(count) * rows);
        let (scale, scale_count) = (micro.scales(first) * rows, micro.scales(count) * rows);
        TileOperand {
            first: first_row,
            rows,
            units: &units[unit..][..unit_count],
            scales: &scales[scale..][..scale_count],
            offsets: &offsets[scale..][..scale_count],
            outliers: &outliers[words(first)..][..words(count)],
        }
    }
}

/// Packs whole tiles, the last of which may be short.
fn pack_tiles(micro: &Microkernel, layout: RowLayout, x: &[f32], packed: &mut [u32]) {
    let tiles = packed.chunks_mut(layout.tile_rows * layout.words());
    let x = x.chunks(layout.tile_rows * layout.columns);
    x.zip(tiles).for_each(|(x, tile)| pack_tile(micro, layout, x, tile));
}

fn pack_tile(micro: &Microkernel, layout: RowLayout, x: &[f32], tile: &mut [u32]) {
    let rows = x.len() / layout.columns;
    micro.pack_activations(x, layout.columns, layout.split_mut(rows, tile));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kernels;

    #[test]
    fn what_is_prepared_takes_no_more_than_is_said() {
        let (rows, columns) = (50, 130);
        let x = vec![1.0; rows * columns];
        for isa in Isa::supported() {
            let kernels = Kernels::new(isa);
            for wanted in [Compute::F32, Compute::Digits, Compute::Bf16, Compute::Int8] {
                let mut prepared = Activations::default();
                let compute = kernels.compute_for(Format::F32, wanted);
                kernels.prepare(&x, rows, columns, compute, &mut prepared);
                let bytes = prepared.layout.words() * size_of::<u32>();
                assert!(bytes <= kernels.prepared_bytes(columns), "{isa} {compute:?}");
            }
        }
        if Isa::Amx.is_supported() {
            let kernels = Kernels::new(Isa::Amx);
            // Five steps of 32 elements in three parts of two bytes.
            assert_eq!(kernels.prepared_bytes(columns), 5 * 32 * 3 * 2);
            // Three steps of 64 elements in three digits, a scale, a count of outliers and room for eight.
            let of_digits = 3 * 64 * 3 + 2 * 4 + 8 * 8;
            assert_eq!(kernels.row_bytes(columns, Compute::Digits), of_digits);
        }
    }
}
