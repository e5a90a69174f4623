//! Rows as signed bytes with a scale for every 32 of them: the operands of products in int8.

use super::decode::{decode, q4_0, q8_0};
use crate::format::Format;

/// Elements that share a scale: a block of [`Format::Q8_0`], which is taken as it is stored.
pub(crate) const GROUP: usize = 32;

/// [`quantize_rows`], compiled for some instruction set that the machine must have.
pub(crate) type QuantizeFn = unsafe fn(Format, &[u8], usize, &mut [i8], &mut [f32]);

/// Quantizes `count` elements, stored in `format` and beginning with a whole block. `quants` and
/// `scales` have room for the elements and for one scale a group; what follows the last element
/// in its group becomes zero.
///
/// Inlined into functions that enable instructions; the result is the same with all of them.
#[inline(always)]
pub(crate) fn quantize_rows(
    format: Format,
    bytes: &[u8],
    count: usize,
    quants: &mut [i8],
    scales: &mut [f32],
) {
    let groups = quants.as_chunks_mut::<GROUP>().0.iter_mut().zip(scales);
    match format {
        Format::Q8_0 => {
            for ((quants, scale), block) in groups.zip(bytes.as_chunks().0) {
                (*scale, *quants) = q8_0(block);
            }
        }
        Format::Q4_0 => {
            for ((quants, scale), block) in groups.zip(bytes.as_chunks().0) {
                (*scale, *quants) = q4_0(block);
            }
        }
        Format::F32 | Format::F16 | Format::Bf16 => {
            let block_bytes = GROUP * format.block_bytes();
            for (i, ((quants, scale), bytes)) in groups.zip(bytes.chunks(block_bytes)).enumerate() {
                let mut values = [0.0; GROUP];
                let valid = GROUP.min(count - i * GROUP);
                decode(format, bytes, &mut values[..valid]);
                (*scale, *quants) = quantize(&values);
            }
        }
        Format::Q4K => {
            let mut groups = groups;
            for bytes in bytes.chunks(format.block_bytes()) {
                let mut values = [0.0; 256];
                decode(format, bytes, &mut values);
                for (values, (quants, scale)) in values.as_chunks().0.iter().zip(&mut groups) {
                    (*scale, *quants) = quantize(values);
                }
            }
        }
    }
}

/// Scale and nearest steps, ties to even. The largest magnitude is 127 steps.
#[inline(always)]
fn quantize(values: &[f32; GROUP]) -> (f32, [i8; GROUP]) {
    /// Adding it leaves the nearest whole number in the low bits.
    const MAGIC: f32 = 12_582_912.0;
    // Magnitudes order as their bits do, and integers have a maximum in vectors.
    let largest = values.iter().fold(0, |largest, x| largest.max(x.abs().to_bits()));
    let largest = f32::from_bits(largest);
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    let mut quants = [0; GROUP];
    for (quant, x) in quants.iter_mut().zip(values) {
        *quant = (x * inverse + MAGIC).to_bits() as i8;
    }
    (largest / 127.0, quants)
}
