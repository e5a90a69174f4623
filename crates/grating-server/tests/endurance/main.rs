//! What many requests, many connections and a stop in the middle of them leave behind. In a process of its own, whose
//! descriptors, threads and memory are counted; one test after another.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // a failed test should panic

#[path = "../it/client.rs"]
#[allow(dead_code)] // some of it is for the other tests
mod client;
#[path = "../it/running.rs"]
#[allow(dead_code)]
mod running;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use grating::{IoMode, Reranker, WindowSize};
use grating_server::ServerOptions;

use client::{Answer, connect, get, post, request};
use running::{Running, golden, model, until};

const BODY: &str = r#"{"query":"a river","documents":["a window","the river"]}"#;

/// They count what the whole process has.
static ALONE: Mutex<()> = Mutex::new(());

/// Open files, threads, and bytes of memory of this process.
fn taken() -> (usize, usize, u64) {
    let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
    (count("/proc/self/fd"), count("/proc/self/task"), grating::current_rss_bytes().unwrap())
}

fn small(options: ServerOptions) -> Running {
    let builder = Reranker::builder().model(golden("bert-gelu-f32")).threads(1).queue_length(64);
    let server = Running::start(options, vec![model("small", builder)]);
    server.until_ready();
    server
}

/// Requests one after another on one connection; how many there were.
fn ask(address: SocketAddr, count: usize) -> usize {
    let stream = connect(address);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let head =
        format!("POST /rerank HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", BODY.len());
    for _ in 0..count {
        (&stream).write_all(format!("{head}{BODY}").as_bytes()).unwrap();
        let (mut line, mut length) = (String::new(), 0);
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            let Some((name, value)) = header.split_once(": ") else { break };
            if name == "content-length" {
                length = value.trim().parse().unwrap();
            }
        }
        reader.read_exact(&mut vec![0; length]).unwrap();
    }
    count
}

/// Requests of four connections, and of others that vanish in the middle of theirs.
fn many(server: &Running, count: usize) {
    let address = server.address;
    let asked = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(move || ask(address, count / 4))).collect();
        for n in 0..count / 20 {
            let mut gone = connect(address);
            let bytes = request("POST", "/rerank", &[], BODY.as_bytes());
            // Some in the middle of the request, others before the answer.
            gone.write_all(&bytes[..bytes.len() - (n % 2) * 10]).unwrap();
        }
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    assert_eq!(asked, count / 4 * 4);
}

fn nothing_is_left(count: usize) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = small(ServerOptions::default());
    // Threads and buffers that are kept for the next requests come to be.
    many(&server, 400);
    until("the first ones are gone", || taken().1 < 40);
    let before = taken();
    many(&server, count);
    let is_so = || {
        let now = taken();
        now.0 <= before.0 + 2 && now.1 <= before.1 + 2
    };
    until("descriptors and threads are as before", is_so);
    let grown = taken().2.saturating_sub(before.2);
    assert!(grown < 8 << 20, "{grown} bytes more after {count} requests");
    drop(server);
}

#[test]
fn requests_leave_nothing_behind() {
    nothing_is_left(600);
}

#[test]
#[ignore = "takes minutes; the one above is its short form"]
fn ten_thousand_requests_leave_nothing_behind() {
    nothing_is_left(10_000);
}

#[test]
fn a_thousand_idle_connections_keep_nobody_out() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let mut options = ServerOptions::default();
    options.max_connections = 1200;
    let server = small(options);
    let before = taken();
    let idle: Vec<TcpStream> = (0..1000).map(|_| connect(server.address)).collect();
    assert_eq!(post(server.address, "/rerank", BODY).status, 200);
    assert_eq!(get(server.address, "/health").status, 200);
    let grown = taken().2.saturating_sub(before.2);
    assert!(grown < 32 << 20, "{grown} bytes for {} connections", idle.len());
    drop(idle);
    until("their descriptors are closed", || taken().0 <= before.0 + 2);
}

#[test]
fn a_stop_under_load_loses_no_request_that_was_taken() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut options = ServerOptions::default();
    // Longer than clients go on after the stop, and than a busy machine keeps one waiting.
    options.drain = Duration::from_secs(3);
    let server = small(options);
    let (over, lost, answered) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let bytes = request("POST", "/rerank", &[], BODY.as_bytes());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let mut stream = connect(server.address);
                    stream.write_all(&bytes).unwrap();
                    match Answer::read(&stream).map(|answer| answer.status) {
                        Some(200) => answered.fetch_add(1, Ordering::Relaxed),
                        _ => lost.fetch_add(1, Ordering::Relaxed),
                    };
                }
            });
        }
        until("requests are answered", || answered.load(Ordering::Relaxed) > 50);
        server.stop();
        let stopped = Instant::now();
        let so_far = answered.load(Ordering::Relaxed);
        while stopped.elapsed() < Duration::from_millis(200) {
            std::thread::sleep(Duration::from_millis(10));
        }
        over.store(true, Ordering::Relaxed);
        until("it goes on meanwhile", || answered.load(Ordering::Relaxed) > so_far);
    });
    assert!(server.ended().is_ok());
    assert_eq!(lost.into_inner(), 0);
}

#[test]
fn weights_that_are_cut_under_it_fail_the_request_and_not_the_server() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(golden("bert-gelu-f32")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let builder = Reranker::builder()
        .model(folder.path())
        .window(WindowSize::Slots(1))
        .io(IoMode::Cached)
        .queue_length(4);
    let server = Running::start(ServerOptions::default(), vec![model("cut", builder)]);
    server.until_ready();
    assert_eq!(post(server.address, "/rerank", BODY).status, 200);
    let weights = folder.path().join("model.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    let file = std::fs::File::options().write(true).open(&weights).unwrap();
    file.set_len(whole.len() as u64 / 8).unwrap();
    let failed = post(server.address, "/rerank", BODY);
    assert_eq!(failed.status, 424, "{}", failed.text());
    assert_eq!(failed.json()["error"]["type"], "model_failed");
    assert_eq!(get(server.address, "/health").status, 200);
    (&file).write_all(&whole).unwrap();
    assert_eq!(post(server.address, "/rerank", BODY).status, 200);
}
