//! The fields of `config.json`, and the checks that all families share.

use grating_backend::Activation;
use grating_io::shown;
use serde::Deserialize;

use super::family::FAMILIES;
use super::rope::RawRope;
use super::{FamilyConfig, Form};
use crate::error::{ModelError, Result};

/// As the file has them. What is absent has the default of its family in transformers.
#[derive(Deserialize)]
pub(super) struct Raw {
    pub(super) architectures: Option<Vec<String>>,
    pub(super) num_hidden_layers: Option<usize>,
    pub(super) hidden_size: Option<usize>,
    pub(super) num_attention_heads: Option<usize>,
    pub(super) num_key_value_heads: Option<usize>,
    pub(super) head_dim: Option<usize>,
    pub(super) intermediate_size: Option<usize>,
    pub(super) vocab_size: Option<usize>,
    pub(super) max_position_embeddings: Option<usize>,
    pub(super) type_vocab_size: Option<usize>,
    pub(super) hidden_act: Option<String>,
    pub(super) rms_norm_eps: Option<f64>,
    pub(super) layer_norm_eps: Option<f64>,
    pub(super) tie_word_embeddings: Option<bool>,
    pub(super) rope_theta: Option<f64>,
    pub(super) rope_scaling: Option<RawRope>,
    pub(super) rope_parameters: Option<RawRope>,
    pub(super) pad_token_id: Option<i64>,
    pub(super) attention_bias: Option<bool>,
    pub(super) mlp_bias: Option<bool>,
    pub(super) position_embedding_type: Option<String>,
    pub(super) tokenizer_class: Option<String>,
    pub(super) use_sliding_window: Option<bool>,
    pub(super) num_labels: Option<usize>,
    pub(super) quantization_config: Option<serde_json::Value>,
    pub(super) id2label: Option<serde_json::Map<String, serde_json::Value>>,
}

/// Sizes past which a `config.json` is taken for damaged rather than large.
pub(super) const MAX_LAYERS: usize = 1024;
pub(super) const MAX_WIDTH: usize = 1 << 20;
pub(super) const MAX_ROWS: usize = 1 << 26;

/// `CrossEncoder.rank` raises for any other number, and which label means relevant is nowhere written.
const ONE_LABEL: &str = "one label (sentence-transformers' CrossEncoder.rank refuses others too: there is no one score \
     to rank by). Of a two-label head of which you know the relevant label, the relevant row less the other, in \
     weight and bias, is a one-label head with the same order and probability";

/// All architectures, in the order of the families, for messages.
fn supported() -> String {
    let names = FAMILIES.iter().flat_map(|family| family.architectures);
    names.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

impl Raw {
    /// The architecture as it is written, its family, and its form.
    pub(super) fn architecture(&self) -> Result<(String, &'static FamilyConfig, Form)> {
        let Some(found) = self.architectures.iter().flatten().next().cloned() else {
            return Err(ModelError::NoArchitecture { supported: supported() });
        };
        for family in FAMILIES {
            if let Some(&(_, form)) = family.architectures.iter().find(|(name, _)| *name == found) {
                return Ok((found, family, form));
            }
        }
        Err(ModelError::UnknownArchitecture { found: shown(&found), supported: supported() })
    }

    pub(super) fn refuse_what_is_not_implemented(&self, decoder: bool) -> Result<()> {
        if let Some(kind) = &self.position_embedding_type
            && !decoder
            && kind != "absolute"
        {
            return Err(field("position_embedding_type", "absolute", kind));
        }
        if let Some(quantization) = self.quantization_config.as_ref().filter(|q| !q.is_null()) {
            let method = quantization.get("quant_method").and_then(|m| m.as_str());
            return Err(field(
                "quantization_config",
                "none: take the original weights, or a GGUF file of the model",
                method.unwrap_or("there"),
            ));
        }
        if self.use_sliding_window == Some(true) {
            return Err(field("use_sliding_window", "false", true));
        }
        Ok(())
    }

    pub(super) fn one_label(&self) -> Result<()> {
        // transformers writes the labels as id2label, and num_labels only in older files; it defaults to two.
        let labels = self.id2label.as_ref().map(|m| m.len()).or(self.num_labels);
        match labels {
            Some(1) => Ok(()),
            found => {
                let found =
                    found.map_or("absent (two labels by default)".to_string(), |n| n.to_string());
                Err(field("id2label / num_labels", ONE_LABEL, found))
            }
        }
    }

    pub(super) fn size(
        &self,
        name: &'static str,
        value: Option<usize>,
        most: usize,
    ) -> Result<usize> {
        match value {
            Some(n) if (1..=most).contains(&n) => Ok(n),
            Some(n) => Err(field(name, format!("1 to {most}"), n)),
            None => Err(field(name, format!("a number from 1 to {most}"), "absent")),
        }
    }

    pub(super) fn activation(&self, default: &str) -> Result<Activation> {
        match self.hidden_act.as_deref().unwrap_or(default) {
            "silu" | "swish" => Ok(Activation::Silu),
            "gelu" => Ok(Activation::GeluErf),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            other => {
                Err(field("hidden_act", "silu, gelu, gelu_new, gelu_pytorch_tanh or relu", other))
            }
        }
    }

    /// The epsilon of RMSNorm; transformers' default is the decoders' own.
    pub(super) fn rms_norm_eps(&self) -> Result<f32> {
        epsilon("rms_norm_eps", self.rms_norm_eps.unwrap_or(1e-6))
    }

    /// The epsilon of LayerNorm; transformers' default is the encoders' own.
    pub(super) fn layer_norm_eps(&self) -> Result<f32> {
        epsilon("layer_norm_eps", self.layer_norm_eps.unwrap_or(1e-12))
    }
}

fn epsilon(name: &'static str, eps: f64) -> Result<f32> {
    match eps.is_finite() && eps > 0.0 && eps < 1.0 {
        true => Ok(eps as f32),
        false => Err(field(name, "a small positive number", eps)),
    }
}

/// A field that does not say what it must.
pub(super) fn field(
    field: &'static str,
    expected: impl Into<String>,
    found: impl std::fmt::Display,
) -> ModelError {
    ModelError::Config { field, expected: expected.into(), found: shown(&found.to_string()) }
}
