//! Packing by transposition in registers.

use std::arch::x86_64::*;

use super::super::super::microkernel::RowsToPack;

/// Defines a packing function. `$load` makes 8 units of `$group` stored elements of `$bytes` bytes.
macro_rules! pack {
    ($name:ident, $load:ident, $bytes:literal, $group:literal) => {
        /// Packs rows as the name says.
        ///
        /// # Safety
        ///
        /// See [`PackFn`](super::super::super::microkernel::PackFn).
        #[target_feature(enable = "avx2,f16c")]
        pub(in super::super) unsafe fn $name(
            source: &RowsToPack<'_>,
            lanes: usize,
            into: *mut u32,
        ) {
            // A microkernel multiplies one unit of all lanes by one instruction, so units that the rows have one after
            // another must lie side by side, lane by lane: a transposition, in squares of 8 rows and 8 units. Lanes
            // without a row stay zero, and what they add is thrown away.
            for first in (0..lanes).step_by(8) {
                let rows = source.rows.saturating_sub(first).min(8);
                for k in (0..source.count).step_by(8 * $group) {
                    let count = (source.count - k).min(8 * $group);
                    let mut units = [_mm256_setzero_si256(); 8];
                    for (row, units) in units.iter_mut().enumerate().take(rows) {
                        let offset = (first + row) * source.stride + k * $bytes;
                        // SAFETY: `count` elements of this row lie there.
                        *units = unsafe {
                            let from = source.bytes.as_ptr().add(offset);
                            if count == 8 * $group {
                                $load(from)
                            } else {
                                // There are no masked loads of bytes: the last elements go through zeros.
                                let mut rest = [0; 8 * $group * $bytes];
                                from.copy_to_nonoverlapping(rest.as_mut_ptr(), count * $bytes);
                                $load(rest.as_ptr())
                            }
                        };
                    }
                    // `into` is `[units, lanes]`. Wrapping, because a square may end where nothing is written any more.
                    let into = into.wrapping_add(k / $group * lanes + first);
                    let count = count.div_ceil($group);
                    for (u, &unit) in transpose(units).iter().enumerate().take(count) {
                        // SAFETY: the caller promises room for `lanes` lanes of every unit.
                        unsafe { store(into.add(u * lanes), unit, lanes - first) };
                    }
                }
            }
        }
    };
}

pack!(f32_as_f32, load_f32, 4, 1);
pack!(f16_as_f32, load_f16, 2, 1);
pack!(bf16_as_f32, load_bf16, 2, 1);
pack!(bytes, load_f32, 1, 4);

/// Eight elements as f32; or, as they are, 32 bytes.
///
/// # Safety
///
/// So many elements must lie there.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn load_f32(from: *const u8) -> __m256i {
    // SAFETY: the caller promises 8 elements.
    unsafe { _mm256_loadu_si256(from.cast()) }
}

/// As [`load_f32`].
///
/// # Safety
///
/// As for [`load_f32`].
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) unsafe fn load_f16(from: *const u8) -> __m256i {
    // SAFETY: the caller promises 8 elements.
    _mm256_castps_si256(_mm256_cvtph_ps(unsafe { _mm_loadu_si128(from.cast()) }))
}

/// As [`load_f32`].
///
/// # Safety
///
/// As for [`load_f32`].
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn load_bf16(from: *const u8) -> __m256i {
    // SAFETY: the caller promises 8 elements.
    let elements = _mm256_cvtepu16_epi32(unsafe { _mm_loadu_si128(from.cast()) });
    _mm256_slli_epi32::<16>(elements)
}

/// Writes the first `lanes` of 8 lanes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store(into: *mut u32, unit: __m256i, lanes: usize) {
    // SAFETY: the caller promises that room.
    unsafe {
        if lanes >= 8 {
            _mm256_storeu_si256(into.cast(), unit);
        } else {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes as i32), lane);
            _mm256_maskstore_epi32(into.cast(), mask, unit);
        }
    }
}

/// Lane `i` of register `j` becomes lane `j` of register `i`.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(rows: [__m256i; 8]) -> [__m256i; 8] {
    let mut pairs = rows;
    for i in (0..8).step_by(2) {
        pairs[i] = _mm256_unpacklo_epi32(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    // After this, quads[r + c] has, in 128-bit lane l, column 4 * l + c of rows r..r + 4.
    let mut quads = pairs;
    for i in (0..8).step_by(4) {
        quads[i] = _mm256_unpacklo_epi64(pairs[i], pairs[i + 2]);
        quads[i + 1] = _mm256_unpackhi_epi64(pairs[i], pairs[i + 2]);
        quads[i + 2] = _mm256_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        quads[i + 3] = _mm256_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    let mut columns = quads;
    for c in 0..4 {
        columns[c] = _mm256_permute2x128_si256::<0x20>(quads[c], quads[4 + c]);
        columns[4 + c] = _mm256_permute2x128_si256::<0x31>(quads[c], quads[4 + c]);
    }
    columns
}
