//! Softmax attention over ragged sequences, with keys and values that may be shared by all of them.
//!
//! One task computes one block of queries of one key head of one sequence. Every score is a sum over the head's columns
//! in order, every output a sum over the keys in order, and the softmax of a row runs over that row's own keys alone:
//! no bit depends on the block, the chunk, the thread, or on whether leading keys are shared or the sequence's own.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use crate::Isa;
use crate::math;
use crate::simd::{Simd, dispatch};

/// Heads of an attention block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub queries: usize,
    /// Key and value heads; divides `queries`.
    pub keys: usize,
    /// Width of a head; scores are scaled by `width ^ -0.5`.
    pub width: usize,
    /// Whether a query sees only the keys up to its own position.
    pub causal: bool,
}

/// One sequence: where its queries and keys lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Rows of the query tensor, at consecutive positions.
    pub queries: Range<usize>,
    /// Rows of the key and value tensors.
    pub keys: Range<usize>,
    /// Which of the sequence's own keys is at the position of the first query.
    pub first_query: usize,
}

/// Keys and values `[tokens, keys * width]`.
#[derive(Debug, Clone, Copy)]
pub struct KeysValues<'a> {
    /// Keys.
    pub keys: &'a [f32],
    /// Values.
    pub values: &'a [f32],
}

/// Query rows that share one pass over the keys.
const BLOCK: usize = 64;

#[derive(Default)]
struct Scratch {
    /// The block's queries, `[rows, width]`.
    queries: Vec<f32>,
    /// Keys transposed, `[width, padded keys]`.
    keys: Vec<f32>,
    /// Values, `[keys, padded width]`.
    values: Vec<f32>,
    /// Scores, then probabilities, `[rows, padded keys]`.
    scores: Vec<f32>,
    /// The block's outputs, `[rows, padded width]`.
    out: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Bytes of scratch that each thread keeps for sequences of up to `keys` keys, those of a shared prefix included.
pub fn scratch_bytes(heads: Heads, keys: usize) -> usize {
    let padded = keys.next_multiple_of(LANES);
    let width = heads.width.next_multiple_of(LANES);
    let rows = rows_of(heads);
    size_of::<f32>() * (heads.width * padded + keys * width + rows * (padded + 2 * width))
}

/// Rows are padded to the widest vector of any instruction set.
const LANES: usize = 16;

/// Rows of scores of one block: its positions times the query heads that share a key head.
fn rows_of(heads: Heads) -> usize {
    BLOCK.max(heads.queries / heads.keys)
}

/// Positions of one block.
fn positions_of(heads: Heads) -> usize {
    (BLOCK / (heads.queries / heads.keys)).max(1)
}

/// Attention of `queries` `[rows, queries * width]` into `out` of the same shape.
///
/// Keys of `prefix` come before each sequence's own; causal queries see all of them.
///
/// # Panics
/// If a span lies outside its tensor, or the lengths do not fit each other.
pub fn attention(
    isa: Isa,
    heads: Heads,
    queries: &[f32],
    own: KeysValues<'_>,
    prefix: Option<KeysValues<'_>>,
    spans: &[Span],
    out: &mut [f32],
) {
    let columns = heads.queries * heads.width;
    let stride = heads.keys * heads.width;
    assert_eq!(queries.len(), out.len(), "queries and output differ in length");
    let none = KeysValues { keys: &[], values: &[] };
    let prefix = prefix.unwrap_or(none);
    let mut rest = out;
    let mut end = 0;
    let mut tasks = Vec::new();
    for span in spans {
        assert!(span.queries.start == end && span.keys.end * stride <= own.keys.len());
        assert!(span.first_query + span.queries.len() <= span.keys.len(), "a query has no key");
        end = span.queries.end;
        let (out, after) = rest.split_at_mut(span.queries.len() * columns);
        rest = after;
        let keys = span.keys.start * stride..span.keys.end * stride;
        let own = KeysValues { keys: &own.keys[keys.clone()], values: &own.values[keys] };
        let queries = &queries[span.queries.start * columns..span.queries.end * columns];
        // SAFETY of sharing `out` among the heads: see `Columns`.
        let out = Columns { start: out.as_mut_ptr(), len: out.len() };
        for head in 0..heads.keys {
            tasks.push(Task { heads, head, queries, own, prefix, first: span.first_query, out });
        }
    }
    assert!(rest.is_empty(), "every query belongs to a span");
    tasks.into_par_iter().with_max_len(1).for_each(|task| task.run(isa));
}

/// The rows of a sequence's output. The tasks of its heads each write the columns of their own head and no other.
#[derive(Clone, Copy)]
struct Columns {
    start: *mut f32,
    len: usize,
}
// SAFETY: tasks write disjoint columns (`write`), and the borrow of `out` outlives them all.
unsafe impl Send for Columns {}
// SAFETY: likewise.
unsafe impl Sync for Columns {}

impl Columns {
    fn write(self, at: usize, values: &[f32]) {
        assert!(at + values.len() <= self.len);
        // SAFETY: in bounds; no other task writes these columns, none reads them before all have ended.
        unsafe {
            std::ptr::copy_nonoverlapping(values.as_ptr(), self.start.add(at), values.len());
        }
    }
}

/// One key head of one sequence.
struct Task<'a> {
    heads: Heads,
    head: usize,
    queries: &'a [f32],
    own: KeysValues<'a>,
    prefix: KeysValues<'a>,
    first: usize,
    out: Columns,
}

impl Task<'_> {
    fn run(&self, isa: Isa) {
        SCRATCH.with_borrow_mut(|scratch| {
            let task = self;
            dispatch!(isa, attend(task: &Task<'_>, scratch: &mut Scratch));
        });
    }

    fn prefix_keys(&self) -> usize {
        self.prefix.keys.len() / self.stride()
    }

    fn keys(&self) -> usize {
        self.prefix_keys() + self.own.keys.len() / self.stride()
    }

    /// Columns of a row of keys or values.
    fn stride(&self) -> usize {
        self.heads.keys * self.heads.width
    }

    /// Columns of a row of queries.
    fn columns(&self) -> usize {
        self.heads.queries * self.heads.width
    }

    /// This head's part of each row of the prefix and then of the sequence itself.
    fn rows<'a>(&self, prefix: &'a [f32], own: &'a [f32]) -> impl Iterator<Item = &'a [f32]> {
        let columns = self.head * self.heads.width..(self.head + 1) * self.heads.width;
        let stride = self.stride();
        prefix
            .chunks_exact(stride)
            .chain(own.chunks_exact(stride))
            .map(move |r| &r[columns.clone()])
    }
}

#[inline(always)]
fn attend<V: Simd>(task: &Task<'_>, scratch: &mut Scratch) {
    let Heads { queries: heads, keys: kv_heads, width, causal } = task.heads;
    let group = heads / kv_heads;
    let keys = task.keys();
    let padded = keys.next_multiple_of(LANES);
    let padded_width = width.next_multiple_of(LANES);
    gather(task, scratch, padded, padded_width);

    let positions = task.queries.len() / task.columns();
    let block = positions_of(task.heads);
    let scale = (width as f32).powf(-0.5);
    let Scratch { queries, keys: transposed, values, scores, out } = scratch;
    for start in (0..positions).step_by(block) {
        let end = (start + block).min(positions);
        let rows = (end - start) * group;
        let seen = |position: usize| match causal {
            true => task.prefix_keys() + task.first + position + 1,
            false => keys,
        };
        // Of the keys, those that the block's last query sees.
        let widest = seen(end - 1);
        queries.clear();
        for position in start..end {
            let row = &task.queries[position * task.columns()..][..task.columns()];
            queries.extend_from_slice(&row[task.head * group * width..][..group * width]);
        }
        scores.resize(rows * padded, 0.0);
        let seen_vectors = widest.next_multiple_of(V::LANES);
        product::<V>(queries, width, transposed, padded, seen_vectors, scores);
        for (row, scores) in scores.chunks_exact_mut(padded).enumerate() {
            let seen = seen(start + row / group);
            softmax::<V>(&mut scores[..seen], scale);
            scores[seen..].fill(0.0);
        }
        out.resize(rows * padded_width, 0.0);
        product_of::<V>(scores, padded, widest, values, padded_width, padded_width, out);
        for (row, out) in out.chunks_exact(padded_width).enumerate() {
            let column = (task.head * group + row % group) * width;
            task.out.write((start + row / group) * task.columns() + column, &out[..width]);
        }
    }
}

/// `e ^ (scale * (x - max x))`, divided by its sum.
#[inline(always)]
fn softmax<V: Simd>(x: &mut [f32], scale: f32) {
    let (mut largest, mut rest) = (V::splat(f32::NEG_INFINITY), f32::NEG_INFINITY);
    let vectors = x.chunks_exact(V::LANES);
    for &x in vectors.remainder() {
        rest = rest.max(x);
    }
    for x in vectors {
        largest = largest.max(V::load(x));
    }
    let shift = V::splat(-largest.largest().max(rest) * scale);
    let scale = V::splat(scale);
    let mut total = V::splat(0.0);
    let mut vectors = x.chunks_exact_mut(V::LANES);
    for x in &mut vectors {
        let e = math::exp(V::load(x).mul_add(scale, shift));
        total = total.add(e);
        e.store(x);
    }
    let tail = vectors.into_remainder();
    if !tail.is_empty() {
        // Lanes past the end are far below, so that they add nothing.
        let e = V::load_part(tail, f32::NEG_INFINITY).mul_add(scale, shift);
        let e = math::exp(e);
        e.store_part(tail);
        let mut lanes = [0.0; LANES];
        lanes[..tail.len()].copy_from_slice(tail);
        total = total.add(V::load(&lanes));
    }
    let inverse = V::splat(1.0 / total.sum());
    let mut vectors = x.chunks_exact_mut(V::LANES);
    for x in &mut vectors {
        V::load(x).mul(inverse).store(x);
    }
    let tail = vectors.into_remainder();
    if !tail.is_empty() {
        V::load_part(tail, 0.0).mul(inverse).store_part(tail);
    }
}

/// [`product_of`] where the rows of `a` are packed.
#[inline(always)]
fn product<V: Simd>(
    a: &[f32],
    depth: usize,
    b: &[f32],
    stride: usize,
    columns: usize,
    out: &mut [f32],
) {
    product_of::<V>(a, depth, depth, b, stride, columns, out);
}

/// `out[r][c] = sum over d of a[r][d] * b[d][c]`, each sum in the order of `d`. Rows of `a` are `a_stride` apart, those
/// of `b` and `out` `stride`; `columns` is a multiple of the vector.
#[inline(always)]
fn product_of<V: Simd>(
    a: &[f32],
    a_stride: usize,
    depth: usize,
    b: &[f32],
    stride: usize,
    columns: usize,
    out: &mut [f32],
) {
    const ROWS: usize = 4;
    // AVX-512 has registers for four vectors a row, the others for two.
    let wide = V::LANES == LANES;
    for (a, out) in a.chunks(ROWS * a_stride).zip(out.chunks_mut(ROWS * stride)) {
        let rows = a.len() / a_stride;
        let mut column = 0;
        while column < columns {
            let b = &b[column..];
            let left = (columns - column) / V::LANES;
            let out = &mut out[column..];
            column += V::LANES
                * match (rows, left) {
                    (4, 4..) if wide => tile::<V, 4, 4>(a, a_stride, depth, b, out, stride),
                    (4, 2..) => tile::<V, 4, 2>(a, a_stride, depth, b, out, stride),
                    (4, _) => tile::<V, 4, 1>(a, a_stride, depth, b, out, stride),
                    (3, _) => tile::<V, 3, 1>(a, a_stride, depth, b, out, stride),
                    (2, _) => tile::<V, 2, 1>(a, a_stride, depth, b, out, stride),
                    (_, 2..) => tile::<V, 1, 2>(a, a_stride, depth, b, out, stride),
                    (_, _) => tile::<V, 1, 1>(a, a_stride, depth, b, out, stride),
                };
        }
    }
}

/// `R` rows by `C` vectors of [`product_of`]; returns `C`.
#[inline(always)]
fn tile<V: Simd, const R: usize, const C: usize>(
    a: &[f32],
    a_stride: usize,
    depth: usize,
    b: &[f32],
    out: &mut [f32],
    stride: usize,
) -> usize {
    let mut sums = [[V::splat(0.0); C]; R];
    let a: [&[f32]; R] = std::array::from_fn(|r| &a[r * a_stride..][..depth]);
    for d in 0..depth {
        let b = &b[d * stride..];
        let mut row = [V::splat(0.0); C];
        for (c, vector) in row.iter_mut().enumerate() {
            *vector = V::load(&b[c * V::LANES..]);
        }
        for r in 0..R {
            let factor = V::splat(a[r][d]);
            for c in 0..C {
                sums[r][c] = row[c].mul_add(factor, sums[r][c]);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        for (c, sum) in sums.iter().enumerate() {
            sum.store(&mut out[r * stride + c * V::LANES..]);
        }
    }
    C
}

/// Copies this head's keys (transposed) and values into the scratch, padded with zeros.
#[inline(always)]
fn gather(task: &Task<'_>, scratch: &mut Scratch, padded: usize, padded_width: usize) {
    let width = task.heads.width;
    scratch.keys.clear();
    scratch.keys.resize(width * padded, 0.0);
    for (key, row) in task.rows(task.prefix.keys, task.own.keys).enumerate() {
        for (column, value) in row.iter().enumerate() {
            scratch.keys[column * padded + key] = *value;
        }
    }
    scratch.values.clear();
    scratch.values.resize(task.keys() * padded_width, 0.0);
    let rows = scratch.values.chunks_exact_mut(padded_width);
    for (out, row) in rows.zip(task.rows(task.prefix.values, task.own.values)) {
        out[..width].copy_from_slice(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_numbers::numbers;

    /// One query of one head, in f64.
    fn expected(q: &[f32], keys: &[&[f32]], values: &[&[f32]], width: usize) -> Vec<f64> {
        let dot = |k: &&[f32]| -> f64 {
            q.iter().zip(k.iter()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let scores: Vec<f64> = keys.iter().map(|k| dot(k) / (width as f64).sqrt()).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
        let total: f64 = weights.iter().sum();
        (0..width)
            .map(|c| {
                weights.iter().zip(values).map(|(w, v)| w * f64::from(v[c])).sum::<f64>() / total
            })
            .collect()
    }

    const SHAPES: [Heads; 5] = [
        Heads { queries: 1, keys: 1, width: 5, causal: false },
        Heads { queries: 4, keys: 2, width: 16, causal: true },
        Heads { queries: 3, keys: 3, width: 32, causal: false },
        Heads { queries: 14, keys: 2, width: 64, causal: true },
        Heads { queries: 8, keys: 1, width: 24, causal: true },
    ];

    fn spans(lengths: &[usize]) -> Vec<Span> {
        let mut end = 0;
        let span = |&length: &usize| {
            let rows = end..end + length;
            end = rows.end;
            Span { queries: rows.clone(), keys: rows, first_query: 0 }
        };
        lengths.iter().map(span).collect()
    }

    #[test]
    fn agrees_with_the_formula_on_every_instruction_set() {
        for (isa, heads) in Isa::supported().into_iter().flat_map(|i| SHAPES.map(|s| (i, s))) {
            let (columns, stride) = (heads.queries * heads.width, heads.keys * heads.width);
            let spans = spans(&[1, 7, 70, 33]);
            let tokens = spans.last().unwrap().keys.end;
            let q = numbers(tokens * columns, 1);
            let (k, v) = (numbers(tokens * stride, 2), numbers(tokens * stride, 3));
            let (pk, pv) = (numbers(9 * stride, 4), numbers(9 * stride, 5));
            let own = KeysValues { keys: &k, values: &v };
            let prefix = KeysValues { keys: &pk, values: &pv };
            let mut out = vec![0.0; q.len()];
            attention(isa, heads, &q, own, Some(prefix), &spans, &mut out);
            for span in &spans {
                for row in span.queries.clone() {
                    for head in 0..heads.queries {
                        let key_head = head / (heads.queries / heads.keys) * heads.width;
                        let part = |x: &'_ [f32], r: usize| {
                            let at = r * stride + key_head;
                            x[at..at + heads.width].to_vec()
                        };
                        let last = if heads.causal { row + 1 } else { span.keys.end };
                        let all = |prefix: &[f32], own: &[f32]| -> Vec<Vec<f32>> {
                            let own = (span.keys.start..last).map(|r| part(own, r));
                            (0..9).map(|r| part(prefix, r)).chain(own).collect()
                        };
                        let (keys, values) = (all(&pk, &k), all(&pv, &v));
                        let keys: Vec<&[f32]> = keys.iter().map(Vec::as_slice).collect();
                        let values: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
                        let at = row * columns + head * heads.width;
                        let e = expected(&q[at..at + heads.width], &keys, &values, heads.width);
                        for (found, e) in out[at..].iter().zip(e) {
                            assert!(
                                (f64::from(*found) - e).abs() < 5e-6,
                                "{isa} {heads:?}: {found} for {e}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn bits_do_not_depend_on_neighbours_prefix_or_which_queries_are_asked() {
        for (isa, heads) in Isa::supported().into_iter().flat_map(|i| SHAPES.map(|s| (i, s))) {
            let (columns, stride) = (heads.queries * heads.width, heads.keys * heads.width);
            let tokens = 75;
            let q = numbers(tokens * columns, 1);
            let (k, v) = (numbers(tokens * stride, 2), numbers(tokens * stride, 3));
            let own = KeysValues { keys: &k, values: &v };
            let mut whole = vec![0.0; q.len()];
            attention(isa, heads, &q, own, None, &spans(&[tokens]), &mut whole);

            // The last query alone.
            let mut last = vec![0.0; columns];
            let span = Span { queries: 0..1, keys: 0..tokens, first_query: tokens - 1 };
            attention(isa, heads, &q[(tokens - 1) * columns..], own, None, &[span], &mut last);
            assert_eq!(last, whole[(tokens - 1) * columns..]);

            // The first 21 tokens as a prefix.
            let cut = 21;
            let prefix = KeysValues { keys: &k[..cut * stride], values: &v[..cut * stride] };
            let rest = KeysValues { keys: &k[cut * stride..], values: &v[cut * stride..] };
            let mut tail = vec![0.0; (tokens - cut) * columns];
            let spans = spans(&[tokens - cut]);
            attention(isa, heads, &q[cut * columns..], rest, Some(prefix), &spans, &mut tail);
            assert_eq!(tail, whole[cut * columns..]);
        }
    }
}
