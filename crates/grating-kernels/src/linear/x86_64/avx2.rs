//! AVX2: tiles of up to 6 rows × 16 columns in 12 registers, operands packed by transposing 8 × 8
//! units in registers.

mod convert;
mod int8;
mod pack;
mod quantize;
mod tile;

use super::super::microkernel::{Microkernel, Packing};
pub(super) use int8::{add_scaled, integer_tile, zeros};
pub(super) use pack::bytes as pack_bytes;
pub(super) use quantize::{activation_bytes, weights as quantize_weights};
pub(super) use tile::{PANEL, prefetch, store};

/// Tiles of so many rows.
macro_rules! tiles {
    ($tile:path) => {{
        use $tile as tile;
        &[
            tile::<1> as $crate::linear::microkernel::TileFn,
            tile::<2>,
            tile::<3>,
            tile::<4>,
            tile::<5>,
            tile::<6>,
        ]
    }};
}
pub(super) use tiles;

/// Products of f32.
pub(in super::super) static F32: Microkernel = Microkernel {
    group: 1,
    panel: PANEL,
    tiles: tiles!(tile::f32),
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
    tiles: tiles!(int8::tile),
    packing: Packing::Bytes {
        x: quantize::activation_pairs,
        quantize: quantize::weights,
        w: pack::pairs,
    },
};
