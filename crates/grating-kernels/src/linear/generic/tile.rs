//! Tiles of `M` rows.

use std::array::from_fn;
use std::slice::{from_raw_parts, from_raw_parts_mut};

use super::super::microkernel::Tile;
use super::PANEL;
use crate::quant::GROUP;

/// Units of two elements in a group.
const GROUP_UNITS: usize = GROUP / 2;

/// Products of f32.
///
/// # Safety
///
/// See [`TileFn`](super::super::microkernel::TileFn).
pub(super) unsafe fn f32<const M: usize>(tile: &Tile) {
    // SAFETY: the caller promises `units` units of `M` rows and of a panel.
    let (x, w) = unsafe {
        (
            from_raw_parts(tile.x.cast::<[f32; M]>(), tile.units),
            from_raw_parts(tile.w.cast::<[f32; PANEL]>(), tile.units),
        )
    };
    let mut sums = [[0.0; PANEL]; M];
    add_products(x, w, &mut sums);
    // SAFETY: as promised to this function.
    unsafe { store::<M>(tile, &sums) };
}

/// A function of its own, so that the compiler sees whole vectors come and go.
#[inline(never)]
fn add_products<const M: usize>(x: &[[f32; M]], w: &[[f32; PANEL]], into: &mut [[f32; PANEL]; M]) {
    let mut sums = *into;
    for (x, w) in x.iter().zip(w) {
        for (sums, &x) in sums.iter_mut().zip(x) {
            *sums = from_fn(|column| multiply_add(x, w[column], sums[column]));
        }
    }
    *into = sums;
}

/// Products of pairs of integers, exact within a group.
///
/// # Safety
///
/// See [`TileFn`](super::super::microkernel::TileFn).
pub(super) unsafe fn int8<const M: usize>(tile: &Tile) {
    let groups = tile.units / GROUP_UNITS;
    // SAFETY: the caller promises `units` units and as many scales as groups, of `M` rows and of
    // a panel.
    let (x, w, x_scales, w_scales, x_zeros, w_sums) = unsafe {
        (
            from_raw_parts(tile.x.cast::<[[[i16; 2]; GROUP_UNITS]; M]>(), groups),
            from_raw_parts(tile.w.cast::<[[[i16; 2]; PANEL]; GROUP_UNITS]>(), groups),
            from_raw_parts(tile.x_scales.cast::<[f32; M]>(), groups),
            from_raw_parts(tile.w_scales.cast::<[f32; PANEL]>(), groups),
            from_raw_parts(tile.x_zeros.cast::<[i32; M]>(), groups),
            from_raw_parts(tile.w_sums.cast::<[i32; PANEL]>(), groups),
        )
    };
    let mut sums = [[0.0; PANEL]; M];
    for group in 0..groups {
        for (row, sums) in sums.iter_mut().enumerate() {
            let zeros = w_sums[group].map(|sum| x_zeros[group][row] * sum);
            let dots = dots(&x[group][row], &w[group], zeros);
            for ((sum, dot), w_scale) in sums.iter_mut().zip(dots).zip(w_scales[group]) {
                // Fused as with all instructions, so that the result is theirs.
                *sum = (dot as f32 * x_scales[group][row]).mul_add(w_scale, *sum);
            }
        }
    }
    // SAFETY: as promised to this function.
    unsafe { store::<M>(tile, &sums) };
}

/// Dot products of one row's group with those of a panel, added to `dots`.
#[inline(always)]
fn dots(
    x: &[[i16; 2]; GROUP_UNITS],
    w: &[[[i16; 2]; PANEL]; GROUP_UNITS],
    mut dots: [i32; PANEL],
) -> [i32; PANEL] {
    for (x, w) in x.iter().zip(w) {
        let x = x.map(i32::from);
        for (dot, w) in dots.iter_mut().zip(w) {
            *dot += x[0] * i32::from(w[0]) + x[1] * i32::from(w[1]);
        }
    }
    dots
}

/// `x * w + sum`, fused where the target does that in one instruction.
#[inline(always)]
fn multiply_add(x: f32, w: f32, sum: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
        x.mul_add(w, sum)
    } else {
        x * w + sum
    }
}

/// Writes the sums of `M` rows.
///
/// # Safety
///
/// See [`TileFn`](super::super::microkernel::TileFn).
#[inline(always)]
unsafe fn store<const M: usize>(tile: &Tile, sums: &[[f32; PANEL]; M]) {
    let bias = (!tile.bias.is_null()).then(|| {
        // SAFETY: the caller promises `columns` elements.
        unsafe { from_raw_parts(tile.bias, tile.columns) }
    });
    for (row, sums) in sums.iter().enumerate() {
        // SAFETY: the caller promises `columns` elements in each of `M` rows.
        let out = unsafe { from_raw_parts_mut(tile.out.add(row * tile.out_stride), tile.columns) };
        for (column, (out, &sum)) in out.iter_mut().zip(sums).enumerate() {
            let sum = bias.map_or(sum, |bias| sum + bias[column]);
            *out = if tile.accumulate { *out + sum } else { sum };
        }
    }
}
