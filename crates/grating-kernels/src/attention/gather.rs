//! Keys and values of a head on their way to products.

use super::product::{PANEL, place};
use super::{Scratch, Task};
use crate::Numbers;
use crate::linear::{Part, Products};
use crate::simd::Simd;

/// Copies this head's keys (transposed) and values into the scratch, in panels.
#[inline(always)]
pub(super) fn gather<V: Simd>(
    task: &Task<'_>,
    scratch: &mut Scratch,
    padded: usize,
    padded_width: usize,
) {
    let (width, keys) = (task.heads.width, task.keys());
    // What lies in padding is never looked at.
    let transposed = scratch.keys.room(width * padded);
    let mut rows = task.rows(task.prefix.keys, task.own.keys);
    for first in (0..keys).step_by(8) {
        let mut some: [&[f32]; 8] = [&[]; 8];
        for (some, row) in some.iter_mut().zip(&mut rows) {
            *some = row;
        }
        let (start, panel) = place(first, width, padded);
        let to = &mut transposed[start + first % PANEL..];
        transpose::<V>(&some[..(keys - first).min(8)], to, panel);
    }
    let values = scratch.values.room(keys * padded_width);
    for column in (0..width).step_by(PANEL) {
        let (start, panel) = place(column, keys, padded_width);
        let rows = values[start..].chunks_exact_mut(panel);
        for (out, row) in rows.zip(task.rows(task.prefix.values, task.own.values)) {
            let row = &row[column..width.min(column + panel)];
            copy::<V>(row, &mut out[..row.len()]);
        }
    }
}

/// Packs this head's keys and values, rounded.
#[inline(always)]
pub(super) fn pack<V: Simd>(task: &Task<'_>, scratch: &mut Scratch, products: Products) {
    let Scratch { keys, values, scores, .. } = scratch;
    products.pack_columns(task.part::<V>(task.prefix.keys, task.own.keys, scores), keys);
    products.pack_rows(task.part::<V>(task.prefix.values, task.own.values, scores), values);
}

/// Makes columns of up to eight rows of the same length: element `c` of row `r` goes to `to[c * stride + r]`.
#[inline(always)]
fn transpose<V: Simd>(rows: &[&[f32]], to: &mut [f32], stride: usize) {
    let width = rows[0].len();
    let mut done = 0;
    if rows.len() == 8 {
        done = width / 8 * 8;
        for column in (0..done).step_by(8) {
            let mut from = [std::ptr::null(); 8];
            for (from, row) in from.iter_mut().zip(rows) {
                *from = row[column..column + 8].as_ptr();
            }
            let to = &mut to[column * stride..];
            assert!(to.len() >= 7 * stride + 8);
            // SAFETY: each row has eight elements from `column` on, and there is room for them.
            unsafe { V::transpose(from, to.as_mut_ptr(), stride) };
        }
    }
    for (r, row) in rows.iter().enumerate() {
        for (c, value) in row.iter().enumerate().skip(done) {
            to[c * stride + r] = *value;
        }
    }
}

/// Copies some vectors, for which a call would take longer than the work.
#[inline(always)]
pub(super) fn copy<V: Simd>(from: &[f32], to: &mut [f32]) {
    let (vectors, mut out) = (from.chunks_exact(V::LANES), to.chunks_exact_mut(V::LANES));
    let remainder = vectors.remainder();
    for (from, to) in vectors.zip(&mut out) {
        V::load(from).store(to);
    }
    out.into_remainder().copy_from_slice(remainder);
}

impl Task<'_> {
    /// [`Self::rows`], where they are if there is no prefix, or one after the other in `into`.
    #[inline(always)]
    fn part<'a, V: Simd>(
        &self,
        prefix: &'a [f32],
        own: &'a [f32],
        into: &'a mut Numbers,
    ) -> Part<'a> {
        let (rows, columns) = (self.keys(), self.heads.width);
        if prefix.is_empty() {
            let elements = &own[self.head * columns..];
            return Part { rows, columns, stride: self.stride(), elements };
        }
        let elements = into.room::<f32>(rows * columns);
        for (to, from) in elements.chunks_exact_mut(columns).zip(self.rows(prefix, own)) {
            copy::<V>(from, to);
        }
        Part { rows, columns, stride: columns, elements }
    }
}
