//! Stored elements as f32.

mod blocks_256;
mod blocks_32;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::BLOCK;
use crate::Format;

/// Decodes the blocks of `bytes`, as many elements as `out` has; both are whole blocks.
///
/// Inlined into functions that enable instructions; the result is the same with all of them.
#[inline(always)]
pub fn decode(format: Format, bytes: &[u8], out: &mut [f32]) {
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
        Format::Q8_0 => each(bytes, out, blocks_32::q8_0),
        Format::Q4_0 => each(bytes, out, blocks_32::q4_0),
        Format::Q4_1 => each(bytes, out, blocks_32::q4_1),
        Format::Q5_0 => each(bytes, out, blocks_32::q5_0),
        Format::Q5_1 => each(bytes, out, blocks_32::q5_1),
        Format::Q4K => each(bytes, out, blocks_256::q4_k),
        Format::Q5K => each(bytes, out, blocks_256::q5_k),
        Format::Q6K => each(bytes, out, blocks_256::q6_k),
    }
}

/// Decodes blocks of `BYTES` bytes one by one.
#[inline(always)]
fn each<const BYTES: usize, const ELEMENTS: usize>(
    bytes: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; ELEMENTS]),
) {
    for (out, block) in out.as_chunks_mut().0.iter_mut().zip(bytes.as_chunks().0) {
        decode(block, out);
    }
}

#[inline(always)]
fn f16_of(low: u8, high: u8) -> f32 {
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
