//! What distances between tokens add to scores: products of queries with keys of distances, and of keys with queries of
//! distances, of which each pair of tokens takes the one of its own distance.

use std::ops::Range;

use grating_backend::Distances;

use super::LANES;
use super::product::{Left, PANEL, Panels, place, product};
use crate::Numbers;
use crate::simd::Simd;

/// Keys and queries of distances, `[rows, heads * width]`.
#[derive(Debug, Clone, Copy)]
pub struct ByDistance<'a> {
    /// Which row is that of a distance.
    pub distances: Distances,
    /// What queries of tokens meet.
    pub keys: Option<&'a [f32]>,
    /// What keys of tokens meet.
    pub queries: Option<&'a [f32]>,
}

/// The same, with the row of every distance that occurs.
pub(super) struct Table<'a> {
    by_distance: ByDistance<'a>,
    /// Columns of a row of keys or queries.
    stride: usize,
    /// Tokens of the longest sequence.
    longest: usize,
    /// From the distance of its first token to its last one on.
    rows: Vec<u32>,
}

impl<'a> Table<'a> {
    /// # Panics
    /// If keys or queries are not as many as there are rows.
    pub(super) fn new(by_distance: ByDistance<'a>, longest: usize, stride: usize) -> Self {
        let ByDistance { distances, keys, queries } = by_distance;
        for part in [keys, queries].into_iter().flatten() {
            assert_eq!(part.len(), distances.rows() * stride, "a row for each distance");
        }
        let last = longest as isize - 1;
        let rows = (-last..=last).map(|distance| distances.row(distance) as u32).collect();
        Table { by_distance, stride, longest, rows }
    }

    /// Rows of the distances from a query to keys `keys`, ..., 1, 0; the last is that of the first key.
    fn of_query(&self, query: usize, keys: usize) -> &[u32] {
        let first = self.longest + query - keys;
        &self.rows[first..first + keys]
    }

    /// The row of the distance from the key at one position to the query at another.
    fn of_positions(&self, query: u32, key: u32) -> usize {
        self.rows[self.longest + query as usize - key as usize - 1] as usize
    }

    /// The rows that some of the queries need over so many keys, at these positions or one after the other.
    pub(super) fn rows(
        &self,
        queries: Range<usize>,
        keys: usize,
        positions: Option<&[u32]>,
    ) -> Range<usize> {
        let (first, last) = match positions {
            Some(at) => (
                self.of_positions(at[queries.start], at[keys - 1]),
                self.of_positions(at[queries.end - 1], at[0]),
            ),
            None => (
                self.of_query(queries.start, keys)[0] as usize,
                self.of_query(queries.end - 1, keys)[keys - 1] as usize,
            ),
        };
        first..last + 1
    }
}

/// Most numbers of a thread's scratch.
pub(super) fn scratch_numbers(width: usize, keys: usize, rows: usize) -> usize {
    if rows == 0 {
        return 0;
    }
    let rows = rows.min(2 * keys.max(1) - 1);
    let padded_rows = rows.next_multiple_of(LANES);
    let padded_keys = keys.next_multiple_of(LANES);
    2 * width * padded_rows + rows * padded_keys + super::BLOCK * padded_rows
}

#[derive(Default)]
pub(super) struct Scratch {
    /// Keys of distances transposed, `[width, padded rows]`, in panels.
    keys: Numbers,
    /// Queries of distances, `[rows, width]`.
    queries: Numbers,
    /// Products of those with the sequence's keys, `[rows, padded keys]`.
    of_keys: Numbers,
    /// Products of a block's queries with keys of distances, `[block, padded rows]`.
    of_queries: Numbers,
}

impl Scratch {
    /// Prepares one head of one sequence, whose keys lie in panels.
    #[inline(always)]
    pub(super) fn gather<V: Simd>(
        &mut self,
        table: &Table<'_>,
        head: usize,
        rows: Range<usize>,
        keys: Panels<'_>,
    ) {
        let (width, count) = (keys.depth, rows.len());
        let column = head * width;
        let part = |x: &'_ [f32], row: usize| -> Range<usize> {
            debug_assert!((row + 1) * table.stride <= x.len());
            row * table.stride + column..row * table.stride + column + width
        };
        if let Some(all) = table.by_distance.keys {
            let padded = count.next_multiple_of(LANES);
            let transposed = self.keys.room(width * padded);
            for (at, row) in rows.clone().enumerate() {
                let (start, panel) = place(at, width, padded);
                let places = transposed[start + at % PANEL..].iter_mut().step_by(panel);
                places.zip(&all[part(all, row)]).for_each(|(place, value)| *place = *value);
            }
        }
        if let Some(all) = table.by_distance.queries {
            let own = self.queries.room(count * width);
            for (out, row) in own.chunks_exact_mut(width).zip(rows) {
                out.copy_from_slice(&all[part(all, row)]);
            }
            let left = Left { rows: count, stride: width, elements: own };
            let out = self.of_keys.room(count * keys.columns);
            product::<V>(left, keys, 0..width, 0..keys.columns, out);
        }
    }

    /// Adds to the scores of a block's `queries`, the first of which is at the place of key `first` (of keys at these
    /// positions, or one after the other): `scores` `[block, columns]` with so many keys a row.
    #[inline(always)]
    pub(super) fn add<V: Simd>(
        &mut self,
        table: &Table<'_>,
        rows: Range<usize>,
        queries: Left<'_>,
        (first, positions): (usize, Option<&[u32]>),
        (scores, columns, keys): (&mut [f32], usize, usize),
    ) {
        let padded = rows.len().next_multiple_of(LANES);
        let mut of_queries: Option<&[f32]> = None;
        if table.by_distance.keys.is_some() {
            let width = queries.stride;
            let right = Panels { depth: width, columns: padded, elements: self.keys.as_slice() };
            let out = self.of_queries.room(queries.rows * padded);
            product::<V>(queries, right, 0..width, 0..rows.len(), out);
            of_queries = Some(out);
        }
        let of_keys: Option<&[f32]> = table.by_distance.queries.map(|_| self.of_keys.as_slice());
        for (at, scores) in scores.chunks_exact_mut(columns).take(queries.rows).enumerate() {
            let of_query = of_queries.map(|all| &all[at * padded..(at + 1) * padded]);
            let products = Products { of_query, of_keys, columns };
            let scores = &mut scores[..keys];
            match positions {
                // From the first key on distances fall.
                None => {
                    let places = table.of_query(first + at, keys).iter().rev();
                    products.add(scores, places.map(|&row| row as usize - rows.start));
                }
                Some(positions) => {
                    let row = |&key| table.of_positions(positions[first + at], key) - rows.start;
                    products.add(scores, positions.iter().map(row));
                }
            }
        }
    }
}

/// What distances add to the scores of one query.
struct Products<'a> {
    /// Its products with keys of distances, by row of the table.
    of_query: Option<&'a [f32]>,
    /// Products of queries of distances with the sequence's keys, `[rows, columns]`.
    of_keys: Option<&'a [f32]>,
    columns: usize,
}

impl Products<'_> {
    /// `places` are the rows of the table, one for each score.
    #[inline(always)]
    fn add(&self, scores: &mut [f32], places: impl Iterator<Item = usize>) {
        for (key, (score, row)) in scores.iter_mut().zip(places).enumerate() {
            if let Some(products) = self.of_query {
                *score += products[row];
            }
            if let Some(products) = self.of_keys {
                *score += products[row * self.columns + key];
            }
        }
    }
}
