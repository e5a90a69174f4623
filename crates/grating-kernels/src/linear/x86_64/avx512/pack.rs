//! Packing by transposition in registers.

use std::arch::x86_64::*;

use super::super::super::microkernel::RowsToPack;

/// Defines a packing function. `$load` takes a pointer to stored elements of `$bytes` bytes and
/// how many of them to read, and gives 16 units of `$group` elements, zero after the last.
macro_rules! pack {
    ($name:ident, $features:literal, $load:ident, $bytes:literal, $group:literal) => {
        /// Packs rows as the name says.
        ///
        /// # Safety
        ///
        /// See [`PackFn`](super::super::super::microkernel::PackFn).
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $name(source: &RowsToPack<'_>, lanes: usize, into: *mut u32) {
            // A microkernel multiplies one unit of all lanes by one instruction, so units that the rows have one after
            // another must lie side by side, lane by lane: a transposition, in squares of 16 rows and 16 units. Lanes
            // without a row stay zero, and what they add is thrown away.
            for first in (0..lanes).step_by(16) {
                let rows = source.rows.saturating_sub(first).min(16);
                let mask = mask(lanes - first);
                for k in (0..source.count).step_by(16 * $group) {
                    let count = (source.count - k).min(16 * $group);
                    let mut units = [_mm512_setzero_si512(); 16];
                    for (row, units) in units.iter_mut().enumerate() {
                        if row < rows {
                            let offset = (first + row) * source.stride + k * $bytes;
                            // SAFETY: `count` elements of this row lie there.
                            *units = unsafe { $load(source.bytes.as_ptr().add(offset), count) };
                        }
                    }
                    let units = transpose(units);
                    // `into` is `[units, lanes]`. Wrapping, because a square may end where nothing is written any more.
                    let into = into.wrapping_add(k / $group * lanes + first);
                    for (u, &unit) in units.iter().enumerate().take(count.div_ceil($group)) {
                        // SAFETY: the caller promises room for `lanes` lanes of every unit.
                        unsafe { _mm512_mask_storeu_epi32(into.add(u * lanes).cast(), mask, unit) };
                    }
                }
            }
        }
    };
}

pack!(f32_as_f32, "avx512f,avx512bw,avx512vl", load_f32, 4, 1);
pack!(f16_as_f32, "avx512f,avx512bw,avx512vl", load_f16, 2, 1);
pack!(bf16_as_f32, "avx512f,avx512bw,avx512vl", load_bf16, 2, 1);
pack!(f32_as_bf16, "avx512f,avx512bw,avx512vl,avx512bf16", pairs_of_f32, 4, 2);
pack!(f16_as_bf16, "avx512f,avx512bw,avx512vl,avx512bf16", pairs_of_f16, 2, 2);
pack!(bf16_as_bf16, "avx512f,avx512bw,avx512vl", pairs_of_bf16, 2, 2);
pack!(bytes, "avx512f,avx512bw,avx512vl", load_bytes, 1, 4);

/// The first `count` of 16 lanes.
#[inline]
fn mask(count: usize) -> __mmask16 {
    if count >= 16 { !0 } else { (1 << count) - 1 }
}

/// Up to 16 elements, widened; zeros after them.
///
/// # Safety
///
/// So many elements must lie there.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in super::super) unsafe fn load_f32(from: *const u8, count: usize) -> __m512i {
    // SAFETY: `count` elements lie there, the mask leaves the rest alone.
    _mm512_castps_si512(unsafe { _mm512_maskz_loadu_ps(mask(count), from.cast()) })
}

/// Up to 16 two-byte elements.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn load_16(from: *const u8, count: usize) -> __m256i {
    // SAFETY: as above.
    unsafe { _mm256_maskz_loadu_epi16(mask(count), from.cast()) }
}

/// As [`load_f32`].
///
/// # Safety
///
/// As for [`load_f32`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(in super::super) unsafe fn load_f16(from: *const u8, count: usize) -> __m512i {
    // SAFETY: as above.
    _mm512_castps_si512(_mm512_cvtph_ps(unsafe { load_16(from, count) }))
}

/// As [`load_f32`].
///
/// # Safety
///
/// As for [`load_f32`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(in super::super) unsafe fn load_bf16(from: *const u8, count: usize) -> __m512i {
    // SAFETY: as above.
    _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(unsafe { load_16(from, count) }))
}

/// Up to 32 elements as pairs of bfloat16, which they are; zeros after them.
///
/// # Safety
///
/// As for [`load_f32`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(in super::super) unsafe fn pairs_of_bf16(from: *const u8, count: usize) -> __m512i {
    let mask = if count >= 32 { !0 } else { (1 << count) - 1 };
    // SAFETY: as above.
    unsafe { _mm512_maskz_loadu_epi16(mask, from.cast()) }
}

/// Up to 32 elements as pairs of bfloat16, to nearest even; zeros after them.
///
/// # Safety
///
/// As for [`load_f32`].
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub(in super::super) unsafe fn pairs_of_f32(from: *const u8, count: usize) -> __m512i {
    // SAFETY: as above; where nothing is left the mask is empty and the pointer not used.
    let (low, high) = unsafe {
        let high = from.wrapping_add(16 * size_of::<f32>());
        (load_f32(from, count), load_f32(high, count.saturating_sub(16)))
    };
    round(low, high)
}

/// Up to 32 elements as pairs of bfloat16, to nearest even; zeros after them.
///
/// # Safety
///
/// As for [`load_f32`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(in super::super) unsafe fn pairs_of_f16(from: *const u8, count: usize) -> __m512i {
    // SAFETY: as above.
    let (low, high) = unsafe {
        let high = from.wrapping_add(16 * 2);
        (load_f16(from, count), load_f16(high, count.saturating_sub(16)))
    };
    round(low, high)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn load_bytes(from: *const u8, count: usize) -> __m512i {
    let mask = if count >= 64 { !0 } else { (1 << count) - 1 };
    // SAFETY: as above.
    unsafe { _mm512_maskz_loadu_epi8(mask, from.cast()) }
}

/// 32 f32 as bfloat16, to nearest even.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn round(low: __m512i, high: __m512i) -> __m512i {
    let rounded = _mm512_cvtne2ps_pbh(_mm512_castsi512_ps(high), _mm512_castsi512_ps(low));
    // SAFETY: both are 512 bits in which every pattern is valid.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(rounded) }
}

/// Lane `i` of register `j` becomes lane `j` of register `i`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in super::super) fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    let mut pairs = rows;
    for i in (0..16).step_by(2) {
        pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    // After this, quads[r + c] has, in 128-bit lane l, column 4 * l + c of rows r..r + 4.
    let mut quads = pairs;
    for r in (0..16).step_by(4) {
        quads[r] = _mm512_unpacklo_epi64(pairs[r], pairs[r + 2]);
        quads[r + 1] = _mm512_unpackhi_epi64(pairs[r], pairs[r + 2]);
        quads[r + 2] = _mm512_unpacklo_epi64(pairs[r + 1], pairs[r + 3]);
        quads[r + 3] = _mm512_unpackhi_epi64(pairs[r + 1], pairs[r + 3]);
    }
    let mut columns = quads;
    for c in 0..4 {
        let (a, b) = (quads[c], quads[4 + c]);
        let (even, odd) = (even_lanes(a, b), odd_lanes(a, b));
        let (a, b) = (quads[8 + c], quads[12 + c]);
        let (even_high, odd_high) = (even_lanes(a, b), odd_lanes(a, b));
        columns[c] = even_lanes(even, even_high);
        columns[4 + c] = even_lanes(odd, odd_high);
        columns[8 + c] = odd_lanes(even, even_high);
        columns[12 + c] = odd_lanes(odd, odd_high);
    }
    columns
}

/// The 128-bit lanes 0 and 2 of both.
#[inline]
#[target_feature(enable = "avx512f")]
fn even_lanes(a: __m512i, b: __m512i) -> __m512i {
    _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b)
}

/// The 128-bit lanes 1 and 3 of both.
#[inline]
#[target_feature(enable = "avx512f")]
fn odd_lanes(a: __m512i, b: __m512i) -> __m512i {
    _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b)
}
