//! Products of bytes.
//!
//! The instruction for bytes (`vpmaddubsw`) adds pairs up in 16 bits, and two of them are added up there again, where 255 · 127 · 4
//! does not fit. Weights are cut so ([`Full::Four`](crate::quant::Full::Four)) that it always does. Those are 1.2 times as many
//! products on a Zen 3 and a Zen 4 as with sums of two.

use std::arch::x86_64::*;

use super::super::super::microkernel::Tile;
use super::tile::{PANEL, prefetch, store};
use crate::quant::GROUP;

/// Defines `tile`, for units of four bytes: `$dot` adds the products of `$units` registers of activations and as many of weights
/// to sums, and does so `$times` between two tests whether there are more.
macro_rules! integer_tile {
    ($features:literal, $units:literal, $times:literal, $dot:ident) => {
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
                for _ in 0..UNITS / ($units * $times) {
                    for _ in 0..$times {
                        let mut low = [_mm256_setzero_si256(); $units];
                        let mut high = low;
                        for (unit, (low, high)) in low.iter_mut().zip(&mut high).enumerate() {
                            let w = w.add(unit * PANEL);
                            *low = _mm256_load_si256(w.cast());
                            *high = _mm256_load_si256(w.add(8).cast());
                        }
                        for (row, dots) in dots.iter_mut().enumerate() {
                            let mut of_row = [_mm256_setzero_si256(); $units];
                            for (unit, of_row) in of_row.iter_mut().enumerate() {
                                let bytes = x.add(row * UNITS + unit).read();
                                *of_row = _mm256_set1_epi32(bytes.cast_signed());
                            }
                            dots[0] = $dot(dots[0], of_row, low);
                            dots[1] = $dot(dots[1], of_row, high);
                        }
                        x = x.add($units);
                        w = w.add($units * PANEL);
                    }
                }
                add_scaled(tile, group, dots, sums);
            }
        }
    };
}
pub(in super::super) use integer_tile;

integer_tile!("avx2,fma", 2, 2, add_products);

/// Adds products of bytes, eight for each sum.
#[inline]
#[target_feature(enable = "avx2")]
fn add_products(sum: __m256i, x: [__m256i; 2], w: [__m256i; 2]) -> __m256i {
    let pairs = [_mm256_maddubs_epi16(x[0], w[0]), _mm256_maddubs_epi16(x[1], w[1])];
    let fours = _mm256_add_epi16(pairs[0], pairs[1]);
    _mm256_add_epi32(sum, _mm256_madd_epi16(fours, _mm256_set1_epi16(1)))
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
