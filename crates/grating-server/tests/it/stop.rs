//! The beginning and the end: models that are being opened, and a stop that loses no request.

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc;

use grating::Reranker;
use grating_server::{ServedModel, ServerOptions};

use crate::client::{Answer, call, connect, get, post, request};
use crate::running::{Running, Stuck, until};

const BODY: &str = r#"{"query":"q","documents":["a","b"]}"#;

#[test]
fn while_models_are_opened_it_says_so() {
    let (open, opened) = mpsc::channel::<()>();
    let slow = ServedModel::new("slow", move || {
        opened.recv()?;
        Ok(Reranker::builder().build()?)
    });
    let server = Running::start(ServerOptions::default(), vec![slow]);
    let health = get(server.address, "/health");
    assert_eq!((health.status, health.json()["status"].as_str()), (503, Some("loading")));
    for answer in [post(server.address, "/rerank", BODY), get(server.address, "/info")] {
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    }
    open.send(()).unwrap();
    server.until_ready();
    assert_eq!(post(server.address, "/rerank", BODY).status, 200);
    assert_eq!(call(server.address, "HEAD", "/health", &[], b"").status, 200);
}

#[test]
fn what_was_taken_on_is_answered_before_it_ends() {
    let mut options = ServerOptions::default();
    // Long beside what a busy machine takes to connect twice.
    options.drain = std::time::Duration::from_secs(2);
    let stuck = Stuck::new(options, 8);
    let send = || {
        let mut stream = connect(stuck.running.address);
        stream.write_all(&request("POST", "/rerank", &[], BODY.as_bytes())).unwrap();
        stream
    };
    let mut all: Vec<TcpStream> = (0..3).map(|_| send()).collect();
    until("they wait", || stuck.queued() == 2.0);
    stuck.running.stop();
    let health = get(stuck.running.address, "/health");
    assert_eq!((health.status, health.json()["status"].as_str()), (503, Some("stopping")));
    assert_eq!(health.header("connection"), Some("close"));
    // One that was on its way.
    all.push(send());
    until("it listens no longer", || TcpStream::connect(stuck.running.address).is_err());
    stuck.gate.close(false);
    for stream in all {
        assert_eq!(Answer::read(&stream).map(|answer| answer.status), Some(200));
    }
}

#[test]
fn idle_connections_do_not_keep_it() {
    let mut options = ServerOptions::default();
    // Who has sent half of a head is waited for as long.
    options.read_timeout = std::time::Duration::from_secs(2);
    let server = Running::with_default(options);
    let mut idle = connect(server.address);
    let used = connect(server.address);
    let head = "GET /health HTTP/1.1\r\nhost: a\r\n\r\n";
    (&used).write_all(head.as_bytes()).unwrap();
    idle.write_all(b"POST /rer").unwrap();
    server.stop();
    assert!(server.ended().is_ok());
    assert!(Answer::read(&used).is_some_and(|answer| answer.status < 504));
}
