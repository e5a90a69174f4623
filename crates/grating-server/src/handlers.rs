//! Requests that are computed: read here, answered on a thread that may wait.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use grating::CancelToken;
use tokio::task::spawn_blocking;

use crate::body::{self, Held};
use crate::events;
use crate::failure::{Failure, Kind};
use crate::metrics::names;
use crate::reply::{HeldBody, json_bytes};
use crate::router::RequestId;
use crate::state::Shared;
use crate::work::{self, Answered, Ask};

/// `/rerank` and its like.
pub(crate) async fn rerank(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let with_events = events::are_wanted(request.headers());
    match (read(&shared, request).await, with_events) {
        (Ok(Read { bytes, held, ask, wanted }), true) => {
            events::answer(shared, bytes, held, ask, wanted).await
        }
        (Ok(read), false) => answer(shared, read, work::rerank).await,
        (Err(failure), _) => failure.into_response(),
    }
}

/// `/score`.
pub(crate) async fn score(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    match read(&shared, request).await {
        Ok(read) => answer(shared, read, work::score).await,
        Err(failure) => failure.into_response(),
    }
}

/// A request that is there as a whole.
struct Read {
    bytes: Vec<u8>,
    held: Held,
    ask: Ask,
    wanted: Wanted,
}

async fn read(shared: &Arc<Shared>, request: Request) -> Result<Read, Failure> {
    let arrived = Instant::now();
    let (parts, body) = request.into_parts();
    let (bytes, held) = body::read(shared, &parts, body).await?;
    let id = parts.extensions.get::<RequestId>().map_or_else(String::new, |id| id.0.clone());
    let wanted = Wanted { cancel: CancelToken::new(), shared: Some(Arc::clone(shared)) };
    let ask = Ask { id, arrived, cancel: wanted.cancel.clone() };
    Ok(Read { bytes, held, ask, wanted })
}

type Work = fn(&Shared, Vec<u8>, &Ask) -> Result<Answered, Failure>;

async fn answer(shared: Arc<Shared>, read: Read, work: Work) -> Response {
    let Read { bytes, held, ask, wanted } = read;
    // What is held is so until the thread is done with it, whether or not somebody waits for the answer.
    let task = spawn_blocking(move || (work(&shared, bytes, &ask), held));
    let done = task.await;
    wanted.answered();
    match done {
        Ok((Ok(answered), held)) => response(answered, held),
        Ok((Err(failure), _)) => failure.into_response(),
        Err(_) => {
            let message = "internal error, please report it: the thread of the request panicked";
            Failure::new(Kind::Internal, message).into_response()
        }
    }
}

fn response(answered: Answered, held: Held) -> Response {
    let Answered { bytes, told, times } = answered;
    let mut response = json_bytes(StatusCode::OK, Body::new(HeldBody::new(bytes, held)));
    for (name, value) in times.headers() {
        response.headers_mut().insert(name, HeaderValue::from(value));
    }
    response.headers_mut().insert("x-compute-type", HeaderValue::from_static("cpu"));
    response.extensions_mut().insert(told);
    response
}

/// That somebody waits for the answer. Where the connection is closed before, this is dropped, and the request cancelled.
pub(crate) struct Wanted {
    cancel: CancelToken,
    /// Nothing once there is an answer.
    shared: Option<Arc<Shared>>,
}

impl Wanted {
    pub(crate) fn answered(mut self) {
        self.shared = None;
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            self.cancel.cancel();
            let kind = Kind::Cancelled.words().1;
            shared.metrics.add(&names::FAILURES, &[("kind", kind)], 1.0);
            tracing::info!("a connection was closed before its answer; the request is cancelled");
        }
    }
}
