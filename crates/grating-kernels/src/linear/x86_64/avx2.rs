//! AVX2: tiles of up to 6 rows × 16 columns, operands packed by transposing 8 × 8 units in
//! registers.

mod convert;
mod pack;
mod tile;

use super::super::microkernel::{Microkernel, Packing, TileFn};

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
    packing: Packing::Floats {
        packs: [pack::f32_as_f32, pack::f16_as_f32, pack::bf16_as_f32],
        decode: convert::decode,
    },
};

/// Products of integers, widened to 16 bits: what the instruction for bytes adds up may not fit
/// its 16 bits.
pub(in super::super) static INT8: Microkernel = Microkernel {
    group: 2,
    panel: PANEL,
    tiles: &[tile::int8::<1> as TileFn, tile::int8::<2>, tile::int8::<3>, tile::int8::<4>],
    packing: Packing::Bytes { x: convert::pairs, quantize: convert::quantize, w: pack::pairs },
};
