//! From token ids to the hidden states before layer 0.

use std::borrow::Borrow;
use std::sync::Arc;

use grating_backend::{HostBlock, Ops};
use grating_io::{Checkpoint, TensorInfo};
use grating_memory::Allocation;

use crate::error::{ModelError, Result};
use crate::layers::linear::Linear;
use crate::layers::norm::Norm;
use crate::parts::Part;
use crate::spec::{DistanceTableSpec, EmbeddingSpec, PositionSpec, TensorSpec};
use crate::tokenize::Encoding;
use crate::weights::{LayerWeights, TensorView, widen};

/// Rows of an embedding table, from wherever they are kept.
pub trait RowSource {
    /// Writes the rows `ids` of `table` to `out`, `[ids.len(), columns]` in f32. Ids may repeat.
    ///
    /// # Errors
    /// Whatever reading fails with.
    fn rows(&mut self, table: &TensorInfo, ids: &[u32], out: &mut [f32]) -> Result<()>;
}

/// Reads each distinct row on demand; nothing is kept.
impl RowSource for Checkpoint {
    fn rows(&mut self, table: &TensorInfo, ids: &[u32], out: &mut [f32]) -> Result<()> {
        let columns = table.shape[1];
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|&i| ids[i]);
        let row_bytes = table.dtype.byte_len(&[columns]).expect("a row is whole blocks");
        let mut bytes = vec![0; row_bytes];
        let mut previous: Option<usize> = None;
        for i in order {
            match previous {
                Some(p) if ids[p] == ids[i] => {
                    out.copy_within(p * columns..(p + 1) * columns, i * columns)
                }
                _ => {
                    self.read_range(table, u64::from(ids[i]) * bytes.len() as u64, &mut bytes)?;
                    widen(table.dtype, &bytes, &mut out[i * columns..(i + 1) * columns]);
                }
            }
            previous = Some(i);
        }
        Ok(())
    }
}

/// The tables that rows are read from on demand, and what is resident of an embedding.
#[derive(Debug, Clone)]
pub(crate) struct EmbeddingParts {
    pub(crate) tokens: Part,
    pub(crate) positions: Option<Part>,
    /// Token types, norms and what lies between them.
    pub(crate) stem: Vec<Part>,
}

impl EmbeddingSpec {
    pub(crate) fn resolve(&self, checkpoint: &Checkpoint) -> Result<EmbeddingParts> {
        let part = |spec: &TensorSpec| spec.resolve(checkpoint);
        Ok(EmbeddingParts {
            tokens: part(&self.tokens)?,
            positions: self.positions.as_ref().map(|p| part(&p.table)).transpose()?,
            stem: self.stem_tensors().map(part).collect::<Result<_>>()?,
        })
    }
}

/// What stands between embedding rows and layer 0, bound: nothing in most decoders.
pub struct Stem<'w, B: Ops> {
    norm: Option<Norm<'w, B>>,
    project: Option<Linear<'w, B>>,
    after: Option<Norm<'w, B>>,
    /// `[rows, hidden]`, normalised.
    distances: Option<Arc<B::Tensor>>,
    /// `[types, width]`
    token_types: Vec<f32>,
}

impl<'w, B: Ops> Stem<'w, B> {
    /// `host` holds the bytes of the slot's block.
    pub(crate) fn bind(
        spec: &EmbeddingSpec,
        weights: &LayerWeights<'w, B>,
        host: &dyn HostBlock,
    ) -> Result<Self> {
        let on_host = |tensor: &TensorSpec| {
            let index = weights.index(tensor)?;
            let part = weights.part(index);
            TensorView::new(part.dtype(), part.shape(), host.bytes(index))
        };
        let token_types = match &spec.types {
            // Added on the host, to rows that come from there.
            Some(types) => on_host(types)?.to_f32(),
            None => Vec::new(),
        };
        let distances = match &spec.distances {
            Some(DistanceTableSpec { table, norm }) => {
                let view = on_host(table)?;
                let [rows, hidden] = table.shape[..] else { unreachable!("a table") };
                let x = weights.backend().written(rows, hidden, |x| -> Result<()> {
                    view.widen_into(x);
                    Ok(())
                })?;
                let norm = Norm::bind_optional(weights, norm.as_ref())?;
                Some(Arc::new(Norm::of_optional(norm.as_ref(), weights.backend(), x)?))
            }
            None => None,
        };
        let project = spec.project.as_ref().map(|map| Linear::bind(weights, map)).transpose()?;
        Ok(Stem {
            norm: Norm::bind_optional(weights, spec.norm.as_ref())?,
            project,
            after: Norm::bind_optional(weights, spec.after.as_ref())?,
            distances,
            token_types,
        })
    }

    /// The table of distances between tokens, normalised.
    pub(crate) fn distances(&self) -> Option<Arc<B::Tensor>> {
        self.distances.clone()
    }

    /// Hidden states `[tokens, hidden]` of the tokens of a chunk's candidates, one after the other.
    pub(crate) fn embed<E: Borrow<Encoding>>(
        &self,
        ops: &B,
        (spec, parts): (&EmbeddingSpec, &EmbeddingParts),
        rows: &mut dyn RowSource,
        chunk: &[E],
    ) -> Result<B::Tensor> {
        let [vocab, width] = spec.tokens.shape[..] else { unreachable!("a table") };
        let ids: Vec<u32> = chunk.iter().flat_map(|e| e.borrow().ids.iter().copied()).collect();
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab) {
            return Err(ModelError::TokenOutOfRange { id, rows: vocab });
        }
        let x = ops.written(ids.len(), width, |x| -> Result<()> {
            rows.rows(parts.tokens.tensor(), &ids, x)?;
            if let Some(factor) = spec.factor {
                x.iter_mut().for_each(|x| *x *= factor);
            }
            // In the reference's order: (word + type) + position.
            self.add_types(chunk, x, width);
            match (&spec.positions, &parts.positions) {
                (Some(spec), Some(table)) => add_positions(spec, table, rows, chunk, x),
                _ => Ok(()),
            }
        })?;
        let x = Norm::of_optional(self.norm.as_ref(), ops, x)?;
        let x = match &self.project {
            Some(project) => project.forward(ops, &x)?, // [tokens, hidden]
            None => x,
        };
        Norm::of_optional(self.after.as_ref(), ops, x)
    }

    fn add_types<E: Borrow<Encoding>>(&self, chunk: &[E], x: &mut [f32], hidden: usize) {
        let Some(last) = (self.token_types.len() / hidden).checked_sub(1) else { return };
        // Families with one token type (XLM-RoBERTa) ignore the segment.
        let types = chunk.iter().map(Borrow::borrow).flat_map(|encoding| {
            let of = |token: usize| encoding.type_ids.get(token).map_or(0, |&t| usize::from(t));
            (0..encoding.ids.len()).map(move |token| of(token).min(last))
        });
        for (x, kind) in x.chunks_exact_mut(hidden).zip(types) {
            add(x, &self.token_types[kind * hidden..][..hidden]);
        }
    }
}

fn add_positions<E: Borrow<Encoding>>(
    spec: &PositionSpec,
    table: &Part,
    rows: &mut dyn RowSource,
    chunk: &[E],
    x: &mut [f32],
) -> Result<()> {
    let hidden = table.shape()[1];
    let places = chunk.iter().map(|encoding| spec.rows(&encoding.borrow().ids));
    let places = places.collect::<Result<Vec<Vec<u32>>>>()?;
    let first = places.iter().flatten().copied().min().unwrap_or(0);
    let last = places.iter().flatten().copied().max().unwrap_or(0);
    let ids: Vec<u32> = (first..=last).collect();
    let mut positions = Allocation::zeroed(ids.len() * hidden * size_of::<f32>());
    let positions = &mut positions.as_mut_slice_of::<f32>()[..ids.len() * hidden];
    rows.rows(table.tensor(), &ids, positions)?;
    for (x, place) in x.chunks_exact_mut(hidden).zip(places.iter().flatten()) {
        add(x, &positions[(place - first) as usize * hidden..][..hidden]);
    }
    Ok(())
}

fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += *y;
    }
}

impl PositionSpec {
    /// The row of each token's position. RoBERTa's line counts tokens that are not padding, and padding, wherever it
    /// stands, has the row before the first (`create_position_ids_from_input_ids`). What is attended to does not depend
    /// on it: the attention mask comes from the tokenizer, which adds its padding behind a text.
    fn rows(&self, ids: &[u32]) -> Result<Vec<u32>> {
        let mut next = self.first;
        let place = |&id: &u32| {
            if Some(id) == self.padding {
                let before = self.first.checked_sub(1);
                return before.ok_or(ModelError::PaddingWithoutPosition { id });
            }
            next += 1;
            Ok(next - 1)
        };
        ids.iter().map(place).map(|place| Ok(place? as u32)).collect()
    }
}
