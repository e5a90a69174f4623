//! Events: how far a request is, layer by layer, and its answer as the last one.

use std::io::Write;

use grating::{Policy, Pruning, Reranker};
use grating_server::ServerOptions;
use serde_json::{Value, json};

use crate::client::{Answer, call, connect, post, request};
use crate::running::{Running, Stuck, TEXTS, model, until};

const EVENTS: [(&str, &str); 2] =
    [("content-type", "application/json"), ("accept", "text/event-stream")];

/// Names and data of the events.
fn events(answer: &Answer) -> Vec<(String, Value)> {
    let text = answer.text();
    let events = text.split("\n\n").filter(|event| event.starts_with("event: "));
    let event = |event: &str| {
        let (name, data) = event["event: ".len()..].split_once("\ndata: ").unwrap();
        (name.to_string(), serde_json::from_str(data).unwrap())
    };
    events.map(event).collect()
}

#[test]
fn every_layer_is_told_and_the_answer_comes_last() {
    let builder = Reranker::builder().pruning(Pruning::By(Policy::paper(0.05)));
    let server = Running::start(ServerOptions::default(), vec![model("default", builder)]);
    server.until_ready();
    let text = |n: usize| match n % 8 {
        3 => format!("Paris, the capital of France, has {n} bridges over the Seine."),
        _ => format!("Bananas number {n} are rich in potassium."),
    };
    let texts: Vec<String> = (0..40).map(text).collect();
    let body =
        json!({"query": "What is the capital of France?", "documents": texts, "top_k_hint": 5});
    let answer = call(server.address, "POST", "/rerank", &EVENTS, body.to_string().as_bytes());
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/event-stream")));
    let events = events(&answer);
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names[0], *names.last().unwrap()), ("queued", "result"));
    let progress: Vec<&Value> =
        events.iter().filter(|(name, _)| name == "progress").map(|(_, data)| data).collect();
    assert_eq!(progress.len(), names.len() - 2);
    let count = |data: &Value, of: &str| data[of].as_u64().unwrap();
    for (layer, data) in progress.iter().enumerate() {
        assert_eq!(count(data, "layer"), layer as u64);
        // In `rank` the accepted ones go on, so that they are live, too.
        assert!(count(data, "live") + count(data, "dropped") == 40, "{data}");
        assert!(count(data, "selected") <= 5 && count(data, "done") <= count(data, "total"));
    }
    assert!(count(progress.last().unwrap(), "dropped") > 0);
    // The same answer as without events.
    let plain = post(server.address, "/rerank", &body.to_string()).json();
    assert_eq!(events.last().unwrap().1["results"], plain["results"]);
}

#[test]
fn mistakes_have_their_status_and_who_leaves_is_not_computed() {
    let stuck = Stuck::new(ServerOptions::default(), 4);
    let wrong = call(stuck.running.address, "POST", "/rerank", &EVENTS, b"{");
    assert_eq!((wrong.status, wrong.header("content-type")), (400, Some("application/json")));
    let body = json!({"query": "a river", "documents": TEXTS}).to_string();
    let send = || {
        let mut stream = connect(stuck.running.address);
        stream.write_all(&request("POST", "/rerank", &EVENTS, body.as_bytes())).unwrap();
        stream
    };
    let first = send();
    until("one is computed", || stuck.computed() == 1.0);
    let second = send();
    until("one waits", || stuck.queued() == 1.0);
    drop(second);
    until("who left does not wait", || stuck.queued() == 0.0);
    let late = json!({"query": "q", "documents": ["a"], "deadline_ms": 30}).to_string();
    let late = call(stuck.running.address, "POST", "/rerank", &EVENTS, late.as_bytes());
    let last = events(&late).pop().unwrap();
    assert_eq!((last.0.as_str(), &last.1["error"]["code"]), ("error", &json!(504)));
    stuck.gate.close(false);
    assert_eq!(events(&Answer::read(&first).unwrap()).last().unwrap().0, "result");
}
