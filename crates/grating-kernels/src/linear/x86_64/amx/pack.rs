//! Packing into steps of 32 elements, each in parts of bfloat16: all of the step's first parts, then the second ones.
//!
//! A step of activations is `[parts, rows, 16 units]`, one of weights `[parts, 16 units, panel]`.

use std::arch::x86_64::*;

use super::super::super::microkernel::RowsToPack;
use super::super::avx512::{
    load_f16, load_f32, pairs_of_bf16, pairs_of_f16, pairs_of_f32, transpose,
};
use super::STEP;

/// Units of a row in a step: pairs of bfloat16.
const UNITS: usize = STEP / 2;

/// Defines a packing function for activations. `$load` takes a pointer to f32 and how many of them to read, and gives
/// `$parts` registers of units, zero after the last.
macro_rules! activations {
    ($(#[$about:meta])* $name:ident, $load:ident, $parts:literal) => {
        $(#[$about])*
        ///
        /// # Safety
        ///
        /// See [`PackFn`](super::super::super::microkernel::PackFn).
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
        pub(super) unsafe fn $name(source: &RowsToPack<'_>, lanes: usize, into: *mut u32) {
            for row in 0..source.rows {
                for (step, k) in (0..source.count).step_by(STEP).enumerate() {
                    // SAFETY: so many elements of this row lie there, and there is room for the parts of all lanes.
                    unsafe {
                        let from = source.bytes.as_ptr().add(row * source.stride + 4 * k);
                        let parts = $load(from, (source.count - k).min(STEP));
                        for (part, units) in parts.into_iter().enumerate() {
                            let at = ((step * $parts + part) * lanes + row) * UNITS;
                            _mm512_store_si512(into.add(at).cast(), units);
                        }
                    }
                }
            }
        }
    };
}

activations!(
    /// Packs activations in three parts.
    activations,
    three_of_f32,
    3
);

activations!(
    /// Packs activations rounded to nearest even.
    rounded_activations,
    one_of_f32,
    1
);

/// Defines a packing function for weights whose elements have `$bytes` bytes; `$load` is as for activations.
macro_rules! weights {
    ($(#[$about:meta])* $name:ident, $load:ident, $bytes:literal, $parts:literal) => {
        $(#[$about])*
        ///
        /// # Safety
        ///
        /// See [`PackFn`](super::super::super::microkernel::PackFn).
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
        pub(super) unsafe fn $name(source: &RowsToPack<'_>, lanes: usize, into: *mut u32) {
            for first in (0..lanes).step_by(16) {
                let rows = source.rows.saturating_sub(first).min(16);
                for (step, k) in (0..source.count).step_by(STEP).enumerate() {
                    let mut squares = [[_mm512_setzero_si512(); 16]; $parts];
                    for row in 0..rows {
                        // SAFETY: so many elements of this row lie there.
                        let parts = unsafe {
                            let offset = (first + row) * source.stride + $bytes * k;
                            $load(source.bytes.as_ptr().add(offset), (source.count - k).min(STEP))
                        };
                        for (square, units) in squares.iter_mut().zip(parts) {
                            square[row] = units;
                        }
                    }
                    for (part, square) in squares.into_iter().enumerate() {
                        let into = into.wrapping_add((step * $parts + part) * UNITS * lanes + first);
                        for (unit, lanes_of_unit) in transpose(square).into_iter().enumerate() {
                            // SAFETY: the caller promises room for all units of a step in `lanes` lanes, a multiple of 16.
                            unsafe {
                                _mm512_store_si512(into.add(unit * lanes).cast(), lanes_of_unit)
                            };
                        }
                    }
                }
            }
        }
    };
}

weights!(
    /// Packs weights in f32, in three parts.
    weights_of_f32,
    three_of_f32,
    4,
    3
);

weights!(
    /// Packs weights in f16, in the two parts that they have.
    weights_of_f16,
    two_of_f16,
    2,
    2
);

weights!(
    /// Packs weights in bfloat16.
    weights_of_bf16,
    one_of_bf16,
    2,
    1
);

weights!(
    /// Packs weights in f32, rounded to nearest even.
    rounded_f32,
    one_of_f32,
    4,
    1
);

weights!(
    /// Packs weights in f16, rounded to nearest even.
    rounded_f16,
    one_of_f16,
    2,
    1
);

/// Packs weights in f32, rounded to nearest even, whose columns are what is said to be rows here: elements of a row go to
/// lanes, and two rows make a unit.
///
/// # Safety
///
/// See [`PackFn`](super::super::super::microkernel::PackFn), with lanes for the elements of a row and units for the rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn rounded_rows(source: &RowsToPack<'_>, lanes: usize, into: *mut u32) {
    for unit in 0..source.rows.next_multiple_of(STEP) / 2 {
        for first in (0..lanes).step_by(16) {
            let half = |row: usize| {
                let there = if row < source.rows { source.count.saturating_sub(first) } else { 0 };
                let from = source.bytes.as_ptr().wrapping_add(row * source.stride + 4 * first);
                // SAFETY: so many elements of this row lie there; where there are none nothing is read.
                let rounded =
                    _mm512_cvtneps_pbh(_mm512_castsi512_ps(unsafe { load_f32(from, there) }));
                // SAFETY: both are 256 bits in which every pattern is valid.
                _mm512_cvtepu16_epi32(unsafe { std::mem::transmute::<__m256bh, __m256i>(rounded) })
            };
            let pairs =
                _mm512_or_si512(half(2 * unit), _mm512_slli_epi32::<16>(half(2 * unit + 1)));
            // SAFETY: the caller promises room for so many units in `lanes` lanes, a multiple of 16.
            unsafe { _mm512_store_si512(into.add(unit * lanes + first).cast(), pairs) };
        }
    }
}

/// Up to 32 elements as pairs of bfloat16.
macro_rules! one {
    ($name:ident, $pairs:ident) => {
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
        unsafe fn $name(from: *const u8, count: usize) -> [__m512i; 1] {
            // SAFETY: as promised to this function.
            [unsafe { $pairs(from, count) }]
        }
    };
}

one!(one_of_f32, pairs_of_f32);
one!(one_of_f16, pairs_of_f16);
one!(one_of_bf16, pairs_of_bf16);

/// Up to 32 elements as three pairs of bfloat16 each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn three_of_f32(from: *const u8, count: usize) -> [__m512i; 3] {
    // SAFETY: as promised to this function; where nothing is left nothing is read.
    let elements = unsafe {
        let high = from.wrapping_add(64);
        [load_f32(from, count), load_f32(high, count.saturating_sub(16))]
    };
    let (first, rest) = cut(elements);
    let (second, rest) = cut(rest);
    [first, second, cut(rest).0]
}

/// Up to 32 elements as two pairs of bfloat16 each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn two_of_f16(from: *const u8, count: usize) -> [__m512i; 2] {
    // SAFETY: as promised to this function; where nothing is left nothing is read.
    let elements = unsafe {
        let high = from.wrapping_add(32);
        [load_f16(from, count), load_f16(high, count.saturating_sub(16))]
    };
    let (first, rest) = cut(elements);
    [first, cut(rest).0]
}

/// The upper words of two registers, in order.
const UPPER_WORDS: [i16; 32] = {
    let mut words = [0; 32];
    let mut word = 0;
    while word < words.len() {
        words[word] = 2 * word as i16 + 1;
        word += 1;
    }
    words
};

/// Pairs of the elements' first 8 bits, and what is left of the elements, exactly.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn cut([low, high]: [__m512i; 2]) -> (__m512i, [__m512i; 2]) {
    let rest = |element: __m512i| {
        let first = _mm512_and_si512(element, _mm512_set1_epi32(!0xffff));
        let rest = _mm512_sub_ps(_mm512_castsi512_ps(element), _mm512_castsi512_ps(first));
        _mm512_castps_si512(rest)
    };
    // SAFETY: as many words as a register has.
    let upper_words = unsafe { _mm512_loadu_epi16(UPPER_WORDS.as_ptr()) };
    let pairs = _mm512_permutex2var_epi16(low, upper_words, high);
    (pairs, [rest(low), rest(high)])
}
