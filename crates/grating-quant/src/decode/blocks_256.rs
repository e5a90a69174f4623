//! Blocks of 256: groups with scales of their own, which are small numbers of the block's.

use super::f16_of;

/// Elements of a block.
const BLOCK: usize = 256;
/// Elements of a group of [`q4_k`] and [`q5_k`].
const GROUP: usize = 32;

#[inline(always)]
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; BLOCK]) {
    lines(&block[..16], &block[16..], out, |_, _| 0);
}

#[inline(always)]
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; BLOCK]) {
    let (upper, lower) = block[16..].split_at(GROUP);
    lines(&block[..16], lower, out, |group, i| (upper[i] >> group & 1) << 4);
}

/// Groups of `scale * step - minimum`: two f16 and eight pairs of six bits in `scales`, the low four bits of the steps
/// of two groups in every 32 bytes of `lower`, what `upper` gives for a group and an element of it above them.
#[inline(always)]
fn lines(scales: &[u8], lower: &[u8], out: &mut [f32; BLOCK], upper: impl Fn(usize, usize) -> u8) {
    let scale_of_scales = f16_of(scales[0], scales[1]);
    let scale_of_minima = f16_of(scales[2], scales[3]);
    for (group, out) in out.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
        let (scale, minimum) = six_bits(&scales[4..16], group);
        let (scale, minimum) = (scale_of_scales * scale, scale_of_minima * minimum);
        let lower = &lower[group / 2 * GROUP..][..GROUP];
        for (i, (out, &stored)) in out.iter_mut().zip(lower).enumerate() {
            let step = stored >> (4 * (group % 2)) & 15 | upper(group, i);
            *out = scale * f32::from(step) - minimum;
        }
    }
}

/// Scale and minimum `i`: the first four lie in the low six bits of a byte each, the last four in half-bytes whose
/// upper two bits are those left over.
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

/// Sixteen groups of 16, no minima. Of every half of the block come first the low halves of 64 bytes, then the high
/// ones; a byte of upper bits serves four elements that are 32 apart.
#[inline(always)]
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; BLOCK]) {
    let (lower, rest) = block.split_at(128);
    let (upper, rest) = rest.split_at(64);
    let (scales, scale_of_scales) = (&rest[..16], f16_of(rest[16], rest[17]));
    for (at, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (part, quarter) = (at / 4, at % 4);
        let lower = &lower[64 * part + 32 * (quarter % 2)..][..32];
        let upper = &upper[32 * part..][..32];
        let scales = [scales[2 * at], scales[2 * at + 1]]
            .map(|scale| scale_of_scales * f32::from(scale.cast_signed()));
        for (i, out) in out.iter_mut().enumerate() {
            let step = lower[i] >> (4 * (quarter / 2)) & 15 | (upper[i] >> (2 * quarter) & 3) << 4;
            *out = scales[i / 16] * f32::from(step.cast_signed() - 32);
        }
    }
}
