//! `grating serve` as a service runs it: options from the environment, its log, signals.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

const QUERY: &str = "What is the capital of France?";
const BODY: &str = r#"{"query":"What is the capital of France?","documents":["Bananas are rich in potassium.","Paris is the capital of France."]}"#;

/// A server on a port of its own, killed when this is dropped.
struct Served {
    child: Child,
    address: String,
    log: BufReader<ChildStderr>,
}

impl Served {
    fn start(args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_grating"))
            .args(["serve", "--bind", "127.0.0.1:0"])
            .args(args)
            .env("HF_HUB_OFFLINE", "1")
            .env_remove("GRATING_ISA")
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let address =
            line.trim().strip_prefix("grating: listening on http://").unwrap().to_string();
        let served = Served { child, address, log };
        while !served.call("GET", "/health", &[], "").0.contains("200 OK") {
            std::thread::sleep(Duration::from_millis(10));
        }
        served
    }

    /// Head and body of an answer.
    fn call(&self, method: &str, path: &str, headers: &[&str], body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        _ = stream.read_to_string(&mut answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        (head.to_string(), body.to_string())
    }

    #[cfg(unix)]
    fn signal(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[test]
#[cfg(unix)]
fn a_service_answers_logs_and_ends_with_a_signal() {
    let mut served = Served::start(&["--log", "json"], &[("GRATING_TOP_K_HINT", "1")]);
    let headers = ["content-type: application/json", "x-request-id: mine"];
    let (head, body) = served.call("POST", "/v2/rerank", &headers, BODY);
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains("x-request-id: mine"), "{head}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["results"][0]["index"], 1);
    assert_eq!(answer["results"].as_array().unwrap().len(), 2);
    served.signal();
    let mut log = String::new();
    served.log.read_to_string(&mut log).unwrap();
    assert_eq!(served.child.wait().unwrap().code(), Some(0));
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let request = lines.iter().find(|line| line["request_id"] == "mine").unwrap();
    assert_eq!((&request["status"], &request["texts"]), (&200.into(), &2.into()));
    assert_eq!((&request["path"], &request["model"]), (&"/v2/rerank".into(), &"default".into()));
    assert!(!log.contains("capital") && !log.contains("potassium"), "texts were not asked for");
    assert!(lines.iter().any(|line| line["message"] == "stopped"));
}

#[test]
#[cfg(unix)]
fn a_second_signal_ends_it_at_once() {
    let mut served = Served::start(&["--read-timeout", "60s"], &[]);
    // A request that never comes to its end keeps it.
    let mut half = TcpStream::connect(&served.address).unwrap();
    half.write_all(b"POST /rerank HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{").unwrap();
    served.signal();
    while TcpStream::connect(&served.address).is_ok() {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(served.child.try_wait().unwrap().is_none(), "it waits for that request");
    served.signal();
    assert_eq!(served.child.wait().unwrap().code(), Some(130));
}

#[test]
fn options_come_from_the_environment_and_keys_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "secret\n").unwrap();
    let variables = [
        ("GRATING_API_KEY_FILE", file.to_str().unwrap()),
        ("GRATING_MODEL", "one=default,two=default"),
        ("GRATING_MEMORY_BUDGET", "400MiB"),
        ("GRATING_LOG_QUERIES", "yes"),
    ];
    let mut served = Served::start(&[], &variables);
    assert!(served.call("POST", "/rerank", &[], BODY).0.contains("401 Unauthorized"));
    let key = ["authorization: Bearer secret"];
    let (_, models) = served.call("GET", "/v1/models", &key, "");
    assert!(models.contains("\"one\"") && models.contains("\"two\""), "{models}");
    let named = BODY.replacen('{', "{\"model\":\"two\",", 1);
    assert!(served.call("POST", "/rerank", &key, &named).1.contains("\"model\":\"two\""));
    let (_, metrics) = served.call("GET", "/metrics", &key, "");
    assert!(metrics.contains("grating_memory_budget_bytes{model=\"two\"} 419430400"), "{metrics}");
    served.child.kill().unwrap();
    let mut log = String::new();
    served.log.read_to_string(&mut log).unwrap();
    assert!(log.contains(QUERY), "{log}");
}

#[test]
fn what_cannot_be_served_is_refused() {
    crate::fails(&["serve", "--bind", "nowhere"], b"", 2, &["--bind", "such as 127.0.0.1:8080"]);
    crate::fails(&["serve", "--bind", "127.0.0.1:0", "-m", "=a"], b"", 1, &["NAME=PATH"]);
    let missing = ["serve", "--bind", "127.0.0.1:0", "-m", "x=/no/such/folder"];
    crate::fails(&missing, b"", 1, &["/no/such/folder"]);
    crate::fails(&["serve", "--api-key", " "], b"", 1, &["the API key is empty"]);
    let unreadable = ["serve", "--api-key-file", "/no/such/file"];
    crate::fails(&unreadable, b"", 1, &["/no/such/file"]);
}

#[test]
fn a_profile_whose_promise_breaks_shows_in_metrics_and_log() {
    let folder = tempfile::tempdir().unwrap();
    let profile = crate::learning::broken_profile(folder.path());
    let args = ["--profile", &profile, "--audit", "1", "--top-k-hint", "1", "--log-level", "warn"];
    let mut served = Served::start(&args, &[]);
    let measured = |name: &str| {
        let metrics = served.call("GET", "/metrics", &[], "").1;
        let start = format!("{name}{{model=\"default\",k=\"1\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&start).map(str::to_owned)).unwrap()
    };
    let asked = |number: usize| {
        let (query, texts) = crate::learning::hard_query(number);
        let body = serde_json::json!({ "query": query, "documents": texts }).to_string();
        let (head, _) =
            served.call("POST", "/v2/rerank", &["content-type: application/json"], &body);
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        measured("grating_pruning_in_use") == "0"
    };
    assert_eq!(measured("grating_pruning_in_use"), "1");
    let noticed = (0..60).find(|&number| asked(number));
    assert!(noticed.is_some_and(|requests| requests < 40), "{noticed:?}");
    assert_eq!(measured("grating_promise_alarms_total"), "1");
    assert_eq!(measured("grating_traffic_suspicions_total"), "0");
    let mut line = String::new();
    served.log.read_line(&mut line).unwrap();
    assert!(line.contains("WARN") && line.contains("K = 1: audits agree"), "{line}");
}
