//! What several modules' tests need.

use grating_io::Checkpoint;
use grating_model::{LoadedModel, Model};

#[allow(dead_code, unreachable_pub)] // It has what the conformance suite needs, too.
#[path = "../../grating-conformance/src/golden.rs"]
mod files;

/// A golden checkpoint of `grating-model` and its model.
pub(crate) fn golden(case: &str) -> (Model, Checkpoint) {
    let (LoadedModel { model, .. }, checkpoint) = files::load(&files::folder(case), None, false);
    (model, checkpoint)
}
