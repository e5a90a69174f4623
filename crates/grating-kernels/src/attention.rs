//! Softmax attention over ragged sequences, with keys and values that may be shared by all of them.
//!
//! One task computes one block of queries of one key head of one sequence. Every score is a sum over the head's columns
//! in order, every output a sum over the keys in order, and the softmax of a row runs over that row's own keys alone:
//! no bit depends on the block, the chunk, the thread, or on whether leading keys are shared or the sequence's own.

mod distance;
mod gather;
mod mass;
mod product;
mod softmax;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

pub use self::distance::ByDistance;
use self::distance::{Scratch as DistanceScratch, Table};
use self::gather::{copy, gather, pack};
pub use self::mass::{Attended, mass};
use self::product::{Left, PANEL, Panels, product};
use self::softmax::{softcap, softmax};
use crate::linear::{Part, Products};
use crate::simd::{Simd, dispatch};
use crate::{Compute, Isa, Numbers};

/// Heads of an attention block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heads {
    /// Query heads.
    pub queries: usize,
    /// Key and value heads; divides `queries`.
    pub keys: usize,
    /// Width of a head.
    pub width: usize,
    /// Whether a query sees only the keys up to its own position.
    pub causal: bool,
    /// Keys further than so many positions away, to either side, are not seen.
    pub window: Option<usize>,
    /// Factor of the products of queries and keys; `width ^ -0.5` as a rule.
    pub scale: f32,
    /// What scaled products cannot go beyond: `cap * tanh(product / cap)` is in their place.
    pub softcap: Option<f32>,
    /// In what products are taken, of those that [`Kernels::attention_compute`](crate::Kernels::attention_compute) gives.
    /// Those with distances are of f32 always.
    pub compute: Compute,
}

impl Heads {
    /// With the usual scale, and products of f32.
    pub fn new(queries: usize, keys: usize, width: usize, causal: bool) -> Self {
        let (scale, compute) = ((width as f32).powf(-0.5), Compute::F32);
        Heads { queries, keys, width, causal, window: None, scale, softcap: None, compute }
    }
}

/// One sequence: where its queries and keys lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Rows of the query tensor, at the positions of consecutive keys.
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
    /// Position of each token in its sequence, rising, from the number of the prefix's tokens on; `None` where they follow
    /// one another.
    pub positions: Option<&'a [u32]>,
}

impl<'a> KeysValues<'a> {
    /// Those of tokens that follow one another.
    pub fn new(keys: &'a [f32], values: &'a [f32]) -> Self {
        KeysValues { keys, values, positions: None }
    }

    /// None.
    const NONE: KeysValues<'static> = KeysValues { keys: &[], values: &[], positions: None };

    /// Those of some rows of so many columns.
    fn rows(self, rows: Range<usize>, columns: usize) -> Self {
        let numbers = rows.start * columns..rows.end * columns;
        KeysValues {
            keys: &self.keys[numbers.clone()],
            values: &self.values[numbers],
            positions: self.positions.map(|positions| &positions[rows]),
        }
    }
}

/// Query rows that share one pass over the keys.
const BLOCK: usize = 64;

#[derive(Default)]
struct Scratch {
    /// The block's queries, `[rows, width]`.
    queries: Numbers,
    /// Keys transposed, `[width, padded keys]`, in panels.
    keys: Numbers,
    /// Values, `[keys, padded width]`, in panels.
    values: Numbers,
    /// Scores, then probabilities before they are divided by their sum, `[rows, padded keys]`.
    scores: Numbers,
    /// One divided by the sum of each row of probabilities.
    inverses: Vec<f32>,
    /// The block's outputs, `[rows, padded width]`.
    out: Numbers,
    distance: DistanceScratch,
    /// A few rows of queries or scores, where products are rounded: keys and values are packed in place of the above then.
    left: Numbers,
}

#[cfg(test)]
impl Scratch {
    /// Memory that is held, without that of distances.
    fn bytes(&self) -> usize {
        let Scratch { queries, keys, values, scores, inverses, out, distance: _, left } = self;
        let numbers = [queries, keys, values, scores, out, left].into_iter();
        numbers.map(|n| n.as_slice::<u8>().len()).sum::<usize>() + size_of_val(&inverses[..])
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Gives this thread's scratch back to the system; the next call on it makes it anew.
pub fn release_scratch() {
    SCRATCH.take();
}

/// Bytes of scratch that each thread keeps for sequences of up to `keys` keys, those of a shared prefix included, and a
/// table of `distance_rows` distances.
pub fn scratch_bytes(heads: Heads, keys: usize, distance_rows: usize) -> usize {
    let padded = keys.next_multiple_of(LANES);
    let width = heads.width.next_multiple_of(LANES);
    let rows = rows_of(heads);
    let distance = distance::scratch_numbers(heads.width, keys, distance_rows);
    let own = heads.width * padded + keys * width + rows * (padded + 2 * width + 1);
    // Packed operands of rounded products take half, and are padded further: with some rows of the left one.
    let steps = 32 * (padded.max(width) + 2 * 32) + 32 * (padded + width);
    size_of::<f32>() * (own + distance + steps)
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
    let prefix = prefix.unwrap_or(KeysValues::NONE);
    run(isa, heads, queries, (own, prefix), None, spans, out);
}

/// [`attention`] in which distances between tokens have keys and queries, too; every query sees all keys.
///
/// # Panics
/// As [`attention`], and if `heads` have fewer keys than queries, a window, or are causal.
pub fn attention_by_distance(
    isa: Isa,
    heads: Heads,
    queries: &[f32],
    own: KeysValues<'_>,
    by_distance: ByDistance<'_>,
    spans: &[Span],
    out: &mut [f32],
) {
    assert!(heads.queries == heads.keys && !heads.causal && heads.window.is_none());
    let table = Table::new(by_distance, longest(own, spans), heads.keys * heads.width);
    run(isa, heads, queries, (own, KeysValues::NONE), Some(&table), spans, out);
}

/// From the first token of a sequence to its last one, where that is farthest, both included.
fn longest(own: KeysValues<'_>, spans: &[Span]) -> usize {
    let length = |span: &Span| match own.positions {
        Some(positions) => (positions[span.keys.end - 1] - positions[span.keys.start]) as usize + 1,
        None => span.keys.len(),
    };
    spans.iter().map(length).max().unwrap_or(0)
}

fn run(
    isa: Isa,
    heads: Heads,
    queries: &[f32],
    (own, prefix): (KeysValues<'_>, KeysValues<'_>),
    distance: Option<&Table<'_>>,
    spans: &[Span],
    out: &mut [f32],
) {
    let columns = heads.queries * heads.width;
    let stride = heads.keys * heads.width;
    assert_eq!(queries.len(), out.len(), "queries and output differ in length");
    let rounded = heads.compute != Compute::F32 && distance.is_none();
    let products =
        rounded.then(|| Products::of(isa).expect("Kernels::attention_compute allows it"));
    let mut rest = out;
    let mut end = 0;
    let mut tasks = Vec::new();
    for span in spans {
        assert!(span.queries.start == end && span.keys.end * stride <= own.keys.len());
        assert!(span.first_query + span.queries.len() <= span.keys.len(), "a query has no key");
        end = span.queries.end;
        let (out, after) = rest.split_at_mut(span.queries.len() * columns);
        rest = after;
        let own = own.rows(span.keys.clone(), stride);
        let queries = &queries[span.queries.start * columns..span.queries.end * columns];
        // SAFETY of sharing `out` among the heads: see `Columns`.
        let out = Columns { start: out.as_mut_ptr(), len: out.len() };
        for head in 0..heads.keys {
            let first = span.first_query;
            tasks.push(Task { heads, head, queries, own, prefix, distance, products, first, out });
        }
    }
    assert!(rest.is_empty(), "every query belongs to a span");
    tasks.into_par_iter().with_max_len(1).for_each(|task| task.run(isa));
}

/// Of so many keys, the first ones those of a prefix, those that a query sees that is at the place of one of the
/// sequence's own keys.
#[inline(always)]
fn seen(
    heads: Heads,
    prefix: usize,
    positions: Option<&[u32]>,
    query: usize,
    keys: usize,
) -> Range<usize> {
    let end = if heads.causal { prefix + query + 1 } else { keys };
    let Some(window) = heads.window else { return 0..end };
    let at = positions.map_or(prefix + query, |positions| positions[query] as usize);
    let (first, past) = (at.saturating_sub(window), at.saturating_add(window).saturating_add(1));
    match positions {
        None => first..end.min(past),
        Some(positions) => {
            key_from(prefix, positions, first)..end.min(key_from(prefix, positions, past))
        }
    }
}

/// The first key from a position on.
fn key_from(prefix: usize, positions: &[u32], position: usize) -> usize {
    match position < prefix {
        true => position,
        false => prefix + positions.partition_point(|&p| (p as usize) < position),
    }
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
    /// Writes `values * factor` to the columns from `at` on.
    #[inline(always)]
    fn write<V: Simd>(self, at: usize, values: &[f32], factor: f32) {
        assert!(at + values.len() <= self.len);
        // SAFETY: in bounds; no other task has these columns, none reads them before all have ended.
        let out = unsafe { std::slice::from_raw_parts_mut(self.start.add(at), values.len()) };
        let factor = V::splat(factor);
        let (mut vectors, values) = (out.chunks_exact_mut(V::LANES), values.chunks(V::LANES));
        for (out, values) in (&mut vectors).zip(values.clone()) {
            V::load(values).mul(factor).store(out);
        }
        let remainder = vectors.into_remainder();
        if let Some(values) = values.last().filter(|_| !remainder.is_empty()) {
            V::load_part(values, 0.0).mul(factor).store_part(remainder);
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
    distance: Option<&'a Table<'a>>,
    /// How rounded products are taken.
    products: Option<Products>,
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

    /// The keys that the query at `position` of the task's own sees.
    #[inline(always)]
    fn seen(&self, position: usize) -> Range<usize> {
        let (prefix, query) = (self.prefix_keys(), self.first + position);
        seen(self.heads, prefix, self.own.positions, query, self.keys())
    }

    /// Probabilities of the keys that the query at `position` sees, before they are divided by their sum, where its scores are,
    /// and 0 for all others of the block's; returns one divided by the sum.
    #[inline(always)]
    fn weigh<V: Simd>(&self, position: usize, all: Range<usize>, scores: &mut [f32]) -> f32 {
        let seen = self.seen(position);
        scores[all.start..seen.start].fill(0.0);
        let scale = softcap::<V>(&mut scores[seen.clone()], self.heads);
        let inverse = softmax::<V>(&mut scores[seen.clone()], scale);
        scores[seen.end..all.end].fill(0.0);
        inverse
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
    let Heads { queries: heads, keys: kv_heads, width, .. } = task.heads;
    let group = heads / kv_heads;
    let keys = task.keys();
    let padded = keys.next_multiple_of(LANES);
    let padded_width = width.next_multiple_of(LANES);
    match task.products {
        Some(products) => pack::<V>(task, scratch, products),
        None => gather::<V>(task, scratch, padded, padded_width),
    }

    let positions = task.queries.len() / task.columns();
    let block = positions_of(task.heads);
    let Scratch { queries, keys: by_query, values, scores, inverses, out, distance, left: few } =
        scratch;
    let by_query = Right { depth: width, columns: padded, packed: by_query };
    let values = Right { depth: keys, columns: padded_width, packed: values };
    // No closures around products here and below: they are compiled without the instruction set, and every operation in
    // them becomes a call.
    let mut seen_rows = None;
    if let Some(table) = task.distance {
        let rows = table.rows(task.first..task.first + positions, keys, task.own.positions);
        distance.gather::<V>(table, task.head, rows.clone(), by_query.panels());
        seen_rows = Some(rows);
    }
    for start in (0..positions).step_by(block) {
        let end = (start + block).min(positions);
        let rows = (end - start) * group;
        // Of the keys, those that some query of the block sees, whole panels of them at the beginning.
        let first = task.seen(start).start / PANEL * PANEL;
        let all = first..task.seen(end - 1).end;
        let queries = queries.room(rows * width);
        let positions = task.queries[start * task.columns()..].chunks_exact(task.columns());
        for (out, row) in queries.chunks_exact_mut(group * width).zip(positions) {
            copy::<V>(&row[task.head * group * width..][..group * width], out);
        }
        let scores = scores.room(rows * padded);
        let left = Left { rows, stride: width, elements: queries };
        multiply::<V>(task.products, (left, by_query), 0..width, all.clone(), (few, scores));
        if let (Some(table), Some(seen)) = (task.distance, &seen_rows) {
            let at = (task.first + start, task.own.positions);
            distance.add::<V>(table, seen.clone(), left, at, (scores, padded, keys));
        }
        inverses.clear();
        for (row, scores) in scores.chunks_exact_mut(padded).enumerate() {
            inverses.push(task.weigh::<V>(start + row / group, all.clone(), scores));
        }
        let out = out.room(rows * padded_width);
        let left = Left { rows, stride: padded, elements: scores };
        multiply::<V>(task.products, (left, values), all, 0..width, (few, out));
        let outputs = out.chunks_exact(padded_width).zip(inverses.iter());
        for (row, (out, inverse)) in outputs.enumerate() {
            let column = (task.head * group + row % group) * width;
            let at = (start + row / group) * task.columns() + column;
            task.out.write::<V>(at, &out[..width], *inverse);
        }
    }
}

/// The second operand of a product, in panels of f32 or packed for rounded products.
#[derive(Clone, Copy)]
struct Right<'a> {
    depth: usize,
    columns: usize,
    packed: &'a Numbers,
}

impl<'a> Right<'a> {
    fn panels(self) -> Panels<'a> {
        Panels { depth: self.depth, columns: self.columns, elements: self.packed.as_slice() }
    }
}

/// Products in f32, or rounded; rows of `out` are as far apart as the second operand has columns.
#[inline(always)]
fn multiply<V: Simd>(
    products: Option<Products>,
    (left, right): (Left<'_>, Right<'_>),
    along: Range<usize>,
    columns: Range<usize>,
    (few, out): (&mut Numbers, &mut [f32]),
) {
    let Some(products) = products else {
        return product::<V>(left, right.panels(), along, columns, out);
    };
    let Left { rows, stride, elements } = left;
    let left = Part { rows, columns: right.depth, stride, elements };
    products.multiply(left, (right.packed, right.depth), along, columns, (few, out), right.columns);
}
