//! AVX-512: tiles of 14 rows × 32 columns in 28 registers, operands packed by transposing
//! 16 × 16 units in registers.

mod pack;
mod tile;

use super::super::microkernel::{Microkernel, PackFn, TileFn};

/// Output columns of a tile: two registers.
const PANEL: usize = 32;

macro_rules! tiles {
    ($tile:path) => {{
        use $tile as tile;
        &[
            tile::<1> as TileFn,
            tile::<2>,
            tile::<3>,
            tile::<4>,
            tile::<5>,
            tile::<6>,
            tile::<7>,
            tile::<8>,
            tile::<9>,
            tile::<10>,
            tile::<11>,
            tile::<12>,
            tile::<13>,
            tile::<14>,
        ]
    }};
}

/// Products of f32.
pub(in super::super) static F32: Microkernel = Microkernel {
    group: 1,
    panel: PANEL,
    tiles: tiles!(tile::f32),
    packs: [pack::f32_as_f32 as PackFn, pack::f16_as_f32, pack::bf16_as_f32],
};

/// Products of bfloat16.
pub(in super::super) static BF16: Microkernel = Microkernel {
    group: 2,
    panel: PANEL,
    tiles: tiles!(tile::bf16),
    packs: [pack::f32_as_bf16 as PackFn, pack::f16_as_bf16, pack::bf16_as_bf16],
};
