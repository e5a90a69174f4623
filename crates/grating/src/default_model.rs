//! The model that is embedded in the library, so that ranking needs no file and no network.

#[cfg(feature = "default-model")]
mod embedded {
    macro_rules! file {
        ($name:literal) => {
            include_bytes!(concat!("../../../models/default/", $name)).as_slice()
        };
    }

    pub(crate) const CONFIG: &[u8] = file!("config.json");
    pub(crate) const TOKENIZER: &[u8] = file!("tokenizer.json");
    pub(crate) static WEIGHTS: &[u8] = file!("model.safetensors");
}

#[cfg(feature = "default-model")]
pub(crate) fn open() -> crate::Result<crate::files::ModelFiles> {
    use std::sync::Arc;

    use grating_io::{Checkpoint, MemoryStorage};

    let weights = MemoryStorage::from_static("embedded model.safetensors", embedded::WEIGHTS);
    Ok(crate::files::ModelFiles {
        name: "default".into(),
        config: embedded::CONFIG.to_vec(),
        tokenizer: embedded::TOKENIZER.to_vec(),
        grating: None,
        profile: None,
        checkpoint: Checkpoint::from_storage(Arc::new(weights))?,
    })
}

#[cfg(not(feature = "default-model"))]
pub(crate) fn open() -> crate::Result<crate::files::ModelFiles> {
    Err(crate::Error::NoDefaultModel)
}
