//! What the server is and how it is: `/health`, `/info`, `/v1/models`, `/metrics`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::reply;
use crate::state::{Phase, Shared};

/// So that clients which cut pools to this many texts send them whole.
const MOST_TEXTS: usize = 65_536;

/// 200 where requests are answered.
pub(crate) async fn health(State(shared): State<Arc<Shared>>) -> Response {
    let phase = shared.phase();
    let status = match phase {
        Phase::Ready => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = reply::json(status, &json!({ "status": phase.word() }));
    if status != StatusCode::OK {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// The keys of text-embeddings-inference, and our own beside.
pub(crate) async fn info(State(shared): State<Arc<Shared>>) -> Result<Response, Failure> {
    let model = shared.models.find(None)?;
    let info = model.reranker.info();
    let body = json!({
        "model_id": info.name,
        "model_sha": null,
        "model_dtype": info.dtype,
        "served_model_name": model.name,
        "model_type": { "reranker": {
            "id2label": { "0": "LABEL_0" },
            "label2id": { "LABEL_0": 0 },
        } },
        "max_concurrent_requests": model.reranker.waiting().length,
        "max_input_length": info.max_length,
        "max_batch_tokens": shared.options.max_queued_tokens,
        "max_batch_requests": null,
        "max_client_batch_size": MOST_TEXTS,
        "auto_truncate": true,
        "tokenization_workers": 1,
        "version": env!("CARGO_PKG_VERSION"),
        "sha": null,
        "docker_label": null,
        "grating": {
            "version": env!("CARGO_PKG_VERSION"),
            "models": shared.models.all().iter().map(|model| about(model)).collect::<Vec<_>>(),
        },
    });
    Ok(reply::json(StatusCode::OK, &body))
}

fn about(model: &crate::models::Model) -> Value {
    let info = model.reranker.info();
    json!({
        "name": model.name,
        "sha256": model.hash,
        "family": info.family,
        "layers": info.layers,
        "parameters": info.parameters,
        "weight_bytes": info.weight_bytes,
        "max_length": info.max_length,
        "instruction": info.instruction,
        "memory": model.memory(),
    })
}

/// As OpenAI lists models.
pub(crate) async fn models(State(shared): State<Arc<Shared>>) -> Result<Response, Failure> {
    shared.models.find(None)?;
    let model = |model: &Arc<crate::models::Model>| {
        json!({
            "id": model.name,
            "object": "model",
            "created": model.opened,
            "owned_by": "grating",
        })
    };
    let data: Vec<Value> = shared.models.all().iter().map(model).collect();
    Ok(reply::json(StatusCode::OK, &json!({ "object": "list", "data": data })))
}

/// For Prometheus.
pub(crate) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let mut response = Response::new(Body::from(shared.metrics.expose(&shared)));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
