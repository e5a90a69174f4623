//! The fields of `config.json`, and the checks that all families share.

use grating_backend::Activation;
use grating_io::shown;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Form;
use super::rope::RawRope;
use super::traps;
use crate::error::{ModelError, Result};
use crate::families::Family;

/// As the file has them. What is absent has the default of its family in transformers.
#[derive(Deserialize)]
pub(crate) struct Raw {
    architectures: Option<Vec<String>>,
    pub(super) num_hidden_layers: Option<usize>,
    pub(super) hidden_size: Option<usize>,
    pub(super) num_attention_heads: Option<usize>,
    pub(super) num_key_value_heads: Option<usize>,
    pub(super) head_dim: Option<usize>,
    pub(super) intermediate_size: Option<usize>,
    pub(super) vocab_size: Option<usize>,
    pub(super) max_position_embeddings: Option<usize>,
    type_vocab_size: Option<usize>,
    rms_norm_eps: Option<f64>,
    layer_norm_eps: Option<f64>,
    pub(super) tie_word_embeddings: Option<bool>,
    pub(super) rope_theta: Option<f64>,
    pub(super) rope_scaling: Option<RawRope>,
    pub(crate) pad_token_id: Option<i64>,
    pub(crate) attention_bias: Option<bool>,
    pub(crate) mlp_bias: Option<bool>,
    pub(crate) position_embedding_type: Option<String>,
    pub(super) tokenizer_class: Option<String>,
    use_sliding_window: Option<bool>,
    num_labels: Option<usize>,
    quantization_config: Option<Value>,
    id2label: Option<Map<String, Value>>,
    /// What families have of their own.
    #[serde(flatten)]
    own: Map<String, Value>,
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
    let names = Family::all().flat_map(|family| family.definition().architectures);
    names.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

impl Raw {
    /// The architecture as it is written, its family, and its form.
    pub(super) fn architecture(&self) -> Result<(String, Family, Form)> {
        let Some(found) = self.architectures.iter().flatten().next().cloned() else {
            return Err(ModelError::NoArchitecture { supported: supported() });
        };
        for family in Family::all() {
            let mut architectures = family.definition().architectures.iter();
            if let Some(&(_, form)) = architectures.find(|(name, _)| *name == found) {
                return Ok((found, family, form));
            }
        }
        Err(traps::refusal(&found).unwrap_or_else(|| ModelError::UnknownArchitecture {
            found: shown(&found),
            supported: supported(),
        }))
    }

    /// Sizes under a family's own names; the usual name counts where both are there.
    pub(super) fn take_sizes(&mut self, names: &[(&'static str, &'static str)]) -> Result<()> {
        for &(usual, own) in names {
            let size = self.own(own)?;
            let place = match usual {
                "num_hidden_layers" => &mut self.num_hidden_layers,
                "hidden_size" => &mut self.hidden_size,
                "num_attention_heads" => &mut self.num_attention_heads,
                "intermediate_size" => &mut self.intermediate_size,
                _ => unreachable!("families rename these sizes alone"),
            };
            *place = place.or(size);
        }
        Ok(())
    }

    pub(super) fn refuse_what_is_not_implemented(&self) -> Result<()> {
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

    /// A field of the family's own, in the type that it has there; absent and null are the same.
    pub(crate) fn own<T: DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>> {
        match self.own.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value).map(Some).map_err(|error| {
                field(name, "another kind of value", format!("{value} ({error})"))
            }),
        }
    }

    /// A field of the family's own that is `default` where it is absent, and none where it is null.
    pub(crate) fn own_or_null<T: DeserializeOwned>(
        &self,
        name: &'static str,
        default: T,
    ) -> Result<Option<T>> {
        if self.own.contains_key(name) { self.own(name) } else { Ok(Some(default)) }
    }

    /// A number above 0 that a field of the family's own has.
    pub(crate) fn positive(&self, name: &'static str, default: f64) -> Result<f64> {
        match self.own::<f64>(name)?.unwrap_or(default) {
            x if x.is_finite() && x > 0.0 => Ok(x),
            x => Err(field(name, "a number above 0", x)),
        }
    }

    /// `hidden_act`.
    pub(crate) fn activation(&self, default: &str) -> Result<Activation> {
        self.activation_of("hidden_act", default)
    }

    /// The non-linearity that a field names.
    pub(crate) fn activation_of(&self, name: &'static str, default: &str) -> Result<Activation> {
        let found: Option<String> = self.own(name)?;
        match found.as_deref().unwrap_or(default) {
            "silu" | "swish" => Ok(Activation::Silu),
            "gelu" => Ok(Activation::GeluErf),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            "tanh" => Ok(Activation::Tanh),
            other => {
                Err(field(name, "silu, gelu, gelu_new, gelu_pytorch_tanh, relu or tanh", other))
            }
        }
    }

    /// The epsilon of RMSNorm; transformers' default is the decoders' own.
    pub(crate) fn rms_norm_eps(&self) -> Result<f32> {
        epsilon("rms_norm_eps", self.rms_norm_eps.unwrap_or(1e-6))
    }

    /// The epsilon of LayerNorm; transformers' default is the encoders' own.
    pub(crate) fn layer_norm_eps(&self) -> Result<f32> {
        self.layer_norm_eps_or(1e-12)
    }

    /// [`Self::layer_norm_eps`] with another default.
    pub(crate) fn layer_norm_eps_or(&self, default: f64) -> Result<f32> {
        epsilon("layer_norm_eps", self.layer_norm_eps.unwrap_or(default))
    }

    /// The epsilon that a field of the family's own names.
    pub(crate) fn epsilon(&self, name: &'static str, default: f64) -> Result<f32> {
        epsilon(name, self.own(name)?.unwrap_or(default))
    }

    /// A width that a field of the family's own names.
    pub(crate) fn width(&self, name: &'static str, default: usize) -> Result<usize> {
        self.size(name, Some(self.own(name)?.unwrap_or(default)), MAX_WIDTH)
    }

    /// `type_vocab_size`.
    pub(crate) fn type_vocab(&self, default: usize) -> Result<usize> {
        let rows = self.type_vocab_size.unwrap_or(default);
        self.size("type_vocab_size", Some(rows), MAX_ROWS)
    }

    /// `type_vocab_size`, which may be 0.
    pub(crate) fn type_vocab_or_none(&self, default: usize) -> Result<Option<usize>> {
        match self.type_vocab_size.unwrap_or(default) {
            0 => Ok(None),
            rows => self.size("type_vocab_size", Some(rows), MAX_ROWS).map(Some),
        }
    }

    /// `pad_token_id`, as far as it is one.
    pub(crate) fn padding(&self) -> Option<u32> {
        self.pad_token_id.and_then(|id| u32::try_from(id).ok())
    }

    /// Whether rotary frequencies are changed in the spelling before `rope_parameters`.
    pub(crate) fn has_rope_scaling(&self) -> bool {
        self.rope_scaling.is_some()
    }

    /// `rope_parameters` in the family's own form.
    pub(crate) fn rope_parameters_as<T: DeserializeOwned + Default>(&self) -> Result<T> {
        Ok(self.own("rope_parameters")?.unwrap_or_default())
    }
}

fn epsilon(name: &'static str, eps: f64) -> Result<f32> {
    match eps.is_finite() && eps > 0.0 && eps < 1.0 {
        true => Ok(eps as f32),
        false => Err(field(name, "a small positive number", eps)),
    }
}

/// A field that does not say what it must.
pub(crate) fn field(
    field: &'static str,
    expected: impl Into<String>,
    found: impl std::fmt::Display,
) -> ModelError {
    ModelError::Config { field, expected: expected.into(), found: shown(&found.to_string()) }
}
