//! How passages are compressed, as it is set: what of it can be told without the model.

use grating_model::TokenCompression;

use crate::error::{Error, Result};

/// The settings of the builder.
#[derive(Debug, Clone, Default)]
pub(crate) struct CompressionSettings {
    pub(crate) ratio: Option<usize>,
    pub(crate) layers: Option<Vec<usize>>,
}

impl CompressionSettings {
    /// What they say.
    ///
    /// # Errors
    /// Layers alone say nothing.
    pub(crate) fn resolve(&self) -> Result<Option<TokenCompression>> {
        match (self.ratio, &self.layers) {
            (None, None) => Ok(None),
            (None, Some(layers)) => Err(Error::Setting {
                setting: "compress_layers",
                expected: "a compress_ratio beside it, 2, 4 or 8".into(),
                found: format!("{layers:?}"),
            }),
            (Some(ratio), None) => Ok(Some(TokenCompression::new(ratio, TokenCompression::LAYERS))),
            (Some(ratio), Some(layers)) => Ok(Some(TokenCompression::new(ratio, layers.clone()))),
        }
    }
}
