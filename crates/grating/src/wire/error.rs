//! What is wrong with a body, and errors as every client reads them.

use serde::Serialize;
use serde_json::{Value, json};

use super::Shape;

/// What kind of mistake it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The bytes are not JSON.
    NotJson,
    /// There is nothing to rank.
    Empty,
    /// A field cannot be used.
    Invalid,
}

/// Why a body cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct WireError {
    /// What kind of mistake.
    pub fault: Fault,
    /// The form that the answer should have, as far as the body tells.
    pub shape: Shape,
    /// The field and what is wrong with it.
    pub message: String,
}

impl WireError {
    pub(super) fn new(fault: Fault, shape: Shape, message: impl Into<String>) -> Self {
        WireError { fault, shape, message: message.into() }
    }

    pub(super) fn invalid(shape: Shape, message: impl Into<String>) -> Self {
        Self::new(Fault::Invalid, shape, message)
    }

    /// What the parser has found, without a place: bodies have no lines.
    pub(super) fn of_json(error: &serde_json::Error) -> Self {
        let words = error.to_string();
        let words = words.split(" at line ").next().unwrap_or_default();
        match error.is_data() {
            true => Self::invalid(Shape::default(), words),
            false => {
                let message = format!("the body is not JSON: {words}");
                Self::new(Fault::NotJson, Shape::default(), message)
            }
        }
    }
}

/// An error that clients of every server can read: some look for `error.message`, some for `message`, `detail` or
/// `error_type`, and those of text-embeddings-inference for a plain `error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorBody<'a> {
    /// Of the request.
    pub shape: Shape,
    /// HTTP status.
    pub code: u16,
    /// What kind, for programs: `invalid_request`, `overloaded` and so on.
    pub kind: &'a str,
    /// The same in the words of text-embeddings-inference: `Validation`, `Overloaded` and so on.
    pub error_type: &'a str,
    /// For people: what is wrong and what to do.
    pub message: &'a str,
}

impl ErrorBody<'_> {
    /// As JSON.
    pub fn to_json(&self) -> Value {
        let ErrorBody { shape, code, kind, error_type, message } = *self;
        match shape {
            Shape::Texts => json!({ "error": message, "error_type": error_type }),
            Shape::Documents | Shape::Data => json!({
                "error": { "message": message, "type": kind, "code": code },
                "error_type": error_type,
                "message": message,
                "detail": message,
            }),
        }
    }
}

impl Serialize for ErrorBody<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}
