//! One call of [`Kernels::linear`](super::Kernels::linear), task by task.

use std::ops::Range;

use super::activations::TileOperand;
use super::microkernel::{Microkernel, Order, RowsToPack, Tile};
use super::pack::Packed;
use super::scratch::{Rows, Scratch};
use super::tasks::{BLOCK_COLUMNS, Task};
use super::{Activations, Map};
use crate::format::Matrix;

/// Tiles of activations that pass one panel before the next, if panels are nearest: their block stays in the second-level
/// cache, that of the panel in the first.
const PASS_TILES: usize = 8;

/// A linear layer whose arguments were checked.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) x: &'a Activations,
    pub(super) w: &'a Matrix<'a>,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) micro: &'static Microkernel,
}

/// Where a call writes: a row of as many elements as the weights have rows for every row of `x`, `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Output {
    /// Of the first row and column of the call, be they written or not.
    pub(super) first: *mut f32,
    pub(super) stride: usize,
    /// Whether to add to what is there.
    pub(super) accumulate: bool,
}

// SAFETY: it is made of an exclusive borrow that outlives the call, and tasks write disjoint elements of it.
unsafe impl Sync for Output {}

/// Columns of the weights that are packed at a time.
#[derive(Clone, Copy)]
pub(super) struct ColumnBlock {
    pub(super) first: usize,
    pub(super) count: usize,
    /// Units of one row in a plane, of all its planes, and its scales.
    plane: usize,
    pub(super) units: usize,
    pub(super) scales: usize,
}

impl<'a> Call<'a> {
    pub(super) fn new(x: &'a Activations, Map { matrix: w, bias }: Map<'a>) -> Self {
        let micro = Microkernel::of(x.isa(), x.compute(), w.format());
        Self { x, w, bias, micro }
    }

    pub(super) fn run(&self, task: &Task, out: Output) {
        Scratch::with(|Scratch { packed, rows, .. }| {
            for block in self.blocks() {
                let packed = packed.units(task.panels.len() * self.panel_words(block));
                self.pack_panels(task.panels.clone(), block, rows, packed);
                self.pass(task, block, packed, out);
            }
        });
    }

    /// The blocks of columns, in order. Without columns there still is one, as there is a bias to write.
    pub(super) fn blocks(&self) -> impl Iterator<Item = ColumnBlock> + use<> {
        let (columns, micro) = (self.w.columns(), self.micro);
        (0..columns.max(1)).step_by(BLOCK_COLUMNS).map(move |first| {
            let count = BLOCK_COLUMNS.min(columns - first);
            let (plane, units) = (micro.units(count), micro.w_units(count));
            ColumnBlock { first, count, plane, units, scales: micro.scales(count) }
        })
    }

    /// Words of a packed block of a panel.
    pub(super) fn panel_words(&self, block: ColumnBlock) -> usize {
        let outliers = self.micro.outlier_words(block.count);
        (block.units + 2 * block.scales + outliers) * self.micro.panel
    }

    /// Packs a block of the weights of some panels, one after the other.
    pub(super) fn pack_panels(
        &self,
        panels: Range<usize>,
        block: ColumnBlock,
        scratch: &mut Rows,
        into: &mut [u32],
    ) {
        if block.count > 0 {
            for (panel, into) in panels.zip(into.chunks_exact_mut(self.panel_words(block))) {
                self.pack(panel, block, scratch, into);
            }
        }
    }

    /// Packs a block of the weights of one panel: units, then scales, offsets and outliers.
    fn pack(&self, panel: usize, block: ColumnBlock, scratch: &mut Rows, into: &mut [u32]) {
        let source = self.rows_of(panel, block);
        let lanes = self.micro.panel;
        let (units, rest) = into.split_at_mut(block.units * lanes);
        let (scales, rest) = rest.split_at_mut(block.scales * lanes);
        let (offsets, outliers) = rest.split_at_mut(block.scales * lanes);
        let into = Packed { lanes, units, scales, offsets, outliers };
        self.micro.pack_weights(self.w.format(), &source, scratch, into);
    }

    /// A block of the weights of one panel.
    pub(super) fn rows_of(&self, panel: usize, block: ColumnBlock) -> RowsToPack<'a> {
        let (format, stride) = (self.w.format(), self.w.row_bytes());
        let first = panel * self.micro.panel;
        let rows = self.micro.panel.min(self.w.rows() - first);
        let offset = block.first / format.block_elements() * format.block_bytes();
        let bytes = &self.w.bytes()[first * stride + offset..];
        RowsToPack { bytes, stride, rows, count: block.count }
    }

    /// Adds the products of a block whose weights are `packed`.
    pub(super) fn pass(&self, task: &Task, block: ColumnBlock, packed: &[u32], out: Output) {
        let panel_len = self.panel_words(block);
        if self.micro.order == Order::Tile {
            for tile in task.tiles.clone() {
                self.multiply(&self.tile(tile, block), task.panels.clone(), block, packed, out);
                self.add_outliers(tile, task.panels.clone(), block, packed, out);
            }
            return;
        }
        // Digits have the other order.
        debug_assert_eq!(self.micro.outlier_words(block.count), 0);
        for first in task.tiles.clone().step_by(PASS_TILES) {
            let mut operands = [const { None }; PASS_TILES];
            (first..task.tiles.end)
                .zip(&mut operands)
                .for_each(|(tile, x)| *x = Some(self.tile(tile, block)));
            for (i, panel) in task.panels.clone().enumerate() {
                let w = &packed[i * panel_len..][..panel_len];
                for x in operands.iter().flatten() {
                    self.multiply(x, panel..panel + 1, block, w, out);
                }
            }
        }
    }

    /// Columns of a tile of activations.
    pub(super) fn tile(&self, tile: usize, block: ColumnBlock) -> TileOperand<'a> {
        self.x.tile(tile, block.first, block.count, self.micro)
    }

    /// Adds the products of one tile of activations and some panels' packed weights.
    fn multiply(
        &self,
        x: &TileOperand<'_>,
        panels: Range<usize>,
        block: ColumnBlock,
        w: &[u32],
        out: Output,
    ) {
        let width = self.micro.panel;
        let column = panels.start * width;
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
            accumulate: out.accumulate || block.first > 0,
            out: out.first.wrapping_add(x.first * out.stride + column),
            out_stride: out.stride,
            columns: (panels.len() * width).min(self.w.rows() - column),
        };
        // SAFETY: `x` and `w` were cut to the units and scales of the block; `bias` and rows of
        // `out` have `columns` elements, and no other task writes the latter. `Kernels::new`
        // checked the instructions.
        unsafe { self.micro.tiles[x.rows - 1](&tile) };
    }
}
