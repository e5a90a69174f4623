//! Single elements of a row that are far beyond all others, as decoders' activations have them.
//!
//! Digits are multiples of one step for a group, which follows the largest. If that is an outlier, and meets small factors, the
//! digits that the others lost could outweigh its products. So outliers are taken out, digits have zeros in their place, and
//! their products are added here, one by one. It depends on a group alone which of its elements are outliers.

use std::ops::Range;

use super::call::{Call, ColumnBlock, Output};
use super::microkernel::{Packing, RowsToPack};
use crate::format::Format;
use crate::quant::DecodeFn;

/// Most outliers of a group.
pub(super) const MOST: usize = 8;

/// Words for them: a column within the group and the bits of an f32 for each.
pub(super) const WORDS: usize = 2 * MOST;

/// Most rows of weights in a panel.
const MOST_ROWS: usize = 32;

/// Elements of the largest block of any format.
const LARGEST_BLOCK: usize = 256;

impl Call<'_> {
    /// Adds the products of outliers, in a tile of activations or in a block of some panels, which are `packed`, to what is
    /// there.
    pub(super) fn add_outliers(
        &self,
        tile: usize,
        panels: Range<usize>,
        block: ColumnBlock,
        packed: &[u32],
        out: Output,
    ) {
        let Packing::Digits { columns, restore, decode, .. } = self.micro.packing else { return };
        if block.count == 0 {
            return;
        }
        let x = self.tile(tile, block);
        let width = self.micro.panel;
        let x_has_some = has_any(x.offsets);
        for (packed, panel) in packed.chunks_exact(self.panel_words(block)).zip(panels) {
            let counts = &packed[(block.units + block.scales) * width..];
            let (w_counts, w_outliers) = counts.split_at(block.scales * width);
            if !x_has_some && !has_any(w_counts) {
                continue;
            }
            let source = self.rows_of(panel, block);
            let mut stored = StoredColumns::new(source, self.w.format(), decode);
            let add = |row: usize, column: usize, product: f32| {
                let at = (x.first + row) * out.stride + panel * width + column;
                // SAFETY: the output has this row and column, which no other task writes.
                unsafe { *out.first.wrapping_add(at) += product };
            };
            for group in 0..block.scales {
                for (row, k, value) in outliers(x.offsets, x.outliers, x.rows, group) {
                    let w = stored.column(group * columns + k);
                    for (column, w) in w.iter().enumerate() {
                        add(row, column, value * w);
                    }
                }
                for (column, k, value) in outliers(w_counts, w_outliers, width, group) {
                    for row in 0..x.rows {
                        let scale = f32::from_bits(x.scales[group * x.rows + row]);
                        let number = restore(x.units, x.rows, row, group * columns + k);
                        add(row, column, number * scale * value);
                    }
                }
            }
        }
    }
}

fn has_any(counts: &[u32]) -> bool {
    counts.iter().fold(0, |any, count| any | count) != 0
}

/// Those of a group, lane by lane: the lane, the column within the group, and the value.
fn outliers(
    counts: &[u32],
    all: &[u32],
    lanes: usize,
    group: usize,
) -> impl Iterator<Item = (usize, usize, f32)> {
    let (counts, all) = (&counts[group * lanes..][..lanes], &all[group * lanes * WORDS..]);
    let of_lanes = counts.iter().zip(all.chunks(WORDS)).enumerate();
    of_lanes.flat_map(|(lane, (&count, words))| {
        let some = words[..2 * count as usize].as_chunks().0;
        some.iter().map(move |&[column, bits]| (lane, column as usize, f32::from_bits(bits)))
    })
}

/// Columns of some rows of stored weights. Outliers of rows after one another are often in the same ones, which are kept.
struct StoredColumns<'a> {
    source: RowsToPack<'a>,
    format: Format,
    decode: DecodeFn,
    kept: [(usize, [f32; MOST_ROWS]); MOST],
    next: usize,
}

impl<'a> StoredColumns<'a> {
    /// # Panics
    ///
    /// If there are more rows than any panel with outliers has.
    fn new(source: RowsToPack<'a>, format: Format, decode: DecodeFn) -> Self {
        assert!(source.rows <= MOST_ROWS);
        Self { source, format, decode, kept: [(usize::MAX, [0.0; MOST_ROWS]); MOST], next: 0 }
    }

    /// An element for each row.
    fn column(&mut self, column: usize) -> &[f32] {
        let kept = self.kept.iter().position(|&(of, _)| of == column).unwrap_or_else(|| {
            let mut elements = [0.0; MOST_ROWS];
            for (row, element) in elements.iter_mut().enumerate().take(self.source.rows) {
                *element = self.element(row, column);
            }
            let at = self.next;
            self.kept[at] = (column, elements);
            self.next = (at + 1) % MOST;
            at
        });
        &self.kept[kept].1[..self.source.rows]
    }

    fn element(&self, row: usize, column: usize) -> f32 {
        let (elements, bytes) = (self.format.block_elements(), self.format.block_bytes());
        let at = row * self.source.stride + column / elements * bytes;
        let decode = |into: &mut [f32]| {
            // SAFETY: `Kernels::new` checked the instructions.
            unsafe { (self.decode)(self.format, &self.source.bytes[at..][..bytes], into) };
            into[column % elements]
        };
        match elements {
            1 => decode(&mut [0.0]),
            _ => decode(&mut [0.0; LARGEST_BLOCK][..elements]),
        }
    }
}
