//! Tiles of `M` rows × 32 columns.

use std::arch::x86_64::*;

use super::super::super::microkernel::Tile;

/// Defines a tile function; `$multiply` adds the products of two registers of units to sums.
macro_rules! tile {
    ($(#[$about:meta])* $name:ident, $features:literal, $multiply:ident) => {
        $(#[$about])*
        ///
        /// # Safety
        ///
        /// See [`TileFn`](super::super::super::microkernel::TileFn).
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $name<const M: usize>(tile: &Tile) {
            /// Adds the products to `into`. A function of its own, so that the sums are in
            /// registers whatever is done with them before and after.
            #[inline(never)]
            #[target_feature(enable = $features)]
            unsafe fn add_products<const M: usize>(tile: &Tile, into: &mut [[__m512; 2]; M]) {
                let mut sums = *into;
                let (mut x, mut w) = (tile.x, tile.w);
                for _ in 0..tile.units {
                    // SAFETY: the caller promises so many units of `M` rows and of a panel.
                    unsafe {
                        let low = _mm512_load_si512(w.cast());
                        let high = _mm512_load_si512(w.add(16).cast());
                        for (row, sums) in sums.iter_mut().enumerate() {
                            let x = _mm512_set1_epi32(x.add(row).read().cast_signed());
                            sums[0] = $multiply(sums[0], x, low);
                            sums[1] = $multiply(sums[1], x, high);
                        }
                        x = x.add(M);
                        w = w.add(32);
                    }
                }
                *into = sums;
            }
            // SAFETY: as promised to this function.
            unsafe {
                prefetch::<M>(tile);
                let mut sums = [[_mm512_setzero_ps(); 2]; M];
                add_products(tile, &mut sums);
                store(tile, &sums);
            }
        }
    };
}

tile!(
    /// Products of f32, fused with the sum.
    f32,
    "avx512f",
    multiply_f32
);

tile!(
    /// Products of pairs of bfloat16: first the second of each pair is added, then the first.
    bf16,
    "avx512f,avx512bf16",
    multiply_bf16
);

#[inline]
#[target_feature(enable = "avx512f")]
fn multiply_f32(sums: __m512, x: __m512i, w: __m512i) -> __m512 {
    _mm512_fmadd_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(w), sums)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn multiply_bf16(sums: __m512, x: __m512i, w: __m512i) -> __m512 {
    // SAFETY: both are 512 bits in which every pattern is valid.
    let (x, w) = unsafe {
        (std::mem::transmute::<__m512i, __m512bh>(x), std::mem::transmute::<__m512i, __m512bh>(w))
    };
    _mm512_dpbf16_ps(sums, x, w)
}

/// The first columns of each half of a panel, as masks of lanes.
fn masks(columns: usize) -> [__mmask16; 2] {
    [lanes(columns), lanes(columns.saturating_sub(16))]
}

fn lanes(count: usize) -> __mmask16 {
    if count >= 16 { !0 } else { (1 << count) - 1 }
}

/// Sends for the lines to write, so that they are there when the products are taken.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn prefetch<const M: usize>(tile: &Tile) {
    for row in 0..M {
        let out = tile.out.wrapping_add(row * tile.out_stride);
        for column in [0, 16, 31] {
            // Safe from Rust 1.94 on.
            #[allow(unused_unsafe)]
            // SAFETY: a prefetch does no harm at any address.
            unsafe {
                _mm_prefetch::<_MM_HINT_ET0>(out.wrapping_add(column).cast());
            }
        }
    }
}

/// Writes the sums of `M` rows.
///
/// # Safety
///
/// As for the tile.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn store<const M: usize>(tile: &Tile, sums: &[[__m512; 2]; M]) {
    for (row, &sums) in sums.iter().enumerate() {
        // SAFETY: as promised to this function.
        unsafe { store_row(tile, row, sums) };
    }
}

/// Writes the sums of one row.
///
/// # Safety
///
/// As for the tile.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in super::super) unsafe fn store_row(tile: &Tile, row: usize, sums: [__m512; 2]) {
    let masks = masks(tile.columns);
    for half in 0..2 {
        let (mut sum, mask) = (sums[half], masks[half]);
        // SAFETY: the caller promises `columns` elements, which are those of the mask, and
        // that nobody else has those of `out`.
        unsafe {
            let out = tile.out.wrapping_add(row * tile.out_stride + 16 * half);
            if !tile.bias.is_null() {
                let bias = _mm512_maskz_loadu_ps(mask, tile.bias.wrapping_add(16 * half));
                sum = _mm512_add_ps(sum, bias);
            }
            if tile.accumulate {
                sum = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, out), sum);
            }
            _mm512_mask_storeu_ps(out, mask, sum);
        }
    }
}
