//! The model that is embedded in the library, so that ranking needs no file and no network.

#[cfg(feature = "default-model")]
use grating_default_model as embedded;

/// The weights, which all rerankers of the process read from the same place; packages of the crate that has them come
/// without.
#[cfg(feature = "default-model")]
fn weights() -> Option<std::sync::Arc<grating_io::ProgramStorage>> {
    use std::sync::{Arc, OnceLock};

    use grating_io::ProgramStorage;

    static WEIGHTS: OnceLock<Arc<ProgramStorage>> = OnceLock::new();
    let bytes = embedded::WEIGHTS?;
    let new = || ProgramStorage::new("embedded model.safetensors", bytes);
    Some(Arc::clone(WEIGHTS.get_or_init(|| Arc::new(new()))))
}

/// Bytes of the program that become resident as the weights are read, and stay.
pub(crate) fn kept_bytes() -> u64 {
    #[cfg(feature = "default-model")]
    return weights().map_or(0, |weights| weights.kept_bytes());
    #[cfg(not(feature = "default-model"))]
    return 0;
}

#[cfg(feature = "default-model")]
pub(crate) fn open() -> crate::Result<crate::files::ModelFiles> {
    use grating_io::Checkpoint;

    Ok(crate::files::ModelFiles {
        name: "default".into(),
        config: embedded::CONFIG.to_vec(),
        tokenizer: embedded::TOKENIZER.to_vec(),
        beside_tokenizer: vec![("tokenizer_config.json", embedded::TOKENIZER_CONFIG.to_vec())],
        grating: None,
        side_files: grating_model::SideFiles::default(),
        profile: Some(embedded::PROFILE.to_vec()),
        from_metadata: Vec::new(),
        checkpoint: Checkpoint::from_storage(weights().ok_or(crate::Error::NoDefaultModel)?)?,
    })
}

#[cfg(not(feature = "default-model"))]
pub(crate) fn open() -> crate::Result<crate::files::ModelFiles> {
    Err(crate::Error::NoDefaultModel)
}
