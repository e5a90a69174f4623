//! Numbers as bytes with a scale for every [`GROUP`] of a row: the operands of products in int8.
//!
//! Weights are signed and symmetric around zero. Activations are unsigned with a zero of their own for every group, so
//! that one-sided ones, as non-linearities make them, use all of the 256 steps.

pub(crate) use grating_quant::{GROUP, decode};

use crate::format::Format;

/// [`decode`], compiled for some instruction set that the machine must have.
pub(crate) type DecodeFn = unsafe fn(Format, &[u8], &mut [f32]);

/// Whole groups, and whole blocks of every format.
const STEP: usize = 256;

/// Adding it leaves the nearest whole number, ties to even, in the low bits.
const MAGIC: f32 = 12_582_912.0;

/// What stands for the elements of a group beside its bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Step {
    /// What one step is worth. Not a number where an element is none.
    pub(crate) scale: f32,
    /// Of activations, the byte that stands for 0; of weights, minus the sum of the bytes, which
    /// is what that zero is multiplied by.
    pub(crate) offset: i32,
}

/// What 127 steps of weights are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The largest magnitude of a group.
    One,
    /// The largest sum of the magnitudes of two neighbours, so that their products with bytes fit 16 bits together: rounding
    /// makes at most 128 of the 127, and 255 · 128 is at most 32767.
    Two,
}

/// [`quantize_weights`], compiled for some instruction set that the machine must have.
pub(crate) type QuantizeWeightsFn = unsafe fn(Format, &[u8], usize, &mut [i8], &mut [Step]);

/// Quantizes a group of activations into units of an instruction set's own. The machine must have
/// the instructions.
pub(crate) type QuantizeActivationsFn = unsafe fn(&[f32; GROUP], &mut [u32]) -> Step;

/// Quantizes `count` weights, stored in `format` and beginning with a whole block, the largest
/// magnitude of a group, or of neighbours, being 127 steps. `quants` and `steps` are as long as the groups; what
/// follows the last element in its group becomes zero.
///
/// Inlined into functions that enable instructions; the result is the same with all of them.
#[inline(always)]
pub(crate) fn quantize_weights(
    format: Format,
    bytes: &[u8],
    count: usize,
    quants: &mut [i8],
    steps: &mut [Step],
    full: Full,
) {
    let step_bytes = STEP / format.block_elements() * format.block_bytes();
    let quants = quants.chunks_mut(STEP).zip(steps.chunks_mut(STEP / GROUP));
    for (i, ((quants, steps), bytes)) in quants.zip(bytes.chunks(step_bytes)).enumerate() {
        let mut values = [0.0; STEP];
        decode(format, bytes, &mut values[..STEP.min(count - i * STEP)]);
        let groups = quants.as_chunks_mut().0.iter_mut().zip(values.as_chunks().0);
        for ((quants, values), step) in groups.zip(steps) {
            *step = quantize(values, quants, full);
        }
    }
}

/// Nearest steps.
#[inline(always)]
fn quantize(values: &[f32; GROUP], quants: &mut [i8; GROUP], full: Full) -> Step {
    // Magnitudes order as their bits do, and integers have a maximum in vectors.
    let magnitude = |largest: u32, magnitude: f32| largest.max(magnitude.to_bits());
    let largest = match full {
        Full::One => values.iter().map(|x| x.abs()).fold(0, magnitude),
        Full::Two => {
            let pairs = values.as_chunks().0.iter();
            pairs.map(|[a, b]| a.abs() + b.abs()).fold(0, magnitude)
        }
    };
    let (scale, inverse) = scale(f32::from_bits(largest), 127.0);
    for (quant, x) in quants.iter_mut().zip(values) {
        *quant = (x * inverse + MAGIC).to_bits() as i8;
    }
    let sum: i32 = quants.iter().map(|&q| i32::from(q)).sum();
    Step { scale, offset: -sum }
}

/// What one of `steps` steps of `range` is worth, and how many steps one is.
#[inline(always)]
pub(crate) fn scale(range: f32, steps: f32) -> (f32, f32) {
    /// Less is nothing, so that its inverse is finite.
    const LEAST: f32 = 1e-30;
    (range / steps, if range > LEAST { steps / range } else { 0.0 })
}

/// The step of activations between two bounds that have 0 between them, and its inverse.
#[inline(always)]
pub(crate) fn affine(lowest: f32, highest: f32) -> (Step, f32) {
    let (scale, inverse) = scale(highest - lowest, 255.0);
    let zero = (MAGIC - lowest * inverse).to_bits() as u8;
    (Step { scale, offset: i32::from(zero) }, inverse)
}

/// Nearest steps of activations, the lowest (or 0) being byte 0, the highest (or 0) byte 255, as
/// pairs of 16 bits.
///
/// Inlined into functions that enable instructions; the result is the same with all of them.
#[inline(always)]
pub(crate) fn quantize_pairs(values: &[f32; GROUP], units: &mut [u32]) -> Step {
    // Positive numbers order as their bits do as signed integers, negative ones the other way
    // round as unsigned ones; numbers that are none are beyond all others.
    let (mut highest, mut lowest) = (0, 0);
    for bits in values.map(f32::to_bits) {
        highest = bits.cast_signed().max(highest);
        lowest = bits.max(lowest);
    }
    let highest = f32::from_bits(highest.cast_unsigned());
    let lowest = if lowest >> 31 == 1 { f32::from_bits(lowest) } else { 0.0 };
    let (step, inverse) = affine(lowest, highest);
    let quant = |x: f32| {
        let steps = (x * inverse + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits());
        steps.wrapping_add(step.offset.cast_unsigned()).min(255)
    };
    for (unit, &[first, second]) in units.iter_mut().zip(values.as_chunks().0) {
        *unit = quant(first) | quant(second) << 16;
    }
    step
}
