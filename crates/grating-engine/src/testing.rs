//! What several modules' tests need.

use std::path::Path;

use grating_io::Checkpoint;
use grating_model::{LoadOptions, LoadedModel, Model, SideFiles};

/// A golden checkpoint of `grating-model` and its model.
pub(crate) fn golden(case: &str) -> (Model, Checkpoint) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../grating-model/tests/goldens");
    let folder = folder.join(case);
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let (config, tokenizer) = (read("config.json"), read("tokenizer.json"));
    let grating = std::fs::read(folder.join("grating.json")).ok();
    let options = LoadOptions::default();
    let loaded = LoadedModel::load(
        &config,
        &tokenizer,
        grating.as_deref(),
        &SideFiles::default(),
        &checkpoint,
        options,
    )
    .unwrap();
    (loaded.model, checkpoint)
}
