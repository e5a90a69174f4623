//! A request's body as bytes: no more than is allowed, within the time that is, and counted while it is held.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, EXPECT};
use axum::http::{HeaderMap, request::Parts};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::failure::{Failure, Kind};
use crate::state::Shared;

/// What is counted as one.
const UNIT: usize = 1 << 10;

/// Bytes of bodies and answers that may be held at one time.
#[derive(Debug, Clone)]
pub(crate) struct HeldBytes(Arc<Semaphore>);

/// A share of them; it is given back when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Held(Option<OwnedSemaphorePermit>);

impl HeldBytes {
    pub(crate) fn new(bytes: usize) -> Self {
        let units = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS);
        HeldBytes(Arc::new(Semaphore::new(units)))
    }

    /// Adds so many bytes to what is held, where there are.
    fn add(&self, held: &mut Held, bytes: usize) -> bool {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let Ok(more) = Arc::clone(&self.0).try_acquire_many_owned(units) else { return false };
        match &mut held.0 {
            Some(permit) => permit.merge(more),
            None => held.0 = Some(more),
        }
        true
    }
}

/// Reads the body.
pub(crate) async fn read(
    shared: &Shared,
    parts: &Parts,
    body: Body,
) -> Result<(Vec<u8>, Held), Failure> {
    check_type(&parts.headers)?;
    let (most, allowed) = (shared.options.max_body_bytes, shared.options.read_timeout);
    let mut body = body;
    if body.size_hint().lower() > most as u64 {
        if !parts.headers.contains_key(EXPECT) {
            discard(&mut body, allowed).await;
        }
        return Err(too_large(most));
    }
    match timeout(allowed, collect(shared, &mut body, most)).await {
        Ok(Ok(Some(read))) => Ok(read),
        Ok(Ok(None)) => {
            discard(&mut body, allowed).await;
            Err(too_large(most))
        }
        Ok(Err(failure)) => Err(failure),
        Err(_) => {
            let message = format!("the body was not there within {allowed:?}");
            Err(Failure::new(Kind::ReadTimeout, message))
        }
    }
}

/// The bytes; nothing where there are more than `most`.
async fn collect(
    shared: &Shared,
    body: &mut Body,
    most: usize,
) -> Result<Option<(Vec<u8>, Held)>, Failure> {
    let (mut bytes, mut held) = (Vec::new(), Held::default());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Failure::new(Kind::NotJson, format!("the body cannot be read: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > most {
            return Ok(None);
        }
        if !shared.held.add(&mut held, data.len()) {
            let message = "too many bytes of requests are held; try again later";
            return Err(Failure::new(Kind::Overloaded, message).retry_after(1));
        }
        if bytes.is_empty() {
            // A body of one piece is copied once.
            bytes.reserve_exact(data.len().max(body.size_hint().lower().min(1 << 20) as usize));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Some((bytes, held)))
}

fn too_large(most: usize) -> Failure {
    let mib = most as f64 / (1 << 20) as f64;
    let message = format!("the body is larger than {mib:.1} MiB; send fewer texts at a time");
    Failure::new(Kind::TooLarge, message)
}

/// Takes what the client is still sending: one that gets its answer meanwhile, and then a closed connection, may not read
/// the answer.
async fn discard(body: &mut Body, allowed: Duration) {
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    _ = timeout(allowed, all).await;
}

/// Pages of other sites may send forms and plain text without asking; those are refused.
fn check_type(headers: &HeaderMap) -> Result<(), Failure> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let essence = value.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default();
    let essence = essence.trim_ascii().to_ascii_lowercase();
    let is_json = essence == b"application/json" || essence.ends_with(b"+json");
    match is_json {
        true => Ok(()),
        false => Err(Failure::new(Kind::MediaType, "send application/json")),
    }
}
