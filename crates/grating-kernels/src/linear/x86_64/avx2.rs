//! AVX2: tiles of up to 6 rows × 16 columns in 12 registers, operands packed by transposing 8 × 8
//! units in registers.

mod convert;
mod int8;
mod pack;
mod quantize;
mod tile;

use super::super::microkernel::{Microkernel, Order, Packing};
use crate::quant::GROUP;
pub(super) use int8::{add_scaled, integer_tile, zeros};
pub(super) use pack::bytes as pack_bytes;
pub(super) use quantize::{activations, weights};
pub(super) use tile::{PANEL, prefetch, store};

/// Tiles of so many rows.
macro_rules! tiles {
    ($tile:path: $($rows:literal)+) => {{
        use $tile as tile;
        &[$(tile::<$rows> as $crate::linear::microkernel::TileFn),+]
    }};
}
pub(super) use tiles;

/// Products of f32.
pub(in super::super) static F32: Microkernel = Microkernel {
    group: 1,
    step: 1,
    planes: (1, 1),
    panel: PANEL,
    panels: 4,
    order: Order::Panel,
    tiles: tiles!(tile::f32: 1 2 3 4 5 6),
    packing: Packing::Floats {
        x: pack::f32_as_f32,
        w: [pack::f32_as_f32, pack::f16_as_f32, pack::bf16_as_f32],
        decode: convert::decode,
    },
};

/// Products of bytes.
pub(in super::super) static INT8: Microkernel = Microkernel {
    group: 4,
    step: GROUP,
    planes: (1, 1),
    panel: PANEL,
    panels: 4,
    order: Order::Panel,
    tiles: tiles!(int8::tile: 1 2 3 4 5 6),
    packing: Packing::Bytes {
        x: quantize::activations,
        quantize: quantize::weights::<true>,
        w: pack::bytes,
    },
};
