//! How far a request is, layer by layer, as events (`text/event-stream`), and its answer as the last one.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use grating::Progress;
use grating::wire::ErrorBody;
use hyper::body::{Body as HttpBody, Bytes, Frame};
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::spawn_blocking;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use crate::body::Held;
use crate::failure::Failure;
use crate::handlers::Wanted;
use crate::reply::Told;
use crate::state::Shared;
use crate::work::{self, Ask, Event};

/// Events that may wait for a client who reads slowly; past that progress is not worth waiting for.
const WAITING: usize = 64;
/// So often a client is told that its request is still wanted, and the server learns that nobody reads.
const BEAT: Duration = Duration::from_secs(5);

/// Whether a client asks for events.
pub(crate) fn are_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("text/event-stream")
    })
}

/// What the thread of a request tells.
enum Message {
    News(Bytes),
    Done(Result<Bytes, Failure>),
}

/// Answers with events. A mistake that is found before the request is in the queue is answered as always.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    bytes: Vec<u8>,
    held: Held,
    ask: Ask,
    wanted: Wanted,
) -> Response {
    let (tell, mut told) = mpsc::channel(WAITING);
    spawn_blocking(move || {
        let done = run(&shared, bytes, &ask, &tell);
        // Waits for a client who reads slowly; one that is gone wants nothing.
        _ = tell.blocking_send(Message::Done(done));
        drop(held);
    });
    let first = match told.recv().await {
        Some(Message::Done(Err(failure))) => {
            wanted.answered();
            return failure.into_response();
        }
        first => first,
    };
    let mut beat = interval_at((Instant::now() + BEAT).into(), BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let body = Events { first, told, wanted: Some(wanted), beat };
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.extensions_mut().insert(Told::default());
    response
}

/// On the thread of the request.
fn run(
    shared: &Shared,
    bytes: Vec<u8>,
    ask: &Ask,
    tell: &Sender<Message>,
) -> Result<Bytes, Failure> {
    let mut layer = None;
    let answered = work::rerank_with(shared, bytes, ask, |event| {
        let news = match event {
            Event::Queued { ahead } => {
                named("queued", &json!({ "id": ask.id, "requests_ahead": ahead }))
            }
            // Of the chunks of a layer the first one.
            Event::Progress(progress) if layer != Some(progress.layer) => {
                layer = Some(progress.layer);
                named("progress", &of(&progress))
            }
            Event::Progress(_) => return,
        };
        _ = tell.try_send(Message::News(news));
    })?;
    Ok([b"event: result\ndata: ", answered.bytes.as_slice(), b"\n\n"].concat().into())
}

fn of(progress: &Progress) -> Value {
    json!({
        "layer": progress.layer,
        "layers": progress.layers,
        "live": progress.live,
        "selected": progress.accepted,
        "dropped": progress.dropped,
        "done": progress.done,
        "total": progress.total,
    })
}

fn named(event: &str, data: &Value) -> Bytes {
    format!("event: {event}\ndata: {data}\n\n").into()
}

fn failed(failure: &Failure) -> Bytes {
    let (status, kind, error_type) = failure.kind.words();
    let (shape, code, message) = (failure.shape, status.as_u16(), failure.message.as_str());
    named("error", &ErrorBody { shape, code, kind, error_type, message }.to_json())
}

/// The events as a body.
struct Events {
    first: Option<Message>,
    told: Receiver<Message>,
    /// Nothing once the answer is there.
    wanted: Option<Wanted>,
    beat: Interval,
}

impl Events {
    fn frame(&mut self, message: Message) -> Frame<Bytes> {
        let bytes = match message {
            Message::News(bytes) => return Frame::data(bytes),
            Message::Done(Ok(bytes)) => bytes,
            Message::Done(Err(failure)) => failed(&failure),
        };
        if let Some(wanted) = self.wanted.take() {
            wanted.answered();
        }
        Frame::data(bytes)
    }
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(self.frame(first))));
        }
        if self.wanted.is_none() {
            return Poll::Ready(None);
        }
        match self.told.poll_recv(cx) {
            Poll::Ready(Some(message)) => Poll::Ready(Some(Ok(self.frame(message)))),
            // The thread is gone without an answer: the connection ends in the middle of it.
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                ready!(self.beat.poll_tick(cx));
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b": working\n\n")))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_sent_to_those_who_ask() {
        for (accept, expected) in [
            ("text/event-stream", true),
            ("application/json, Text/Event-Stream;q=0.5", true),
            ("*/*", false),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(are_wanted(&headers), expected, "{accept}");
        }
    }
}
