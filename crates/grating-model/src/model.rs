//! A model: which bytes it needs when, and the functions from embedding rows to scores.

use std::borrow::Borrow;
use std::collections::HashSet;

use grating_io::{Checkpoint, TensorInfo};

use crate::config::{ModelConfig, Positions};
use crate::error::{ModelError, Result};
use crate::families::{decoder, encoder};
use crate::head::{Answers, Head, Stem, head_parts, stem_parts};
use crate::ops::Ops;
use crate::parts::{Part, Spec};
use crate::ragged::Ragged;
use crate::rope::Rope;
use crate::score::Logit;
use crate::tokenize::Encoding;
use crate::weights::{LayerWeights, widen};

/// A model whose checkpoint has been checked against its configuration, tensor by tensor.
///
/// It holds names, shapes and places, no weights. The caller brings the bytes of the stem, of one layer after the
/// other and of the head, whenever and from wherever it likes, and keeps the hidden states.
#[derive(Debug, Clone)]
pub struct Model {
    config: ModelConfig,
    token_embeddings: Part,
    position_embeddings: Option<Part>,
    stem: Vec<Part>,
    layers: Vec<Vec<Part>>,
    head: Vec<Part>,
    rope: Option<Rope>,
}

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
        let mut bytes = vec![0; columns * table.dtype.bits() as usize / 8];
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

/// What the layers need to know of a chunk: the sequences' places and their rotary angles. Made once per chunk.
pub struct ChunkContext<O: Ops> {
    ragged: Ragged,
    angles: Option<(O::Tensor, O::Tensor)>,
}

impl<O: Ops> ChunkContext<O> {
    /// Where each sequence lies.
    pub fn ragged(&self) -> &Ragged {
        &self.ragged
    }

    /// Cosines and sines, `[tokens, head_dim / 2]` each.
    pub(crate) fn angles(&self) -> (&O::Tensor, &O::Tensor) {
        let (cos, sin) = self.angles.as_ref().expect("decoders' contexts are made with angles");
        (cos, sin)
    }
}

/// A layer bound to weights, ready to run over any number of chunks.
pub struct Layer<'w, O: Ops>(LayerKind<'w, O>);

enum LayerKind<'w, O: Ops> {
    Decoder(decoder::DecoderLayer<'w, O>),
    Encoder(encoder::EncoderLayer<'w, O>),
}

impl Model {
    /// Checks `checkpoint` against `config`: every tensor there, of the right shape and a type that can be
    /// computed on, none too many, a finite head. `answers` are the two tokens of a yes/no model.
    ///
    /// # Errors
    /// A [`ModelError`] naming the tensor, what was expected and what was found.
    pub fn load(
        config: ModelConfig,
        checkpoint: &Checkpoint,
        answers: Option<Answers>,
    ) -> Result<Self> {
        let h = config.hidden;
        let (embeddings_prefix, token_table) = match config.family.is_decoder() {
            true => ("", "model.embed_tokens.weight"),
            false => (encoder::model_prefix(config.family), "embeddings.word_embeddings.weight"),
        };
        let token_embeddings =
            Spec::new(token_table, [config.vocab, h]).resolve(checkpoint, embeddings_prefix)?;
        let position_embeddings = match config.positions {
            Positions::Rope { .. } => None,
            Positions::Absolute { offset } => {
                let rows = config.max_positions + offset;
                let spec = Spec::new("embeddings.position_embeddings.weight", [rows, h]);
                Some(spec.resolve(checkpoint, embeddings_prefix)?)
            }
        };
        let model = Model {
            stem: stem_parts(&config, checkpoint)?,
            layers: (0..config.layers)
                .map(|layer| resolve_layer(&config, checkpoint, layer))
                .collect::<Result<_>>()?,
            head: head_parts(&config, checkpoint, answers)?,
            rope: match config.positions {
                Positions::Rope { theta, scaling } => {
                    Some(Rope::new(theta, scaling, config.head_dim))
                }
                Positions::Absolute { .. } => None,
            },
            token_embeddings,
            position_embeddings,
            config,
        };
        model.refuse_extra_tensors(checkpoint)?;
        Ok(model)
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The token-embedding table, `[vocab, hidden]`.
    pub fn token_embeddings(&self) -> &Part {
        &self.token_embeddings
    }

    /// What stands between embedding rows and layer 0: small, kept for all queries.
    pub fn stem_parts(&self) -> &[Part] {
        &self.stem
    }

    /// The tensors of layer `layer`, counted from 0.
    pub fn layer_parts(&self, layer: usize) -> &[Part] {
        &self.layers[layer]
    }

    /// The scoring head: small, kept for all queries.
    pub fn head_parts(&self) -> &[Part] {
        &self.head
    }

    /// Makes a stem of the bytes of [`Self::stem_parts`].
    ///
    /// # Errors
    /// If a part is missing, or the tensor library fails.
    pub fn stem<'w, O: Ops>(&self, ops: &O, weights: &LayerWeights<'w>) -> Result<Stem<'w, O>> {
        Stem::bind(ops, &self.config, weights)
    }

    /// Makes a layer of the bytes of [`Self::layer_parts`].
    ///
    /// # Errors
    /// If a part is missing, or the tensor library fails.
    pub fn layer<'w, O: Ops>(&self, ops: &O, weights: &LayerWeights<'w>) -> Result<Layer<'w, O>> {
        Ok(Layer(match self.config.family.is_decoder() {
            true => LayerKind::Decoder(decoder::DecoderLayer::bind(ops, weights)?),
            false => LayerKind::Encoder(encoder::EncoderLayer::bind(ops, weights)?),
        }))
    }

    /// Makes a head of the bytes of [`Self::head_parts`].
    ///
    /// # Errors
    /// If a part is missing, or the tensor library fails.
    pub fn head<'w, O: Ops>(&self, ops: &O, weights: &LayerWeights<'w>) -> Result<Head<'w, O>> {
        Head::bind(ops, &self.config, weights)
    }

    /// Lays out a chunk of sequences of the given lengths in tokens.
    ///
    /// # Errors
    /// [`ModelError::TooManyTokens`], or the tensor library's.
    pub fn context<O: Ops>(&self, ops: &O, ragged: Ragged) -> Result<ChunkContext<O>> {
        let longest = ragged.sequences().map(|s| s.len()).max().unwrap_or(0);
        if longest > self.config.max_positions {
            let positions = self.config.max_positions;
            return Err(ModelError::TooManyTokens { tokens: longest, positions });
        }
        let angles = match &self.rope {
            None => None,
            Some(rope) => {
                let (cos, sin) = rope.angles(ragged.positions());
                let (rows, columns) = (ragged.tokens(), self.config.head_dim / 2);
                Some((ops.upload(cos, rows, columns)?, ops.upload(sin, rows, columns)?))
            }
        };
        Ok(ChunkContext { ragged, angles })
    }

    /// Hidden states `[tokens, hidden]` before layer 0 of a chunk of candidates.
    ///
    /// # Errors
    /// [`ModelError::TokenOutOfRange`], what `rows` fails with, or the tensor library's.
    pub fn embed<O: Ops, E: Borrow<Encoding>>(
        &self,
        ops: &O,
        stem: &Stem<'_, O>,
        rows: &mut dyn RowSource,
        chunk: &[E],
    ) -> Result<O::Tensor> {
        let h = self.config.hidden;
        let ids: Vec<u32> = chunk.iter().flat_map(|e| e.borrow().ids.iter().copied()).collect();
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= self.config.vocab) {
            return Err(ModelError::TokenOutOfRange { id, rows: self.config.vocab });
        }
        let mut x = vec![0.0; ids.len() * h];
        rows.rows(self.token_embeddings.tensor(), &ids, &mut x)?;
        if let (Some(table), Positions::Absolute { offset }) =
            (&self.position_embeddings, self.config.positions)
        {
            self.add_positions_and_types(stem, rows, table, offset, chunk, &mut x)?;
        }
        stem.finish(ops, &self.config, ops.upload(x, ids.len(), h)?)
    }

    /// In the reference's order: (word + type) + position.
    fn add_positions_and_types<O: Ops, E: Borrow<Encoding>>(
        &self,
        stem: &Stem<'_, O>,
        rows: &mut dyn RowSource,
        table: &Part,
        offset: usize,
        chunk: &[E],
        x: &mut [f32],
    ) -> Result<()> {
        let h = self.config.hidden;
        let longest = chunk.iter().map(|e| e.borrow().ids.len()).max().unwrap_or(0);
        let ids: Vec<u32> = (offset..offset + longest).map(|p| p as u32).collect();
        let mut positions = vec![0.0; longest * h];
        rows.rows(table.tensor(), &ids, &mut positions)?;
        let mut x = x.chunks_exact_mut(h);
        for encoding in chunk.iter().map(Borrow::borrow) {
            for (position, row) in positions.chunks_exact(h).take(encoding.ids.len()).enumerate() {
                // Families with one token type (XLM-RoBERTa) ignore the segment.
                let segment = encoding.type_ids.get(position).map_or(0, |&t| usize::from(t));
                let token_type = stem.token_type(h, segment.min(self.config.type_vocab - 1));
                let x = x.next().expect("x has a row for each token");
                for ((x, p), t) in x.iter_mut().zip(row).zip(token_type) {
                    *x = *x + *t + *p;
                }
            }
        }
        Ok(())
    }

    /// Runs one layer over a chunk: `[tokens, hidden] -> [tokens, hidden]`.
    ///
    /// # Errors
    /// The tensor library's.
    pub fn forward<O: Ops>(
        &self,
        ops: &O,
        layer: &Layer<'_, O>,
        hidden: O::Tensor,
        context: &ChunkContext<O>,
    ) -> Result<O::Tensor> {
        match &layer.0 {
            LayerKind::Decoder(layer) => layer.forward(ops, &self.config, hidden, context),
            LayerKind::Encoder(layer) => layer.forward(ops, &self.config, hidden, context),
        }
    }

    /// The model's own score of every sequence from the hidden states after any layer.
    ///
    /// # Errors
    /// The tensor library's.
    pub fn scores<O: Ops>(
        &self,
        ops: &O,
        head: &Head<'_, O>,
        hidden: &O::Tensor,
        ragged: &Ragged,
    ) -> Result<Vec<Logit>> {
        head.scores(ops, &self.config, hidden, ragged)
    }

    fn refuse_extra_tensors(&self, checkpoint: &Checkpoint) -> Result<()> {
        let parts = std::iter::once(&self.token_embeddings)
            .chain(&self.position_embeddings)
            .chain(&self.stem)
            .chain(self.layers.iter().flatten())
            .chain(&self.head);
        let known: HashSet<&str> = parts.map(|part| part.tensor().name.as_str()).collect();
        match checkpoint
            .tensors()
            .find(|t| !known.contains(t.name.as_str()) && !self.is_harmless(&t.name))
        {
            Some(extra) => Err(ModelError::ExtraTensor { tensor: extra.name.clone() }),
            None => Ok(()),
        }
    }

    /// Tensors that published checkpoints carry and that no score depends on: buffers, pre-training heads.
    fn is_harmless(&self, name: &str) -> bool {
        let buffer = name.ends_with(".position_ids") || name.ends_with(".rotary_emb.inv_freq");
        let unused_head = match self.config.family.is_decoder() {
            // A tied head stored a second time, or the language-model head of a converted classifier.
            true => name == "lm_head.weight",
            false => {
                name.starts_with("cls.")
                    || name.starts_with("lm_head.")
                    || name.starts_with("roberta.pooler.")
            }
        };
        buffer || unused_head
    }
}

fn resolve_layer(config: &ModelConfig, checkpoint: &Checkpoint, layer: usize) -> Result<Vec<Part>> {
    let (prefix, specs) = match config.family.is_decoder() {
        true => (decoder::layer_prefix(layer), decoder::layer_specs(config)),
        false => (encoder::layer_prefix(config.family, layer), encoder::layer_specs(config)),
    };
    specs.iter().map(|spec| spec.resolve(checkpoint, &prefix)).collect()
}
