//! One call of [`Kernels::linear`](super::Kernels::linear), task by task.

use std::ops::Range;

use super::Activations;
use super::microkernel::{Microkernel, Order, RowsToPack, Tile};
use super::pack::Packed;
use super::scratch::{Rows, Scratch};
use super::tasks::{BLOCK_COLUMNS, Task};
use crate::format::Matrix;

/// Tiles of activations that pass one panel before the next, if panels are nearest: their block stays in the second-level
/// cache, that of the panel in the first.
const PASS_TILES: usize = 8;

/// Arguments of a call that were checked: `out` has a row of `w.rows()` elements for every row of
/// `x`, `out_stride` apart.
pub(super) struct Call<'a> {
    pub(super) x: &'a Activations,
    pub(super) w: &'a Matrix<'a>,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) micro: &'static Microkernel,
    /// Whether to add to what `out` holds.
    pub(super) accumulate: bool,
    pub(super) out: *mut f32,
    pub(super) out_stride: usize,
}

// SAFETY: `out` is the caller's exclusive borrow, which outlives the call, and tasks write disjoint
// elements of it; everything else is shared and immutable.
unsafe impl Sync for Call<'_> {}

/// Columns of the weights that are packed at a time.
#[derive(Clone, Copy)]
struct ColumnBlock {
    first: usize,
    count: usize,
    /// Units of one row in a plane, of all its planes, and its scales.
    plane: usize,
    units: usize,
    scales: usize,
}

impl Call<'_> {
    pub(super) fn run(&self, task: &Task) {
        Scratch::with(|Scratch { packed, rows }| {
            let columns = self.w.columns();
            // Without columns there still is a bias to write.
            for first in (0..columns.max(1)).step_by(BLOCK_COLUMNS) {
                let count = BLOCK_COLUMNS.min(columns - first);
                let (plane, units) = (self.micro.units(count), self.micro.w_units(count));
                let scales = self.micro.scales(count);
                let block = ColumnBlock { first, count, plane, units, scales };
                let len = (units + 2 * scales) * self.micro.panel;
                let packed = packed.units(task.panels.len() * len);
                if count > 0 {
                    for (panel, into) in task.panels.clone().zip(packed.chunks_exact_mut(len)) {
                        self.pack(panel, block, rows, into);
                    }
                }
                self.pass(task, block, packed);
            }
        });
    }

    /// Packs a block of the weights of one panel: units, then scales and offsets.
    fn pack(&self, panel: usize, block: ColumnBlock, scratch: &mut Rows, into: &mut [u32]) {
        let (format, stride) = (self.w.format(), self.w.row_bytes());
        let first = panel * self.micro.panel;
        let rows = self.micro.panel.min(self.w.rows() - first);
        let offset = block.first / format.block_elements() * format.block_bytes();
        let bytes = &self.w.bytes()[first * stride + offset..];
        let source = RowsToPack { bytes, stride, rows, count: block.count };
        let (units, steps) = into.split_at_mut(block.units * self.micro.panel);
        let (scales, offsets) = steps.split_at_mut(block.scales * self.micro.panel);
        let into = Packed { lanes: self.micro.panel, units, scales, offsets };
        self.micro.pack_weights(format, &source, scratch, into);
    }

    /// Adds the products of a block whose weights are `packed`.
    fn pass(&self, task: &Task, block: ColumnBlock, packed: &[u32]) {
        let panel_len = (block.units + 2 * block.scales) * self.micro.panel;
        if self.micro.order == Order::Tile {
            for tile in task.tiles.clone() {
                self.multiply(tile, task.panels.clone(), block, packed);
            }
            return;
        }
        for first in task.tiles.clone().step_by(PASS_TILES) {
            let tiles = first..(first + PASS_TILES).min(task.tiles.end);
            for (i, panel) in task.panels.clone().enumerate() {
                let w = &packed[i * panel_len..][..panel_len];
                for tile in tiles.clone() {
                    self.multiply(tile, panel..panel + 1, block, w);
                }
            }
        }
    }

    /// Adds the products of one tile of activations and some panels' packed weights.
    fn multiply(&self, tile: usize, panels: Range<usize>, block: ColumnBlock, w: &[u32]) {
        let width = self.micro.panel;
        let x = self.x.tile(tile, block.first, block.count, self.micro);
        let column = panels.start * width;
        // SAFETY: this tile takes the elements from `column` on of rows that `out` has.
        let out = unsafe { self.out.add(x.first * self.out_stride + column) };
        let bias = self.bias.filter(|_| block.first == 0);
        let tile = Tile {
            rows: x.rows,
            x: x.units.as_ptr(),
            w: w.as_ptr(),
            panels: panels.len(),
            panel_words: w.len() / panels.len(),
            units: block.plane,
            x_scales: x.scales.as_ptr().cast(),
            x_zeros: x.offsets.as_ptr().cast(),
            w_scales: w[block.units * width..].as_ptr().cast(),
            w_sums: w[(block.units + block.scales) * width..].as_ptr().cast(),
            bias: bias.map_or(std::ptr::null(), |bias| bias[column..].as_ptr()),
            accumulate: self.accumulate || block.first > 0,
            out,
            out_stride: self.out_stride,
            columns: (panels.len() * width).min(self.w.rows() - column),
        };
        // SAFETY: `x` and `w` were cut to the units and scales of the block; `bias` and rows of
        // `out` have `columns` elements, and no other task writes the latter. `Kernels::new`
        // checked the instructions.
        unsafe { self.micro.tiles[x.rows - 1](&tile) };
    }
}
