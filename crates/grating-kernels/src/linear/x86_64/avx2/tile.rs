//! Tiles of `M` rows × 16 columns.

use std::arch::x86_64::*;

use super::super::super::microkernel::Tile;

/// Products of f32, fused with the sum.
///
/// # Safety
///
/// See [`TileFn`](super::super::super::microkernel::TileFn).
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn f32<const M: usize>(tile: &Tile) {
    // SAFETY: the caller promises valid pointers for `M` rows.
    unsafe {
        let masks = [mask(tile.columns), mask(tile.columns.saturating_sub(8))];
        let mut sums = load::<M>(tile, masks);
        let (mut x, mut w) = (tile.x.cast::<f32>(), tile.w.cast::<f32>());
        for _ in 0..tile.units {
            let (low, high) = (_mm256_load_ps(w), _mm256_load_ps(w.add(8)));
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = _mm256_broadcast_ss(&*x.add(row));
                sums[0] = _mm256_fmadd_ps(x, low, sums[0]);
                sums[1] = _mm256_fmadd_ps(x, high, sums[1]);
            }
            x = x.add(M);
            w = w.add(16);
        }
        for (row, sums) in sums.iter().enumerate() {
            let out = tile.out.add(row * tile.out_stride);
            _mm256_maskstore_ps(out, masks[0], sums[0]);
            _mm256_maskstore_ps(out.wrapping_add(8), masks[1], sums[1]);
        }
    }
}

/// The first `count` of 8 lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn mask(count: usize) -> __m256i {
    let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_cmpgt_epi32(_mm256_set1_epi32(count.min(8) as i32), lane)
}

/// What the sums of `M` rows start from.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn load<const M: usize>(tile: &Tile, masks: [__m256i; 2]) -> [[__m256; 2]; M] {
    let mut sums = [[_mm256_setzero_ps(); 2]; M];
    if tile.start.is_null() {
        return sums;
    }
    for (row, sums) in sums.iter_mut().enumerate() {
        // SAFETY: the caller promises `columns` elements in each row; no others are touched.
        unsafe {
            let start = tile.start.add(row * tile.start_stride);
            *sums = [
                _mm256_maskload_ps(start, masks[0]),
                _mm256_maskload_ps(start.wrapping_add(8), masks[1]),
            ];
        }
    }
    sums
}
