//! The reranker that GRATING embeds, as bytes: a 6-layer MiniLM cross-encoder in the layout of a model folder.
//!
//! A crate of its own, because a crate can package only files below its own folder, and because 45 MB should be left
//! out by those who bring their own model (`grating` without its feature `default-model`). Where the weights come from
//! and what they are good for stands in the README.

/// `config.json`.
pub const CONFIG: &[u8] = include_bytes!("config.json");
/// `tokenizer.json`.
pub const TOKENIZER: &[u8] = include_bytes!("tokenizer.json");
/// `tokenizer_config.json`.
pub const TOKENIZER_CONFIG: &[u8] = include_bytes!("tokenizer_config.json");
/// `grating-profile.json`: how requests for 1, 5, 10 and 20 texts prune that do not say it themselves.
pub const PROFILE: &[u8] = include_bytes!("grating-profile.json");
/// `model.safetensors`: f16 tensors under the names of `BertForSequenceClassification`. Not in packages of registries, which are
/// too small for it; there is no model to embed then.
#[cfg(with_weights)]
pub static WEIGHTS: Option<&[u8]> = Some(include_bytes!("model.safetensors"));
/// `model.safetensors`, which was not there when the crate was built.
#[cfg(not(with_weights))]
pub static WEIGHTS: Option<&[u8]> = None;
