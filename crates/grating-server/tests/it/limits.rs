//! Clients that are slow, vanish, send too much or what is no HTTP: none keeps the server from others.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use grating_server::ServerOptions;

use crate::client::{Answer, call, connect, get, post};
use crate::running::Running;

const BODY: &str = r#"{"query":"q","documents":["a","b"]}"#;

fn impatient() -> Running {
    let mut options = ServerOptions::default();
    options.read_timeout = Duration::from_secs(1);
    Running::with_default(options)
}

#[test]
fn half_a_body_and_a_byte_at_a_time_are_given_up() {
    let server = impatient();
    let head =
        format!("POST /rerank HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", BODY.len());
    let half = connect(server.address);
    (&half).write_all(format!("{head}{}", &BODY[..10]).as_bytes()).unwrap();
    let mut slow = connect(server.address);
    slow.write_all(head.as_bytes()).unwrap();
    let began = Instant::now();
    for byte in BODY.as_bytes() {
        if slow.write_all(&[*byte]).is_err() || began.elapsed() > Duration::from_secs(20) {
            break;
        }
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(post(server.address, "/rerank", BODY).status, 200);
    }
    for stream in [half, slow] {
        let answer = Answer::read(&stream).unwrap();
        assert_eq!(answer.status, 408);
        assert!(answer.text().contains("not there within 1s"), "{}", answer.text());
    }
    // A head that never ends.
    let mut endless = connect(server.address);
    endless.write_all(b"POST /rerank HTTP/1.1\r\nhost: a\r\n").unwrap();
    let mut rest = Vec::new();
    _ = endless.read_to_end(&mut rest);
    assert!(Answer::read(&endless).is_none_or(|answer| answer.status == 408));
}

#[test]
fn what_is_no_http_is_refused_and_who_vanishes_is_forgotten() {
    let server = impatient();
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(200_000));
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /rerank HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /rerank HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}",
        b"POST /rerank HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"\0\0\0\0\r\n\r\n",
        long.as_bytes(),
    ] {
        let stream = connect(server.address);
        _ = (&stream).write_all(bytes);
        let status = Answer::read(&stream).map(|answer| answer.status);
        assert!(status.is_none_or(|status| (400..500).contains(&status)), "{status:?}");
    }
    for sent in [
        "",
        "POST",
        "POST /rerank HTTP/1.1\r\n",
        "POST /rerank HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{",
    ] {
        let mut stream = connect(server.address);
        stream.write_all(sent.as_bytes()).unwrap();
    }
    assert_eq!(post(server.address, "/rerank", BODY).status, 200);
}

#[test]
fn a_hundred_megabytes_are_refused_without_being_held() {
    let server = Running::with_default(ServerOptions::default());
    let before = grating::current_rss_bytes().unwrap_or(0);
    let mut stream = connect(server.address);
    let length = 100 << 20;
    let head = format!(
        "POST /rerank HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let piece = vec![b' '; 1 << 20];
    for _ in 0..100 {
        if stream.write_all(&piece).is_err() {
            break;
        }
    }
    let answer = Answer::read(&stream).unwrap();
    assert_eq!(answer.status, 413);
    assert!(answer.text().contains("larger than 32.0 MiB"));
    let after = grating::current_rss_bytes().unwrap_or(0);
    assert!(after < before + (48 << 20), "{before} {after}");
    // One who asks first is told at once.
    let mut polite = connect(server.address);
    let head = head.replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
    polite.write_all(head.as_bytes()).unwrap();
    assert_eq!(Answer::read(&polite).unwrap().status, 413);
}

#[test]
fn bytes_that_are_held_are_bounded() {
    let mut options = ServerOptions::default();
    options.max_held_bytes = 8 << 10;
    let server = Running::with_default(options);
    let large = format!(r#"{{"query":"q","documents":["{}"]}}"#, "a".repeat(20_000));
    let refused = post(server.address, "/rerank", &large);
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    for _ in 0..20 {
        assert_eq!(post(server.address, "/rerank", BODY).status, 200);
    }
}

#[test]
fn idle_connections_are_closed_and_others_wait_for_their_places() {
    let mut options = ServerOptions::default();
    options.read_timeout = Duration::from_secs(1);
    options.max_connections = 20;
    let server = Running::with_default(options);
    let mut idle: Vec<_> = (0..60).map(|_| connect(server.address)).collect();
    // It comes when those before it have been closed.
    assert_eq!(get(server.address, "/health").status, 200);
    assert_eq!(idle[0].read(&mut [0; 1]).unwrap_or(0), 0);
    assert_eq!(call(server.address, "GET", "/health", &[], b"").status, 200);
}
