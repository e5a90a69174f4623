//! Plain Rust, for any target: the compiler makes vectors of the inner loops.

mod pack;
mod tile;

use super::microkernel::{Microkernel, Order, Packing, TileFn};
use crate::quant::{GROUP, decode, quantize_pairs};

/// Output columns of a tile.
const PANEL: usize = 8;

/// As tall as the registers of the target allow.
#[cfg(not(target_arch = "aarch64"))]
const F32_TILES: &[TileFn] = &[tile::f32::<1>, tile::f32::<2>, tile::f32::<3>, tile::f32::<4>];
#[cfg(target_arch = "aarch64")]
const F32_TILES: &[TileFn] = &[
    tile::f32::<1>,
    tile::f32::<2>,
    tile::f32::<3>,
    tile::f32::<4>,
    tile::f32::<5>,
    tile::f32::<6>,
    tile::f32::<7>,
    tile::f32::<8>,
];

/// Products of f32.
pub(super) static F32: Microkernel = Microkernel {
    group: 1,
    step: 1,
    planes: (1, 1),
    panel: PANEL,
    panels: 4,
    order: Order::Panel,
    tiles: F32_TILES,
    packing: Packing::Floats {
        x: pack::as_f32::<4, pack::F32>,
        w: [
            pack::as_f32::<4, pack::F32>,
            pack::as_f32::<2, pack::F16>,
            pack::as_f32::<2, pack::Bf16>,
        ],
        decode,
    },
};

/// Products of integers, widened to 16 bits.
pub(super) static INT8: Microkernel = Microkernel {
    group: 2,
    step: GROUP,
    planes: (1, 1),
    panel: PANEL,
    panels: 4,
    order: Order::Panel,
    tiles: &[tile::int8::<1> as TileFn, tile::int8::<2>, tile::int8::<3>, tile::int8::<4>],
    packing: Packing::Bytes { x: quantize_pairs, quantize: pack::weights, w: pack::pairs },
};
