//! Products of bytes.
//!
//! The instruction for bytes (`vpmaddubsw`) adds pairs up in 16 bits, where 255 · 127 · 2 does not fit. Weights are cut so
//! ([`Full::Two`](crate::quant::Full::Two)) that it always does. That is 1.25 times as many products on a Zen 4 as of numbers of
//! 16 bits. Sums of four in 16 bits would be 1.5 times as many, for twice the rounding of weights again.

use std::arch::x86_64::*;

use super::super::super::microkernel::Tile;
use super::tile::{PANEL, prefetch, store};
use crate::quant::GROUP;

/// Defines `tile`, for units of four bytes: `$dot` adds the products of a register of activations and one of weights to
/// sums.
macro_rules! integer_tile {
    ($features:literal, $dot:ident) => {
        /// A tile of `M` rows × 16 columns, exact within a group.
        ///
        /// # Safety
        ///
        /// See [`TileFn`](crate::linear::microkernel::TileFn).
        #[target_feature(enable = $features)]
        pub(super) unsafe fn tile<const M: usize>(tile: &Tile) {
            // SAFETY: as promised to this function.
            unsafe {
                prefetch::<M>(tile);
                let mut sums = [[_mm256_setzero_ps(); 2]; M];
                for group in 0..tile.units / (GROUP / 4) {
                    add_group(tile, group, &mut sums);
                }
                store(tile, &sums);
            }
        }

        /// Adds the products of one group. A function of its own, so that the registers are the integers'
        /// while they are summed, and the sums in memory.
        #[inline(never)]
        #[target_feature(enable = $features)]
        unsafe fn add_group<const M: usize>(
            tile: &Tile,
            group: usize,
            sums: &mut [[__m256; 2]; M],
        ) {
            const UNITS: usize = GROUP / 4;
            // SAFETY: the caller promises so many units and scales of `M` rows and of a panel.
            unsafe {
                let mut dots = zeros::<M>(tile, group);
                let mut x = tile.x.add(group * M * UNITS);
                let mut w = tile.w.add(group * UNITS * PANEL);
                for _ in 0..UNITS {
                    let low = _mm256_load_si256(w.cast());
                    let high = _mm256_load_si256(w.add(8).cast());
                    for (row, dots) in dots.iter_mut().enumerate() {
                        let x = _mm256_set1_epi32(x.add(row * UNITS).read().cast_signed());
                        dots[0] = $dot(dots[0], x, low);
                        dots[1] = $dot(dots[1], x, high);
                    }
                    x = x.add(1);
                    w = w.add(PANEL);
                }
                add_scaled(tile, group, dots, sums);
            }
        }
    };
}
pub(in super::super) use integer_tile;

integer_tile!("avx2,fma", add_products);

/// Adds products of bytes, as `vpdpbusd` does.
#[inline]
#[target_feature(enable = "avx2")]
fn add_products(sum: __m256i, x: __m256i, w: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(x, w);
    _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

/// What the zeros of the activations add to the dot products of a group.
///
/// # Safety
///
/// As for a tile.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(in super::super) unsafe fn zeros<const M: usize>(
    tile: &Tile,
    group: usize,
) -> [[__m256i; 2]; M] {
    let mut dots = [[_mm256_setzero_si256(); 2]; M];
    // SAFETY: as promised to this function.
    unsafe {
        let w_sums = tile.w_sums.add(group * PANEL).cast::<__m256i>();
        let w_sums = [_mm256_load_si256(w_sums), _mm256_load_si256(w_sums.add(1))];
        for (row, dots) in dots.iter_mut().enumerate() {
            // Pairs of 16 bits: the upper halves of zeros are 0.
            let zero = _mm256_set1_epi32(tile.x_zeros.add(group * M + row).read());
            *dots = [_mm256_madd_epi16(zero, w_sums[0]), _mm256_madd_epi16(zero, w_sums[1])];
        }
    }
    dots
}

/// Adds the dot products of a group to the sums, with their scales.
///
/// # Safety
///
/// As for a tile.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(in super::super) unsafe fn add_scaled<const M: usize>(
    tile: &Tile,
    group: usize,
    dots: [[__m256i; 2]; M],
    sums: &mut [[__m256; 2]; M],
) {
    // SAFETY: as promised to this function.
    unsafe {
        let w_scales = tile.w_scales.add(group * PANEL);
        let w_scales = [_mm256_load_ps(w_scales), _mm256_load_ps(w_scales.add(8))];
        for (row, sums) in sums.iter_mut().enumerate() {
            let x_scale = _mm256_broadcast_ss(&*tile.x_scales.add(group * M + row));
            for half in 0..2 {
                let dot = _mm256_mul_ps(_mm256_cvtepi32_ps(dots[row][half]), x_scale);
                sums[half] = _mm256_fmadd_ps(dot, w_scales[half], sums[half]);
            }
        }
    }
}
