//! Tiles of `M` rows × 16 columns.

use std::arch::x86_64::*;

use super::super::super::microkernel::Tile;

/// Output columns of a tile: two registers.
pub(in super::super) const PANEL: usize = 16;

/// Products of f32, fused with the sum.
///
/// # Safety
///
/// See [`TileFn`](super::super::super::microkernel::TileFn).
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn f32<const M: usize>(tile: &Tile) {
    // SAFETY: as promised to this function.
    unsafe {
        prefetch::<M>(tile);
        let mut sums = [[_mm256_setzero_ps(); 2]; M];
        add_f32(tile, &mut sums);
        store(tile, &sums);
    }
}

/// A function of its own, so that the sums are in registers whatever is done with them before and
/// after.
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
unsafe fn add_f32<const M: usize>(tile: &Tile, into: &mut [[__m256; 2]; M]) {
    let mut sums = *into;
    let (mut x, mut w) = (tile.x.cast::<f32>(), tile.w.cast::<f32>());
    // SAFETY: the caller promises so many units of `M` rows and of a panel.
    unsafe {
        for _ in 0..tile.units / UNROLLED {
            for _ in 0..UNROLLED {
                add_unit(x, w, &mut sums);
                (x, w) = (x.add(M), w.add(PANEL));
            }
        }
        for _ in 0..tile.units % UNROLLED {
            add_unit(x, w, &mut sums);
            (x, w) = (x.add(M), w.add(PANEL));
        }
    }
    *into = sums;
}

/// Units between two tests whether there are more. What the loop itself takes counts where another thread shares the core.
const UNROLLED: usize = 4;

/// Units of weights that are sent for before they are needed, for the same reason.
const AHEAD: usize = 8;

/// Adds the products of `M` elements and a unit of a panel.
///
/// # Safety
///
/// So many must lie there.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn add_unit<const M: usize>(x: *const f32, w: *const f32, sums: &mut [[__m256; 2]; M]) {
    // SAFETY: as promised to this function; a prefetch does no harm at any address.
    unsafe {
        let (low, high) = (_mm256_load_ps(w), _mm256_load_ps(w.add(8)));
        _mm_prefetch::<_MM_HINT_T0>(w.wrapping_add(AHEAD * PANEL).cast());
        for (row, sums) in sums.iter_mut().enumerate() {
            let x = _mm256_broadcast_ss(&*x.add(row));
            sums[0] = _mm256_fmadd_ps(x, low, sums[0]);
            sums[1] = _mm256_fmadd_ps(x, high, sums[1]);
        }
    }
}

/// Sends for the lines to write, so that they are there when the products are taken.
#[inline]
#[target_feature(enable = "avx2")]
pub(in super::super) fn prefetch<const M: usize>(tile: &Tile) {
    for row in 0..M {
        let out = tile.out.wrapping_add(row * tile.out_stride);
        for column in [0, 15] {
            // Safe from Rust 1.94 on.
            #[allow(unused_unsafe)]
            // SAFETY: a prefetch does no harm at any address.
            unsafe {
                _mm_prefetch::<_MM_HINT_ET0>(out.wrapping_add(column).cast());
            }
        }
    }
}

/// The first columns of each half of a panel, as masks of lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn masks(columns: usize) -> [__m256i; 2] {
    [mask(columns), mask(columns.saturating_sub(8))]
}

/// The first `count` of 8 lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn mask(count: usize) -> __m256i {
    let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_cmpgt_epi32(_mm256_set1_epi32(count.min(8) as i32), lane)
}

/// Writes the sums of `M` rows.
///
/// # Safety
///
/// As for the tile.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(in super::super) unsafe fn store<const M: usize>(tile: &Tile, sums: &[[__m256; 2]; M]) {
    // SAFETY: as promised to this function.
    unsafe {
        // Masked moves take a dozen times as long on processors of AMD.
        match tile.columns {
            PANEL => store_whole(tile, sums),
            _ => store_part(tile, sums),
        }
    }
}

/// [`store`] of all columns.
///
/// # Safety
///
/// As for the tile, which has all columns of the panel.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn store_whole<const M: usize>(tile: &Tile, sums: &[[__m256; 2]; M]) {
    for (row, sums) in sums.iter().enumerate() {
        for (half, &sum) in sums.iter().enumerate() {
            let mut sum = sum;
            // SAFETY: the caller promises so many elements, and that nobody else has those of `out`.
            unsafe {
                let out = tile.out.add(row * tile.out_stride + 8 * half);
                if !tile.bias.is_null() {
                    sum = _mm256_add_ps(sum, _mm256_loadu_ps(tile.bias.add(8 * half)));
                }
                if tile.accumulate {
                    sum = _mm256_add_ps(_mm256_loadu_ps(out), sum);
                }
                _mm256_storeu_ps(out, sum);
            }
        }
    }
}

/// [`store`] of some columns.
///
/// # Safety
///
/// As for the tile.
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
unsafe fn store_part<const M: usize>(tile: &Tile, sums: &[[__m256; 2]; M]) {
    let masks = masks(tile.columns);
    for (row, &sums) in sums.iter().enumerate() {
        for half in 0..2 {
            let (mut sum, mask) = (sums[half], masks[half]);
            // SAFETY: the caller promises `columns` elements, which are those of the mask, and
            // that nobody else has those of `out`.
            unsafe {
                let out = tile.out.wrapping_add(row * tile.out_stride + 8 * half);
                if !tile.bias.is_null() {
                    let bias = _mm256_maskload_ps(tile.bias.wrapping_add(8 * half), mask);
                    sum = _mm256_add_ps(sum, bias);
                }
                if tile.accumulate {
                    sum = _mm256_add_ps(_mm256_maskload_ps(out, mask), sum);
                }
                _mm256_maskstore_ps(out, mask, sum);
            }
        }
    }
}
