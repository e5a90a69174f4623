//! A model on the backend that it runs on.

use grating_backend::Ops;
use grating_model::{Model, ModelError};

use crate::error::EngineError;

/// What computes: the model, its backend, and its name for errors.
pub(crate) struct Executor<'a, B> {
    pub(crate) name: &'a str,
    pub(crate) model: &'a Model,
    pub(crate) ops: &'a B,
}

// Not derived: that would ask for a backend that can be copied.
impl<B> Clone for Executor<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Executor<'_, B> {}

impl<B: Ops> Executor<'_, B> {
    /// Layers of the model.
    pub(crate) fn layers(&self) -> usize {
        self.model.config().layers
    }

    /// Names the model that an error is about.
    pub(crate) fn fail(&self, reason: impl Into<ModelError>) -> EngineError {
        EngineError::Model { model: self.name.to_string(), reason: Box::new(reason.into()) }
    }
}
