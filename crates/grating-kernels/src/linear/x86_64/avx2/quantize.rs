//! Quantizing in registers: a group is sixteen of them, which pass twice.

use std::arch::x86_64::*;

use super::pack::{load_bf16, load_f16, load_f32};
use crate::format::Format;
use crate::quant::{self, Full, GROUP, Step};

/// Registers of a group.
const VECTORS: usize = GROUP / 8;

/// As [`quant::quantize_pairs`], in units of four bytes.
///
/// # Safety
///
/// The machine must have the instructions.
#[target_feature(enable = "avx2,fma")]
pub(in super::super) unsafe fn activations(values: &[f32; GROUP], units: &mut [u32]) -> Step {
    assert_eq!(units.len(), GROUP / 4);
    let (step, inverse) = step_of(values);
    for (values, units) in values.as_chunks::<32>().0.iter().zip(units.as_chunks_mut::<8>().0) {
        let mut steps = [_mm256_setzero_si256(); 4];
        for (steps, values) in steps.iter_mut().zip(values.as_chunks::<8>().0) {
            *steps = steps_of(values, inverse, step.offset);
        }
        let (low, high) =
            (_mm256_packs_epi32(steps[0], steps[1]), _mm256_packs_epi32(steps[2], steps[3]));
        let bytes = in_order(_mm256_packus_epi16(low, high));
        // SAFETY: eight units are as long as the register.
        unsafe { _mm256_storeu_si256(units.as_mut_ptr().cast(), bytes) };
    }
    step
}

/// The step of a group, and its inverse.
#[inline]
#[target_feature(enable = "avx2")]
fn step_of(values: &[f32; GROUP]) -> (Step, f32) {
    let (mut highest, mut lowest) = (_mm256_setzero_si256(), _mm256_setzero_si256());
    for values in values.as_chunks::<8>().0 {
        // SAFETY: eight values are as long as the register.
        let bits = unsafe { _mm256_loadu_si256(values.as_ptr().cast()) };
        highest = _mm256_max_epi32(highest, bits);
        lowest = _mm256_max_epu32(lowest, bits);
    }
    let highest = lanes(highest).into_iter().fold(0, |m, x| m.max(x.cast_signed()));
    let highest = f32::from_bits(highest.cast_unsigned());
    let lowest = lanes(lowest).into_iter().fold(0, u32::max);
    let lowest = if lowest >> 31 == 1 { f32::from_bits(lowest) } else { 0.0 };
    quant::affine(lowest, highest)
}

/// Nearest steps of the first eight `values`, from the byte that stands for 0.
#[inline]
#[target_feature(enable = "avx2")]
fn steps_of(values: &[f32], inverse: f32, zero: i32) -> __m256i {
    assert!(values.len() >= 8);
    // SAFETY: so many values.
    let x = unsafe { _mm256_loadu_ps(values.as_ptr()) };
    let steps = _mm256_cvtps_epi32(_mm256_mul_ps(x, _mm256_set1_ps(inverse)));
    _mm256_add_epi32(steps, _mm256_set1_epi32(zero))
}

/// As [`quant::quantize_weights`], [`Full::Two`] or [`Full::One`].
///
/// # Safety
///
/// The machine must have the instructions.
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) unsafe fn weights<const TWO: bool>(
    format: Format,
    bytes: &[u8],
    count: usize,
    quants: &mut [i8],
    steps: &mut [Step],
) {
    let full = const { if TWO { Full::Two } else { Full::One } };
    /// Quantizes whole groups of elements of so many bytes. No closures: they would be called for every register.
    macro_rules! groups {
        ($load:ident, $bytes:literal) => {{
            let groups = bytes.chunks_exact(GROUP * $bytes);
            let quants = quants.as_chunks_mut().0.iter_mut().zip(steps);
            for (bytes, (quants, step)) in groups.zip(quants) {
                let mut values = [_mm256_setzero_si256(); VECTORS];
                for (values, bytes) in values.iter_mut().zip(bytes.chunks_exact(8 * $bytes)) {
                    // SAFETY: eight elements lie there.
                    *values = unsafe { $load(bytes.as_ptr()) };
                }
                *step = quantize(&values, quants, full);
            }
        }};
    }
    match format {
        Format::F32 if count.is_multiple_of(GROUP) => groups!(load_f32, 4),
        Format::F16 if count.is_multiple_of(GROUP) => groups!(load_f16, 2),
        Format::Bf16 if count.is_multiple_of(GROUP) => groups!(load_bf16, 2),
        _ => quant::quantize_weights(format, bytes, count, quants, steps, full),
    }
}

/// Nearest steps.
#[inline]
#[target_feature(enable = "avx2")]
fn quantize(values: &[__m256i; VECTORS], quants: &mut [i8; GROUP], full: Full) -> Step {
    let mut largest = _mm256_setzero_si256();
    for pair in values.as_chunks::<2>().0 {
        let mut magnitudes = [_mm256_setzero_si256(); 2];
        for (magnitude, &x) in magnitudes.iter_mut().zip(pair) {
            *magnitude = _mm256_and_si256(x, _mm256_set1_epi32(i32::MAX));
        }
        let [first, second] = magnitudes;
        let larger = match full {
            Full::One => _mm256_max_epu32(first, second),
            Full::Two => sums_of_two(first, second),
        };
        largest = _mm256_max_epu32(largest, larger);
    }
    let largest = lanes(largest).into_iter().fold(0, u32::max);
    let (scale, inverse) = quant::scale(f32::from_bits(largest), 127.0);
    let inverse = _mm256_set1_ps(inverse);
    let mut sum = _mm256_setzero_si256();
    for (values, quants) in values.as_chunks::<4>().0.iter().zip(quants.as_chunks_mut::<32>().0) {
        let mut steps = [_mm256_setzero_si256(); 4];
        for (steps, &x) in steps.iter_mut().zip(values) {
            *steps = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_castsi256_ps(x), inverse));
            sum = _mm256_add_epi32(sum, *steps);
        }
        let (low, high) =
            (_mm256_packs_epi32(steps[0], steps[1]), _mm256_packs_epi32(steps[2], steps[3]));
        let bytes = in_order(_mm256_packs_epi16(low, high));
        // SAFETY: 32 bytes are as long as the register.
        unsafe { _mm256_storeu_si256(quants.as_mut_ptr().cast(), bytes) };
    }
    // Wrapping: what is not a number has steps beyond all.
    let sum = lanes(sum).into_iter().fold(0, u32::wrapping_add);
    Step { scale, offset: sum.cast_signed().wrapping_neg() }
}

/// Sums of neighbours.
#[inline]
#[target_feature(enable = "avx2")]
fn sums_of_two(first: __m256i, second: __m256i) -> __m256i {
    let (first, second) = (_mm256_castsi256_ps(first), _mm256_castsi256_ps(second));
    _mm256_castps_si256(_mm256_hadd_ps(first, second))
}

/// Bytes that were packed twice, each time in halves of registers, in the order of their values.
#[inline]
#[target_feature(enable = "avx2")]
fn in_order(bytes: __m256i) -> __m256i {
    _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
}

/// The lanes of 32 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn lanes(x: __m256i) -> [u32; 8] {
    let mut lanes = [0; 8];
    // SAFETY: as long as the register.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), x) };
    lanes
}
