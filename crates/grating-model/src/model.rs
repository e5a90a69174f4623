//! A model: which bytes it needs when, and the functions from embedding rows to scores.

use std::borrow::Borrow;
use std::collections::HashSet;

use grating_backend::{Format, HostBlock, Ops, Ragged, Scored, Widths};
use grating_io::{Checkpoint, TensorInfo};
use grating_kernels::Memory;

use crate::config::{Family, Form, ModelConfig, Positions};
use crate::context::{ChunkContext, KeysValues, PassContext};
use crate::error::{ModelError, Result};
use crate::families::decoder::{self, DecoderAttention, DecoderFeedForward};
use crate::families::encoder::{self, EncoderAttention, EncoderFeedForward};
use crate::gguf_names;
use crate::head::{self, Answers, Head, Stem, head_parts, stem_parts};
use crate::parts::{Part, Spec};
use crate::score::Logit;
use crate::tokenize::Encoding;
use crate::weights::{LayerWeights, format_of, widen};

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
    layers: Vec<LayerParts>,
    head: Vec<Part>,
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

/// An attention block bound to weights, ready to run over any number of chunks.
pub struct Attention<'w, B: Ops>(AttentionKind<'w, B>);

enum AttentionKind<'w, B: Ops> {
    Decoder(DecoderAttention<'w, B>),
    Encoder(EncoderAttention<'w, B>),
}

/// A feed-forward block bound to weights, ready to run over any number of chunks.
pub struct FeedForward<'w, B: Ops>(FeedForwardKind<'w, B>);

enum FeedForwardKind<'w, B: Ops> {
    Decoder(DecoderFeedForward<'w, B>),
    Encoder(EncoderFeedForward<'w, B>),
}

/// The parts of one layer.
#[derive(Debug, Clone)]
struct LayerParts {
    /// Those of the attention block first.
    parts: Vec<Part>,
    attention: usize,
}

impl Model {
    /// Checks `checkpoint` against `config`: every tensor there, of the right shape and a type that can be
    /// computed on, none too many, a finite head. `answers` are the tokens of a yes/no model. A stored head that
    /// differs from the table that `config` ties it to counts, as in transformers.
    ///
    /// # Errors
    /// A [`ModelError`] naming the tensor, what was expected and what was found.
    pub fn load(
        mut config: ModelConfig,
        checkpoint: &Checkpoint,
        answers: Option<Answers>,
    ) -> Result<Self> {
        if gguf_names::are_used(checkpoint) {
            config.follow_llama_cpp();
            config.answers_apart = head::answers_are_apart(&config, checkpoint);
        }
        let h = config.hidden;
        let (embeddings_prefix, token_table) = match config.family.is_decoder() {
            true => ("", "model.embed_tokens.weight"),
            false => (encoder::model_prefix(config.family), "embeddings.word_embeddings.weight"),
        };
        let mut token_table = Spec::new(token_table, [config.vocab, h]);
        if config.tied && config.form == Form::YesNo {
            // Some tools store the one table under the other name.
            token_table = token_table.or("lm_head.weight");
        }
        let token_embeddings = token_table.resolve(checkpoint, embeddings_prefix)?;
        config.tied &= !head::stored_head_counts(&config, checkpoint, answers)?;
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

    /// The position-embedding table of encoders, `[positions, hidden]`.
    pub fn position_embeddings(&self) -> Option<&Part> {
        self.position_embeddings.as_ref()
    }

    /// The tensors of layer `layer`, counted from 0: [`Self::attention_parts`], then [`Self::feed_forward_parts`].
    pub fn layer_parts(&self, layer: usize) -> &[Part] {
        &self.layers[layer].parts
    }

    /// The tensors of the attention block of layer `layer`.
    pub fn attention_parts(&self, layer: usize) -> &[Part] {
        let LayerParts { parts, attention } = &self.layers[layer];
        &parts[..*attention]
    }

    /// The tensors of the feed-forward block of layer `layer`.
    pub fn feed_forward_parts(&self, layer: usize) -> &[Part] {
        let LayerParts { parts, attention } = &self.layers[layer];
        &parts[*attention..]
    }

    /// The scoring head: small, kept for all queries.
    pub fn head_parts(&self) -> &[Part] {
        &self.head
    }

    /// Makes a stem of the weights of [`Self::stem_parts`], which `host` holds too.
    ///
    /// # Errors
    /// If a part is missing, or the tensor library fails.
    pub fn stem<'w, B: Ops>(
        &self,
        weights: &LayerWeights<'w, B>,
        host: &dyn HostBlock,
    ) -> Result<Stem<'w, B>> {
        Stem::bind(&self.config, weights, host, &self.stem)
    }

    /// Makes an attention block of the weights of [`Self::attention_parts`].
    ///
    /// # Errors
    /// If a part is missing, or the tensor library fails.
    pub fn attention<'w, B: Ops>(&self, weights: &LayerWeights<'w, B>) -> Result<Attention<'w, B>> {
        Ok(Attention(match self.config.family.is_decoder() {
            true => AttentionKind::Decoder(DecoderAttention::bind(weights)?),
            false => AttentionKind::Encoder(EncoderAttention::bind(weights)?),
        }))
    }

    /// Makes a feed-forward block of the weights of [`Self::feed_forward_parts`].
    ///
    /// # Errors
    /// If a part is missing, or the tensor library fails.
    pub fn feed_forward<'w, B: Ops>(
        &self,
        weights: &LayerWeights<'w, B>,
    ) -> Result<FeedForward<'w, B>> {
        Ok(FeedForward(match self.config.family.is_decoder() {
            true => FeedForwardKind::Decoder(DecoderFeedForward::bind(weights)?),
            false => FeedForwardKind::Encoder(EncoderFeedForward::bind(weights)?),
        }))
    }

    /// Makes a head of the weights of [`Self::head_parts`].
    ///
    /// # Errors
    /// If a part is missing, or the tensor library fails.
    pub fn head<'w, B: Ops>(&self, weights: &LayerWeights<'w, B>) -> Result<Head<'w, B>> {
        Head::bind(&self.config, weights)
    }

    /// What the chunks of a pass share; `longest` is its longest candidate in tokens.
    ///
    /// # Errors
    /// [`ModelError::TooManyTokens`], or the tensor library's.
    pub fn context<B: Ops>(&self, ops: &B, longest: usize) -> Result<PassContext<B>> {
        PassContext::new(ops, &self.config, longest)
    }

    /// Hidden states `[tokens, hidden]` before layer 0 of a chunk of candidates.
    ///
    /// # Errors
    /// [`ModelError::TokenOutOfRange`], what `rows` fails with, or the tensor library's.
    pub fn embed<B: Ops, E: Borrow<Encoding>>(
        &self,
        ops: &B,
        stem: &Stem<'_, B>,
        rows: &mut dyn RowSource,
        chunk: &[E],
    ) -> Result<B::Tensor> {
        let h = self.config.hidden;
        let ids: Vec<u32> = chunk.iter().flat_map(|e| e.borrow().ids.iter().copied()).collect();
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= self.config.vocab) {
            return Err(ModelError::TokenOutOfRange { id, rows: self.config.vocab });
        }
        if self.config.family.is_decoder() && self.config.form == Form::SequenceClassification {
            let mut last = chunk.iter().filter_map(|e| e.borrow().ids.last().copied());
            if let Some(id) = last.find(|&id| Some(id) == self.config.padding) {
                return Err(ModelError::EndsWithPadding { id });
            }
        }
        let x = ops.written(ids.len(), h, |x| -> Result<()> {
            rows.rows(self.token_embeddings.tensor(), &ids, x)?;
            if let (Some(table), Positions::Absolute { offset }) =
                (&self.position_embeddings, self.config.positions)
            {
                self.add_positions_and_types(stem, rows, table, offset, chunk, x)?;
            }
            Ok(())
        })?;
        stem.finish(ops, &self.config, x)
    }

    /// In the reference's order: (word + type) + position.
    fn add_positions_and_types<B: Ops, E: Borrow<Encoding>>(
        &self,
        stem: &Stem<'_, B>,
        rows: &mut dyn RowSource,
        table: &Part,
        offset: usize,
        chunk: &[E],
        x: &mut [f32],
    ) -> Result<()> {
        let h = self.config.hidden;
        let places = chunk
            .iter()
            .map(|encoding| self.position_rows(&encoding.borrow().ids, offset))
            .collect::<Result<Vec<Vec<u32>>>>()?;
        let first = places.iter().flatten().copied().min().unwrap_or(0);
        let last = places.iter().flatten().copied().max().unwrap_or(0);
        let ids: Vec<u32> = (first..=last).collect();
        let mut positions = Memory::default();
        let positions = positions.room(ids.len() * h);
        rows.rows(table.tensor(), &ids, positions)?;
        let mut x = x.chunks_exact_mut(h);
        for (encoding, places) in chunk.iter().map(Borrow::borrow).zip(&places) {
            for (token, place) in places.iter().enumerate() {
                let row = &positions[(place - first) as usize * h..][..h];
                // Families with one token type (XLM-RoBERTa) ignore the segment.
                let segment = encoding.type_ids.get(token).map_or(0, |&t| usize::from(t));
                let token_type = stem.token_type(h, segment.min(self.config.type_vocab - 1));
                let x = x.next().expect("x has a row for each token");
                for ((x, p), t) in x.iter_mut().zip(row).zip(token_type) {
                    *x = *x + *t + *p;
                }
            }
        }
        Ok(())
    }

    /// The row of each token's position. RoBERTa's line counts tokens that are not padding, and padding, wherever it
    /// stands, has the row before the first (`create_position_ids_from_input_ids`). What is attended to does not depend
    /// on it: the attention mask comes from the tokenizer, which adds its padding behind a text.
    fn position_rows(&self, ids: &[u32], offset: usize) -> Result<Vec<u32>> {
        let padding = self.config.padding.filter(|_| self.config.family == Family::XlmRoberta);
        let mut next = offset;
        let place = |&id: &u32| {
            if Some(id) == padding {
                let before = offset.checked_sub(1);
                return before.ok_or(ModelError::PaddingWithoutPosition { id });
            }
            next += 1;
            Ok(next - 1)
        };
        ids.iter().map(place).map(|place| Ok(place? as u32)).collect()
    }

    /// Whether leading tokens that candidates share can be computed once for all of them: where no token sees those
    /// that come after it.
    pub fn can_share_prefix(&self) -> bool {
        self.config.family.is_decoder()
    }

    /// Runs one attention block over a chunk: `[tokens, hidden] -> [tokens, hidden]`.
    ///
    /// # Errors
    /// The tensor library's.
    pub fn attend<B: Ops>(
        &self,
        ops: &B,
        block: &Attention<'_, B>,
        hidden: B::Tensor,
        chunk: &ChunkContext<'_, B>,
    ) -> Result<B::Tensor> {
        match &block.0 {
            AttentionKind::Decoder(block) => Ok(block.forward(ops, &self.config, hidden, chunk)?.0),
            AttentionKind::Encoder(block) => block.forward(ops, &self.config, hidden, chunk),
        }
    }

    /// [`Self::attend`] where only the scored token of each sequence goes on: `[tokens, hidden] ->
    /// [sequences, hidden]`. For the last layer; no bit of those rows differs.
    ///
    /// # Errors
    /// The tensor library's.
    pub fn attend_scored<B: Ops>(
        &self,
        ops: &B,
        block: &Attention<'_, B>,
        hidden: B::Tensor,
        chunk: &ChunkContext<'_, B>,
    ) -> Result<B::Tensor> {
        match &block.0 {
            AttentionKind::Decoder(block) => block.forward_scored(ops, &self.config, hidden, chunk),
            AttentionKind::Encoder(block) => block.forward_scored(ops, &self.config, hidden, chunk),
        }
    }

    /// [`Self::attend`] for the prefix that all candidates share; its keys and values go to [`PassContext::chunk`].
    ///
    /// # Errors
    /// The tensor library's.
    ///
    /// # Panics
    /// If the model [cannot share a prefix](Self::can_share_prefix).
    pub fn attend_prefix<B: Ops>(
        &self,
        ops: &B,
        block: &Attention<'_, B>,
        hidden: B::Tensor,
        chunk: &ChunkContext<'_, B>,
    ) -> Result<(B::Tensor, KeysValues<B>)> {
        self.prefix_block(block).forward(ops, &self.config, hidden, chunk)
    }

    /// [`Self::attend_prefix`] in the last layer, where nothing but keys and values is needed.
    ///
    /// # Errors
    /// The tensor library's.
    ///
    /// # Panics
    /// If the model [cannot share a prefix](Self::can_share_prefix).
    pub fn prefix_keys_values<B: Ops>(
        &self,
        ops: &B,
        block: &Attention<'_, B>,
        hidden: &B::Tensor,
        chunk: &ChunkContext<'_, B>,
    ) -> Result<KeysValues<B>> {
        self.prefix_block(block).keys_values(ops, &self.config, hidden, chunk)
    }

    fn prefix_block<'b, 'w, B: Ops>(
        &self,
        block: &'b Attention<'w, B>,
    ) -> &'b DecoderAttention<'w, B> {
        match &block.0 {
            AttentionKind::Decoder(block) => block,
            AttentionKind::Encoder(_) => panic!("encoders share no prefix"),
        }
    }

    /// Runs one feed-forward block over rows: `[rows, hidden] -> [rows, hidden]`.
    ///
    /// # Errors
    /// The tensor library's.
    pub fn feed<B: Ops>(
        &self,
        ops: &B,
        block: &FeedForward<'_, B>,
        hidden: B::Tensor,
    ) -> Result<B::Tensor> {
        match &block.0 {
            FeedForwardKind::Decoder(block) => block.forward(ops, &self.config, hidden),
            FeedForwardKind::Encoder(block) => block.forward(ops, &self.config, hidden),
        }
    }

    /// What rows sequences of such lengths make that continue a prefix of `prefix` tokens. A decoder's last token is
    /// scored, an encoder's first.
    ///
    /// # Panics
    /// If a sequence is empty.
    pub fn ragged(&self, lengths: impl IntoIterator<Item = usize>, prefix: usize) -> Ragged {
        let scored = match self.config.family.is_decoder() {
            true => Scored::Last,
            false => Scored::First,
        };
        Ragged::new(lengths, prefix, scored)
    }

    /// What the head makes of the scored tokens' hidden states after any layer, `[sequences, hidden]`; on the host
    /// [`Head::logits`] are the scores.
    ///
    /// # Errors
    /// The backend's.
    pub fn outputs<B: Ops>(
        &self,
        ops: &B,
        head: &Head<'_, B>,
        scored: &B::Tensor,
    ) -> Result<B::Tensor> {
        head.outputs(ops, &self.config, scored)
    }

    /// The model's own score of every sequence: [`Self::outputs`], waited for.
    ///
    /// # Errors
    /// The backend's.
    pub fn scores<B: Ops>(
        &self,
        ops: &B,
        head: &Head<'_, B>,
        scored: &B::Tensor,
    ) -> Result<Vec<Logit>> {
        let outputs = self.outputs(ops, head, scored)?;
        Ok(head.logits(ops.wait(ops.read(&outputs)?)?))
    }

    /// How the matrices of the layers are stored, one for each matrix.
    pub fn matrix_formats(&self) -> impl Iterator<Item = Format> + '_ {
        let parts = self.layers.iter().flat_map(|layer| &layer.parts);
        let matrices = parts.filter(|part| part.shape().len() == 2);
        matrices.filter_map(|part| format_of(part.dtype()))
    }

    /// The widths that a backend's workspace depends on.
    pub fn widths(&self) -> Widths {
        let config = &self.config;
        Widths {
            hidden: config.hidden,
            intermediate: config.intermediate,
            gated: config.family.is_decoder(),
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            causal: config.family.is_decoder(),
            rotary: matches!(config.positions, Positions::Rope { .. }),
        }
    }

    fn refuse_extra_tensors(&self, checkpoint: &Checkpoint) -> Result<()> {
        let parts = std::iter::once(&self.token_embeddings)
            .chain(&self.position_embeddings)
            .chain(&self.stem)
            .chain(self.layers.iter().flat_map(|layer| &layer.parts))
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
        buffer || unused_head || gguf_names::is_harmless(name)
    }
}

fn resolve_layer(
    config: &ModelConfig,
    checkpoint: &Checkpoint,
    layer: usize,
) -> Result<LayerParts> {
    let (prefix, attention, feed_forward) = match config.family.is_decoder() {
        true => (
            decoder::layer_prefix(layer),
            decoder::attention_specs(config),
            decoder::feed_forward_specs(config),
        ),
        false => (
            encoder::layer_prefix(config.family, layer),
            encoder::attention_specs(config),
            encoder::feed_forward_specs(config),
        ),
    };
    let parts = attention.iter().chain(&feed_forward).map(|s| s.resolve(checkpoint, &prefix));
    Ok(LayerParts { parts: parts.collect::<Result<_>>()?, attention: attention.len() })
}
