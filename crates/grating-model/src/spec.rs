//! What a model is made of, as data: its tensors, and the equation of each layer and of the head. A family's file makes
//! it of `config.json`; nothing here runs.

use std::collections::HashSet;
use std::ops::Range;

use grating_backend::{Activation, AttentionSpec, Distances, Scored};

use crate::error::{ModelError, Result};
use crate::rope::RopeSpec;

/// A whole model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ModelSpec {
    pub(crate) embedding: EmbeddingSpec,
    /// Tables of rotary angles; layers say which one is theirs.
    pub(crate) ropes: Vec<RopeSpec>,
    /// From the first to the last; they may differ.
    pub(crate) layers: Vec<LayerSpec>,
    pub(crate) head: HeadSpec,
    /// What of a candidate the head reads.
    pub(crate) scored: Scored,
    /// A token that no candidate may end with, because the reference would read another token's state then.
    pub(crate) never_last: Option<u32>,
    /// Whether it was trained to read passages whose tokens are [compressed](crate::TokenCompression) on their way.
    pub(crate) compressible: bool,
}

/// From token ids to the hidden states before layer 0: rows of tables are added up, normalised, brought to the hidden
/// width, and normalised there. What is not there is the identity.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EmbeddingSpec {
    /// `[vocab, width]`
    pub(crate) tokens: TensorSpec,
    pub(crate) positions: Option<PositionSpec>,
    /// `[types, width]`
    pub(crate) types: Option<TensorSpec>,
    /// What rows of tokens are multiplied by.
    pub(crate) factor: Option<f32>,
    pub(crate) norm: Option<NormSpec>,
    /// `[hidden, width]`
    pub(crate) project: Option<LinearSpec>,
    /// Over the hidden width.
    pub(crate) after: Option<NormSpec>,
    /// For layers that attend by distance.
    pub(crate) distances: Option<DistanceTableSpec>,
}

/// A learned embedding of distances between tokens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DistanceTableSpec {
    /// `[rows, hidden]`
    pub(crate) table: TensorSpec,
    pub(crate) norm: Option<NormSpec>,
}

/// A learned embedding of positions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PositionSpec {
    /// `[first + positions, width]`
    pub(crate) table: TensorSpec,
    /// Row of a candidate's first token.
    pub(crate) first: usize,
    /// A token that has no position of its own but the row before the first, wherever it stands.
    pub(crate) padding: Option<u32>,
}

/// One layer: two blocks, each around a residual connection.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LayerSpec {
    pub(crate) attention: AttentionBlockSpec,
    pub(crate) feed_forward: FeedForwardSpec,
}

/// `after(x + added(output(attention(before(x)))))`; a norm that is not there is the identity.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AttentionBlockSpec {
    pub(crate) before: Option<NormSpec>,
    pub(crate) query: LinearSpec,
    pub(crate) key: LinearSpec,
    pub(crate) value: LinearSpec,
    /// Norms over the columns of each head of the queries and of the keys.
    pub(crate) head_norms: Option<[NormSpec; 2]>,
    pub(crate) rotary: Option<Rotary>,
    pub(crate) attention: AttentionSpec,
    pub(crate) distance: Option<DistanceSpec>,
    pub(crate) output: LinearSpec,
    pub(crate) added: Option<NormSpec>,
    pub(crate) after: Option<NormSpec>,
}

/// What distances between tokens add to a block's attention: keys and queries made of [`EmbeddingSpec::distances`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DistanceSpec {
    pub(crate) distances: Distances,
    pub(crate) keys: Option<DistanceMap>,
    pub(crate) queries: Option<DistanceMap>,
}

/// The map that makes keys or queries of distances.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DistanceMap {
    /// The block's own of keys or queries.
    Shared,
    Own(LinearSpec),
}

/// The rotary embedding of a layer's queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rotary {
    /// Which of [`ModelSpec::ropes`].
    pub(crate) rope: usize,
    /// Whether it turns neighbours of a head, not its halves against each other.
    pub(crate) neighbours: bool,
}

/// `after(x + added(down(wide(before(x)))))`, where `wide(x)` is `activation(gate(x)) * up(x)`, or `activation(up(x))` without a
/// gate.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FeedForwardSpec {
    pub(crate) before: Option<NormSpec>,
    pub(crate) gate: Option<LinearSpec>,
    pub(crate) up: LinearSpec,
    pub(crate) activation: Activation,
    pub(crate) down: LinearSpec,
    pub(crate) added: Option<NormSpec>,
    pub(crate) after: Option<NormSpec>,
}

/// From hidden states after any layer to the score: `norm` of the scored token, or the mean of the `norm` of all of them,
/// then `dense`, then a row for each output.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HeadSpec {
    pub(crate) norm: Option<NormSpec>,
    pub(crate) dense: Option<DenseSpec>,
    pub(crate) output: OutputSpec,
    /// What outputs cannot go beyond: `cap * tanh(output / cap)` is in their place.
    pub(crate) softcap: Option<f32>,
}

/// `norm(activation(linear(x)))`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DenseSpec {
    pub(crate) linear: LinearSpec,
    pub(crate) activation: Activation,
    pub(crate) norm: Option<NormSpec>,
}

/// The last map of a head.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum OutputSpec {
    /// One row: the score is its product.
    Label(LinearSpec),
    /// A row for each layer, whose product is the score after it; after some there is none.
    LayerLabels(Vec<Option<LinearSpec>>),
    /// The rows of one or two answers of a language-model head: `logit(yes) - logit(no)`, or `logit(yes)`. Which rows of
    /// which table they are is known when answers and checkpoint are.
    Answers(Option<TensorSpec>),
}

/// A norm over the columns of a row, with its epsilon.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NormSpec {
    pub(crate) kind: NormKind,
    pub(crate) weight: TensorSpec,
    pub(crate) eps: f32,
}

/// Which norm.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NormKind {
    /// `x / sqrt(mean(x^2) + eps) * weight`
    Rms,
    /// `x / sqrt(mean(x^2) + eps) * (1 + weight)`
    RmsFromOne,
    /// `(x - mean(x)) / sqrt(variance(x) + eps) * weight + bias`
    Layer {
        /// None: zeros.
        bias: Option<TensorSpec>,
    },
}

/// `x · weightᵀ + bias`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LinearSpec {
    /// `[out, in]`
    pub(crate) weight: TensorSpec,
    pub(crate) bias: Option<TensorSpec>,
    /// What the product is multiplied by where it is added to a residual connection; there is no bias then.
    pub(crate) factor: Option<f32>,
}

/// A tensor that a configuration calls for, or some rows of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TensorSpec {
    /// In full, as transformers writes it.
    pub(crate) name: String,
    /// What the same tensor is called elsewhere: in older releases, in llama.cpp's files.
    pub(crate) aliases: Vec<String>,
    /// Shape in the checkpoint.
    pub(crate) shape: Vec<usize>,
    /// The rows that are read, in their order, where not all are.
    pub(crate) rows: Option<Vec<Range<usize>>>,
}

impl TensorSpec {
    pub(crate) fn new(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        TensorSpec { name: name.into(), aliases: Vec::new(), shape: shape.into(), rows: None }
    }

    /// Also to be found as `alias`.
    pub(crate) fn or(mut self, alias: impl Into<String>) -> Self {
        self.aliases.push(alias.into());
        self
    }

    /// Only these rows.
    pub(crate) fn rows(mut self, rows: impl IntoIterator<Item = Range<usize>>) -> Self {
        self.rows = Some(rows.into_iter().collect());
        self
    }
}

/// What stands before the names of tensors that belong together: in transformers, and in llama.cpp.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    prefix: String,
    llama_cpp: String,
}

impl Names {
    /// Of what stands outside of layers.
    pub(crate) fn of_model(prefix: &str) -> Self {
        Names { prefix: prefix.into(), llama_cpp: String::new() }
    }

    /// Of layer `layer`, where `prefix` stands before the number.
    pub(crate) fn of_layer(prefix: &str, layer: usize) -> Self {
        Names { prefix: format!("{prefix}{layer}."), llama_cpp: format!("blk.{layer}.") }
    }

    /// A tensor; `llama_cpp` is empty where llama.cpp has none such.
    pub(crate) fn tensor(
        &self,
        name: &str,
        llama_cpp: &str,
        shape: impl Into<Vec<usize>>,
    ) -> TensorSpec {
        let spec = TensorSpec::new(format!("{}{name}", self.prefix), shape);
        match llama_cpp {
            "" => spec,
            name => spec.or(format!("{}{name}", self.llama_cpp)),
        }
    }

    /// A linear layer `[out, in]`.
    pub(crate) fn linear(
        &self,
        name: &str,
        llama_cpp: &str,
        [out, inputs]: [usize; 2],
        bias: bool,
    ) -> LinearSpec {
        let bias = bias.then(|| self.kind(name, llama_cpp, "bias", [out]));
        LinearSpec {
            weight: self.kind(name, llama_cpp, "weight", [out, inputs]),
            bias,
            factor: None,
        }
    }

    /// Root mean square norm over `width` columns.
    pub(crate) fn rms_norm(&self, name: &str, llama_cpp: &str, width: usize, eps: f32) -> NormSpec {
        let weight = self.kind(name, llama_cpp, "weight", [width]);
        NormSpec { kind: NormKind::Rms, weight, eps }
    }

    /// Layer norm over `width` columns. Checkpoints converted from TensorFlow spell its `gamma` and `beta`.
    pub(crate) fn layer_norm(
        &self,
        name: &str,
        llama_cpp: &str,
        width: usize,
        eps: f32,
    ) -> NormSpec {
        let part = |kind: &str, old: &str| {
            let spec = self.kind(name, llama_cpp, kind, [width]);
            spec.or(format!("{}{name}.{old}", self.prefix))
        };
        let bias = Some(part("bias", "beta"));
        NormSpec { kind: NormKind::Layer { bias }, weight: part("weight", "gamma"), eps }
    }

    fn kind(
        &self,
        name: &str,
        llama_cpp: &str,
        kind: &str,
        shape: impl Into<Vec<usize>>,
    ) -> TensorSpec {
        let llama_cpp = match llama_cpp {
            "" => String::new(),
            name => format!("{name}.{kind}"),
        };
        self.tensor(&format!("{name}.{kind}"), &llama_cpp, shape)
    }
}

impl LinearSpec {
    /// The rows `rows` of a linear layer: one of several that are stored as one.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Self {
        let part = |spec: &TensorSpec| spec.clone().rows([rows.clone()]);
        let (weight, bias) = (part(&self.weight), self.bias.as_ref().map(part));
        LinearSpec { weight, bias, factor: self.factor }
    }

    pub(crate) fn tensors(&self) -> impl Iterator<Item = &TensorSpec> {
        std::iter::once(&self.weight).chain(&self.bias)
    }
}

impl NormSpec {
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &TensorSpec> {
        let bias = match &self.kind {
            NormKind::Layer { bias: Some(bias) } => Some(bias),
            NormKind::Layer { bias: None } | NormKind::Rms | NormKind::RmsFromOne => None,
        };
        std::iter::once(&self.weight).chain(bias)
    }
}

impl EmbeddingSpec {
    /// Tensors that are resident: all but the tables of tokens and positions.
    pub(crate) fn stem_tensors(&self) -> impl Iterator<Item = &TensorSpec> {
        let norm = self.norm.iter().flat_map(NormSpec::tensors);
        let project = self.project.iter().flat_map(LinearSpec::tensors);
        let after = self.after.iter().flat_map(NormSpec::tensors);
        let distances = self.distances.iter().flat_map(|distances| {
            let norm = distances.norm.iter().flat_map(NormSpec::tensors);
            std::iter::once(&distances.table).chain(norm)
        });
        self.types.iter().chain(norm).chain(project).chain(after).chain(distances)
    }
}

impl AttentionBlockSpec {
    /// Its tensors, in the order in which they are read.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &TensorSpec> {
        let maps = [&self.query, &self.key, &self.value, &self.output];
        let norms = self.before.iter().chain(self.head_norms.iter().flatten());
        let norms = norms.chain(&self.added).chain(&self.after);
        let distance = self.distance.iter();
        let distance = distance.flat_map(|distance| distance.keys.iter().chain(&distance.queries));
        let distance = distance.filter_map(|map| match map {
            DistanceMap::Own(map) => Some(map),
            DistanceMap::Shared => None,
        });
        let maps = maps.into_iter().chain(distance);
        maps.flat_map(LinearSpec::tensors).chain(norms.flat_map(NormSpec::tensors))
    }
}

impl FeedForwardSpec {
    /// Its tensors, in the order in which they are read.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &TensorSpec> {
        let maps = self.gate.iter().chain([&self.up, &self.down]);
        let norms = self.before.iter().chain(&self.added).chain(&self.after);
        maps.flat_map(LinearSpec::tensors).chain(norms.flat_map(NormSpec::tensors))
    }
}

impl HeadSpec {
    /// Its tensors, in the order in which they are read.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &TensorSpec> {
        let dense = self.dense.iter().flat_map(|dense| {
            dense.linear.tensors().chain(dense.norm.iter().flat_map(NormSpec::tensors))
        });
        let (labels, answers) = match &self.output {
            OutputSpec::Label(label) => (vec![label], None),
            OutputSpec::LayerLabels(labels) => (labels.iter().flatten().collect(), None),
            OutputSpec::Answers(answers) => (Vec::new(), answers.as_ref()),
        };
        let output = labels.into_iter().flat_map(LinearSpec::tensors).chain(answers);
        self.norm.iter().flat_map(NormSpec::tensors).chain(dense).chain(output)
    }
}

impl OutputSpec {
    /// Whether there is a score after a layer.
    pub(crate) fn scores_after(&self, layer: usize) -> bool {
        match self {
            OutputSpec::Label(_) | OutputSpec::Answers(_) => true,
            OutputSpec::LayerLabels(labels) => labels.get(layer).is_some_and(Option::is_some),
        }
    }
}

impl ModelSpec {
    /// Leaves out what comes after the first `layers` layers, whose own head then makes the score; returns the names of
    /// the tensors that are not needed any more.
    ///
    /// # Errors
    /// [`ModelError::Cutoff`] where there is no head after so many layers.
    pub(crate) fn cut(&mut self, layers: usize) -> Result<HashSet<String>> {
        let all = self.layers.len();
        let OutputSpec::LayerLabels(labels) = &mut self.head.output else {
            return Err(ModelError::Cutoff {
                layers,
                expected: format!("{all}, which has the only head"),
            });
        };
        if layers.checked_sub(1).and_then(|last| labels.get(last)?.as_ref()).is_none() {
            let heads = (1..=all).filter(|n| labels[n - 1].is_some());
            let heads = heads.map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
            return Err(ModelError::Cutoff { layers, expected: format!("one of {heads}") });
        }
        let heads = labels.split_off(layers);
        let cut = self.layers.split_off(layers);
        let layers = cut.iter().flat_map(|l| l.attention.tensors().chain(l.feed_forward.tensors()));
        let heads = heads.iter().flatten().flat_map(LinearSpec::tensors);
        let names = layers.chain(heads).flat_map(|t| std::iter::once(&t.name).chain(&t.aliases));
        Ok(names.cloned().collect())
    }

    /// Whether no token sees those that come after it.
    pub(crate) fn is_causal(&self) -> bool {
        self.layers.iter().all(|layer| layer.attention.attention.causal)
    }
}
