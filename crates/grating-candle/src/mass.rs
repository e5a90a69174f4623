//! How much attention the scored token of each sequence pays to the sequence's own rows.

use candle_core::{Result, Tensor};
use grating_backend::{Attended, AttentionSpec, OverHeads, Ragged};

use crate::attention::{mask, softmax};
use crate::distance;

/// `[tokens]`
pub(crate) fn mass(
    attended: &Attended<'_, Tensor>,
    spec: &AttentionSpec,
    over: OverHeads,
    ragged: &Ragged,
) -> Result<Tensor> {
    let (scored, positions) = (ragged.scored_rows(), ragged.positions());
    let mut of_sequences = Vec::with_capacity(ragged.len());
    for (at, rows) in ragged.sequences().enumerate() {
        let own = |x: &Tensor| x.narrow(0, rows.start, rows.len());
        let q = attended.queries.narrow(0, at, 1)?;
        let (keys, before) = match attended.prefix {
            Some(prefix) => (Tensor::cat(&[prefix, &own(attended.keys)?], 0)?, prefix.dim(0)?),
            None => (own(attended.keys)?, 0),
        };
        let places = (0..before as u32).chain(positions[rows.clone()].iter().copied());
        let place = before + scored[at] - rows.start;
        let paid = probabilities(&q, &keys, attended, spec, (place, &places.collect::<Vec<_>>()))?;
        let mut paid = paid.narrow(1, before, rows.len())?; // [heads, rows]
        if let Some(values) = attended.values {
            let norms = heads_of_keys(&own(values)?, spec)?.sqr()?.sum(2)?.sqrt()?; // [heads, rows]
            paid = (paid * norms)?;
        }
        of_sequences.push(match over {
            OverHeads::Mean => paid.mean(0)?,
            OverHeads::Maximum => paid.max(0)?,
        });
    }
    Tensor::cat(&of_sequences, 0)
}

/// `[tokens, kv_heads * width] -> [heads, tokens, width]`: each head with the keys or values that it meets.
fn heads_of_keys(x: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
    let (tokens, group) = (x.dim(0)?, spec.heads / spec.kv_heads);
    let x = x.reshape((tokens, spec.kv_heads, 1, spec.width))?;
    let x = x.broadcast_as((tokens, spec.kv_heads, group, spec.width))?.contiguous()?;
    x.reshape((tokens, spec.heads, spec.width))?.transpose(0, 1)?.contiguous()
}

/// `[heads, keys]` of the query at the place of one of the keys, which are at these positions.
fn probabilities(
    q: &Tensor,
    keys: &Tensor,
    attended: &Attended<'_, Tensor>,
    spec: &AttentionSpec,
    (place, positions): (usize, &[u32]),
) -> Result<Tensor> {
    let keys = heads_of_keys(keys, spec)?;
    let q = distance::by_head(q, spec)?; // [heads, 1, width]
    let scores = match &attended.by_distance {
        Some(by) => distance::scores(&q, &keys, by, spec, (place, positions))?,
        None => q.matmul(&keys.transpose(1, 2)?.contiguous()?)?,
    };
    let mut scores = (scores * f64::from(spec.scale))?;
    if let Some(cap) = spec.softcap.map(f64::from) {
        scores = ((scores / cap)?.tanh()? * cap)?;
    }
    let mask = mask(spec, place, 1, positions, q.device())?;
    softmax(&scores.broadcast_add(&mask)?)?.squeeze(1)
}
