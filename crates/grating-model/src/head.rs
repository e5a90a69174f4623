//! Scoring heads: a hidden state after any layer becomes a logit.

use grating_backend::{Activation, Affine, Ops, Scored};
use grating_io::Checkpoint;

use crate::config::ModelConfig;
use crate::error::{ModelError, Result};
use crate::layers::linear::Linear;
use crate::layers::norm::Norm;
use crate::parts::{Part, PartBuffer};
use crate::score::Logit;
use crate::spec::{HeadSpec, ModelSpec, OutputSpec, TensorSpec};
use crate::weights::LayerWeights;

/// Token ids of the answers of a yes/no decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answers {
    /// The answer that means relevant.
    pub yes: u32,
    /// The answer that means not; without one the score is the logit of `yes`.
    pub no: Option<u32>,
}

impl Answers {
    /// The answers' rows of a table of `vocab` rows, yes first.
    fn of_table(self, table: TensorSpec, vocab: usize) -> Result<TensorSpec> {
        let rows = std::iter::once(self.yes).chain(self.no);
        let rows = rows.map(|id| match id as usize {
            row if row < vocab => Ok(row..row + 1),
            _ => Err(ModelError::TokenOutOfRange { id, rows: vocab }),
        });
        Ok(table.rows(rows.collect::<Result<Vec<_>>>()?))
    }
}

/// The language-model head, in full.
const LM_HEAD: &str = "lm_head.weight";

fn lm_head(config: &ModelConfig) -> TensorSpec {
    TensorSpec::new(LM_HEAD, [config.vocab, config.hidden]).or("output.weight")
}

/// The two answers' rows, yes first, where they are stored by themselves and are all that there is of the
/// language-model head: llama.cpp's conversion of rerankers does so.
fn rows_apart(config: &ModelConfig) -> TensorSpec {
    TensorSpec::new("cls.output.weight", [2, config.hidden])
}

/// Which rows of which table the answers are. A head that the configuration calls tied to the embeddings but that is
/// stored counts where it differs, as in transformers (`tie_weights`, which compares whole tables), and is the only
/// table where there is no other; of both, the answers' rows are all that a score depends on.
pub(crate) fn answer_rows(
    config: &ModelConfig,
    spec: &ModelSpec,
    checkpoint: &Checkpoint,
    answers: Option<Answers>,
) -> Result<TensorSpec> {
    let answers = answers
        .ok_or_else(|| ModelError::NoTemplate { architecture: config.architecture.clone() })?;
    if rows_apart(config).resolve(checkpoint).is_ok() {
        return Ok(rows_apart(config));
    }
    let stored = answers.of_table(lm_head(config), config.vocab)?;
    if !config.tied {
        return Ok(stored);
    }
    let embeddings = answers.of_table(spec.embedding.tokens.clone(), config.vocab)?;
    let values = |part: Part| -> Result<Vec<f32>> {
        let buffer = PartBuffer::read(checkpoint, std::slice::from_ref(&part))?;
        Ok(buffer.view(0, &part)?.to_f32())
    };
    match (stored.resolve(checkpoint), embeddings.resolve(checkpoint)) {
        (Err(ModelError::MissingTensor { .. }), _) => Ok(embeddings),
        (Ok(_), Err(ModelError::MissingTensor { .. })) => Ok(stored),
        (head, table) => match values(head?)? == values(table?)? {
            true => Ok(embeddings),
            false => Ok(stored),
        },
    }
}

/// Finds the head's tensors. Of a language-model head only the answers' rows are ever read.
pub(crate) fn resolve(spec: &HeadSpec, checkpoint: &Checkpoint) -> Result<Vec<Part>> {
    refuse_lost_pooler(spec, checkpoint)?;
    let norm = spec.norm.iter().flat_map(|norm| norm.tensors()).count();
    let parts = spec.tensors().enumerate().map(|(at, tensor)| {
        tensor.resolve(checkpoint).map_err(|error| match error {
            // A missing head has its own error: the file is whole, but it is no reranker.
            ModelError::MissingTensor { tensor, .. } if tensor == LM_HEAD => {
                ModelError::NoLanguageModelHead
            }
            ModelError::MissingTensor { tensor, .. } if at >= norm => ModelError::NoHead { tensor },
            other => other,
        })
    });
    let parts = parts.collect::<Result<Vec<Part>>>()?;
    check_finite(checkpoint, &parts)?;
    Ok(parts)
}

/// llama.cpp's conversion drops BERT's pooler and keeps the classification layer, in older releases under the name of
/// the dense layer of others.
fn refuse_lost_pooler(spec: &HeadSpec, checkpoint: &Checkpoint) -> Result<()> {
    const DENSE: &str = "cls.weight";
    let is_bert = spec.tensors().any(|tensor| tensor.name == "bert.pooler.dense.weight");
    let is_row = |shape: &[usize]| shape.iter().filter(|&&n| n != 1).count() < 2;
    let lost = match checkpoint.get(DENSE) {
        Some(dense) => is_row(&dense.shape),
        None => checkpoint.get("cls.output.weight").is_some(),
    };
    match is_bert && lost {
        true => Err(ModelError::NoPooler),
        false => Ok(()),
    }
}

fn check_finite(checkpoint: &Checkpoint, parts: &[Part]) -> Result<()> {
    let mut buffer = PartBuffer::new();
    for part in parts {
        buffer.fill(checkpoint, std::slice::from_ref(part))?;
        let values = buffer.view(0, part)?.to_f32();
        if let Some(element) = values.iter().position(|v| !v.is_finite()) {
            return Err(ModelError::HeadNotFinite {
                tensor: part.tensor().name.clone(),
                element,
                value: values[element],
            });
        }
    }
    Ok(())
}

/// A bound head.
pub struct Head<'w, B: Ops> {
    norm: Option<Norm<'w, B>>,
    scored: Scored,
    dense: Option<Dense<'w, B>>,
    output: Output<'w, B>,
    /// What outputs cannot go beyond.
    softcap: Option<f32>,
}

struct Dense<'w, B: Ops> {
    linear: Linear<'w, B>,
    activation: Activation,
    norm: Option<Norm<'w, B>>,
}

enum Output<'w, B: Ops> {
    Label(Linear<'w, B>),
    /// The row of each layer, where it has one.
    LayerLabels(Vec<Option<Linear<'w, B>>>),
    /// Rows of one or two answers.
    Answers(B::Weight<'w>, usize),
}

impl<'w, B: Ops> Head<'w, B> {
    pub(crate) fn bind(
        spec: &HeadSpec,
        scored: Scored,
        weights: &LayerWeights<'w, B>,
    ) -> Result<Self> {
        let dense = match &spec.dense {
            Some(dense) => Some(Dense {
                linear: Linear::bind_unrounded(weights, &dense.linear)?,
                activation: dense.activation,
                norm: Norm::bind_optional(weights, dense.norm.as_ref())?,
            }),
            None => None,
        };
        let output = match &spec.output {
            OutputSpec::Label(label) => Output::Label(Linear::bind_unrounded(weights, label)?),
            OutputSpec::LayerLabels(labels) => {
                let bind = |label: &Option<_>| {
                    label.as_ref().map(|label| Linear::bind_unrounded(weights, label)).transpose()
                };
                Output::LayerLabels(labels.iter().map(bind).collect::<Result<_>>()?)
            }
            OutputSpec::Answers(rows) => {
                let rows = rows.as_ref().expect("the rows are known once a model is loaded");
                let count = weights.part(weights.index(rows)?).shape()[0];
                Output::Answers(weights.bind_unrounded(rows)?, count)
            }
        };
        let norm = Norm::bind_optional(weights, spec.norm.as_ref())?;
        Ok(Head { norm, scored, dense, output, softcap: spec.softcap })
    }

    /// What the head reads of each sequence, from the hidden states of all of its tokens after any layer: the scored
    /// token's, or the mean of all, each normalised. `[tokens, hidden] -> [s, hidden]`
    pub(crate) fn pooled(&self, ops: &B, x: &B::Tensor, layout: &B::Layout) -> Result<B::Tensor> {
        if self.scored != Scored::Mean {
            return Ok(ops.scored_rows(x, layout)?);
        }
        let normed = self.norm.as_ref().map(|norm| norm.of(ops, x)).transpose()?; // [tokens, hidden]
        Ok(ops.mean_rows(normed.as_ref().unwrap_or(x), layout)?)
    }

    /// The head's outputs for every row of `scored` `[s, hidden]`, which is [pooled](Self::pooled) after a layer: `[s, 1]`,
    /// or `[s, 2]` of two answers; `None` after a layer that has no head.
    pub(crate) fn outputs(
        &self,
        ops: &B,
        layer: usize,
        scored: &B::Tensor,
    ) -> Result<Option<B::Tensor>> {
        let label = match &self.output {
            Output::Label(label) => Some(label),
            Output::LayerLabels(labels) => match &labels[layer] {
                Some(label) => Some(label),
                None => return Ok(None),
            },
            Output::Answers(..) => None,
        };
        let norm = self.norm.as_ref().filter(|_| self.scored != Scored::Mean);
        let normed = norm.map(|norm| norm.of(ops, scored)).transpose()?; // [s, hidden]
        let x = normed.as_ref().unwrap_or(scored);
        let dense = self.dense.as_ref().map(|dense| dense.forward(ops, x)).transpose()?; // [s, hidden]
        let x = dense.as_ref().unwrap_or(x);
        match (label, &self.output) {
            (None, Output::Answers(rows, _)) => {
                let [outputs] = ops.linear(x, [Affine { weight: rows, bias: None }])?;
                Ok(Some(outputs))
            }
            (label, _) => label.map(|label| label.forward(ops, x)).transpose(),
        }
    }

    /// The scores that [`crate::Model::outputs`] come to.
    pub fn logits(&self, mut outputs: Vec<f32>) -> Vec<Logit> {
        if let Some(cap) = self.softcap.map(f64::from) {
            // In f64, in which functions of the platform differ too little to show.
            outputs.iter_mut().for_each(|x| *x = (cap * (f64::from(*x) / cap).tanh()) as f32);
        }
        match &self.output {
            Output::Answers(_, 2) => outputs.chunks_exact(2).map(|l| Logit(l[0] - l[1])).collect(),
            _ => outputs.into_iter().map(Logit).collect(),
        }
    }
}

impl<B: Ops> Dense<'_, B> {
    /// `[s, hidden] -> [s, hidden]`
    fn forward(&self, ops: &B, x: &B::Tensor) -> Result<B::Tensor> {
        let x = ops.activate(self.linear.forward(ops, x)?, self.activation)?;
        Norm::of_optional(self.norm.as_ref(), ops, x)
    }
}
