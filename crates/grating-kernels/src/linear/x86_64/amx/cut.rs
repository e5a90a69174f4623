//! Cutting numbers into digits.
//!
//! A step of activations is `[digits, rows, 16 units]`, one of weights `[digits, 16 units, panel]`. A unit holds the digits of
//! four elements that are 16 apart: operands agree on the order, and it costs the least.

use std::arch::x86_64::*;

use super::super::super::microkernel::{Cut, RowsToPack};
use super::super::super::outliers::{MOST, WORDS};
use super::super::avx512::{load_bf16, load_f16, load_f32, transpose};
use super::GROUP;
use super::digits::{DIGITS, STEP};
use crate::quant;

/// Units of a row in a step.
const UNITS: usize = STEP / 4;

/// What the largest of a row becomes: its first digit is 127, and all are within their bits.
const LARGEST: f32 = (127 << 16) as f32;

/// Powers of two that the largest is beyond others from which on there are outliers, in activations and in weights, and how
/// far what stays may be. What stays loses no more to the largest's digits than f32 loses to sums of as many as share them.
const X_BEYOND: u32 = 5;
const W_BEYOND: u32 = 6;
const WITHIN: u32 = 4;

/// One power of two in the bits of a number.
const TWICE: u32 = 1 << (f32::MANTISSA_DIGITS - 1);

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
        pub(super) unsafe fn $activations(source: &RowsToPack<'_>, into: Cut) {
            let Cut { lanes, units, .. } = into;
            for (group, first) in (0..source.count).step_by(GROUP).enumerate() {
                let count = GROUP.min(source.count - first);
                for row in 0..source.rows {
                    // SAFETY: so many elements of this row lie there, and there is room for the digits of all lanes.
                    unsafe {
                        let from = source.bytes.as_ptr().add(row * source.stride + $bytes * first);
                        let load = |k: usize, some: usize| $load(from.wrapping_add($bytes * k), some);
                        let bounds = bounds(X_BEYOND, count, load);
                        let (scale, inverse) = step(bounds.most());
                        into.scales.add(group * lanes + row).write(scale);
                        take_out(bounds, count, load, into, group * lanes + row);
                        for k in (0..count).step_by(STEP) {
                            let step = (first + k) / STEP;
                            let digits = digits(k, count - k, inverse, |k, some| bounds.within(load(k, some)));
                            for (digit, of_digit) in digits.into_iter().enumerate() {
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
        pub(super) unsafe fn $weights(source: &RowsToPack<'_>, into: Cut) {
            let Cut { lanes, units, .. } = into;
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
                    let mut all_bounds = [Bounds::NONE; 16];
                    for row in 0..16 {
                        let at = group * lanes + half + row;
                        // SAFETY: there is room for a scale and outliers of every lane.
                        unsafe {
                            if row < rows {
                                let load = |k: usize, some: usize| load(row, k, some);
                                let bounds = bounds(W_BEYOND, count, load);
                                let (scale, inverse) = $step(bounds.most());
                                into.scales.add(at).write(scale);
                                take_out(bounds, count, load, into, at);
                                (inverses[row], all_bounds[row]) = (inverse, bounds);
                            } else {
                                into.scales.add(at).write(0.0);
                                into.counts.add(at).write(0);
                            }
                        }
                    }
                    for k in (0..count).step_by(STEP) {
                        let mut squares = [[_mm512_setzero_si512(); 16]; DIGITS];
                        for row in 0..rows {
                            let bounds = all_bounds[row];
                            let within = |k: usize, some: usize| bounds.within(load(row, k, some));
                            let digits = digits(k, count - k, inverses[row], within);
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

/// The magnitudes of a group's elements.
#[derive(Clone, Copy)]
struct Bounds {
    /// Bits of the largest; no number where an element is none.
    largest: u32,
    /// Bits of what all are within but outliers.
    limit: u32,
}

impl Bounds {
    const NONE: Self = Self { largest: 0, limit: u32::MAX };

    fn has_outliers(self) -> bool {
        self.largest > self.limit
    }

    /// What all but outliers are within.
    fn most(self) -> f32 {
        f32::from_bits(self.largest.min(self.limit))
    }

    /// Elements that are no outliers, and zeros.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn within(self, elements: __m512i) -> __m512i {
        _mm512_maskz_mov_epi32(!self.outliers(elements), elements)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn outliers(self, elements: __m512i) -> __mmask16 {
        let limit = _mm512_set1_epi32(self.limit.cast_signed());
        _mm512_cmpgt_epu32_mask(magnitudes(elements), limit)
    }
}

/// Those of `count` elements. Outliers are few, so that among the eighths of the columns, those with the same remainder by 8,
/// some has none. Where the largest is so many `powers` of two beyond the least of the eighths' largest, what is
/// more than [`WITHIN`] beyond that is an outlier, or more than so much more that at most [`MOST`] are. Zeros need no digits,
/// so an eighth of zeros says nothing.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn bounds(powers: u32, count: usize, load: impl Fn(usize, usize) -> __m512i + Copy) -> Bounds {
    // Magnitudes order as their bits do.
    let mut lanes = _mm512_setzero_si512();
    let whole = count / 16 * 16;
    for k in (0..whole).step_by(16) {
        lanes = _mm512_max_epu32(lanes, magnitudes(load(k, 16)));
    }
    if whole < count {
        lanes = _mm512_max_epu32(lanes, magnitudes(load(whole, count - whole)));
    }
    let largest = _mm512_reduce_max_epu32(lanes);
    // An eighth is two lanes.
    let eighths = _mm512_max_epu32(lanes, _mm512_shuffle_i64x2::<0b01_00_11_10>(lanes, lanes));
    let some = _mm512_cmpneq_epi32_mask(eighths, _mm512_setzero_si512());
    // All of them, if none is more than 0.
    let least = _mm512_mask_reduce_min_epu32(some, eighths);
    let beyond = |powers: u32| least.saturating_add(powers * TWICE);
    let mut limit = u32::MAX;
    // What is no number is out of all bounds, and stays.
    if largest > beyond(powers) && largest <= f32::INFINITY.to_bits() {
        limit = beyond(WITHIN);
        while count_beyond(limit, count, load) > MOST {
            limit = limit.saturating_add(TWICE);
        }
    }
    Bounds { largest, limit }
}

#[cold]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn count_beyond(limit: u32, count: usize, load: impl Fn(usize, usize) -> __m512i) -> usize {
    let bounds = Bounds { largest: 0, limit };
    let beyond = |k: usize| bounds.outliers(load(k, (count - k).min(16))).count_ones() as usize;
    (0..count).step_by(16).map(beyond).sum()
}

#[inline]
#[target_feature(enable = "avx512f")]
fn magnitudes(elements: __m512i) -> __m512i {
    _mm512_and_si512(elements, _mm512_set1_epi32(i32::MAX))
}

/// Writes how many outliers there are, and each with its column.
///
/// # Safety
///
/// There must be room for those of lane and group `at`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn take_out(
    bounds: Bounds,
    count: usize,
    load: impl Fn(usize, usize) -> __m512i,
    into: Cut,
    at: usize,
) {
    let mut found = 0;
    if bounds.has_outliers() {
        for k in (0..count).step_by(16) {
            let elements = load(k, (count - k).min(16));
            let beyond = bounds.outliers(elements);
            let mut numbers = [0_u32; 16];
            // SAFETY: as long as the register.
            unsafe { _mm512_storeu_si512(numbers.as_mut_ptr().cast(), elements) };
            for (lane, number) in numbers.into_iter().enumerate() {
                if beyond >> lane & 1 == 1 {
                    // SAFETY: there are at most `MOST`, and the caller promises room for so many.
                    unsafe {
                        let to = into.outliers.add(at * WORDS + 2 * found);
                        to.write((k + lane) as u32);
                        to.add(1).write(number);
                    }
                    found += 1;
                }
            }
        }
    }
    // SAFETY: as the caller promises.
    unsafe { into.counts.add(at).write(found as u32) };
}

/// What an element's digits stand for, without its scale.
pub(super) fn restore(units: &[u32], rows: usize, row: usize, column: usize) -> f32 {
    // As `digits` leaves the four elements of a unit.
    let byte = [0, 2, 1, 3][column % STEP / UNITS];
    let (step, unit) = (column / STEP, column % UNITS);
    let digit = |digit: usize| {
        let unit = units[((step * DIGITS + digit) * rows + row) * UNITS + unit];
        i32::from(unit.to_le_bytes()[byte].cast_signed())
    };
    ((digit(0) * 256 + digit(1)) * 256 + digit(2)) as f32
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
