//! AVX2: tiles of 6 rows × 16 columns in 12 registers, operands packed by transposing 8 × 8 units.

mod pack;
mod tile;

use super::super::microkernel::{Microkernel, PackFn, TileFn};

/// Output columns of a tile: two registers.
const PANEL: usize = 16;

/// Products of f32.
pub(in super::super) static F32: Microkernel = Microkernel {
    group: 1,
    panel: PANEL,
    tiles: &[
        tile::f32::<1> as TileFn,
        tile::f32::<2>,
        tile::f32::<3>,
        tile::f32::<4>,
        tile::f32::<5>,
        tile::f32::<6>,
    ],
    packs: [pack::f32_as_f32 as PackFn, pack::f16_as_f32, pack::bf16_as_f32],
};
