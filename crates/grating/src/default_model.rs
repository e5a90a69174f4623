//! The model that is embedded in the library, so that ranking needs no file and no network.

#[cfg(feature = "default-model")]
pub(crate) fn open() -> crate::Result<crate::files::ModelFiles> {
    use std::sync::Arc;

    use grating_default_model as embedded;
    use grating_io::{Checkpoint, MemoryStorage};

    let weights = MemoryStorage::from_static("embedded model.safetensors", embedded::WEIGHTS);
    Ok(crate::files::ModelFiles {
        name: "default".into(),
        config: embedded::CONFIG.to_vec(),
        tokenizer: embedded::TOKENIZER.to_vec(),
        beside_tokenizer: vec![("tokenizer_config.json", embedded::TOKENIZER_CONFIG.to_vec())],
        grating: None,
        profile: None,
        from_metadata: Vec::new(),
        checkpoint: Checkpoint::from_storage(Arc::new(weights))?,
    })
}

#[cfg(not(feature = "default-model"))]
pub(crate) fn open() -> crate::Result<crate::files::ModelFiles> {
    Err(crate::Error::NoDefaultModel)
}
