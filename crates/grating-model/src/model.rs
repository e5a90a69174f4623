//! A model: which bytes it needs when, and the functions from embedding rows to scores.

use std::borrow::Borrow;
use std::collections::HashSet;

use grating_backend::{Format, HostBlock, Ops, Ragged, Scored, Widths};
use grating_io::Checkpoint;

use crate::compression::TokenCompression;
use crate::config::{Form, ModelConfig};
use crate::context::{ChunkContext, ChunkLayout, KeysValues, PassContext};
use crate::embedding::{EmbeddingParts, RowSource, Stem};
use crate::error::{ModelError, Result};
use crate::head::{self, Answers, Head};
use crate::layers::{Attention, FeedForward, Mass, Paid};
use crate::llama_cpp;
use crate::load::LoadOptions;
use crate::parts::Part;
use crate::score::Logit;
use crate::spec::{LayerSpec, LinearSpec, ModelSpec, OutputSpec};
use crate::tokenize::Encoding;
use crate::weights::{LayerWeights, alike, format_of};

/// A model whose checkpoint has been checked against its configuration, tensor by tensor.
///
/// It holds names, shapes and places, no weights. The caller brings the bytes of the stem, of one layer after the
/// other and of the head, whenever and from wherever it likes, and keeps the hidden states.
#[derive(Debug, Clone)]
pub struct Model {
    config: ModelConfig,
    spec: ModelSpec,
    embedding: EmbeddingParts,
    layers: Vec<LayerParts>,
    head: Vec<Part>,
    compression: Option<TokenCompression>,
    /// Tensors of layers that are left out.
    left_out: HashSet<String>,
}

/// The parts of one layer.
#[derive(Debug, Clone)]
struct LayerParts {
    /// Those of the attention block first.
    parts: Vec<Part>,
    attention: usize,
}

impl LayerParts {
    fn resolve(spec: &LayerSpec, checkpoint: &Checkpoint) -> Result<Self> {
        let parts = spec.attention.tensors().chain(spec.feed_forward.tensors());
        let parts = parts.map(|tensor| tensor.resolve(checkpoint));
        let attention = spec.attention.tensors().count();
        Ok(LayerParts { parts: parts.collect::<Result<_>>()?, attention })
    }
}

impl Model {
    /// Checks `checkpoint` against a configuration and the specs made of it: every tensor there, of the right shape and
    /// a type that can be computed on, none too many, a finite head. `answers` are the tokens of a yes/no model. A stored
    /// head that differs from the table that `config` ties it to counts, as in transformers. With a cutoff only so many
    /// layers are the model's.
    ///
    /// # Errors
    /// A [`ModelError`] naming the tensor, what was expected and what was found.
    pub(crate) fn load(
        (mut config, mut spec): (ModelConfig, ModelSpec),
        checkpoint: &Checkpoint,
        answers: Option<Answers>,
        options: &LoadOptions,
    ) -> Result<Self> {
        let left_out = match options.cutoff_layers {
            Some(layers) => spec.cut(layers)?,
            None => HashSet::new(),
        };
        config.layers = spec.layers.len();
        let compression = options.compression.clone().map(|compression| {
            compression.checked(config.layers, spec.compressible, config.family.name())
        });
        let compression = compression.transpose()?.flatten();
        if llama_cpp::are_used(checkpoint) {
            llama_cpp::follow(&mut spec, &config);
        }
        let embedding = spec.embedding.resolve(checkpoint)?;
        if config.form == Form::YesNo {
            let rows = head::answer_rows(&config, &spec, checkpoint, answers)?;
            config.tied &= rows.name == spec.embedding.tokens.name;
            spec.head.output = OutputSpec::Answers(Some(rows));
        }
        let layers = spec.layers.iter().map(|layer| LayerParts::resolve(layer, checkpoint));
        let model = Model {
            layers: layers.collect::<Result<_>>()?,
            head: head::resolve(&spec.head, checkpoint)?,
            embedding,
            config,
            spec,
            compression,
            left_out,
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
        &self.embedding.tokens
    }

    /// What stands between embedding rows and layer 0: small, kept for all queries.
    pub fn stem_parts(&self) -> &[Part] {
        &self.embedding.stem
    }

    /// The position-embedding table of encoders, `[positions, hidden]`.
    pub fn position_embeddings(&self) -> Option<&Part> {
        self.embedding.positions.as_ref()
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
    /// If a part is missing, or the backend fails.
    pub fn stem<'w, B: Ops>(
        &self,
        weights: &LayerWeights<'w, B>,
        host: &dyn HostBlock,
    ) -> Result<Stem<'w, B>> {
        Stem::bind(&self.spec.embedding, weights, host)
    }

    /// Makes an attention block of the weights of [`Self::attention_parts`] of layer `layer`.
    ///
    /// # Errors
    /// If a part is missing, or the backend fails.
    pub fn attention<'w, B: Ops>(
        &self,
        layer: usize,
        weights: &LayerWeights<'w, B>,
    ) -> Result<Attention<'w, B>> {
        Attention::bind(weights, &self.spec.layers[layer].attention)
    }

    /// Makes a feed-forward block of the weights of [`Self::feed_forward_parts`] of layer `layer`.
    ///
    /// # Errors
    /// If a part is missing, or the backend fails.
    pub fn feed_forward<'w, B: Ops>(
        &self,
        layer: usize,
        weights: &LayerWeights<'w, B>,
    ) -> Result<FeedForward<'w, B>> {
        FeedForward::bind(weights, &self.spec.layers[layer].feed_forward)
    }

    /// Makes a head of the weights of [`Self::head_parts`].
    ///
    /// # Errors
    /// If a part is missing, or the backend fails.
    pub fn head<'w, B: Ops>(&self, weights: &LayerWeights<'w, B>) -> Result<Head<'w, B>> {
        Head::bind(&self.spec.head, self.spec.scored, weights)
    }

    /// What the chunks of a pass share, in part the stem's; `longest` is its longest candidate in tokens.
    ///
    /// # Errors
    /// [`ModelError::TooManyTokens`], or the backend's.
    pub fn context<B: Ops>(
        &self,
        ops: &B,
        stem: &Stem<'_, B>,
        longest: usize,
    ) -> Result<PassContext<B>> {
        let positions = self.config.max_positions;
        if longest > positions {
            return Err(ModelError::TooManyTokens { tokens: longest, positions });
        }
        PassContext::new(ops, &self.spec.ropes, stem.distances(), longest)
    }

    /// Hidden states `[tokens, hidden]` before layer 0 of a chunk of candidates.
    ///
    /// # Errors
    /// [`ModelError::TokenOutOfRange`], what `rows` fails with, or the backend's.
    pub fn embed<B: Ops, E: Borrow<Encoding>>(
        &self,
        ops: &B,
        stem: &Stem<'_, B>,
        rows: &mut dyn RowSource,
        chunk: &[E],
    ) -> Result<B::Tensor> {
        if let Some(padding) = self.spec.never_last {
            let mut last = chunk.iter().filter_map(|e| e.borrow().ids.last().copied());
            if let Some(id) = last.find(|&id| id == padding) {
                return Err(ModelError::EndsWithPadding { id });
            }
        }
        stem.embed(ops, (&self.spec.embedding, &self.embedding), rows, chunk)
    }

    /// Whether leading tokens that candidates share can be computed once for all of them: where no token sees those
    /// that come after it.
    pub fn can_share_prefix(&self) -> bool {
        self.spec.is_causal()
    }

    /// Whether scores are read from one token of each sequence, so that the last layer can leave out the others.
    pub fn scores_one_token(&self) -> bool {
        self.spec.scored != Scored::Mean
    }

    /// How passages are compressed on their way; none where all of their tokens go through every layer.
    pub fn compression(&self) -> Option<&TokenCompression> {
        self.compression.as_ref()
    }

    /// Hidden states in which neighbours have become one, their mean: `[tokens, hidden] -> [groups, hidden]`, from the
    /// first row on as many at a time as `groups` says.
    ///
    /// # Errors
    /// The backend's.
    ///
    /// # Panics
    /// If a group is empty.
    pub fn merged<B: Ops>(
        &self,
        ops: &B,
        hidden: &B::Tensor,
        groups: impl IntoIterator<Item = usize>,
    ) -> Result<B::Tensor> {
        let layout = ops.layout(&Ragged::new(groups, 0, Scored::Mean))?;
        Ok(ops.mean_rows(hidden, &layout)?)
    }

    /// Runs one attention block over a chunk: `[tokens, hidden] -> [tokens, hidden]`.
    ///
    /// # Errors
    /// The backend's.
    pub fn attend<B: Ops>(
        &self,
        ops: &B,
        block: &Attention<'_, B>,
        hidden: B::Tensor,
        chunk: &ChunkContext<'_, B>,
    ) -> Result<B::Tensor> {
        Ok(block.forward(ops, hidden, chunk)?.0)
    }

    /// [`Self::attend`] that also tells of each row what attention is paid to it or by it, `[tokens]`. No bit of the hidden
    /// states differs.
    ///
    /// # Errors
    /// The backend's.
    ///
    /// # Panics
    /// If the model [scores more than one token](Self::scores_one_token).
    pub fn attend_with_mass<B: Ops>(
        &self,
        ops: &B,
        block: &Attention<'_, B>,
        hidden: B::Tensor,
        chunk: &ChunkContext<'_, B>,
        mass: Mass<'_>,
    ) -> Result<(B::Tensor, Paid<B>)> {
        assert!(self.scores_one_token(), "of a mean there is no token that pays attention");
        block.forward_with_mass(ops, hidden, chunk, mass)
    }

    /// Whether a layer attends to whole sequences, however long, not only to what is near.
    pub fn sees_all(&self, layer: usize) -> bool {
        let window = self.spec.layers[layer].attention.attention.window;
        window.is_none_or(|window| window >= self.config.max_positions)
    }

    /// [`Self::attend`] where only the scored token of each sequence goes on: `[tokens, hidden] ->
    /// [sequences, hidden]`. For the last layer; no bit of those rows differs.
    ///
    /// # Errors
    /// The backend's.
    ///
    /// # Panics
    /// If the model [scores more than one token](Self::scores_one_token).
    pub fn attend_scored<B: Ops>(
        &self,
        ops: &B,
        block: &Attention<'_, B>,
        hidden: B::Tensor,
        chunk: &ChunkContext<'_, B>,
    ) -> Result<B::Tensor> {
        assert!(self.scores_one_token(), "the mean of all tokens is not one token's state");
        block.forward_scored(ops, hidden, chunk)
    }

    /// [`Self::attend`] for the prefix that all candidates share; its keys and values go to [`PassContext::chunk`].
    ///
    /// # Errors
    /// The backend's.
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
        assert!(self.can_share_prefix(), "a prefix that sees what comes after it is not shared");
        block.forward(ops, hidden, chunk)
    }

    /// [`Self::attend_prefix`] in the last layer, where nothing but keys and values is needed.
    ///
    /// # Errors
    /// The backend's.
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
        assert!(self.can_share_prefix(), "a prefix that sees what comes after it is not shared");
        block.keys_values(ops, hidden, chunk)
    }

    /// Runs one feed-forward block over rows: `[rows, hidden] -> [rows, hidden]`.
    ///
    /// # Errors
    /// The backend's.
    pub fn feed<B: Ops>(
        &self,
        ops: &B,
        block: &FeedForward<'_, B>,
        hidden: B::Tensor,
    ) -> Result<B::Tensor> {
        block.forward(ops, hidden)
    }

    /// What rows sequences of such lengths make that continue a prefix of `prefix` tokens, and what of them is scored.
    ///
    /// # Panics
    /// If a sequence is empty.
    pub fn ragged(&self, lengths: impl IntoIterator<Item = usize>, prefix: usize) -> Ragged {
        Ragged::new(lengths, prefix, self.spec.scored)
    }

    /// What the head reads of each sequence of a chunk, from the hidden states of all of its tokens after any layer:
    /// `[tokens, hidden] -> [sequences, hidden]`. After [`Self::attend_scored`] nothing is left to pool.
    ///
    /// # Errors
    /// The backend's.
    pub fn pooled<B: Ops>(
        &self,
        ops: &B,
        head: &Head<'_, B>,
        hidden: &B::Tensor,
        layout: &ChunkLayout<B>,
    ) -> Result<B::Tensor> {
        head.pooled(ops, hidden, layout.rows())
    }

    /// Whether there is a score after layer `layer`: most heads read every layer's hidden states, some models have one
    /// for each of the later layers. There always is after the last one.
    pub fn scores_after(&self, layer: usize) -> bool {
        self.spec.head.output.scores_after(layer)
    }

    /// What the head makes of [pooled](Self::pooled) hidden states after layer `layer`, `[sequences, hidden]`; on the
    /// host [`Head::logits`] are the scores. `None` where [there is no score](Self::scores_after).
    ///
    /// # Errors
    /// The backend's.
    pub fn outputs<B: Ops>(
        &self,
        ops: &B,
        head: &Head<'_, B>,
        layer: usize,
        scored: &B::Tensor,
    ) -> Result<Option<B::Tensor>> {
        head.outputs(ops, layer, scored)
    }

    /// The model's own score of every sequence after layer `layer`: [`Self::outputs`], waited for.
    ///
    /// # Errors
    /// The backend's.
    pub fn scores<B: Ops>(
        &self,
        ops: &B,
        head: &Head<'_, B>,
        layer: usize,
        scored: &B::Tensor,
    ) -> Result<Option<Vec<Logit>>> {
        let Some(outputs) = self.outputs(ops, head, layer, scored)? else { return Ok(None) };
        Ok(Some(head.logits(ops.wait(ops.read(&outputs)?)?)))
    }

    /// How the matrices of the layers are stored, one for each matrix.
    pub fn matrix_formats(&self) -> impl Iterator<Item = Format> + '_ {
        let parts = self.layers.iter().flat_map(|layer| &layer.parts);
        let matrices = parts.filter(|part| part.shape().len() == 2);
        matrices.filter_map(|part| format_of(part.dtype()))
    }

    /// The widths that a backend's workspace depends on, of the layer that takes most of each.
    pub fn widths(&self) -> Widths {
        let config = &self.config;
        let any = |has: fn(&LayerSpec) -> bool| self.spec.layers.iter().any(has);
        Widths::new(config.hidden, config.intermediate)
            .with_heads(config.heads, config.kv_heads, config.head_dim)
            .with_gate(any(|layer| layer.feed_forward.gate.is_some()))
            .with_whole_attention(any(|layer| !layer.attention.attention.causal))
            .with_distance_rows(self.distance_rows())
            .with_angle_tables(self.spec.ropes.len())
            .with_format(alike(self.matrix_formats().map(Some)), self.gates_are_alike())
            .with_bf16(self.matrix_formats().any(|format| format == Format::Bf16))
            .with_ends(
                any(|LayerSpec { attention, feed_forward }| {
                    attention.output.factor.or(feed_forward.down.factor).is_some()
                }),
                any(|LayerSpec { attention, feed_forward }| {
                    attention.added.as_ref().or(feed_forward.added.as_ref()).is_some()
                }),
            )
    }

    /// Whether each gate is stored as the projection beside it.
    fn gates_are_alike(&self) -> bool {
        let mut layers = self.spec.layers.iter().zip(&self.layers);
        layers.all(|(LayerSpec { feed_forward, .. }, LayerParts { parts, .. })| {
            let dtype = |map: &LinearSpec| {
                let part = parts.iter().find(|part| *part.spec() == map.weight);
                part.map(Part::dtype)
            };
            feed_forward.gate.as_ref().is_none_or(|gate| dtype(gate) == dtype(&feed_forward.up))
        })
    }

    fn distance_rows(&self) -> usize {
        let layers = self.spec.layers.iter();
        let rows =
            layers.filter_map(|layer| Some(layer.attention.distance.as_ref()?.distances.rows()));
        rows.max().unwrap_or(0)
    }

    fn refuse_extra_tensors(&self, checkpoint: &Checkpoint) -> Result<()> {
        let embedding = &self.embedding;
        let parts = std::iter::once(&embedding.tokens)
            .chain(&embedding.positions)
            .chain(&embedding.stem)
            .chain(self.layers.iter().flat_map(|layer| &layer.parts))
            .chain(&self.head);
        let known: HashSet<&str> = parts.map(|part| part.tensor().name.as_str()).collect();
        match checkpoint.tensors().find(|t| {
            let name = t.name.as_str();
            !known.contains(name) && !self.left_out.contains(name) && !self.is_unused(name)
        }) {
            Some(extra) => Err(ModelError::ExtraTensor { tensor: extra.name.clone() }),
            None => Ok(()),
        }
    }

    /// Tensors that published checkpoints carry and that no score depends on: buffers, pre-training heads.
    fn is_unused(&self, name: &str) -> bool {
        let buffer = name.ends_with(".position_ids") || name.ends_with(".rotary_emb.inv_freq");
        let is_unused = self.config.family.definition().is_unused;
        buffer || is_unused(name) || llama_cpp::is_unused(name)
    }
}
