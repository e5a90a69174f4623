//! Quantizing in registers: a group is eight of them.

use std::arch::x86_64::*;

use super::pack::{load_bf16, load_f16, load_f32};
use crate::format::Format;
use crate::quant::{self, Full, GROUP, Step};

/// Registers of a group.
const VECTORS: usize = GROUP / 16;

/// As [`quant::quantize_pairs`], in units of four bytes.
///
/// # Safety
///
/// The machine must have the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn activations(values: &[f32; GROUP], units: &mut [u32]) -> Step {
    assert_eq!(units.len(), GROUP / 4);
    // SAFETY: a group has so many values.
    let values: [__m512; VECTORS] =
        std::array::from_fn(|i| unsafe { _mm512_loadu_ps(values.as_ptr().add(16 * i)) });
    let (mut highest, mut lowest) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    for x in values.map(|x| _mm512_castps_si512(x)) {
        highest = _mm512_max_epi32(highest, x);
        lowest = _mm512_max_epu32(lowest, x);
    }
    let highest = f32::from_bits(_mm512_reduce_max_epi32(highest).cast_unsigned());
    let lowest = _mm512_reduce_max_epu32(lowest);
    let lowest = if lowest >> 31 == 1 { f32::from_bits(lowest) } else { 0.0 };
    let (step, inverse) = quant::affine(lowest, highest);
    let (inverse, zero) = (_mm512_set1_ps(inverse), _mm512_set1_epi32(step.offset));
    for (i, x) in values.into_iter().enumerate() {
        let steps = _mm512_cvtps_epi32(_mm512_mul_ps(x, inverse));
        let bytes = _mm512_cvtusepi32_epi8(_mm512_add_epi32(steps, zero));
        // SAFETY: 16 bytes for each vector.
        unsafe { _mm_storeu_si128(units.as_mut_ptr().add(4 * i).cast(), bytes) };
    }
    step
}

/// As [`quant::quantize_weights`].
///
/// # Safety
///
/// The machine must have the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma,f16c")]
pub(super) unsafe fn weights(
    format: Format,
    bytes: &[u8],
    count: usize,
    quants: &mut [i8],
    steps: &mut [Step],
) {
    /// Quantizes whole groups.
    macro_rules! groups {
        ($load:ident) => {{
            let groups = bytes.chunks_exact(GROUP * format.block_bytes());
            let quants = quants.as_chunks_mut().0.iter_mut().zip(steps);
            for (bytes, (quants, step)) in groups.zip(quants) {
                let part = |i| &bytes[i * 16 * format.block_bytes()..][..16 * format.block_bytes()];
                // SAFETY: 16 elements lie there.
                let values = std::array::from_fn(|i| unsafe { $load(part(i).as_ptr(), 16) });
                *step = quantize(values, quants);
            }
        }};
    }
    match format {
        Format::F32 if count.is_multiple_of(GROUP) => groups!(load_f32),
        Format::F16 if count.is_multiple_of(GROUP) => groups!(load_f16),
        Format::Bf16 if count.is_multiple_of(GROUP) => groups!(load_bf16),
        _ => quant::quantize_weights(format, bytes, count, quants, steps, Full::One),
    }
}

/// Nearest steps.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn quantize(values: [__m512i; VECTORS], quants: &mut [i8; GROUP]) -> Step {
    let mut largest = _mm512_setzero_si512();
    for x in values {
        let magnitude = _mm512_and_si512(x, _mm512_set1_epi32(i32::MAX));
        largest = _mm512_max_epu32(largest, magnitude);
    }
    let (scale, inverse) = quant::scale(f32::from_bits(_mm512_reduce_max_epu32(largest)), 127.0);
    let inverse = _mm512_set1_ps(inverse);
    let mut sum = _mm512_setzero_si512();
    for (x, quants) in values.into_iter().zip(quants.as_chunks_mut::<16>().0) {
        let steps = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_castsi512_ps(x), inverse));
        sum = _mm512_add_epi32(sum, steps);
        // SAFETY: 16 bytes for each vector.
        unsafe { _mm_storeu_si128(quants.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(steps)) };
    }
    // Wrapping: what is not a number has steps beyond all.
    Step { scale, offset: _mm512_reduce_add_epi32(sum).wrapping_neg() }
}
