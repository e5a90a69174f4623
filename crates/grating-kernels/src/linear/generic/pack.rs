//! Packing element by element.

use half::{bf16, f16};

use super::super::microkernel::RowsToPack;
use crate::format::Format;
use crate::quant::{Full, Step, quantize_weights};

/// A stored element of `N` bytes.
pub(super) trait Element<const N: usize> {
    fn decode(bytes: [u8; N]) -> f32;
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct Bf16;

impl Element<4> for F32 {
    fn decode(bytes: [u8; 4]) -> f32 {
        f32::from_le_bytes(bytes)
    }
}

impl Element<2> for F16 {
    fn decode(bytes: [u8; 2]) -> f32 {
        f16::from_le_bytes(bytes).to_f32()
    }
}

impl Element<2> for Bf16 {
    fn decode(bytes: [u8; 2]) -> f32 {
        bf16::from_le_bytes(bytes).to_f32()
    }
}

/// Packs elements of `N` bytes as f32.
///
/// # Safety
///
/// See [`PackFn`](super::super::microkernel::PackFn).
pub(super) unsafe fn as_f32<const N: usize, E: Element<N>>(
    source: &RowsToPack<'_>,
    lanes: usize,
    into: *mut u32,
) {
    // SAFETY: the caller promises the room.
    let into = unsafe { std::slice::from_raw_parts_mut(into, lanes * source.count) };
    pack::<N>(source, lanes, into, |bytes| E::decode(bytes).to_bits());
}

/// Packs signed bytes as pairs of 16 bits.
///
/// # Safety
///
/// See [`PackFn`](super::super::microkernel::PackFn).
pub(super) unsafe fn pairs(source: &RowsToPack<'_>, lanes: usize, into: *mut u32) {
    // SAFETY: the caller promises the room.
    let into = unsafe { std::slice::from_raw_parts_mut(into, lanes * source.count.div_ceil(2)) };
    let widen = |byte: u8| u32::from(i16::from(byte.cast_signed()).cast_unsigned());
    pack::<2>(source, lanes, into, |[first, second]| widen(first) | widen(second) << 16);
}

/// [`quantize_weights`] for sums of 32 bits.
pub(super) fn weights(
    format: Format,
    bytes: &[u8],
    count: usize,
    quants: &mut [i8],
    steps: &mut [Step],
) {
    quantize_weights(format, bytes, count, quants, steps, Full::One);
}

/// Makes a unit of every `N` bytes.
#[inline(always)]
fn pack<const N: usize>(
    source: &RowsToPack<'_>,
    lanes: usize,
    into: &mut [u32],
    unit: impl Fn([u8; N]) -> u32,
) {
    if source.rows < lanes {
        into.fill(0);
    }
    let units = into.len() / lanes;
    for row in 0..source.rows {
        let (stored, _) = source.bytes[row * source.stride..][..units * N].as_chunks();
        for (into, &stored) in into[row..].iter_mut().step_by(lanes).zip(stored) {
            *into = unit(stored);
        }
    }
}
