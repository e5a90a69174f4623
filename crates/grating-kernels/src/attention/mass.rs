//! How much attention one token of each sequence pays to the sequence's own keys.
//!
//! One query a sequence: next to nothing beside the layer, so that plain loops do.

use std::ops::Range;

use grating_backend::OverHeads;
use rayon::prelude::*;

use super::{ByDistance, Heads, KeysValues, Span, seen};

/// Who pays attention, and to what.
#[derive(Debug, Clone, Copy)]
pub struct Attended<'a> {
    /// A row for each span, `[spans, queries * width]`.
    pub queries: &'a [f32],
    /// Keys of the sequences; their values only where `by_value`.
    pub own: KeysValues<'a>,
    /// Keys of a prefix, which take their share.
    pub prefix: &'a [f32],
    /// What distances add.
    pub by_distance: Option<ByDistance<'a>>,
    /// Whether a head's attention counts as often as the norm of the value that it meets.
    pub by_value: bool,
}

/// Attention to each row of the sequences' own keys, put together over the query heads, into `out` `[tokens]`. No bit
/// depends on other sequences, on the number of threads, or on whether leading keys are a prefix's.
///
/// # Panics
/// If a span lies outside its tensor, has not one query, or the lengths do not fit each other.
pub fn mass(
    heads: Heads,
    attended: Attended<'_>,
    over: OverHeads,
    spans: &[Span],
    out: &mut [f32],
) {
    let columns = heads.queries * heads.width;
    assert_eq!(attended.queries.len(), spans.len() * columns, "a query for each sequence");
    let (mut rest, mut end) = (out, 0);
    let mut tasks = Vec::with_capacity(spans.len());
    for (span, query) in spans.iter().zip(attended.queries.chunks_exact(columns)) {
        assert!(span.keys.start == end && span.queries.len() == 1, "sequences lie end to end");
        end = span.keys.end;
        let (out, after) = rest.split_at_mut(span.keys.len());
        rest = after;
        tasks.push((Sequence { heads, attended, query, span }, out));
    }
    assert!(rest.is_empty(), "every row belongs to a span");
    tasks.into_par_iter().with_max_len(1).for_each(|(sequence, out)| sequence.mass(over, out));
}

struct Sequence<'a> {
    heads: Heads,
    attended: Attended<'a>,
    query: &'a [f32],
    span: &'a Span,
}

impl Sequence<'_> {
    fn mass(&self, over: OverHeads, out: &mut [f32]) {
        let Heads { queries, keys, .. } = self.heads;
        out.fill(0.0);
        let prefix = self.attended.prefix.len() / self.stride();
        let mut scores = vec![0.0; prefix + self.span.keys.len()];
        for head in 0..queries {
            let key_head = head / (queries / keys);
            let seen = self.seen(prefix);
            self.probabilities(head, key_head, prefix, seen.clone(), &mut scores);
            let own = seen.start.max(prefix)..seen.end.max(prefix);
            for key in own {
                let row = key - prefix;
                let paid = scores[key] * self.norm(key_head, row);
                out[row] = match over {
                    OverHeads::Mean => out[row] + paid,
                    OverHeads::Maximum => out[row].max(paid),
                };
            }
        }
        if over == OverHeads::Mean {
            out.iter_mut().for_each(|out| *out /= queries as f32);
        }
    }

    fn seen(&self, prefix: usize) -> Range<usize> {
        let positions = self.attended.own.positions.map(|all| &all[self.span.keys.clone()]);
        let keys = prefix + self.span.keys.len();
        seen(self.heads, prefix, positions, self.span.first_query, keys)
    }

    /// The softmax of the scores of one head's query over the keys that it sees.
    fn probabilities(
        &self,
        head: usize,
        key_head: usize,
        prefix: usize,
        seen: Range<usize>,
        scores: &mut [f32],
    ) {
        let Heads { width, scale, softcap, .. } = self.heads;
        let query = &self.query[head * width..(head + 1) * width];
        let mut largest = f32::NEG_INFINITY;
        for key in seen.clone() {
            let mut score = dot(query, self.key(key_head, key, prefix));
            if let Some(by_distance) = &self.attended.by_distance {
                score += self.of_distance(by_distance, query, key_head, key);
            }
            score *= scale;
            if let Some(cap) = softcap {
                score = cap * (score / cap).tanh();
            }
            scores[key] = score;
            largest = largest.max(score);
        }
        let mut sum = 0.0_f64;
        for score in &mut scores[seen.clone()] {
            *score = (*score - largest).exp();
            sum += f64::from(*score);
        }
        let inverse = (1.0 / sum) as f32;
        scores[seen].iter_mut().for_each(|score| *score *= inverse);
    }

    /// One head of a key, the prefix's first.
    fn key(&self, head: usize, key: usize, prefix: usize) -> &[f32] {
        match key.checked_sub(prefix) {
            None => self.part(self.attended.prefix, key, head),
            Some(row) => self.part(self.attended.own.keys, self.span.keys.start + row, head),
        }
    }

    /// What the distance from a key adds to its product with the query; there is no prefix then.
    fn of_distance(&self, by: &ByDistance<'_>, query: &[f32], head: usize, key: usize) -> f32 {
        let first = self.span.first_query;
        let distance = match self.attended.own.positions.map(|all| &all[self.span.keys.clone()]) {
            Some(at) => at[first] as isize - at[key] as isize,
            None => first as isize - key as isize,
        };
        let row = by.distances.row(distance);
        let of_query = by.keys.map_or(0.0, |keys| dot(query, self.part(keys, row, head)));
        let own = self.part(self.attended.own.keys, self.span.keys.start + key, head);
        of_query + by.queries.map_or(0.0, |queries| dot(own, self.part(queries, row, head)))
    }

    fn norm(&self, head: usize, row: usize) -> f32 {
        if !self.attended.by_value {
            return 1.0;
        }
        let value = self.part(self.attended.own.values, self.span.keys.start + row, head);
        dot(value, value).sqrt()
    }

    fn part<'x>(&self, x: &'x [f32], row: usize, head: usize) -> &'x [f32] {
        &x[row * self.stride() + head * self.heads.width..][..self.heads.width]
    }

    fn stride(&self) -> usize {
        self.heads.keys * self.heads.width
    }
}

/// Sums of every eighth product, which a processor adds up side by side.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + rest
}
