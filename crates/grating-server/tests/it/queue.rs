//! A bounded queue: what does not fit is told when to come back, and who is gone is not computed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::JoinHandle;
use std::time::Duration;

use grating_server::ServerOptions;
use serde_json::json;

use crate::client::{Answer, connect, get, post, request};
use crate::running::{Running, Stuck, TEXTS, until};

fn body() -> String {
    json!({"query": "a river", "documents": TEXTS}).to_string()
}

/// A request that waits for its answer.
fn send(server: &Running) -> TcpStream {
    send_body(server, &body())
}

/// A request that waits for its answer for so long at most.
fn send_within(server: &Running, allowed: Duration) -> TcpStream {
    let body = json!({"query": "a river", "texts": TEXTS, "deadline_ms": allowed.as_millis()});
    send_body(server, &body.to_string())
}

fn send_body(server: &Running, body: &str) -> TcpStream {
    let mut stream = connect(server.address);
    let json = [("content-type", "application/json")];
    stream.write_all(&request("POST", "/rerank", &json, body.as_bytes())).unwrap();
    stream
}

fn answer(stream: TcpStream) -> JoinHandle<u16> {
    std::thread::spawn(move || Answer::read(&stream).unwrap().status)
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let stuck = Stuck::new(ServerOptions::default(), 2);
    let first = send(&stuck.running);
    until("one is computed", || stuck.computed() == 1.0);
    let waiting: Vec<_> = (0..2).map(|_| send(&stuck.running)).collect();
    until("two wait", || stuck.queued() == 2.0);
    for path in ["/rerank", "/v2/rerank"] {
        let refused = post(stuck.running.address, path, &body());
        assert_eq!(refused.status, 429);
        assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
        assert_eq!(refused.json()["error"]["type"], "overloaded");
    }
    let score = json!({"queries": "q", "documents": ["a"]}).to_string();
    assert_eq!(post(stuck.running.address, "/score", &score).status, 429);
    // Everything else answers meanwhile.
    assert_eq!(get(stuck.running.address, "/health").status, 200);
    stuck.gate.close(false);
    let all: Vec<_> = waiting.into_iter().chain([first]).map(answer).collect();
    for status in all {
        assert_eq!(status.join().unwrap(), 200);
    }
    assert_eq!(post(stuck.running.address, "/rerank", &body()).status, 200);
    let refused = stuck.running.metric("grating_request_failures_total{kind=\"overloaded\"}");
    assert_eq!(refused, Some(3.0));
}

#[test]
fn tokens_fill_the_queue_too() {
    let mut options = ServerOptions::default();
    options.max_queued_tokens = 20;
    let stuck = Stuck::new(options, 8);
    let first = send(&stuck.running);
    until("one is computed", || stuck.computed() == 1.0);
    let second = send(&stuck.running);
    until("one waits", || stuck.queued() == 1.0);
    let refused = post(stuck.running.address, "/rerank", &body());
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(refused.text().contains("tokens wait"));
    stuck.gate.close(false);
    assert_eq!([first, second].map(|s| answer(s).join().unwrap()), [200, 200]);
}

#[test]
fn a_closed_connection_cancels_its_request_queued_or_computed() {
    let stuck = Stuck::new(ServerOptions::default(), 4);
    let first = send(&stuck.running);
    until("one is computed", || stuck.computed() == 1.0);
    let second = send(&stuck.running);
    let third = send(&stuck.running);
    until("two wait", || stuck.queued() == 2.0);
    drop(second);
    until("the one that is gone waits no longer", || stuck.queued() == 1.0);
    drop(first);
    let cancelled = "grating_request_failures_total{kind=\"cancelled\"}";
    until("both are cancelled", || stuck.running.metric(cancelled) == Some(2.0));
    stuck.gate.close(false);
    assert_eq!(answer(third).join().unwrap(), 200);
    // The first one was not computed to its end.
    assert_eq!(stuck.running.metric("grating_rerank_requests_total{"), Some(1.0));
}

#[test]
fn a_deadline_ends_what_waits() {
    let mut options = ServerOptions::default();
    options.deadline = Some(Duration::from_millis(10));
    let stuck = Stuck::new(options, 4);
    // Its own deadline, not the server's, so that it is sure to be computed when the others come.
    let first = send_within(&stuck.running, Duration::from_secs(3600));
    until("one is computed", || stuck.computed() == 1.0);
    assert_eq!(answer(send(&stuck.running)).join().unwrap(), 504);
    let late = json!({"query": "q", "texts": ["a"], "deadline_ms": 30}).to_string();
    let late = post(stuck.running.address, "/rerank", &late);
    assert_eq!((late.status, &late.json()["error_type"]), (504, &json!("Backend")));
    assert!(late.text().contains("30ms"), "{}", late.text());
    assert_eq!(stuck.computed(), 1.0);
    stuck.gate.close(false);
    assert_eq!(answer(first).join().unwrap(), 200);
}

#[test]
fn a_deadline_ends_what_is_computed() {
    let stuck = Stuck::new(ServerOptions::default(), 4);
    let late = "grating_request_failures_total{kind=\"deadline_exceeded\"}";
    // Long enough for this machine to begin with it.
    let (stream, allowed) = (0..12)
        .find_map(|doubled| {
            let allowed = Duration::from_millis(20 << doubled);
            let stream = send_within(&stuck.running, allowed);
            let ended = f64::from(doubled) + 1.0;
            until("it is computed or too late", || {
                stuck.computed() == 1.0 || stuck.running.metric(late) == Some(ended)
            });
            (stuck.computed() == 1.0).then_some((stream, allowed))
        })
        .unwrap();
    std::thread::sleep(allowed);
    stuck.gate.close(false);
    assert_eq!(answer(stream).join().unwrap(), 504);
}

#[test]
fn a_reader_that_takes_nothing_holds_up_nobody() {
    let server = Running::with_default(ServerOptions::default());
    // An answer of megabytes that is not read, of one text that is computed once.
    let texts = vec!["long ".repeat(4000); 600];
    let large = json!({"query": "q", "documents": texts, "return_documents": true}).to_string();
    let json_type = [("content-type", "application/json")];
    let mut lazy = connect(server.address);
    lazy.write_all(&request("POST", "/rerank", &json_type, large.as_bytes())).unwrap();
    until("it is computed", || {
        server.metric("grating_rerank_requests_total{").is_some_and(|count| count >= 1.0)
    });
    for _ in 0..5 {
        assert_eq!(post(server.address, "/rerank", &body()).status, 200);
    }
    let mut some = [0; 15];
    lazy.read_exact(&mut some).unwrap();
    assert_eq!(&some, b"HTTP/1.1 200 OK");
}
