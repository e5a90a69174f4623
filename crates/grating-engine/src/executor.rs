//! A model on the operations that it runs with.

use grating_model::{CpuOps, Model, ModelError};

use crate::error::EngineError;

/// What computes: the model, its operations, and its name for errors.
#[derive(Clone, Copy)]
pub(crate) struct Executor<'a> {
    pub(crate) name: &'a str,
    pub(crate) model: &'a Model,
    pub(crate) ops: &'a CpuOps,
}

impl Executor<'_> {
    /// Layers of the model.
    pub(crate) fn layers(&self) -> usize {
        self.model.config().layers
    }

    /// Names the model that an error is about.
    pub(crate) fn fail(&self, reason: ModelError) -> EngineError {
        EngineError::Model { model: self.name.to_string(), reason: Box::new(reason) }
    }
}
