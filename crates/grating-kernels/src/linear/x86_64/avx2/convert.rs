//! Conversions that are written once, compiled with these instructions.

use crate::format::Format;
use crate::quant::{self, GROUP, Step};

/// [`quant::decode`].
///
/// # Safety
///
/// The machine must have the instructions.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn decode(format: Format, bytes: &[u8], out: &mut [f32]) {
    quant::decode(format, bytes, out);
}

/// [`quant::quantize_weights`].
///
/// # Safety
///
/// The machine must have the instructions.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn quantize(
    format: Format,
    bytes: &[u8],
    count: usize,
    quants: &mut [i8],
    steps: &mut [Step],
) {
    quant::quantize_weights(format, bytes, count, quants, steps);
}

/// [`quant::quantize_pairs`].
///
/// # Safety
///
/// The machine must have the instructions.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn pairs(values: &[f32; GROUP], units: &mut [u32]) -> Step {
    quant::quantize_pairs(values, units)
}
