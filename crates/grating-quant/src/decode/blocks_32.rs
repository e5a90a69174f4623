//! Blocks of 32: one scale and, in some, one minimum.

use super::f16_of;
use crate::BLOCK;

/// Bytes of 32 half-bytes.
const HALF: usize = BLOCK / 2;

#[inline(always)]
pub(super) fn q8_0(block: &[u8; 2 + BLOCK], out: &mut [f32; BLOCK]) {
    let scale = f16_of(block[0], block[1]);
    for (out, &stored) in out.iter_mut().zip(&block[2..]) {
        *out = scale * f32::from(stored.cast_signed());
    }
}

#[inline(always)]
pub(super) fn q4_0(block: &[u8; 2 + HALF], out: &mut [f32; BLOCK]) {
    let scale = f16_of(block[0], block[1]);
    let steps = half_bytes(&block[2..]);
    for (out, step) in out.iter_mut().zip(steps) {
        *out = scale * f32::from(step.cast_signed() - 8);
    }
}

#[inline(always)]
pub(super) fn q4_1(block: &[u8; 4 + HALF], out: &mut [f32; BLOCK]) {
    let (scale, minimum) = (f16_of(block[0], block[1]), f16_of(block[2], block[3]));
    let steps = half_bytes(&block[4..]);
    for (out, step) in out.iter_mut().zip(steps) {
        *out = scale * f32::from(step) + minimum;
    }
}

#[inline(always)]
pub(super) fn q5_0(block: &[u8; 6 + HALF], out: &mut [f32; BLOCK]) {
    let scale = f16_of(block[0], block[1]);
    let steps = five_bits(&block[2..]);
    for (out, step) in out.iter_mut().zip(steps) {
        *out = scale * f32::from(step.cast_signed() - 16);
    }
}

#[inline(always)]
pub(super) fn q5_1(block: &[u8; 8 + HALF], out: &mut [f32; BLOCK]) {
    let (scale, minimum) = (f16_of(block[0], block[1]), f16_of(block[2], block[3]));
    let steps = five_bits(&block[4..]);
    for (out, step) in out.iter_mut().zip(steps) {
        *out = scale * f32::from(step) + minimum;
    }
}

/// The low halves of all bytes, then the high ones.
#[inline(always)]
fn half_bytes(stored: &[u8]) -> [u8; BLOCK] {
    let mut steps = [0; BLOCK];
    let (first, second) = steps.split_at_mut(HALF);
    for ((first, second), &stored) in first.iter_mut().zip(second).zip(stored) {
        *first = stored & 15;
        *second = stored >> 4;
    }
    steps
}

/// The fifth bits of all numbers as one of 32 bits, then their half-bytes.
#[inline(always)]
fn five_bits(stored: &[u8]) -> [u8; BLOCK] {
    let upper = u32::from_le_bytes([stored[0], stored[1], stored[2], stored[3]]);
    let mut steps = half_bytes(&stored[4..]);
    for (i, step) in steps.iter_mut().enumerate() {
        *step |= ((upper >> i & 1) << 4) as u8;
    }
    steps
}
