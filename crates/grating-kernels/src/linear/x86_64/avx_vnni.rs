//! AVX-VNNI: products of bytes in 256 bits. What is no product of bytes is AVX2's.
//!
//! The instruction (`vpdpbusd`) has two encodings. Processors without AVX-512 have the one of AVX-VNNI, those with AVX-512
//! VNNI and VL the other, with the same meaning; the tiles are written once for both.

use std::arch::x86_64::*;

use super::super::microkernel::{Microkernel, Order, Packing, Tile};
use super::avx2::{
    PANEL, activations, add_scaled, integer_tile, pack_bytes, prefetch, store, tiles, weights,
    zeros,
};
use crate::quant::GROUP;

/// Defines tiles; `$dot` adds the products of bytes in two registers to sums.
macro_rules! encoding {
    ($name:ident, $features:literal, $dot:ident) => {
        mod $name {
            use super::*;

            /// Products of bytes.
            pub(super) static INT8: Microkernel = Microkernel {
                group: 4,
                step: GROUP,
                planes: (1, 1),
                panel: PANEL,
                panels: 4,
                order: Order::Panel,
        tiles: tiles!(self::tile: 1 2 3 4 5 6),
                packing: Packing::Bytes {
                    x: activations,
                    quantize: weights::<false>,
                    w: pack_bytes,
                },
            };

            integer_tile!($features, $dot);
        }
    };
}

encoding!(vex, "avx2,fma,avxvnni", _mm256_dpbusd_avx_epi32);
encoding!(evex, "avx2,fma,avx512vnni,avx512vl", _mm256_dpbusd_epi32);

/// Products of bytes, in the encoding that this machine has.
pub(in super::super) fn int8() -> &'static Microkernel {
    match std::arch::is_x86_feature_detected!("avxvnni") {
        true => &vex::INT8,
        false => &evex::INT8,
    }
}
