//! Cutting numbers into digits.
//!
//! A step of activations is `[digits, rows, 16 units]`, one of weights `[digits, 16 units, panel]`. A unit holds the digits of
//! four elements that are 16 apart: operands agree on the order, and it costs the least.

use std::arch::x86_64::*;

use super::super::super::microkernel::RowsToPack;
use super::super::avx512::{load_bf16, load_f16, load_f32, transpose};
use super::GROUP;
use super::digits::{DIGITS, STEP};
use crate::quant;

/// Units of a row in a step.
const UNITS: usize = STEP / 4;

/// What the largest of a row becomes: its first digit is 127, and all are within their bits.
const LARGEST: f32 = (127 << 16) as f32;

/// Digits are signed. With half of their range added, those below zero need nothing of the next.
const HALVES: i32 = 0x0080_8080;

/// Defines what cuts rows of elements of `$bytes` bytes, of which `$load` takes up to 16 as f32.
macro_rules! cut {
    ($activations:ident, $weights:ident, $load:ident, $bytes:literal) => {
        cut!(weights $weights, $load, $bytes, step);

        /// Cuts activations.
        ///
        /// # Safety
        ///
        /// See [`CutFn`](super::super::super::microkernel::CutFn).
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        pub(super) unsafe fn $activations(
            source: &RowsToPack<'_>,
            lanes: usize,
            units: *mut u32,
            scales: *mut f32,
        ) {
            for (group, first) in (0..source.count).step_by(GROUP).enumerate() {
                let count = GROUP.min(source.count - first);
                for row in 0..source.rows {
                    // SAFETY: so many elements of this row lie there, and there is room for the digits of all lanes.
                    unsafe {
                        let from = source.bytes.as_ptr().add(row * source.stride + $bytes * first);
                        let load = |k: usize, some: usize| $load(from.wrapping_add($bytes * k), some);
                        let (scale, inverse) = step(largest(count, load));
                        scales.add(group * lanes + row).write(scale);
                        for k in (0..count).step_by(STEP) {
                            let step = (first + k) / STEP;
                            for (digit, of_digit) in digits(k, count - k, inverse, load).into_iter().enumerate() {
                                let at = ((step * DIGITS + digit) * lanes + row) * UNITS;
                                _mm512_store_si512(units.add(at).cast(), of_digit);
                            }
                        }
                    }
                }
            }
        }
    };
    (weights $weights:ident, $load:ident, $bytes:literal, $step:path) => {
        /// Cuts weights.
        ///
        /// # Safety
        ///
        /// See [`CutFn`](super::super::super::microkernel::CutFn).
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        pub(super) unsafe fn $weights(
            source: &RowsToPack<'_>,
            lanes: usize,
            units: *mut u32,
            scales: *mut f32,
        ) {
            for half in (0..lanes).step_by(16) {
                let rows = source.rows.saturating_sub(half).min(16);
                for (group, first) in (0..source.count).step_by(GROUP).enumerate() {
                    let count = GROUP.min(source.count - first);
                    let from = source.bytes.as_ptr().wrapping_add(half * source.stride + $bytes * first);
                    let load = |row: usize, k: usize, some: usize| {
                        let from = from.wrapping_add(row * source.stride + $bytes * k);
                        // SAFETY: so many elements of this row lie there; where there are none nothing is read.
                        unsafe { $load(from, some) }
                    };
                    let mut inverses = [0.0; 16];
                    for row in 0..16 {
                        let mut scale = 0.0;
                        if row < rows {
                            let largest = largest(count, |k, some| load(row, k, some));
                            (scale, inverses[row]) = $step(largest);
                        }
                        // SAFETY: there is room for a scale of every lane.
                        unsafe { scales.add(group * lanes + half + row).write(scale) };
                    }
                    for k in (0..count).step_by(STEP) {
                        let mut squares = [[_mm512_setzero_si512(); 16]; DIGITS];
                        for row in 0..rows {
                            let digits = digits(k, count - k, inverses[row], |k, some| load(row, k, some));
                            for (square, of_digit) in squares.iter_mut().zip(digits) {
                                square[row] = of_digit;
                            }
                        }
                        let step = (first + k) / STEP;
                        for (digit, square) in squares.into_iter().enumerate() {
                            let into = units.wrapping_add((step * DIGITS + digit) * UNITS * lanes + half);
                            for (unit, of_lanes) in transpose(square).into_iter().enumerate() {
                                // SAFETY: there is room for all units of a step in `lanes` lanes, a multiple of 16.
                                unsafe { _mm512_store_si512(into.add(unit * lanes).cast(), of_lanes) };
                            }
                        }
                    }
                }
            }
        }
    };
}

cut!(activations, weights_of_f32, load_f32, 4);
cut!(weights weights_of_f16, load_f16, 2, even_step);
cut!(weights weights_of_bf16, load_bf16, 2, even_step);

/// What a multiple of one is worth where this is the largest, and how many one is.
#[inline]
fn step(largest: f32) -> (f32, f32) {
    quant::scale(largest, LARGEST)
}

/// A power of two: what has few bits has no third digit then, but where it is far below the largest.
#[inline]
fn even_step(largest: f32) -> (f32, f32) {
    let (worth, inverse) = step(largest);
    if inverse == 0.0 || !worth.is_finite() {
        return (worth, inverse);
    }
    let worth = f32::from_bits(worth.to_bits().next_multiple_of(1 << (f32::MANTISSA_DIGITS - 1)));
    (worth, worth.recip())
}

/// The largest magnitude of `count` elements; no number where one is none.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn largest(count: usize, load: impl Fn(usize, usize) -> __m512i) -> f32 {
    let mut largest = _mm512_setzero_si512();
    let mut add = |elements: __m512i| {
        // Magnitudes order as their bits do.
        let magnitudes = _mm512_and_si512(elements, _mm512_set1_epi32(i32::MAX));
        largest = _mm512_max_epu32(largest, magnitudes);
    };
    let whole = count / 16 * 16;
    for k in (0..whole).step_by(16) {
        add(load(k, 16));
    }
    if whole < count {
        add(load(whole, count - whole));
    }
    f32::from_bits(_mm512_reduce_max_epu32(largest))
}

/// The digits of a step, of whose elements `left` are left, the first ones first.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn digits(
    first: usize,
    left: usize,
    inverse: f32,
    load: impl Fn(usize, usize) -> __m512i,
) -> [__m512i; DIGITS] {
    let elements: [__m512i; 4] = if left >= STEP {
        std::array::from_fn(|i| load(first + 16 * i, 16))
    } else {
        std::array::from_fn(|i| load(first + 16 * i, left.saturating_sub(16 * i).min(16)))
    };
    let (inverse, halves) = (_mm512_set1_ps(inverse), _mm512_set1_epi32(HALVES));
    let elements = elements.map(|elements| {
        let scaled = _mm512_mul_ps(_mm512_castsi512_ps(elements), inverse);
        _mm512_xor_si512(_mm512_add_epi32(_mm512_cvtps_epi32(scaled), halves), halves)
    });
    // Four elements by their bytes: a transposition, first of halves, then of bytes.
    let [a, b, c, d] = elements;
    let (lower, upper) =
        ([low_halves(a, b), low_halves(c, d)], [high_halves(a, b), high_halves(c, d)]);
    let second = choose(_mm512_srli_epi16::<8>(lower[0]), lower[1], 0x00ff_00ff);
    let third = choose(lower[0], _mm512_slli_epi16::<8>(lower[1]), 0x00ff_00ff);
    let first = choose(upper[0], _mm512_slli_epi16::<8>(upper[1]), 0x00ff_00ff);
    [first, second, third]
}

/// The lower halves of two elements, the first below.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn low_halves(a: __m512i, b: __m512i) -> __m512i {
    choose(a, _mm512_slli_epi32::<16>(b), 0xffff)
}

/// The upper halves of two elements, the first below.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn high_halves(a: __m512i, b: __m512i) -> __m512i {
    choose(_mm512_srli_epi32::<16>(a), b, 0xffff)
}

/// The bits of `a` where those of the mask are set, others of `b`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn choose(a: __m512i, b: __m512i, mask: i32) -> __m512i {
    _mm512_ternarylogic_epi32::<0b1100_1010>(_mm512_set1_epi32(mask), a, b)
}
