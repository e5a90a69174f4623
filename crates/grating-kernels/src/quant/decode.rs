//! Stored elements as f32.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::BLOCK;
use crate::format::Format;

/// [`decode`], compiled for some instruction set that the machine must have.
pub(crate) type DecodeFn = unsafe fn(Format, &[u8], &mut [f32]);

/// Decodes the blocks of `bytes`, as many elements as `out` has; both are whole blocks.
///
/// Inlined into functions that enable instructions; the result is the same with all of them.
#[inline(always)]
pub(crate) fn decode(format: Format, bytes: &[u8], out: &mut [f32]) {
    match format {
        Format::F32 => {
            for (out, &stored) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out = f32::from_le_bytes(stored);
            }
        }
        Format::F16 => decode_f16(bytes, out),
        Format::Bf16 => {
            for (out, &stored) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out = f32::from_bits(u32::from(u16::from_le_bytes(stored)) << 16);
            }
        }
        Format::Q8_0 => {
            for (out, block) in out.as_chunks_mut().0.iter_mut().zip(bytes.as_chunks().0) {
                decode_q8_0(block, out);
            }
        }
        Format::Q4_0 => {
            for (out, block) in out.as_chunks_mut().0.iter_mut().zip(bytes.as_chunks().0) {
                decode_q4_0(block, out);
            }
        }
        Format::Q4K => {
            for (out, block) in out.as_chunks_mut().0.iter_mut().zip(bytes.as_chunks().0) {
                decode_q4_k(block, out);
            }
        }
    }
}

/// Scale and bytes of a block of [`Format::Q8_0`].
#[inline(always)]
pub(super) fn q8_0(block: &[u8; 2 + BLOCK]) -> (f32, [i8; BLOCK]) {
    let mut quants = [0; BLOCK];
    for (quant, &stored) in quants.iter_mut().zip(&block[2..]) {
        *quant = stored.cast_signed();
    }
    (scale(block[0], block[1]), quants)
}

/// Scale and steps of a block of [`Format::Q4_0`].
#[inline(always)]
pub(super) fn q4_0(block: &[u8; 2 + BLOCK / 2]) -> (f32, [i8; BLOCK]) {
    let mut quants = [0; BLOCK];
    let (first, second) = quants.split_at_mut(BLOCK / 2);
    for ((first, second), &stored) in first.iter_mut().zip(second).zip(&block[2..]) {
        *first = (stored & 15).cast_signed() - 8;
        *second = (stored >> 4).cast_signed() - 8;
    }
    (scale(block[0], block[1]), quants)
}

#[inline(always)]
fn decode_q8_0(block: &[u8; 2 + BLOCK], out: &mut [f32; BLOCK]) {
    let (scale, quants) = q8_0(block);
    for (out, quant) in out.iter_mut().zip(quants) {
        *out = scale * f32::from(quant);
    }
}

#[inline(always)]
fn decode_q4_0(block: &[u8; 2 + BLOCK / 2], out: &mut [f32; BLOCK]) {
    let (scale, quants) = q4_0(block);
    for (out, quant) in out.iter_mut().zip(quants) {
        *out = scale * f32::from(quant);
    }
}

#[inline(always)]
fn decode_q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (scale_of_scales, scale_of_minima) = (scale(block[0], block[1]), scale(block[2], block[3]));
    for (pair, (out, stored)) in out.chunks_exact_mut(64).zip(block[16..].chunks(32)).enumerate() {
        let (low, high) = out.split_at_mut(32);
        for (half, out) in [low, high].into_iter().enumerate() {
            let (scale, minimum) = six_bits(&block[4..16], 2 * pair + half);
            let (scale, minimum) = (scale_of_scales * scale, scale_of_minima * minimum);
            for (out, &stored) in out.iter_mut().zip(stored) {
                *out = scale * f32::from(stored >> (4 * half) & 15) - minimum;
            }
        }
    }
}

/// Scale and minimum `i` of a block of [`Format::Q4K`]: the first four lie in the low six bits of
/// a byte each, the last four in half-bytes whose upper two bits are those left over.
#[inline(always)]
fn six_bits(stored: &[u8], i: usize) -> (f32, f32) {
    let (scale, minimum) = if i < 4 {
        (stored[i] & 63, stored[i + 4] & 63)
    } else {
        let upper = |byte: u8| byte >> 6 << 4;
        (stored[i + 4] & 15 | upper(stored[i - 4]), stored[i + 4] >> 4 | upper(stored[i]))
    };
    (f32::from(scale), f32::from(minimum))
}

#[inline(always)]
fn scale(low: u8, high: u8) -> f32 {
    f16::from_le_bytes([low, high]).to_f32()
}

fn decode_f16(bytes: &[u8], out: &mut [f32]) {
    for (out, bytes) in out.chunks_mut(BLOCK).zip(bytes.chunks(2 * BLOCK)) {
        let mut aligned = [f16::ZERO; BLOCK];
        for (aligned, &stored) in aligned.iter_mut().zip(bytes.as_chunks().0) {
            *aligned = f16::from_le_bytes(stored);
        }
        aligned[..out.len()].convert_to_f32_slice(out);
    }
}
