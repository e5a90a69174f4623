//! Which weights make a residual stream carry relevance: the construction behind planted checkpoints.
//!
//! The hidden state has a few reserved dimensions. A word's embedding holds, in `RELEVANCE`, how
//! relevant it makes a text, in `CONSTANT` a one, and in the noise dimensions random numbers. No
//! weight writes to them, so they are the same in every layer. In each layer the first attention head
//! looks at all positions alike (its queries are zero), so its values can hold a mean over the whole
//! text of any mixture of these dimensions; that mean is the only thing that is ever added to `SCORE`,
//! the one dimension that the head reads. It lies along a random direction of some channels, as what a
//! trained model knows does: in a single one, rounding that number to 8 bits would be most of the
//! error of quantized runs. Mixtures are chosen so that the score after layer i is
//!
//! ```text
//! mean_i + std_i * (correlation_i * relevance + sqrt(1 - correlation_i^2) * noise_i)
//! ```
//!
//! with the profile's figures, relevance and noise standardised over texts, and noise_i correlated with
//! noise_(i-1) as the profile says. All other weights are random; what they add to the residual
//! stream is small, so that norms do not blur the signal. Every matrix is full and is multiplied.

use std::collections::HashMap;
use std::ops::Range;

use super::super::shapes::{Family, SCALE_DEPTH, SCALE_EMB, Shape};
use super::super::tensors::{Fill, TensorSpec, tensors};
use super::patch::Patch;
use super::profile::{Profile, Settling};
use crate::random::Random;

/// Counts the changes to this file that make other weights of the same seed and profile.
pub(crate) const CONSTRUCTION: u32 = 1;

/// Where a word's relevance lies.
const RELEVANCE: usize = 0;
/// Where the score gathers.
const SCORE: usize = 1;
/// Where every token has a one.
const CONSTANT: usize = 2;
/// The first of the noise dimensions.
const NOISE: usize = 3;

/// Relevance of a marker word in its embedding, plus or minus.
const MARKER: f32 = 4.0;
/// Share of a text's words that are markers.
pub(crate) const MARKER_SHARE: f64 = 0.25;
/// The most standardised relevance that a text can have, all its markers being positive.
pub(crate) const MOST_RELEVANT: f64 = 5.0;
/// Distinct words in a text beside the markers; their random embeddings are the text's noise.
pub(crate) const TOPIC_WORDS: usize = 64;
/// Spread in the relevance dimension of words that are no markers.
const BACKGROUND: f32 = 0.25;
/// Length for which spreads are exact, in tokens.
const TYPICAL_TOKENS: f64 = 500.0;
/// Root mean square that a block adds to a residual stream of unit root mean square.
const BRANCH: f64 = 0.02;
/// Size of the mixture in a value channel, small beside the other channels.
const CHANNEL: f64 = 0.02;
/// One of so many channels of the first head carries the mixture.
const CHANNELS_PER_CARRIER: usize = 4;
/// What a logit of one is in the score dimension, which must stay small beside the whole state.
const DECODER_UNIT: f64 = 0.2;
const ENCODER_UNIT: f64 = 0.1;
/// Slope of the encoder head's first matrix: keeps its tanh near its linear part.
const POOLER: f64 = 0.5;
/// What the head's first matrix adds where GELU or ReLU follows: far above zero they leave a number as it is. The last bias
/// takes it away again.
const FAR: f64 = 8.0;
/// Standard deviation of the public random initialisation, as in `tensors`.
const STD: f64 = 0.02;

/// Token ids that the construction is told of.
#[derive(Default)]
pub(crate) struct Tokens {
    /// Markers of relevant texts and of irrelevant ones.
    pub(crate) plus: Vec<usize>,
    pub(crate) minus: Vec<usize>,
    /// Words that fill the texts.
    pub(crate) neutral: Vec<usize>,
    /// The two answers of a decoder.
    pub(crate) answers: Option<(usize, usize)>,
    /// The one answer of a decoder whose score is its logit.
    pub(crate) lone: Option<usize>,
}

/// The shape's tensors with their patches by name.
pub(crate) struct Construction {
    pub(crate) tensors: Vec<TensorSpec>,
    pub(crate) patches: HashMap<String, Patch>,
}

/// Plants `profile` in `shape`.
pub(crate) fn construct(shape: &Shape, profile: &Profile, tokens: &Tokens) -> Construction {
    let mut list = tensors(shape);
    for spec in &mut list {
        if let Some(std) = quiet_std(shape, &spec.name) {
            spec.fill = Fill::Normal(std as f32);
        }
    }
    let direction = direction(shape.head_dim / CHANNELS_PER_CARRIER);
    let planter = Planter { shape, tokens, mixtures: mixtures(shape, profile), direction };
    let patches =
        list.iter().filter_map(|spec| Some((spec.name.clone(), planter.patch(spec)?))).collect();
    Construction { tensors: list, patches }
}

/// Noise dimensions: one a layer, as far as a small hidden state has room for them.
fn noise_dimensions(shape: &Shape) -> usize {
    shape.layers.min(shape.hidden / 4 - NOISE)
}

/// Reserved dimensions, which random weights never write to.
fn reserved(shape: &Shape) -> Range<usize> {
    0..NOISE + noise_dimensions(shape)
}

/// The spread of tensors that would otherwise blur the signal: embeddings of unit size, branches
/// that add little to them.
fn quiet_std(shape: &Shape, name: &str) -> Option<f64> {
    let wide = STD * (shape.hidden as f64).sqrt();
    let branch = BRANCH / shape.block_factor();
    if name.ends_with("embed_tokens.weight") || name.ends_with("word_embeddings.weight") {
        return Some(1.0 / shape.embedding_factor());
    }
    let ends = ["o_proj.weight", "attention.output.dense.weight", "out_lin.weight"];
    if ends.iter().any(|end| name.ends_with(end)) {
        // Averages of values over many positions are at most as large as half of one value.
        let inner = (shape.heads * shape.head_dim) as f64;
        return Some(branch / (inner.sqrt() * wide * 0.5));
    }
    let inner = (shape.feed_forward as f64).sqrt();
    if name.ends_with("down_proj.weight") {
        // silu(gate) * up of two numbers of size `wide`.
        return Some(branch / (inner * wide * wide * 0.5));
    }
    let ends = [".output.dense.weight", "ffn.lin2.weight"];
    ends.iter().any(|end| name.ends_with(end)).then_some(branch / (inner * wide * 0.6))
}

/// For each layer what its carriers read: weights of the reserved dimensions, in logits of
/// the score that it adds.
fn mixtures(shape: &Shape, profile: &Profile) -> Vec<Vec<f64>> {
    let dims = noise_dimensions(shape);
    // A template and a query around the text thin its mean out.
    let text_share = if shape.family.is_decoder() { 0.83 } else { 0.95 };
    let relevance_unit = MOST_RELEVANT / (text_share * MARKER_SHARE * f64::from(MARKER));
    let topic = (1.0 / TOPIC_WORDS as f64 + 1.0 / TYPICAL_TOKENS).sqrt();
    let noise_unit = 1.0 / (text_share * (1.0 - MARKER_SHARE) * topic);

    let mut noise = vec![0.0; dims];
    let mut before = vec![0.0; NOISE + dims];
    let state = |at: &Settling, noise: &[f64]| {
        let rest = at.std * (1.0 - at.correlation.powi(2)).max(0.0).sqrt();
        let mut state = vec![0.0; NOISE];
        state[RELEVANCE] = at.std * at.correlation * relevance_unit;
        state[CONSTANT] = at.mean;
        state.extend(noise.iter().map(|n| rest * n * noise_unit));
        state
    };
    let settling = profile.resampled(shape.layers);
    let layers = settling.iter().enumerate().map(|(layer, at)| {
        let carry = if layer == 0 { 0.0 } else { at.carry };
        noise.iter_mut().for_each(|n| *n *= carry);
        noise[layer % dims] += (1.0 - carry * carry).sqrt();
        let now = state(at, &noise);
        let added = now.iter().zip(&before).map(|(now, before)| now - before).collect();
        before = now;
        added
    });
    layers.collect()
}

/// A random direction of `channels` channels, at least one, whose root mean square is one.
fn direction(channels: usize) -> Vec<f64> {
    let mut random = Random::new(channels as u64);
    let drawn: Vec<f64> = (0..channels.max(1)).map(|_| random.normal()).collect();
    let square = drawn.iter().map(|x| x * x).sum::<f64>() / drawn.len() as f64;
    drawn.into_iter().map(|x| x / square.sqrt()).collect()
}

struct Planter<'a> {
    shape: &'a Shape,
    tokens: &'a Tokens,
    mixtures: Vec<Vec<f64>>,
    /// What the mixture is multiplied by in the first channels of the values.
    direction: Vec<f64>,
}

impl Planter<'_> {
    /// What is special about one tensor, if anything.
    fn patch(&self, spec: &TensorSpec) -> Option<Patch> {
        let name = spec.name.as_str();
        let patch = Patch::new(*spec.shape.last()?);
        if let Some((layer, part)) = layer_of(name) {
            return self.layer(layer, part, patch);
        }
        match name {
            "model.embed_tokens.weight" if self.shape.tied => Some(self.answers(self.words(patch))),
            "model.embed_tokens.weight" => Some(self.words(patch)),
            "lm_head.weight" => Some(self.answers(patch)),
            "classifier.weight" | "classifier.out_proj.weight" => {
                let unit = (1.0 / (ENCODER_UNIT * POOLER)) as f32;
                Some(patch.zero_rows(0..1).element(0, 0, unit))
            }
            "classifier.bias" | "classifier.out_proj.bias" => {
                let far = self.far() / (ENCODER_UNIT * POOLER);
                Some(patch.element(0, 0, (0.0 - far) as f32))
            }
            _ if name.ends_with("pooler.dense.weight")
                || ["classifier.dense.weight", "pre_classifier.weight"].contains(&name) =>
            {
                Some(patch.zero_rows(0..1).element(0, SCORE, POOLER as f32))
            }
            _ if name.ends_with("pooler.dense.bias")
                || ["classifier.dense.bias", "pre_classifier.bias"].contains(&name) =>
            {
                Some(patch.element(0, 0, self.far() as f32))
            }
            _ if name.ends_with(".linear_head.weight") => {
                Some(patch.zero_rows(0..1).element(0, SCORE, (1.0 / DECODER_UNIT) as f32))
            }
            _ if name.ends_with("word_embeddings.weight") => Some(self.words(patch)),
            _ if name.contains("embeddings.") && spec.fill != Fill::Positions => {
                // Positions, token types and the norm's bias; its weight stays one.
                let other = !name.ends_with("LayerNorm.weight");
                other.then(|| patch.zero_columns(reserved(self.shape)))
            }
            _ => None,
        }
    }

    fn layer(&self, layer: usize, part: &str, patch: Patch) -> Option<Patch> {
        let reserved = reserved(self.shape);
        let head = 0..self.shape.head_dim;
        let (module, kind) = part.rsplit_once('.')?;
        let is_weight = kind == "weight";
        match module {
            // Queries of zero: the first head looks at every position alike.
            "self_attn.q_proj"
            | "attention.self.query"
            | "attention.self.query_proj"
            | "attention.q_lin" => Some(match is_weight {
                true => patch.zero_rows(head),
                false => patch.zero_columns(head),
            }),
            "self_attn.v_proj"
            | "attention.self.value"
            | "attention.self.value_proj"
            | "attention.v_lin" => Some(self.values(layer, is_weight, 0, patch)),
            "attention.qkv_proj" => {
                let patch = match is_weight {
                    true => patch.zero_rows(head),
                    false => patch.zero_columns(head),
                };
                Some(self.values(layer, is_weight, 2 * self.shape.hidden, patch))
            }
            "self_attn.o_proj"
            | "attention.output.dense"
            | "attention.o_proj"
            | "attention.out_lin" => Some(match is_weight {
                true => self.output(patch),
                false => patch.zero_columns(reserved),
            }),
            "mlp.down_proj" | "output.dense" | "ffn.lin2" => Some(match is_weight {
                true => patch.zero_rows(reserved),
                false => patch.zero_columns(reserved),
            }),
            _ if !is_weight && is_norm(module) => Some(patch.zero_columns(reserved)),
            _ => None,
        }
    }

    /// The first head's values, whose rows begin at `first`: the mixture in the channels that carry it.
    fn values(&self, layer: usize, is_weight: bool, first: usize, patch: Patch) -> Patch {
        let carriers = first..first + self.direction.len();
        if !is_weight {
            return patch.zero_columns(carriers);
        }
        let mut patch = patch.zero_rows(carriers);
        for (channel, part) in self.direction.iter().enumerate() {
            for (dimension, weight) in self.mixtures[layer].iter().enumerate() {
                let weight = weight * part * CHANNEL;
                patch = patch.element(first + channel, dimension, weight as f32);
            }
        }
        patch
    }

    /// What attention adds: to the score what the channels carry, and nothing to other reserved dimensions.
    fn output(&self, patch: Patch) -> Patch {
        let unit = match self.shape.family.is_decoder() {
            true => DECODER_UNIT / self.shape.block_factor(),
            false => ENCODER_UNIT,
        };
        // Parts are 1 in the mean square, so their products with themselves give the mixture back.
        let unit = unit / (CHANNEL * self.direction.len() as f64);
        let carriers = self.direction.iter().enumerate();
        carriers.fold(patch.zero_rows(reserved(self.shape)), |patch, (channel, part)| {
            patch.element(SCORE, channel, (unit * part) as f32)
        })
    }

    /// What the head's first bias moves the score by.
    fn far(&self) -> f64 {
        if self.shape.family.bends_at_zero() { FAR } else { 0.0 }
    }

    /// Embeddings: relevance in the markers, a little of it and all noise in the words that fill texts,
    /// none of either in anything else, such as a template's signs.
    fn words(&self, patch: Patch) -> Patch {
        let one = (1.0 / self.shape.embedding_factor()) as f32;
        let patch = patch.zero_columns(reserved(self.shape)).column(CONSTANT, one);
        let marked = |patch: Patch, tokens: &[usize], relevance: f32| {
            let mark =
                |patch: Patch, &token: &usize| patch.element(token, RELEVANCE, relevance * one);
            tokens.iter().fold(patch, mark)
        };
        let patch = marked(patch, &self.tokens.plus, MARKER);
        let patch = marked(patch, &self.tokens.minus, -MARKER);
        let patch = self.centred(patch, RELEVANCE, BACKGROUND);
        let noise = NOISE..reserved(self.shape).end;
        noise.fold(patch, |patch, dimension| self.centred(patch, dimension, 1.0))
    }

    /// Random numbers for the words that fill texts, whose mean is 0: texts then have none in common.
    fn centred(&self, patch: Patch, dimension: usize, std: f32) -> Patch {
        let mut random = Random::new(dimension as u64);
        let std = std / self.shape.embedding_factor() as f32;
        let drawn: Vec<f64> = self.tokens.neutral.iter().map(|_| random.normal()).collect();
        let mean = drawn.iter().sum::<f64>() / drawn.len().max(1) as f64;
        let words = self.tokens.neutral.iter().zip(drawn);
        words.fold(patch, |patch, (&token, value)| {
            patch.element(token, dimension, std * (value - mean) as f32)
        })
    }

    /// The answers' rows differ in the score dimension alone: their difference is the score.
    fn answers(&self, patch: Patch) -> Patch {
        if let Some(yes) = self.tokens.lone {
            return patch.zero_rows(yes..yes + 1).element(yes, SCORE, (1.0 / DECODER_UNIT) as f32);
        }
        let Some((yes, no)) = self.tokens.answers else { return patch };
        let half = (0.5 / DECODER_UNIT) as f32;
        patch
            .zero_rows(yes..yes + 1)
            .zero_rows(no..no + 1)
            .element(yes, SCORE, half)
            .element(no, SCORE, -half)
    }
}

/// Splits `model.layers.3.mlp.up_proj.weight` into 3 and the rest.
fn layer_of(name: &str) -> Option<(usize, &str)> {
    let (_, rest) = name.split_once(".layers.").or_else(|| name.split_once(".layer."))?;
    let (layer, part) = rest.split_once('.')?;
    Some((layer.parse().ok()?, part))
}

fn is_norm(module: &str) -> bool {
    ["LayerNorm", "layer_norm", "attn_ln", "mlp_ln"].iter().any(|name| module.ends_with(name))
}

impl Shape {
    /// What embeddings are multiplied by.
    fn embedding_factor(&self) -> f64 {
        match self.family {
            Family::MiniCpm => SCALE_EMB,
            Family::Gemma => (self.hidden as f64).sqrt(),
            _ => 1.0,
        }
    }

    /// What a block adds is multiplied by.
    fn block_factor(&self) -> f64 {
        match self.family {
            Family::MiniCpm => SCALE_DEPTH / (self.layers as f64).sqrt(),
            _ => 1.0,
        }
    }
}

impl Family {
    /// Whether a layer can average over the whole text, add a small number to the state, and a head read one number of it.
    pub(crate) fn can_be_planted(self) -> bool {
        !matches!(self, Self::ModernBert | Self::Gemma2)
    }

    /// Whether GELU or ReLU follows the head's first matrix.
    fn bends_at_zero(self) -> bool {
        matches!(self, Self::Electra | Self::DistilBert | Self::DebertaV2)
    }

    /// Whether its layers are causal and its head reads the last token.
    pub(crate) fn is_decoder(self) -> bool {
        matches!(
            self,
            Self::Qwen3 | Self::Qwen2 | Self::Llama | Self::MiniCpm | Self::Gemma | Self::Gemma2
        )
    }
}
