//! How the tile registers are set up, and where what they hold is kept.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::super::super::microkernel::Tile;
use super::super::avx512::store_row;
use super::{PANEL, PANELS, ROWS};

/// What `ldtilecfg` takes: a palette, then bytes of a row and rows of each register.
///
/// Registers 0 to 3 are the sums, upper rows first, left columns first; 4 and 5 are the upper and the lower rows of
/// activations, 6 and 7 the left and the right columns of weights.
#[repr(C, align(64))]
pub(super) struct Registers {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Registers {
    /// For a tile of so many rows, 1 to 32.
    pub(super) fn new(rows: usize) -> Self {
        let (upper, lower) = (rows.min(16) as u8, rows.saturating_sub(16) as u8);
        let mut registers =
            Self { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        let all = [upper, upper, lower, lower, upper, lower, 16, 16];
        for (register, rows) in all.into_iter().enumerate() {
            registers.rows[register] = rows;
            // One without rows is none.
            registers.row_bytes[register] = if rows > 0 { 64 } else { 0 };
        }
        registers
    }
}

/// Loads a part of the weights. They pass by once for each tile of activations, and would drive those out of the first-level
/// cache: hence the hint.
macro_rules! w {
    ($part:literal) => {
        concat!(
            "tileloaddt1 tmm6, [{w} + {wide} + 2048*",
            $part,
            "]\n",
            "tileloaddt1 tmm7, [{w} + {wide} + 2048*",
            $part,
            " + 64]\n",
        )
    };
}

/// Adds the products of a part of the activations and the weights that are loaded, of the upper rows or of both.
macro_rules! x {
    (two, $multiply:literal, $part:literal) => {
        concat!(
            x!(one, $multiply, $part),
            "tileloadd tmm5, [{",
            $part,
            "} + {narrow} + 1024]\n",
            $multiply,
            " tmm2, tmm5, tmm6\n",
            $multiply,
            " tmm3, tmm5, tmm7\n",
        )
    };
    (one, $multiply:literal, $part:literal) => {
        concat!(
            "tileloadd tmm4, [{",
            $part,
            "} + {narrow}]\n",
            $multiply,
            " tmm0, tmm4, tmm6\n",
            $multiply,
            " tmm1, tmm4, tmm7\n",
        )
    };
}

pub(super) use {w, x};

/// What one panel adds to a tile.
pub(super) type Square = [[f32; PANEL]; ROWS];

/// Memory for the sums of a tile with all panels, to be written before it is read.
#[repr(align(64))]
pub(super) struct Squares(MaybeUninit<[Square; PANELS]>);

impl Squares {
    pub(super) fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    /// Where the sums of a panel are.
    pub(super) fn of(&mut self, panel: usize) -> *mut Square {
        debug_assert!(panel < PANELS);
        self.0.as_mut_ptr().cast::<Square>().wrapping_add(panel)
    }
}

/// Sends for the lines of some rows of a panel to write, so that they are there when the products are taken. All at once
/// would keep what the products need waiting.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn prefetch(tile: &Tile, panel: usize, rows: Range<usize>) {
    for row in rows {
        let out = tile.out.wrapping_add(row * tile.out_stride + panel * PANEL);
        for column in [0, 16, 31] {
            // Safe from Rust 1.94 on.
            #[allow(unused_unsafe)]
            // SAFETY: a prefetch does no harm at any address.
            unsafe {
                _mm_prefetch::<_MM_HINT_ET0>(out.wrapping_add(column).cast());
            }
        }
    }
}

/// The part of `tile` that is a panel's.
pub(super) fn of_panel(tile: &Tile, panel: usize) -> Tile {
    let first = panel * PANEL;
    let bias = if tile.bias.is_null() { tile.bias } else { tile.bias.wrapping_add(first) };
    let (out, columns) = (tile.out.wrapping_add(first), (tile.columns - first).min(PANEL));
    Tile { bias, out, columns, ..*tile }
}

/// Writes the sums of a panel.
///
/// # Safety
///
/// As for the tile; the rows of the tile must have been written to `sums`.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn store(tile: &Tile, panel: usize, sums: *const Square) {
    let of_panel = of_panel(tile, panel);
    for row in 0..tile.rows {
        // SAFETY: a row of sums is two registers; the rest as promised to this function.
        unsafe {
            let sums = sums.cast::<f32>().add(row * PANEL);
            store_row(&of_panel, row, [_mm512_load_ps(sums), _mm512_load_ps(sums.add(16))]);
        }
    }
}

/// Writes what a tile comes to without products.
///
/// # Safety
///
/// As for the tile.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn store_nothing(tile: &Tile) {
    for panel in 0..tile.panels {
        let of_panel = of_panel(tile, panel);
        for row in 0..tile.rows {
            // SAFETY: as promised to this function.
            unsafe { store_row(&of_panel, row, [_mm512_setzero_ps(); 2]) };
        }
    }
}
