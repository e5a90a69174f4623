//! Conversions that are written once, compiled with these instructions.

use crate::format::Format;
use crate::quant;

/// [`quant::decode`].
///
/// # Safety
///
/// The machine must have the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma,f16c")]
pub(in super::super) unsafe fn decode(format: Format, bytes: &[u8], out: &mut [f32]) {
    quant::decode(format, bytes, out);
}
