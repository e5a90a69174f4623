//! Attention in which distances between tokens have keys and queries, too, sequence by sequence.

use candle_core::{Result, Tensor};
use grating_backend::{AttentionSpec, ByDistance, Ragged, Rows};

use crate::attention::{MAX_SCORE_ELEMENTS, softmax};

/// `q [t, heads * width]` over `k`, `v` `[tokens, heads * width]`.
pub(crate) fn attention(
    q: &Tensor,
    (k, v): (&Tensor, &Tensor),
    by_distance: &ByDistance<'_, Tensor>,
    spec: &AttentionSpec,
    ragged: &Ragged,
    rows: Rows,
) -> Result<Tensor> {
    let mut outputs = Vec::with_capacity(ragged.len());
    let (scored, positions) = (ragged.scored_rows(), ragged.positions());
    for (at, keys) in ragged.sequences().enumerate() {
        let (queries, first) = match rows {
            Rows::All => (keys.clone(), 0),
            Rows::Scored => (at..at + 1, scored[at] - keys.start),
        };
        let own = |x: &Tensor| by_head(&x.narrow(0, keys.start, keys.len())?, spec);
        let q = by_head(&q.narrow(0, queries.start, queries.len())?, spec)?;
        let places = (first, &positions[keys.clone()]);
        outputs.push(of_sequence(&q, &own(k)?, &own(v)?, by_distance, spec, places)?);
    }
    Tensor::cat(&outputs, 0)
}

/// `[t, heads * width] -> [heads, t, width]`
pub(crate) fn by_head(x: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
    x.reshape((x.dim(0)?, spec.heads, spec.width))?.transpose(0, 1)?.contiguous()
}

/// Queries at the places of consecutive keys from `first` on over all keys of one sequence, in blocks of query rows.
fn of_sequence(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    by_distance: &ByDistance<'_, Tensor>,
    spec: &AttentionSpec,
    (first, positions): (usize, &[u32]),
) -> Result<Tensor> {
    let (queries, tokens) = (q.dim(1)?, k.dim(1)?);
    let block = (MAX_SCORE_ELEMENTS / (4 * spec.heads * tokens)).clamp(1, queries);
    let mut outputs = Vec::new();
    for start in (0..queries).step_by(block) {
        let rows = block.min(queries - start);
        let q = q.narrow(1, start, rows)?.contiguous()?;
        let scores = scores(&q, k, by_distance, spec, (first + start, positions))?;
        let out = softmax(&(scores * f64::from(spec.scale))?)?.matmul(v)?; // [heads, rows, width]
        outputs.push(out.transpose(0, 1)?.contiguous()?.reshape((rows, spec.heads * spec.width))?);
    }
    Tensor::cat(&outputs, 0)
}

/// `[heads, rows, tokens]`, the first row at the place of key `first`.
pub(crate) fn scores(
    q: &Tensor,
    k: &Tensor,
    by_distance: &ByDistance<'_, Tensor>,
    spec: &AttentionSpec,
    (first, positions): (usize, &[u32]),
) -> Result<Tensor> {
    let (heads, rows, tokens) = (spec.heads, q.dim(1)?, k.dim(1)?);
    let transposed = |x: &Tensor| x.transpose(1, 2)?.contiguous();
    let row = |query: usize, key: usize| {
        let distance = positions[query] as isize - positions[key] as isize;
        by_distance.distances.row(distance) as u32
    };
    let index: Vec<u32> =
        (0..rows).flat_map(|r| (0..tokens).map(move |key| row(first + r, key))).collect();
    let index = Tensor::from_vec(index, (1, rows, tokens), q.device())?;
    let index = index.broadcast_as((heads, rows, tokens))?.contiguous()?;
    let mut scores = q.matmul(&transposed(k)?)?;
    if let Some(keys) = by_distance.keys {
        let all = q.matmul(&transposed(&by_head(keys, spec)?)?)?; // [heads, rows, table]
        scores = (scores + all.gather(&index, 2)?)?;
    }
    if let Some(queries) = by_distance.queries {
        let all = k.matmul(&transposed(&by_head(queries, spec)?)?)?; // [heads, tokens, table]
        scores = (scores + transposed(&all.gather(&transposed(&index)?, 2)?)?)?;
    }
    Ok(scores)
}
