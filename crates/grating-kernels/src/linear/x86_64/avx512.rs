//! AVX-512: tiles of up to 14 rows × 32 columns in 28 registers, operands packed by transposing
//! 16 × 16 units in registers.

mod convert;
mod int8;
mod pack;
mod quantize;
mod tile;

use super::super::microkernel::{Microkernel, Order, Packing, TileFn};
use crate::quant::GROUP;
pub(super) use convert::decode;
pub(super) use pack::{
    load_bf16, load_f16, load_f32, pairs_of_bf16, pairs_of_f16, pairs_of_f32, transpose,
};
pub(super) use tile::store_row;

/// Output columns of a tile: two registers.
pub(super) const PANEL: usize = 32;

/// Tiles of so many rows.
macro_rules! tiles {
    ($tile:path: $($rows:literal)+) => {{
        use $tile as tile;
        &[$(tile::<$rows> as TileFn),+]
    }};
}

/// Products of f32.
pub(in super::super) static F32: Microkernel = Microkernel {
    group: 1,
    step: 1,
    planes: (1, 1),
    panel: PANEL,
    panels: 4,
    order: Order::Panel,
    tiles: tiles!(tile::f32: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
    packing: Packing::Floats {
        x: pack::f32_as_f32,
        w: [pack::f32_as_f32, pack::f16_as_f32, pack::bf16_as_f32],
        decode,
    },
};

/// Products of bfloat16.
pub(in super::super) static BF16: Microkernel = Microkernel {
    group: 2,
    step: 2,
    planes: (1, 1),
    panel: PANEL,
    panels: 4,
    order: Order::Panel,
    tiles: tiles!(tile::bf16: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
    packing: Packing::Floats {
        x: pack::f32_as_bf16,
        w: [pack::f32_as_bf16, pack::f16_as_bf16, pack::bf16_as_bf16],
        decode,
    },
};

/// Products of bytes. Half as many rows: there are integers and floats to keep.
pub(in super::super) static INT8: Microkernel = Microkernel {
    group: 4,
    step: GROUP,
    planes: (1, 1),
    panel: PANEL,
    panels: 4,
    order: Order::Panel,
    tiles: tiles!(int8::tile: 1 2 3 4 5 6 7),
    packing: Packing::Bytes {
        x: quantize::activations,
        quantize: quantize::weights,
        w: pack::bytes,
    },
};
