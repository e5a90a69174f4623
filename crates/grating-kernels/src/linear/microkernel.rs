//! What an instruction set has to bring: packing, and tiles.

use super::Compute;
use super::generic;
#[cfg(target_arch = "x86_64")]
use super::x86_64;
use crate::format::Format;
use crate::isa::Isa;

/// One instruction set's way of taking products in one type.
///
/// Operands are packed in units of 32 bits that hold `group` consecutive elements of a row: one
/// f32, or two bfloat16 with the first in the low half.
#[derive(Debug)]
pub(super) struct Microkernel {
    /// Elements of a row in one unit.
    pub(super) group: usize,
    /// Output columns of a tile: rows of the weights in a panel.
    pub(super) panel: usize,
    /// Tiles of one row, of two rows, and so on.
    pub(super) tiles: &'static [TileFn],
    /// Packing of f32, f16 and bf16.
    pub(super) packs: [PackFn; 3],
}

/// Computes a tile. The pointers of the [`Tile`] must be valid for as many rows as the function
/// computes, and the machine must have its instructions.
pub(super) type TileFn = unsafe fn(&Tile);

/// Packs the rows of a [`Source`] into units: unit `u` of row `r` goes to `into[u * lanes + r]`.
/// Lanes without a row and elements after the last become zero. The machine must have its
/// instructions, the source must hold what it says, `rows <= lanes`, and `into` must have room
/// for `lanes` lanes of `count.div_ceil(group)` units.
pub(super) type PackFn = unsafe fn(source: &Source<'_>, lanes: usize, into: *mut u32);

/// Rows to pack: `count` elements each, the next row `stride` bytes on.
pub(super) struct Source<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) stride: usize,
    pub(super) rows: usize,
    pub(super) count: usize,
}

/// A tile of the output: `out = start + x · wᵀ`, every element summed in the order of the units.
pub(super) struct Tile {
    /// `[units, rows]`.
    pub(super) x: *const u32,
    /// `[units, panel]`.
    pub(super) w: *const u32,
    pub(super) units: usize,
    /// What the sums start from, `columns` elements a row; null: zero.
    pub(super) start: *const f32,
    pub(super) start_stride: usize,
    pub(super) out: *mut f32,
    pub(super) out_stride: usize,
    /// Columns to write, at most the panel.
    pub(super) columns: usize,
}

impl Microkernel {
    /// The microkernel of `isa` for products in `compute`.
    ///
    /// # Panics
    ///
    /// If `isa` has no such products.
    pub(super) fn of(isa: Isa, compute: Compute) -> &'static Self {
        match (compute, isa) {
            (Compute::F32, Isa::Portable) => &generic::F32,
            #[cfg(target_arch = "x86_64")]
            (Compute::F32, Isa::Avx2) => &x86_64::avx2::F32,
            #[cfg(target_arch = "x86_64")]
            (Compute::F32, Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Bf16) => &x86_64::avx512::F32,
            #[cfg(target_arch = "x86_64")]
            (Compute::Bf16, Isa::Avx512Bf16) => &x86_64::avx512::BF16,
            _ => panic!("{isa} has no products in {compute:?}: ask Kernels::compute_for"),
        }
    }

    /// Rows of the tallest tile.
    pub(super) fn tile_rows(&self) -> usize {
        self.tiles.len()
    }

    /// Packs the rows of `source`, which are stored in `format`; see [`PackFn`].
    pub(super) fn pack(&self, format: Format, source: &Source<'_>, lanes: usize, into: &mut [u32]) {
        let (elements, bytes) = (format.block_elements(), format.block_bytes());
        assert!(source.rows > 0 && source.rows <= lanes);
        let row = source.count.div_ceil(elements) * bytes;
        assert!(source.bytes.len() >= (source.rows - 1) * source.stride + row);
        assert!(into.len() >= lanes * source.count.div_ceil(self.group));
        let pack = match format {
            Format::F32 => self.packs[0],
            Format::F16 => self.packs[1],
            Format::Bf16 => self.packs[2],
        };
        // SAFETY: sizes were checked above; `Kernels::new` checked the instructions.
        unsafe { pack(source, lanes, into.as_mut_ptr()) }
    }
}

/// One cache line of units.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; 16]);

/// Units in memory that is aligned to cache lines and reused.
#[derive(Default)]
pub(super) struct UnitBuffer(Vec<Line>);

impl UnitBuffer {
    /// Room for `len` units, whatever was in it before.
    pub(super) fn units(&mut self, len: usize) -> &mut [u32] {
        let lines = len.div_ceil(16);
        if self.0.len() < lines {
            self.0.clear();
            self.0.resize(lines, Line([0; 16]));
        }
        &mut self.as_units_mut()[..len]
    }

    pub(super) fn as_units(&self) -> &[u32] {
        // SAFETY: a line is 16 units without padding.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * 16) }
    }

    fn as_units_mut(&mut self) -> &mut [u32] {
        // SAFETY: a line is 16 units without padding.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * 16) }
    }
}

impl std::fmt::Debug for UnitBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UnitBuffer({} bytes)", self.0.len() * size_of::<Line>())
    }
}
