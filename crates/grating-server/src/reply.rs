//! Answers: JSON, errors, and bodies that count as held until they are written.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::Full;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use serde::Serialize;

use grating::wire::ErrorBody;

use crate::body::Held;
use crate::failure::{Failure, Kind};

/// What the log and the metrics are told of an answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    pub(crate) model: Option<String>,
    pub(crate) texts: usize,
    pub(crate) tokens: usize,
    pub(crate) failure: Option<(Kind, String)>,
}

/// JSON with a status.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => json_bytes(status, Body::from(bytes)),
        Err(error) => Failure::new(Kind::Internal, error.to_string()).into_response(),
    }
}

/// JSON that is written already.
pub(crate) fn json_bytes(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, kind, error_type) = self.kind.words();
        let message = &self.message;
        let body =
            ErrorBody { shape: self.shape, code: status.as_u16(), kind, error_type, message };
        let mut response = json(status, &body);
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        match self.kind {
            Kind::Unauthorized => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            // What axum would say of the method is set by it.
            Kind::MethodNotAllowed => {
                headers.entry(ALLOW).or_insert(HeaderValue::from_static("GET, HEAD, POST"));
            }
            _ => {}
        }
        let told = Told { failure: Some((self.kind, self.message)), ..Told::default() };
        response.extensions_mut().insert(told);
        response
    }
}

/// Bytes that count as held until they are written.
pub(crate) struct HeldBody {
    bytes: Full<Bytes>,
    _held: Held,
}

impl HeldBody {
    pub(crate) fn new(bytes: Vec<u8>, held: Held) -> Self {
        HeldBody { bytes: Full::new(bytes.into()), _held: held }
    }
}

impl HttpBody for HeldBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.bytes).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes.size_hint()
    }
}
