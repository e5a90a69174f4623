//! Why a request is not answered with scores: statuses, and the words of each kind.

use axum::http::StatusCode;
use grating::Error;
use grating::wire::{Fault, Shape, WireError};

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The body is no JSON.
    NotJson,
    /// There is nothing to rank.
    Empty,
    /// A field cannot be used.
    Invalid,
    Unauthorized,
    NotFound,
    MethodNotAllowed,
    /// The body did not come in time.
    ReadTimeout,
    /// More bytes than are taken, or than the memory budget has room for.
    TooLarge,
    MediaType,
    /// The model cannot be run.
    Model,
    /// Too many wait.
    Overloaded,
    /// A thread of ours ended as none should.
    Internal,
    /// Models are being opened, or the server is stopping.
    Unavailable,
    /// There was no answer in time.
    Deadline,
    /// The connection was closed.
    Cancelled,
}

impl Kind {
    /// Status, our word, and the word of text-embeddings-inference.
    pub(crate) fn words(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Kind::NotJson => (StatusCode::BAD_REQUEST, "invalid_json", "Validation"),
            Kind::Empty => (StatusCode::BAD_REQUEST, "empty", "Empty"),
            Kind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", "Validation"),
            Kind::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized"),
            Kind::NotFound => (StatusCode::NOT_FOUND, "not_found", "NotFound"),
            Kind::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Validation")
            }
            Kind::ReadTimeout => (StatusCode::REQUEST_TIMEOUT, "read_timeout", "Validation"),
            Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", "Validation"),
            Kind::MediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "Validation")
            }
            Kind::Model => (StatusCode::FAILED_DEPENDENCY, "model_failed", "Backend"),
            Kind::Overloaded => (StatusCode::TOO_MANY_REQUESTS, "overloaded", "Overloaded"),
            Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Backend"),
            Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Unhealthy"),
            Kind::Deadline => (StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded", "Backend"),
            // Nobody reads it.
            Kind::Cancelled => (StatusCode::SERVICE_UNAVAILABLE, "cancelled", "Unhealthy"),
        }
    }
}

/// A request that is answered with an error.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) shape: Shape,
    pub(crate) message: String,
    /// After so many seconds it may be better.
    pub(crate) retry_after: Option<u64>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        let retry_after = (kind == Kind::Unavailable).then_some(1);
        Failure { kind, shape: Shape::default(), message: message.into(), retry_after }
    }

    pub(crate) fn in_shape(self, shape: Shape) -> Self {
        Failure { shape, ..self }
    }

    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        Failure { retry_after: Some(seconds), ..self }
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        let kind = match error.fault {
            Fault::NotJson => Kind::NotJson,
            Fault::Empty => Kind::Empty,
            _ => Kind::Invalid,
        };
        Failure::new(kind, error.message).in_shape(error.shape)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::NoTexts => Kind::Empty,
            Error::ZeroK
            | Error::Setting { .. }
            | Error::Input(_)
            | Error::Tokenize(_)
            | Error::Profile(_)
            | Error::Prune(_) => Kind::Invalid,
            Error::TextOverBudget { .. } | Error::TextsOverBudget { .. } | Error::Plan(_) => {
                Kind::TooLarge
            }
            Error::Resources(_) => Kind::Unavailable,
            Error::Cancelled => Kind::Cancelled,
            Error::DeadlineExceeded { .. } => Kind::Deadline,
            Error::WorkerPanicked { .. } | Error::WorkerGone => Kind::Internal,
            _ => Kind::Model,
        };
        Failure::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_librarys_errors_have_the_status_that_clients_know() {
        let status = |error: Error| Failure::from(error).kind.words().0.as_u16();
        assert_eq!(status(Error::NoTexts), 400);
        assert_eq!(status(Error::TextsOverBudget { budget: 1, texts: 1, about: 2 }), 413);
        assert_eq!(status(Error::NotFinite { candidate: 0, layer: 0, score: f32::NAN }), 424);
        assert_eq!(status(Error::DeadlineExceeded { allowed: Duration::ZERO }), 504);
        assert_eq!(status(Error::WorkerGone), 500);
        assert_eq!(Failure::new(Kind::Unavailable, "").retry_after, Some(1));
    }
}
