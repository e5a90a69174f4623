//! Attention that is told, against the formula in f64.

use grating_backend::{
    Attended, AttentionSpec, ByDistance, Distances, Ops, OverHeads, Result, Scored,
};
use proptest::prelude::*;

use super::{TOLERANCE, each, numbers, ragged, tensor};

/// What is asked; tensors are the numbers of seeds 1 to 6.
#[derive(Debug)]
struct Told {
    lengths: Vec<usize>,
    prefix: usize,
    gaps: bool,
    scored: Scored,
    spec: AttentionSpec,
    distances: Option<Distances>,
    over: OverHeads,
    by_value: bool,
}

impl Told {
    fn kv_columns(&self) -> usize {
        self.spec.kv_heads * self.spec.width
    }

    fn run<B: Ops>(&self, ops: &B) -> Result<Vec<f32>> {
        let (spec, kv) = (&self.spec, self.kv_columns());
        let rows = ragged(&self.lengths, self.prefix, self.scored, self.gaps);
        let queries = tensor(ops, 1, rows.len(), spec.heads * spec.width)?;
        let (keys, values) =
            (tensor(ops, 2, rows.tokens(), kv)?, tensor(ops, 3, rows.tokens(), kv)?);
        let prefix = match self.prefix {
            0 => None,
            tokens => Some(tensor(ops, 4, tokens, kv)?),
        };
        let of_distances = |seed| {
            let table = self.distances.map(|distances| tensor(ops, seed, distances.rows(), kv));
            table.transpose()
        };
        let (by_keys, by_queries) = (of_distances(5)?, of_distances(6)?);
        let by_distance = self.distances.map(|distances| ByDistance {
            distances,
            keys: by_keys.as_ref(),
            queries: by_queries.as_ref(),
        });
        let attended = Attended {
            queries: &queries,
            keys: &keys,
            prefix: prefix.as_ref(),
            by_distance,
            values: self.by_value.then_some(&values),
        };
        ops.wait(ops.attention_mass(attended, spec, self.over, &ops.layout(&rows)?)?)
    }

    /// The formula, sequence by sequence.
    fn expected(&self) -> Vec<f64> {
        let rows = ragged(&self.lengths, self.prefix, self.scored, self.gaps);
        let spec = &self.spec;
        let columns = spec.heads * spec.width;
        let queries = numbers(1, rows.len() * columns);
        let [keys, values] = [2, 3].map(|seed| numbers(seed, rows.tokens() * self.kv_columns()));
        let (positions, scored) = (rows.positions(), rows.scored_rows());
        let mut all = Vec::new();
        for (at, own) in rows.sequences().enumerate() {
            let query = &queries[at * columns..(at + 1) * columns];
            let of_heads = (0..spec.heads).map(|head| {
                let paid =
                    self.paid(head, query, positions[scored[at]], (&keys, own.clone()), &positions);
                let norm = |row: usize| {
                    dot(self.part(&values, row, head), self.part(&values, row, head)).sqrt()
                };
                let paid = paid.into_iter().zip(own.clone());
                paid.map(|(paid, row)| if self.by_value { paid * norm(row) } else { paid })
                    .collect()
            });
            let of_heads: Vec<Vec<f64>> = of_heads.collect();
            all.extend((0..own.len()).map(|row| {
                let paid = of_heads.iter().map(|head| head[row]);
                match self.over {
                    OverHeads::Mean => paid.sum::<f64>() / spec.heads as f64,
                    OverHeads::Maximum => paid.fold(0.0, f64::max),
                }
            }));
        }
        all
    }

    /// Probabilities of one head over a sequence's own rows.
    fn paid(
        &self,
        head: usize,
        query: &[f32],
        at: u32,
        (keys, own): (&[f32], std::ops::Range<usize>),
        positions: &[u32],
    ) -> Vec<f64> {
        let spec = &self.spec;
        let query = &query[head * spec.width..(head + 1) * spec.width];
        let before = numbers(4, self.prefix * self.kv_columns());
        let table = |seed, rows| numbers(seed, rows * self.kv_columns());
        let tables = self.distances.map(|d| (d, table(5, d.rows()), table(6, d.rows())));
        let power = |key: &[f32], position: u32| {
            let distance = at as isize - position as isize;
            let near = spec.window.is_none_or(|window| distance.unsigned_abs() <= window);
            if !near || (spec.causal && distance < 0) {
                return 0.0;
            }
            let mut score = dot(query, key);
            if let Some((distances, keys, queries)) = &tables {
                let row = distances.row(distance);
                score += dot(query, self.part(keys, row, head))
                    + dot(key, self.part(queries, row, head));
            }
            score *= f64::from(spec.scale);
            let cap = |cap: f32| f64::from(cap) * (score / f64::from(cap)).tanh();
            spec.softcap.map_or(score, cap).exp()
        };
        let of_prefix =
            (0..self.prefix).map(|row| power(self.part(&before, row, head), row as u32));
        let of_prefix: f64 = of_prefix.sum();
        let own: Vec<f64> =
            own.map(|row| power(self.part(keys, row, head), positions[row])).collect();
        let all = of_prefix + own.iter().sum::<f64>();
        own.into_iter().map(|power| power / all).collect()
    }

    /// What a query head meets of a row of keys or values.
    fn part<'x>(&self, x: &'x [f32], row: usize, head: usize) -> &'x [f32] {
        let AttentionSpec { heads, kv_heads, width, .. } = self.spec;
        &x[row * self.kv_columns() + head / (heads / kv_heads) * width..][..width]
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn check<B: Ops>(ops: &B, told: &Told) {
    let (found, expected) = (told.run(ops).unwrap(), told.expected());
    assert_eq!(found.len(), expected.len());
    for (row, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        assert!(error <= f64::from(TOLERANCE), "row {row}: {found} for {expected} of {told:?}");
    }
}

/// How much attention scored tokens pay: to rows with gaps and without, after a prefix, with a window, a cap, by distance.
pub fn attention_mass<B: Ops>(ops: &B) {
    let lengths = prop::collection::vec(1..60usize, 1..5);
    let widths = (1..4usize, 1..4usize, 1..20usize);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let others = (prop::option::of(0..40usize), prop::option::of(0.5..9.0f32));
    each(
        (lengths, 0..20usize, widths, flags, others),
        |(lengths, prefix, widths, flags, others)| {
            let ((group, kv_heads, width), (causal, gaps, by_value, mean, last)) = (widths, flags);
            let mut spec = AttentionSpec::new(group * kv_heads, kv_heads, width, causal);
            (spec.window, spec.softcap) = others;
            let over = if mean { OverHeads::Mean } else { OverHeads::Maximum };
            let scored = if last { Scored::Last } else { Scored::First };
            let prefix = if causal { prefix } else { 0 };
            let (distances, plain) = (None, spec);
            check(
                ops,
                &Told {
                    lengths: lengths.clone(),
                    prefix,
                    gaps,
                    scored,
                    spec: plain,
                    distances,
                    over,
                    by_value,
                },
            );
            let spec = AttentionSpec::new(kv_heads, kv_heads, width, false);
            let distances = Some(Distances::logarithmic(4 + width, 60));
            check(ops, &Told { lengths, prefix: 0, gaps, scored, spec, distances, over, by_value });
        },
    );
}
