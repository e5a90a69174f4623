//! Attention blocks: causal or not, rotary or by distance or neither, normalised before, after, or both.

use grating_backend::{Attended, AttentionSpec, BackendError, Ops, OverHeads, Rows, Then};

use super::distance::Distance;
use super::linear::Linear;
use super::norm::Norm;
use crate::context::{ChunkContext, KeysValues};
use crate::error::Result;
use crate::spec::{AttentionBlockSpec, Rotary};
use crate::weights::LayerWeights;

/// What attention is to tell of each row of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mass<'a> {
    /// How heads are put together.
    pub over: OverHeads,
    /// Whose attention it is.
    pub paid: PaidBy<'a>,
}

/// Who pays the attention that is told, and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaidBy<'a> {
    /// The scored token of the row's sequence, to the row.
    Scored {
        /// Whether a head's attention counts as often as the norm of the value that it meets.
        by_value: bool,
    },
    /// The row, to some of its sequence.
    Row {
        /// Which of the prefix's tokens are meant, for each whether.
        prefix: &'a [bool],
        /// Which of the sequences' own rows.
        own: &'a [bool],
    },
}

/// Attention on its way to the host.
pub struct Paid<B: Ops> {
    pending: B::Pending,
    /// Where the numbers are of each head: columns of a row and of a head, and how heads are put together.
    by_head: Option<(usize, usize, OverHeads)>,
}

impl<B: Ops> Paid<B> {
    /// Waits for it: a number for each row.
    ///
    /// # Errors
    /// The backend's.
    pub fn wait(self, ops: &B) -> Result<Vec<f32>> {
        let numbers = ops.wait(self.pending)?;
        let Some((columns, width, over)) = self.by_head else { return Ok(numbers) };
        let row = |row: &[f32]| {
            // All columns of a head are the same.
            let heads = row.iter().step_by(width);
            match over {
                OverHeads::Mean => heads.sum::<f32>() / (columns / width) as f32,
                OverHeads::Maximum => heads.copied().fold(0.0, f32::max),
            }
        };
        Ok(numbers.chunks_exact(columns).map(row).collect())
    }
}

/// An attention block bound to weights, ready to run over any number of chunks.
pub struct Attention<'w, B: Ops> {
    before: Option<Norm<'w, B>>,
    query: Linear<'w, B>,
    key: Linear<'w, B>,
    value: Linear<'w, B>,
    /// Of queries and of keys.
    head_norms: Option<[Norm<'w, B>; 2]>,
    rotary: Option<Rotary>,
    attention: AttentionSpec,
    distance: Option<Distance<'w, B>>,
    output: Linear<'w, B>,
    /// Of what the block adds.
    added: Option<Norm<'w, B>>,
    after: Option<Norm<'w, B>>,
}

// Shapes: t tokens of a chunk, s sequences, h hidden, q = heads * width, kv = kv_heads * width.
impl<'w, B: Ops> Attention<'w, B> {
    pub(crate) fn bind(weights: &LayerWeights<'w, B>, spec: &AttentionBlockSpec) -> Result<Self> {
        let head_norms = match &spec.head_norms {
            Some([query, key]) => Some([Norm::bind(weights, query)?, Norm::bind(weights, key)?]),
            None => None,
        };
        let distance =
            spec.distance.as_ref().map(|distance| Distance::bind(weights, distance)).transpose()?;
        let input = weights.input_of([&spec.query, &spec.key, &spec.value])?;
        let before = spec.before.as_ref().map(|norm| Norm::bind_then(weights, norm, input));
        let attended = |map| Linear::bind_then(weights, map, Then::Attended);
        Ok(Attention {
            before: before.transpose()?,
            query: attended(&spec.query)?,
            key: attended(&spec.key)?,
            value: attended(&spec.value)?,
            head_norms,
            rotary: spec.rotary,
            attention: spec.attention.with_then(Linear::ended(weights, &spec.output)?),
            distance,
            output: Linear::bind(weights, &spec.output)?,
            added: Norm::bind_optional(weights, spec.added.as_ref())?,
            after: Norm::bind_optional(weights, spec.after.as_ref())?,
        })
    }

    /// Attends with every token of `x` `[t, h]`; also returns the keys and values, for those that come after.
    pub(crate) fn forward(
        &self,
        ops: &B,
        x: B::Tensor,
        chunk: &ChunkContext<'_, B>,
    ) -> Result<(B::Tensor, KeysValues<B>)> {
        let (q, own) = self.queries_keys_values(ops, &x, chunk)?;
        let x = self.attend(ops, x, q, &own, chunk, Rows::All)?; // [t, h]
        Ok((x, own))
    }

    /// [`Self::forward`] that also tells what attention is paid, `[t]`.
    pub(crate) fn forward_with_mass(
        &self,
        ops: &B,
        x: B::Tensor,
        chunk: &ChunkContext<'_, B>,
        mass: Mass<'_>,
    ) -> Result<(B::Tensor, Paid<B>)> {
        let (q, own) = self.queries_keys_values(ops, &x, chunk)?;
        let paid = match mass.paid {
            PaidBy::Scored { by_value } => {
                let pending = self.paid_by_scored(ops, &q, &own, chunk, mass.over, by_value)?;
                Paid { pending, by_head: None }
            }
            PaidBy::Row { prefix, own: marked } => {
                let pending = self.paid_by_rows(ops, &q, &own, chunk, (prefix, marked))?;
                let AttentionSpec { heads, width, .. } = self.attention;
                Paid { pending, by_head: Some((heads * width, width, mass.over)) }
            }
        };
        let x = self.attend(ops, x, q, &own, chunk, Rows::All)?; // [t, h]
        Ok((x, paid))
    }

    /// `[t]`
    fn paid_by_scored(
        &self,
        ops: &B,
        q: &B::Tensor,
        own: &KeysValues<B>,
        chunk: &ChunkContext<'_, B>,
        over: OverHeads,
        by_value: bool,
    ) -> Result<B::Pending> {
        let scored = ops.scored_rows(q, chunk.rows())?; // [s, q]
        let (key, query) = (&self.key, &self.query);
        let by = self.distance.as_ref().map(|by| by.of(ops, chunk.distances(), key, query));
        let attended = Attended {
            queries: &scored,
            keys: &own.k,
            prefix: chunk.prefix().map(|(keys, _)| keys),
            by_distance: by.transpose()?,
            values: by_value.then_some(&own.v),
        };
        Ok(ops.attention_mass(attended, &self.attention, over, chunk.rows())?)
    }

    /// `[t, q]`: attention to values that are 1 where a row is marked and 0 elsewhere, which is what the marked ones are
    /// paid.
    fn paid_by_rows(
        &self,
        ops: &B,
        q: &B::Tensor,
        own: &KeysValues<B>,
        chunk: &ChunkContext<'_, B>,
        (prefix, marked): (&[bool], &[bool]),
    ) -> Result<B::Pending> {
        let AttentionSpec { kv_heads, width, .. } = self.attention;
        let columns = kv_heads * width;
        let marks = |marked: &[bool]| {
            ops.written(marked.len(), columns, |out| {
                for (row, marked) in out.chunks_exact_mut(columns).zip(marked) {
                    row.fill(if *marked { 1.0 } else { 0.0 });
                }
                Ok::<(), BackendError>(())
            })
        };
        let (own_marks, q) = (marks(marked)?, ops.copied(q)?);
        let before = chunk.prefix().map(|(keys, _)| Ok::<_, BackendError>((keys, marks(prefix)?)));
        let before = before.transpose()?;
        let before = before.as_ref().map(|(keys, marks)| (*keys, marks));
        let told = (Rows::All, Then::Kept);
        let paid = self.weighed(ops, q, (&own.k, &own_marks), before, chunk, told)?;
        Ok(ops.read(&paid)?)
    }

    /// Of every token, `[t, q]` and `[t, kv]` each.
    fn queries_keys_values(
        &self,
        ops: &B,
        x: &B::Tensor,
        chunk: &ChunkContext<'_, B>,
    ) -> Result<(B::Tensor, KeysValues<B>)> {
        let normed = self.normed(ops, x)?; // [t, h]
        let maps = [self.query.map(), self.key.map(), self.value.map()];
        let [q, k, v] = ops.linear(normed.as_ref().unwrap_or(x), maps)?;
        drop(normed);
        let q = self.rotated(ops, q, Side::Queries, chunk, Rows::All)?;
        let k = self.rotated(ops, k, Side::Keys, chunk, Rows::All)?;
        Ok((q, KeysValues { k, v }))
    }

    /// Attends with the scored token of each sequence alone: `[t, h] -> [s, h]`.
    pub(crate) fn forward_scored(
        &self,
        ops: &B,
        x: B::Tensor,
        chunk: &ChunkContext<'_, B>,
    ) -> Result<B::Tensor> {
        let layout = chunk.rows();
        let normed = self.normed(ops, &x)?; // [t, h]
        let own = self.keys_values_of(ops, normed.as_ref().unwrap_or(&x), chunk)?; // [t, kv] each
        let scored = normed.map(|normed| ops.scored_rows(&normed, layout)).transpose()?; // [s, h]
        let x = ops.scored_rows(&x, layout)?; // [s, h]
        let q = self.query.forward(ops, scored.as_ref().unwrap_or(&x))?; // [s, q]
        drop(scored);
        let q = self.rotated(ops, q, Side::Queries, chunk, Rows::Scored)?;
        self.attend(ops, x, q, &own, chunk, Rows::Scored)
    }

    /// Keys and values of every token, for sequences whose own scores nobody asks for.
    pub(crate) fn keys_values(
        &self,
        ops: &B,
        x: &B::Tensor,
        chunk: &ChunkContext<'_, B>,
    ) -> Result<KeysValues<B>> {
        let normed = self.normed(ops, x)?; // [t, h]
        self.keys_values_of(ops, normed.as_ref().unwrap_or(x), chunk)
    }

    fn keys_values_of(
        &self,
        ops: &B,
        normed: &B::Tensor,
        chunk: &ChunkContext<'_, B>,
    ) -> Result<KeysValues<B>> {
        let [k, v] = ops.linear(normed, [self.key.map(), self.value.map()])?; // [t, kv] each
        let k = self.rotated(ops, k, Side::Keys, chunk, Rows::All)?;
        Ok(KeysValues { k, v })
    }

    fn normed(&self, ops: &B, x: &B::Tensor) -> Result<Option<B::Tensor>> {
        self.before.as_ref().map(|norm| norm.of(ops, x)).transpose()
    }

    /// The norm of each head and the rotary embedding, as far as the layer has them; the shape stays.
    fn rotated(
        &self,
        ops: &B,
        x: B::Tensor,
        side: Side,
        chunk: &ChunkContext<'_, B>,
        rows: Rows,
    ) -> Result<B::Tensor> {
        let width = self.attention.width;
        let norm = self.head_norms.as_ref().map(|norms| norms[side as usize].of_heads());
        let (rope, x) = match (self.rotary, norm) {
            (Some(Rotary { rope, neighbours: false }), Some(norm)) => {
                let (angles, layout) = (chunk.angles(rope), chunk.rows());
                return Ok(ops.rms_norm_rope(x, norm, angles, width, layout, rows)?);
            }
            (Some(Rotary { rope, neighbours: false }), None) => (rope, x),
            (Some(Rotary { rope, neighbours: true }), norm) => {
                (rope, ops.neighbours_to_halves(normed_heads(ops, x, norm)?, width)?)
            }
            (None, norm) => return normed_heads(ops, x, norm),
        };
        Ok(ops.rope(x, chunk.angles(rope), width, chunk.rows(), rows)?)
    }

    /// What attention adds to `x`, whose rows are those of `q`.
    fn attend(
        &self,
        ops: &B,
        x: B::Tensor,
        q: B::Tensor,
        own: &KeysValues<B>,
        chunk: &ChunkContext<'_, B>,
        rows: Rows,
    ) -> Result<B::Tensor> {
        let asked = (rows, self.attention.then);
        let attended = self.weighed(ops, q, own.tensors(), chunk.prefix(), chunk, asked)?; // as q
        let x = self.output.forward_add(ops, x, attended, self.added.as_ref())?; // as x
        Norm::of_optional(self.after.as_ref(), ops, x)
    }

    /// Values by the attention that the queries pay to their keys; as `q`.
    fn weighed(
        &self,
        ops: &B,
        q: B::Tensor,
        keys_values: (&B::Tensor, &B::Tensor),
        prefix: Option<(&B::Tensor, &B::Tensor)>,
        chunk: &ChunkContext<'_, B>,
        (rows, then): (Rows, Then),
    ) -> Result<B::Tensor> {
        let (spec, layout) = (&self.attention.with_then(then), chunk.rows());
        Ok(match &self.distance {
            None => ops.attention(q, keys_values, prefix, spec, layout, rows)?,
            Some(distance) => {
                let by = distance.of(ops, chunk.distances(), &self.key, &self.query)?;
                ops.attention_by_distance(q, keys_values, by, spec, layout, rows)?
            }
        })
    }
}

/// The norm of each head, where there is one.
fn normed_heads<B: Ops>(
    ops: &B,
    x: B::Tensor,
    norm: Option<(&B::Weight<'_>, f32)>,
) -> Result<B::Tensor> {
    match norm {
        Some((weight, eps)) => Ok(ops.rms_norm_heads(x, weight, eps)?),
        None => Ok(x),
    }
}

/// Whose heads a norm is of: an index of `head_norms`.
#[derive(Clone, Copy)]
enum Side {
    Queries,
    Keys,
}
