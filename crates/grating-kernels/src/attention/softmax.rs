//! Softmax of one row of scores.

use super::Heads;
use crate::math;
use crate::simd::Simd;

/// Caps products of queries and keys where they lie, if the heads have a cap; returns the factor that is left for
/// [`softmax`].
#[inline(always)]
pub(super) fn softcap<V: Simd>(x: &mut [f32], heads: Heads) -> f32 {
    let Some(cap) = heads.softcap else { return heads.scale };
    let factor = V::splat(heads.scale / cap);
    let mut vectors = x.chunks_exact_mut(V::LANES);
    for x in &mut vectors {
        math::tanh(V::load(x).mul(factor)).store(x);
    }
    let remainder = vectors.into_remainder();
    if !remainder.is_empty() {
        math::tanh(V::load_part(remainder, 0.0).mul(factor)).store_part(remainder);
    }
    cap
}

/// `e ^ (scale * (x - max x))` where `x` lies; returns one divided by the sum.
#[inline(always)]
pub(super) fn softmax<V: Simd>(x: &mut [f32], scale: f32) -> f32 {
    let (mut largest, mut rest) = (V::splat(f32::NEG_INFINITY), f32::NEG_INFINITY);
    let vectors = x.chunks_exact(V::LANES);
    for &x in vectors.remainder() {
        rest = rest.max(x);
    }
    for x in vectors {
        largest = largest.max(V::load(x));
    }
    // Taken away before the scale: of large scores their product would be rounded by more than their distance.
    let (shift, scale) = (V::splat(largest.largest().max(rest)), V::splat(scale));
    let mut total = V::splat(0.0);
    let mut vectors = x.chunks_exact_mut(V::LANES);
    for x in &mut vectors {
        let e = math::exp(V::load(x).sub(shift).mul(scale));
        total = total.add(e);
        e.store(x);
    }
    let remainder = vectors.into_remainder();
    if !remainder.is_empty() {
        // Lanes past the end are far below, so that they add nothing.
        let e = V::load_part(remainder, f32::NEG_INFINITY).sub(shift).mul(scale);
        math::exp(e).store_part(remainder);
        total = total.add(V::load_part(remainder, 0.0));
    }
    1.0 / total.sum()
}
