//! Products of bytes: weights are unsigned, which is 128 too much, and what that adds to a sum is
//! where the sum starts below zero.

use std::arch::x86_64::*;

use super::super::super::microkernel::Tile;
use super::tile::{load, store};
use crate::format::Format;
use crate::quant::{GROUP, quantize_rows};

/// Units of four elements in a group.
const GROUP_UNITS: usize = GROUP / 4;

/// A tile of `M` rows × 32 columns, exact within a group.
///
/// # Safety
///
/// See [`TileFn`](super::super::super::microkernel::TileFn).
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) unsafe fn tile<const M: usize>(tile: &Tile) {
    // SAFETY: the caller promises valid pointers for `M` rows.
    unsafe {
        let mut sums = load::<M>(tile);
        let (mut x, mut w) = (tile.x, tile.w);
        for group in 0..tile.units / GROUP_UNITS {
            let mut dots = [[_mm512_setzero_si512(); 2]; M];
            for (row, dots) in dots.iter_mut().enumerate() {
                *dots = [_mm512_set1_epi32(tile.x_offsets.add(group * M + row).read()); 2];
            }
            for _ in 0..GROUP_UNITS {
                let low = _mm512_load_si512(w.cast());
                let high = _mm512_load_si512(w.add(16).cast());
                for (row, dots) in dots.iter_mut().enumerate() {
                    let x = _mm512_set1_epi32(x.add(row).read().cast_signed());
                    dots[0] = _mm512_dpbusd_epi32(dots[0], low, x);
                    dots[1] = _mm512_dpbusd_epi32(dots[1], high, x);
                }
                x = x.add(M);
                w = w.add(32);
            }
            let w_scales = tile.w_scales.add(group * 32);
            let w_scales = [_mm512_load_ps(w_scales), _mm512_load_ps(w_scales.add(16))];
            for (row, sums) in sums.iter_mut().enumerate() {
                let x_scale = _mm512_set1_ps(tile.x_scales.add(group * M + row).read());
                for half in 0..2 {
                    let scale = _mm512_mul_ps(x_scale, w_scales[half]);
                    let dot = _mm512_cvtepi32_ps(dots[row][half]);
                    sums[half] = _mm512_fmadd_ps(dot, scale, sums[half]);
                }
            }
        }
        store::<M>(tile, &sums);
    }
}

/// [`quantize_rows`] with these instructions.
///
/// # Safety
///
/// The machine must have the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma,f16c")]
pub(super) unsafe fn quantize(
    format: Format,
    bytes: &[u8],
    count: usize,
    quants: &mut [i8],
    scales: &mut [f32],
) {
    quantize_rows(format, bytes, count, quants, scales);
}
