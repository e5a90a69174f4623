//! Products of bytes: activations are unsigned, and what their zero adds to a sum is where the sum
//! starts below zero.

use std::arch::x86_64::*;

use super::super::super::microkernel::Tile;
use super::tile::{prefetch, store};
use crate::quant::GROUP;

/// Units of four elements in a group.
const GROUP_UNITS: usize = GROUP / 4;

/// A tile of `M` rows × 32 columns, exact within a group.
///
/// # Safety
///
/// See [`TileFn`](super::super::super::microkernel::TileFn).
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) unsafe fn tile<const M: usize>(tile: &Tile) {
    // SAFETY: as promised to this function.
    unsafe {
        prefetch::<M>(tile);
        let mut sums = [[_mm512_setzero_ps(); 2]; M];
        add_products(tile, &mut sums);
        store(tile, &sums);
    }
}

/// Adds the products to `into`. A function of its own, so that the sums are in registers whatever
/// is done with them before and after.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn add_products<const M: usize>(tile: &Tile, into: &mut [[__m512; 2]; M]) {
    let mut sums = *into;
    let (mut x, mut w) = (tile.x, tile.w);
    // SAFETY: the caller promises so many units and scales of `M` rows and of a panel.
    unsafe {
        for group in 0..tile.units / GROUP_UNITS {
            let nothing = _mm512_setzero_si512();
            let w_sums = tile.w_sums.add(group * 32);
            let (low, high) =
                (_mm512_load_si512(w_sums.cast()), _mm512_load_si512(w_sums.add(16).cast()));
            let mut dots = [[nothing; 2]; M];
            for (row, dots) in dots.iter_mut().enumerate() {
                // Pairs of 16 bits: the upper halves of zeros are 0.
                let zero = _mm512_set1_epi32(tile.x_zeros.add(group * M + row).read());
                dots[0] = _mm512_dpwssd_epi32(nothing, zero, low);
                dots[1] = _mm512_dpwssd_epi32(nothing, zero, high);
            }
            for unit in 0..GROUP_UNITS {
                let low = _mm512_load_si512(w.cast());
                let high = _mm512_load_si512(w.add(16).cast());
                for (row, dots) in dots.iter_mut().enumerate() {
                    let x = x.add(row * GROUP_UNITS + unit).read().cast_signed();
                    let x = _mm512_set1_epi32(x);
                    dots[0] = _mm512_dpbusd_epi32(dots[0], x, low);
                    dots[1] = _mm512_dpbusd_epi32(dots[1], x, high);
                }
                w = w.add(32);
            }
            x = x.add(M * GROUP_UNITS);
            let w_scales = tile.w_scales.add(group * 32);
            let w_scales = [_mm512_load_ps(w_scales), _mm512_load_ps(w_scales.add(16))];
            for (row, sums) in sums.iter_mut().enumerate() {
                let x_scale = _mm512_set1_ps(tile.x_scales.add(group * M + row).read());
                for half in 0..2 {
                    let dot = _mm512_mul_ps(_mm512_cvtepi32_ps(dots[row][half]), x_scale);
                    sums[half] = _mm512_fmadd_ps(dot, w_scales[half], sums[half]);
                }
            }
        }
    }
    *into = sums;
}
