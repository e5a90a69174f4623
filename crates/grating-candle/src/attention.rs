//! Softmax attention, sequence by sequence.

use candle_core::{D, Device, Result, Tensor};
use grating_backend::{AttentionSpec, Ragged, Rows};

/// Most elements of one block of attention scores: 64 MiB of f32. The block depends only on the sequence's own
/// length, never on what else is in the chunk.
pub(crate) const MAX_SCORE_ELEMENTS: usize = 16 << 20;

/// `q [t, heads * width]` over `k`, `v` `[tokens, kv_heads * width]`, those of `prefix` before every sequence's own.
pub(crate) fn attention(
    q: &Tensor,
    (k, v): (&Tensor, &Tensor),
    prefix: Option<(&Tensor, &Tensor)>,
    spec: &AttentionSpec,
    ragged: &Ragged,
    rows: Rows,
) -> Result<Tensor> {
    let mut outputs = Vec::with_capacity(ragged.len());
    let (scored, positions) = (ragged.scored_rows(), ragged.positions());
    for (at, keys) in ragged.sequences().enumerate() {
        // Rows of `q`, and which of the sequence's own keys is at the first one's position.
        let (queries, first_query) = match rows {
            Rows::All => (keys.clone(), 0),
            Rows::Scored => (at..at + 1, scored[at] - keys.start),
        };
        let q = q.narrow(0, queries.start, queries.len())?;
        let own = |x: &Tensor| x.narrow(0, keys.start, keys.len());
        let (k, v) = (own(k)?, own(v)?);
        let mut first = first_query;
        let mut places = positions[keys].to_vec();
        let (k, v) = match prefix {
            None => (k, v),
            Some((prefix_k, prefix_v)) => {
                let tokens = prefix_k.dim(0)?;
                first += tokens;
                places = (0..tokens as u32).chain(places).collect();
                (Tensor::cat(&[prefix_k, &k], 0)?, Tensor::cat(&[prefix_v, &v], 0)?)
            }
        };
        outputs.push(of_sequence(&q, &k, &v, spec, (first, &places))?);
    }
    Tensor::cat(&outputs, 0)
}

/// Attention of queries at the places of consecutive keys from `first` on over all keys of one sequence, which are at these
/// `positions`, in blocks of query rows.
fn of_sequence(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    spec: &AttentionSpec,
    (first, positions): (usize, &[u32]),
) -> Result<Tensor> {
    let AttentionSpec { heads, kv_heads, width: head_dim, causal, scale, softcap, .. } = *spec;
    let (queries, tokens) = (q.dim(0)?, k.dim(0)?);
    let group = heads / kv_heads;
    // [t, kv * d] -> [kv, t, d]
    let by_head =
        |x: &Tensor| x.reshape((tokens, kv_heads, head_dim))?.transpose(0, 1)?.contiguous();
    let (k, v) = (by_head(k)?, by_head(v)?);
    let scale = f64::from(scale);
    let block = (MAX_SCORE_ELEMENTS / (heads * tokens)).clamp(1, queries);

    let mut outputs = Vec::new();
    for start in (0..queries).step_by(block) {
        let rows = block.min(queries - start);
        let seen = if causal { first + start + rows } else { tokens };
        let (k, v) = (k.narrow(1, 0, seen)?, v.narrow(1, 0, seen)?);
        // [rows, heads * d] -> [kv, group * rows, d]: the query heads of a group share their keys
        let q = q
            .narrow(0, start, rows)?
            .reshape((rows, kv_heads, group, head_dim))?
            .permute((1, 2, 0, 3))?
            .contiguous()?
            .reshape((kv_heads, group * rows, head_dim))?;
        let mut scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? * scale)?;
        if let Some(cap) = softcap.map(f64::from) {
            scores = ((scores / cap)?.tanh()? * cap)?;
        }
        if causal || spec.window.is_some() {
            let mask = mask(spec, first + start, rows, &positions[..seen], scores.device())?;
            scores = scores
                .reshape((kv_heads, group, rows, seen))?
                .broadcast_add(&mask)?
                .reshape((kv_heads, group * rows, seen))?;
        }
        // [kv, group * rows, d] -> [rows, heads * d]
        let out = softmax(&scores)?.matmul(&v.contiguous()?)?;
        outputs.push(
            out.reshape((kv_heads, group, rows, head_dim))?
                .permute((2, 0, 1, 3))?
                .contiguous()?
                .reshape((rows, heads * head_dim))?,
        );
    }
    Tensor::cat(&outputs, 0)
}

/// `[rows, seen]`: 0 where the query at the place of key `start + row` may look, minus infinity elsewhere.
pub(crate) fn mask(
    spec: &AttentionSpec,
    start: usize,
    rows: usize,
    positions: &[u32],
    device: &Device,
) -> Result<Tensor> {
    let sees = |query: usize, key: usize| {
        let distance = positions[query].abs_diff(positions[key]) as usize;
        spec.window.is_none_or(|window| distance <= window) && !(spec.causal && key > query)
    };
    let element = |query, key| if sees(query, key) { 0.0 } else { f32::NEG_INFINITY };
    let seen = positions.len();
    let mask = (start..start + rows)
        .flat_map(|query| (0..seen).map(move |key| element(query, key)))
        .collect::<Vec<f32>>();
    Tensor::from_vec(mask, (rows, seen), device)
}

/// Softmax over the last dimension, shifted by the maximum so that no exponent overflows.
pub(crate) fn softmax(x: &Tensor) -> Result<Tensor> {
    let x = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?.exp()?;
    x.broadcast_div(&x.sum_keepdim(D::Minus1)?)
}
