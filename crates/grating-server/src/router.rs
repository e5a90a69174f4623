//! Routes, and what every request passes: its id, the key, the log.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONNECTION;
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::failure::{Failure, Kind};
use crate::metrics::names;
use crate::reply::Told;
use crate::state::{Phase, Shared};
use crate::{handlers, info, page};

/// Where rerank requests go, of any shape.
pub(crate) const RERANK: [&str; 5] =
    ["/rerank", "/reranking", "/v1/rerank", "/v1/reranking", "/v2/rerank"];
/// Where pairs go.
pub(crate) const SCORE: [&str; 2] = ["/score", "/v1/score"];
/// What anybody may see: whether the server is there, and a page that asks for the key, say nothing of anybody's texts.
const OPEN: [&str; 2] = ["/health", "/"];

const ID: &str = "x-request-id";
/// Longest id that a client may give.
const LONGEST_ID: usize = 128;

/// The id of a request, for its answer and the log.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) String);

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new()
        .route("/", get(page::page))
        .route("/openapi.json", get(page::openapi))
        .route("/health", get(info::health))
        .route("/info", get(info::info))
        .route("/v1/models", get(info::models))
        .route("/metrics", get(info::metrics));
    for path in RERANK {
        router = router.route(path, post(handlers::rerank));
    }
    for path in SCORE {
        router = router.route(path, post(handlers::score));
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(from_fn_with_state(Arc::clone(&shared), passed))
        .with_state(shared)
}

async fn not_found() -> Failure {
    let message = "no such path; POST to /rerank, GET /health, /info, /metrics, /openapi.json";
    Failure::new(Kind::NotFound, message)
}

async fn not_allowed(method: Method) -> Failure {
    let message = format!("this path is not for {method}");
    Failure::new(Kind::MethodNotAllowed, message)
}

/// What every request passes.
async fn passed(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = given_id(request.headers()).unwrap_or_else(|| shared.next_id());
    let (method, path) = (request.method().clone(), request.uri().path().to_string());
    // Paths of the table only, or else anybody could make up any number of them.
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_string());
    let route = route.unwrap_or_else(|| "other".into());
    let is_open = method.is_safe() && OPEN.contains(&path.as_str());
    let key = shared.options.api_key.as_ref().filter(|_| !is_open);
    let mut response = match key.is_none_or(|key| key.admits(request.headers())) {
        true => {
            request.extensions_mut().insert(RequestId(id.clone()));
            next.run(request).await
        }
        false => {
            Failure::new(Kind::Unauthorized, "the API key is missing or wrong").into_response()
        }
    };
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(ID, value);
    }
    if shared.phase() >= Phase::Stopping {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let told = response.extensions_mut().remove::<Told>().unwrap_or_default();
    let (status, took) = (response.status(), began.elapsed());
    let labels = [("path", route.as_str()), ("status", status.as_str())];
    shared.metrics.add(&names::REQUESTS, &labels, 1.0);
    if let Some((kind, _)) = &told.failure {
        shared.metrics.add(&names::FAILURES, &[("kind", kind.words().1)], 1.0);
    }
    let ms = took.as_micros() as f64 / 1e3;
    let reason = told.failure.map(|(_, reason)| reason);
    tracing::info!(
        request_id = id,
        %method,
        path,
        status = status.as_u16(),
        ms,
        model = told.model,
        texts = told.texts,
        tokens = told.tokens,
        reason,
        "request"
    );
    response
}

/// An id that the client gave, where it may stand in a log.
fn given_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(ID)?.to_str().ok()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    (!id.is_empty() && id.len() <= LONGEST_ID && id.bytes().all(is_plain)).then(|| id.to_string())
}
