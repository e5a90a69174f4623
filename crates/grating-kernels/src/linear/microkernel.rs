//! What an instruction set has to bring: packing, and tiles.

use super::Compute;
use super::generic;
use super::outliers;
use super::tasks::BLOCK_COLUMNS;
#[cfg(target_arch = "x86_64")]
use super::x86_64;
use crate::format::Format;
use crate::isa::Isa;
use crate::quant::{DecodeFn, GROUP, QuantizeActivationsFn, QuantizeWeightsFn};

/// One instruction set's way of taking products in one type.
///
/// Operands are packed in units of 32 bits that hold `group` consecutive elements of a row, the
/// first in the lowest bits: one f32, two bfloat16, two or four integers.
#[derive(Debug)]
pub(super) struct Microkernel {
    /// Elements of a row in one unit.
    pub(super) group: usize,
    /// Elements that a row is filled up to a multiple of, with zeros.
    pub(super) step: usize,
    /// Numbers that an element of the activations, and one of the weights, is the sum of. Each step has all units of the
    /// first, then all of the second.
    pub(super) planes: (usize, usize),
    /// Output columns of a tile: rows of the weights in a panel.
    pub(super) panel: usize,
    /// Most panels that are packed at a time, and what stays in the first-level cache meanwhile.
    pub(super) panels: usize,
    pub(super) order: Order,
    /// Tiles of one row, of two rows, and so on.
    pub(super) tiles: &'static [TileFn],
    pub(super) packing: Packing,
}

/// What of a task is nearest to the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// One panel, which some tiles of activations pass by: tile functions get one panel.
    Panel,
    /// Some columns of a tile of activations, which all panels pass by: tile functions get all panels.
    Tile,
}

/// How operands get into units.
#[derive(Debug)]
pub(super) enum Packing {
    /// From numbers.
    Floats {
        /// Makes units of activations.
        x: PackFn,
        /// Makes units of weights in f32, f16 and bf16.
        w: [PackFn; 3],
        /// Makes f32 of other formats.
        decode: DecodeFn,
    },
    /// From the digits of numbers, with a scale for some columns.
    Digits {
        /// Columns that share a scale: a divisor of [`BLOCK_COLUMNS`].
        columns: usize,
        /// Cuts activations, in f32.
        x: CutFn,
        /// Cuts weights in f32, f16 and bf16.
        w: [CutFn; 3],
        restore: RestoreFn,
        /// Makes f32 of other formats.
        decode: DecodeFn,
    },
    /// From bytes, with a scale for each [`GROUP`] of them. Units of activations lie row after row
    /// within a group, `[groups, rows, units of a group]`.
    Bytes {
        /// Makes units of activations.
        x: QuantizeActivationsFn,
        /// Makes signed bytes of weights.
        quantize: QuantizeWeightsFn,
        /// Makes units of them.
        w: PackFn,
    },
}

/// Computes a tile. The pointers of the [`Tile`] must be valid for as many rows as the function
/// computes, and the machine must have its instructions.
pub(super) type TileFn = unsafe fn(&Tile);

/// Packs [rows](RowsToPack) into units: unit `u` of row `r` goes to `into[u * lanes + r]`, or where the instruction set's
/// own tiles look for it. Lanes without a row and elements after the last become zero. The machine must have its
/// instructions, the source must hold what it says, `rows <= lanes`, and `into` must have room
/// for the units of `count` elements in `lanes` lanes.
pub(super) type PackFn = unsafe fn(source: &RowsToPack<'_>, lanes: usize, into: *mut u32);

/// Cuts [rows](RowsToPack) into digits, as [`PackFn`] packs them.
pub(super) type CutFn = unsafe fn(source: &RowsToPack<'_>, into: Cut);

/// Where the digits of rows go.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    pub(super) lanes: usize,
    pub(super) units: *mut u32,
    /// `[groups, lanes]`
    pub(super) scales: *mut f32,
    /// How many outliers there are, `[groups, lanes]`.
    pub(super) counts: *mut u32,
    /// `[groups, lanes, `[`WORDS`](super::outliers::WORDS)`]`
    pub(super) outliers: *mut u32,
}

/// Makes a number of the digits of activations, without its scale: element `column` of row `row` of `rows`.
pub(super) type RestoreFn = fn(units: &[u32], rows: usize, row: usize, column: usize) -> f32;

/// Rows to pack: `count` elements each, the next row `stride` bytes on.
#[derive(Clone, Copy)]
pub(super) struct RowsToPack<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) stride: usize,
    pub(super) rows: usize,
    pub(super) count: usize,
}

/// A tile of the output: `out = [out +] (x · wᵀ [+ bias])`. Products are summed from zero in the
/// order of the units.
/// Pointers that are not said to be null are valid for what is said to lie there.
pub(super) struct Tile {
    pub(super) rows: usize,
    /// `[units, rows]`; for products of integers `[groups, rows, units of a group]`.
    pub(super) x: *const u32,
    /// `[units, panel]` for each panel.
    pub(super) w: *const u32,
    pub(super) panels: usize,
    /// Words from a panel to the next.
    pub(super) panel_words: usize,
    /// Of one plane.
    pub(super) units: usize,
    /// Scales of `x`, `[groups, rows]`. This and the next three: not for products of floats.
    pub(super) x_scales: *const f32,
    /// What stands for 0 in `x`, `[groups, rows]`, 0 to 255. This and the next but one: not for products of digits.
    pub(super) x_zeros: *const i32,
    /// Scales of `w`, `[groups, panel]`, for each panel.
    pub(super) w_scales: *const f32,
    /// Minus the sums of `w`, `[groups, panel]`, each within 16 bits.
    pub(super) w_sums: *const i32,
    /// Added once to every row, `columns` elements; null: nothing.
    pub(super) bias: *const f32,
    /// Whether the sums are added to what `out` holds.
    pub(super) accumulate: bool,
    pub(super) out: *mut f32,
    pub(super) out_stride: usize,
    /// Columns to write, at most those of the panels.
    pub(super) columns: usize,
}

impl Microkernel {
    /// The microkernel of `isa` for products in `compute` with weights in `format`. Activations are packed the same for
    /// all formats.
    ///
    /// # Panics
    ///
    /// If `isa` has no such products.
    pub(super) fn of(isa: Isa, compute: Compute, format: Format) -> &'static Self {
        match (compute, isa) {
            (Compute::F32, Isa::Portable) => &generic::F32,
            (Compute::Int8, Isa::Portable) => &generic::INT8,
            #[cfg(target_arch = "x86_64")]
            (Compute::F32, Isa::Avx2 | Isa::AvxVnni) => &x86_64::avx2::F32,
            #[cfg(target_arch = "x86_64")]
            (Compute::Int8, Isa::Avx2 | Isa::Avx512) => &x86_64::avx2::INT8,
            #[cfg(target_arch = "x86_64")]
            (Compute::Int8, Isa::AvxVnni) => x86_64::avx_vnni::int8(),
            #[cfg(target_arch = "x86_64")]
            (Compute::F32, Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Bf16) => &x86_64::avx512::F32,
            #[cfg(target_arch = "x86_64")]
            (Compute::Int8, Isa::Avx512Vnni | Isa::Avx512Bf16 | Isa::Amx) => &x86_64::avx512::INT8,
            #[cfg(target_arch = "x86_64")]
            (Compute::Bf16, Isa::Avx512Bf16) => &x86_64::avx512::BF16,
            #[cfg(target_arch = "x86_64")]
            (Compute::F32, Isa::Amx) => x86_64::amx::f32(format),
            #[cfg(target_arch = "x86_64")]
            (Compute::Digits, Isa::Amx) => x86_64::amx::digits(format),
            #[cfg(target_arch = "x86_64")]
            (Compute::Bf16, Isa::Amx) => &x86_64::amx::BF16,
            _ => panic!("{isa} has no products in {compute:?}: ask Kernels::compute_for"),
        }
    }

    /// Rows of the tallest tile.
    pub(super) fn tile_rows(&self) -> usize {
        self.tiles.len()
    }

    /// Panels of `columns` columns that are packed at a time.
    pub(super) fn panels(&self, columns: usize) -> usize {
        self.fitting(self.block_words(columns))
    }

    /// Words of the first block of a panel of `columns` columns, which is the largest, without scales.
    pub(super) fn block_words(&self, columns: usize) -> usize {
        self.w_units(columns.min(BLOCK_COLUMNS)) * self.panel
    }

    /// Words of a row of `columns` columns of the weights when all its blocks are packed, with scales, offsets and outliers.
    pub(super) fn row_words(&self, columns: usize) -> usize {
        self.w_units(columns) + 2 * self.scales(columns) + self.outlier_words(columns)
    }

    /// Panels of so many words that are packed at a time: in the second-level cache they leave room for activations.
    pub(super) fn fitting(&self, panel_words: usize) -> usize {
        let largest: usize = match self.order {
            Order::Panel => 3 << 18,
            // Processors with tiles have two mebibytes where others have one.
            Order::Tile => 1 << 20,
        };
        (largest / size_of::<u32>() / panel_words.max(1)).clamp(1, self.panels)
    }

    /// Units of `count` elements, in one plane.
    pub(super) fn units(&self, count: usize) -> usize {
        count.next_multiple_of(self.step) / self.group
    }

    /// Units of `count` elements of activations.
    pub(super) fn x_units(&self, count: usize) -> usize {
        self.planes.0 * self.units(count)
    }

    /// Units of `count` elements of weights.
    pub(super) fn w_units(&self, count: usize) -> usize {
        self.planes.1 * self.units(count)
    }

    /// Scales of `count` elements.
    pub(super) fn scales(&self, count: usize) -> usize {
        self.scale_columns().map_or(0, |columns| count.div_ceil(columns))
    }

    /// Words for the [outliers](super::outliers) of `count` elements.
    pub(super) fn outlier_words(&self, count: usize) -> usize {
        match self.packing {
            Packing::Digits { .. } => outliers::WORDS * self.scales(count),
            _ => 0,
        }
    }

    /// Columns that share a scale, if there are scales.
    pub(super) fn scale_columns(&self) -> Option<usize> {
        match self.packing {
            Packing::Floats { .. } => None,
            Packing::Digits { columns, .. } => Some(columns),
            Packing::Bytes { .. } => Some(GROUP),
        }
    }
}
