//! Conversions that are written once, compiled with these instructions.

use crate::format::Format;
use crate::quant;

/// [`quant::decode`].
///
/// # Safety
///
/// The machine must have the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma,f16c")]
pub(super) unsafe fn decode(format: Format, bytes: &[u8], out: &mut [f32]) {
    quant::decode(format, bytes, out);
}

/// [`quant::quantize_rows`].
///
/// # Safety
///
/// The machine must have the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma,f16c")]
pub(super) unsafe fn quantize(
    format: Format,
    bytes: &[u8],
    count: usize,
    quants: &mut [i8],
    scales: &mut [f32],
) {
    quant::quantize_rows(format, bytes, count, quants, scales);
}
