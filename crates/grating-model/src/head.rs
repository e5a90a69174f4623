//! Scoring heads: a hidden state after any layer becomes a logit.

use grating_backend::{Activation, Affine, HostBlock, Ops};
use grating_io::Checkpoint;

use crate::config::{Family, Form, ModelConfig};
use crate::error::{ModelError, Result};
use crate::families::encoder::{LayerNorm, model_prefix};
use crate::families::linear::Linear;
use crate::parts::{Part, PartBuffer, Spec};
use crate::score::Logit;
use crate::weights::{LayerWeights, TensorView};

/// Token ids of the answers of a yes/no decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answers {
    /// The answer that means relevant.
    pub yes: u32,
    /// The answer that means not; without one the score is the logit of `yes`.
    pub no: Option<u32>,
}

/// The two answers' rows, yes first, where they are stored apart.
const ANSWER_ROWS: &str = "score.weight";

/// Whether a checkpoint in llama.cpp's names has the answers' rows apart.
pub(crate) fn answers_are_apart(config: &ModelConfig, checkpoint: &Checkpoint) -> bool {
    let rows = Spec::new(ANSWER_ROWS, [2, config.hidden]).resolve(checkpoint, "");
    config.form == Form::YesNo && rows.is_ok()
}

impl Answers {
    fn rows(self) -> Vec<u32> {
        std::iter::once(self.yes).chain(self.no).collect()
    }
}

const LM_HEAD: &str = "lm_head.weight";
const EMBEDDINGS: &str = "model.embed_tokens.weight";

/// Whether the scores come from a stored `lm_head.weight` although the configuration calls the head tied to the
/// embeddings. As in transformers (`tie_weights`, which compares whole tables) the stored one counts where it differs,
/// and is the only table where there is no other; of both, the answers' rows are all that a score depends on.
pub(crate) fn stored_head_counts(
    config: &ModelConfig,
    checkpoint: &Checkpoint,
    answers: Option<Answers>,
) -> Result<bool> {
    let (Form::YesNo, true, Some(answers)) = (config.form, config.tied, answers) else {
        return Ok(false);
    };
    let rows = answers.rows();
    let resolved = |name| Spec::new(name, [config.vocab, config.hidden]).resolve(checkpoint, "");
    let values = |part: Part| -> Result<Vec<f32>> {
        let part = part.rows(&rows);
        let buffer = PartBuffer::read(checkpoint, std::slice::from_ref(&part))?;
        Ok(buffer.view(0, &part)?.to_f32())
    };
    match (resolved(LM_HEAD), resolved(EMBEDDINGS)) {
        (Err(ModelError::MissingTensor { .. }), _) => Ok(false),
        (Ok(_), Err(ModelError::MissingTensor { .. })) => Ok(true),
        (stored, embeddings) => {
            let (stored, embeddings) = (stored?, embeddings?);
            check_rows(config, &rows)?;
            Ok(values(stored)? != values(embeddings)?)
        }
    }
}

fn check_rows(config: &ModelConfig, rows: &[u32]) -> Result<()> {
    match rows.iter().find(|&&id| id as usize >= config.vocab) {
        Some(&id) => Err(ModelError::TokenOutOfRange { id, rows: config.vocab }),
        None => Ok(()),
    }
}

/// Finds the head's tensors. Of a language-model head only the answers' rows are ever read.
pub(crate) fn head_parts(
    config: &ModelConfig,
    checkpoint: &Checkpoint,
    answers: Option<Answers>,
) -> Result<Vec<Part>> {
    let h = config.hidden;
    let part = |prefix: &str, spec: Spec| spec.resolve(checkpoint, prefix);
    let parts = match (config.form, config.family) {
        (Form::YesNo, _) if config.answers_apart => vec![
            part("", Spec::new("model.norm.weight", [h]))?,
            head(checkpoint, Spec::new(ANSWER_ROWS, [2, h]))?,
        ],
        (Form::YesNo, _) => {
            let answers = answers.ok_or_else(|| ModelError::NoTemplate {
                architecture: config.architecture.clone(),
            })?;
            let rows = answers.rows();
            check_rows(config, &rows)?;
            let table = if config.tied { EMBEDDINGS } else { LM_HEAD };
            let table = Spec::new(table, [config.vocab, h]).resolve(checkpoint, "");
            let table = table.map_err(|error| match error {
                ModelError::MissingTensor { tensor, .. } if tensor == LM_HEAD => {
                    ModelError::NoLanguageModelHead
                }
                other => other,
            })?;
            vec![part("", Spec::new("model.norm.weight", [h]))?, table.rows(&rows)]
        }
        (Form::SequenceClassification, Family::Bert) if lacks_pooler(checkpoint) => {
            return Err(ModelError::NoPooler);
        }
        (Form::SequenceClassification, Family::Bert) => vec![
            head(checkpoint, Spec::new("bert.pooler.dense.weight", [h, h]))?,
            head(checkpoint, Spec::new("bert.pooler.dense.bias", [h]))?,
            head(checkpoint, Spec::new("classifier.weight", [1, h]))?,
            head(checkpoint, Spec::new("classifier.bias", [1]))?,
        ],
        (Form::SequenceClassification, Family::XlmRoberta) => vec![
            head(checkpoint, Spec::new("classifier.dense.weight", [h, h]))?,
            head(checkpoint, Spec::new("classifier.dense.bias", [h]))?,
            head(checkpoint, Spec::new("classifier.out_proj.weight", [1, h]))?,
            head(checkpoint, Spec::new("classifier.out_proj.bias", [1]))?,
        ],
        (Form::SequenceClassification, _) => vec![
            part("", Spec::new("model.norm.weight", [h]))?,
            head(checkpoint, Spec::new("score.weight", [1, h]))?,
        ],
    };
    check_finite(checkpoint, &parts)?;
    Ok(parts)
}

/// llama.cpp's conversion drops BERT's pooler and keeps the classification layer, in older releases under the name of
/// the dense layer of others.
fn lacks_pooler(checkpoint: &Checkpoint) -> bool {
    const DENSE: &str = "cls.weight";
    let is_row = |shape: &[usize]| shape.iter().filter(|&&n| n != 1).count() < 2;
    match checkpoint.get(DENSE) {
        Some(dense) => is_row(&dense.shape),
        None => checkpoint.get("cls.output.weight").is_some(),
    }
}

/// A missing head has its own error: the file is whole, but it is no reranker.
fn head(checkpoint: &Checkpoint, spec: Spec) -> Result<Part> {
    spec.resolve(checkpoint, "").map_err(|error| match error {
        ModelError::MissingTensor { tensor, .. } => ModelError::NoHead { tensor },
        other => other,
    })
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

/// The stem's tensors: what stands between embedding rows and layer 0. Decoders have none.
pub(crate) fn stem_specs(config: &ModelConfig) -> Vec<Spec> {
    if config.family.is_decoder() {
        return Vec::new();
    }
    let h = config.hidden;
    vec![
        Spec::new("embeddings.token_type_embeddings.weight", [config.type_vocab, h]),
        Spec::new("embeddings.LayerNorm.weight", [h]).or("embeddings.LayerNorm.gamma"),
        Spec::new("embeddings.LayerNorm.bias", [h]).or("embeddings.LayerNorm.beta"),
    ]
}

/// Resolves [`stem_specs`].
pub(crate) fn stem_parts(config: &ModelConfig, checkpoint: &Checkpoint) -> Result<Vec<Part>> {
    let prefix = model_prefix(config.family);
    stem_specs(config).iter().map(|spec| spec.resolve(checkpoint, prefix)).collect()
}

/// A bound head.
pub struct Head<'w, B: Ops>(Kind<'w, B>);

enum Kind<'w, B: Ops> {
    /// Final norm, then one or two rows: `logit(yes) - logit(no)` of two `answers`, or the one answer or label.
    Decoder { norm: B::Weight<'w>, rows: B::Weight<'w>, answers: bool },
    /// `out(tanh(dense(x)))` on the first token.
    Encoder { dense: Linear<'w, B>, out: Linear<'w, B> },
}

impl<'w, B: Ops> Head<'w, B> {
    pub(crate) fn bind(config: &ModelConfig, weights: &LayerWeights<'w, B>) -> Result<Self> {
        let linear = |w: &str, b: &str| Linear::bind_unrounded(weights, w, b);
        Ok(Head(match (config.form, config.family) {
            (Form::SequenceClassification, Family::Bert) => Kind::Encoder {
                dense: linear("bert.pooler.dense.weight", "bert.pooler.dense.bias")?,
                out: linear("classifier.weight", "classifier.bias")?,
            },
            (Form::SequenceClassification, Family::XlmRoberta) => Kind::Encoder {
                dense: linear("classifier.dense.weight", "classifier.dense.bias")?,
                out: linear("classifier.out_proj.weight", "classifier.out_proj.bias")?,
            },
            (form, _) => {
                let rows = match (form, config.tied) {
                    (Form::SequenceClassification, _) => "score.weight",
                    (Form::YesNo, _) if config.answers_apart => ANSWER_ROWS,
                    (Form::YesNo, true) => EMBEDDINGS,
                    (Form::YesNo, false) => LM_HEAD,
                };
                Kind::Decoder {
                    norm: weights.bind("model.norm.weight")?,
                    answers: form == Form::YesNo && weights.shape(rows)?[0] == 2,
                    rows: weights.bind_unrounded(rows)?,
                }
            }
        }))
    }

    /// The head's outputs for every row of `scored` `[s, hidden]`, the scored tokens' hidden states after any layer:
    /// `[s, 1]`, or `[s, 2]` of two answers.
    pub(crate) fn outputs(
        &self,
        ops: &B,
        config: &ModelConfig,
        scored: &B::Tensor,
    ) -> Result<B::Tensor> {
        match &self.0 {
            Kind::Decoder { norm, rows, .. } => {
                let normed = ops.rms_norm(scored, norm, config.norm_eps)?; // [s, hidden]
                let [outputs] = ops.linear(&normed, [Affine { weight: rows, bias: None }])?;
                Ok(outputs)
            }
            Kind::Encoder { dense, out } => {
                let pooled = ops.activate(dense.forward(ops, scored)?, Activation::Tanh)?; // [s, hidden]
                out.forward(ops, &pooled)
            }
        }
    }

    /// The scores that [`crate::Model::outputs`] come to.
    pub fn logits(&self, outputs: Vec<f32>) -> Vec<Logit> {
        match &self.0 {
            Kind::Decoder { answers: true, .. } => {
                outputs.chunks_exact(2).map(|l| Logit(l[0] - l[1])).collect()
            }
            _ => outputs.into_iter().map(Logit).collect(),
        }
    }
}

/// The bound stem of an encoder; empty for decoders.
pub struct Stem<'w, B: Ops> {
    norm: Option<LayerNorm<'w, B>>,
    token_types: Vec<f32>,
}

impl<'w, B: Ops> Stem<'w, B> {
    /// `host` holds the bytes of the slot's block.
    pub(crate) fn bind(
        config: &ModelConfig,
        weights: &LayerWeights<'w, B>,
        host: &dyn HostBlock,
        parts: &[Part],
    ) -> Result<Self> {
        if config.family.is_decoder() {
            return Ok(Stem { norm: None, token_types: Vec::new() });
        }
        let (weight, bias) = ("embeddings.LayerNorm.weight", "embeddings.LayerNorm.bias");
        let index = weights.index("embeddings.token_type_embeddings.weight")?;
        let types = &parts[index];
        Ok(Stem {
            norm: Some(LayerNorm::bind(weights, weight, bias)?),
            // Added on the host, to rows that come from there.
            token_types: TensorView::new(types.dtype(), types.shape(), host.bytes(index))?.to_f32(),
        })
    }

    /// The embedding row of a token type, `[hidden]`.
    pub(crate) fn token_type(&self, hidden: usize, id: usize) -> &[f32] {
        &self.token_types[id * hidden..(id + 1) * hidden]
    }

    pub(crate) fn finish(&self, ops: &B, config: &ModelConfig, x: B::Tensor) -> Result<B::Tensor> {
        match &self.norm {
            Some(norm) => norm.forward(ops, x, config.norm_eps),
            None => Ok(x),
        }
    }
}
