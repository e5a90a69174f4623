//! AVX-VNNI: products of bytes in 256 bits. What is no product of bytes is AVX2's.
//!
//! The instruction (`vpdpbusd`) has two encodings. Processors without AVX-512 have the one of AVX-VNNI, those with AVX-512
//! VNNI and VL the other, with the same meaning; the tiles are written once for both.

use std::arch::x86_64::*;

use super::super::microkernel::{Microkernel, Packing, Tile};
use super::avx2::{
    PANEL, activation_bytes, add_scaled, pack_bytes, prefetch, quantize_weights, store, tiles,
    zeros,
};
use crate::quant::GROUP;

/// Units of four elements in a group.
const GROUP_UNITS: usize = GROUP / 4;

/// Defines tiles; `$dot` adds the products of bytes in two registers to sums.
macro_rules! encoding {
    ($name:ident, $features:literal, $dot:ident) => {
        mod $name {
            use super::*;

            /// Products of bytes.
            pub(super) static INT8: Microkernel = Microkernel {
                group: 4,
                panel: PANEL,
                tiles: tiles!(self::tile),
                packing: Packing::Bytes {
                    x: activation_bytes,
                    quantize: quantize_weights,
                    w: pack_bytes,
                },
            };

            /// A tile of `M` rows × 16 columns, exact within a group.
            ///
            /// # Safety
            ///
            /// See [`TileFn`](crate::linear::microkernel::TileFn).
            #[target_feature(enable = $features)]
            unsafe fn tile<const M: usize>(tile: &Tile) {
                // SAFETY: as promised to this function.
                unsafe {
                    prefetch::<M>(tile);
                    let mut sums = [[_mm256_setzero_ps(); 2]; M];
                    for group in 0..tile.units / GROUP_UNITS {
                        add_group(tile, group, &mut sums);
                    }
                    store(tile, &sums);
                }
            }

            /// Adds the products of one group. A function of its own, so that the registers are the
            /// integers' while they are summed, and the sums in memory.
            #[inline(never)]
            #[target_feature(enable = $features)]
            unsafe fn add_group<const M: usize>(
                tile: &Tile,
                group: usize,
                sums: &mut [[__m256; 2]; M],
            ) {
                // SAFETY: the caller promises so many units and scales of `M` rows and of a panel.
                unsafe {
                    let mut dots = zeros::<M>(tile, group);
                    let mut x = tile.x.add(group * M * GROUP_UNITS);
                    let mut w = tile.w.add(group * GROUP_UNITS * PANEL);
                    for _ in 0..GROUP_UNITS {
                        let low = _mm256_load_si256(w.cast());
                        let high = _mm256_load_si256(w.add(8).cast());
                        for (row, dots) in dots.iter_mut().enumerate() {
                            let x = x.add(row * GROUP_UNITS).read().cast_signed();
                            let x = _mm256_set1_epi32(x);
                            dots[0] = $dot(dots[0], x, low);
                            dots[1] = $dot(dots[1], x, high);
                        }
                        x = x.add(1);
                        w = w.add(PANEL);
                    }
                    add_scaled(tile, group, dots, sums);
                }
            }
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
