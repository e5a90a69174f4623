//! Errors: the status that clients know, and one body that all of them read.

use grating::Reranker;
use grating_server::{ApiKey, Server, ServerError, ServerOptions};
use serde_json::{Value, json};

use crate::client::{call, get, post};
use crate::running::{Running, golden, model};

/// Every key that some client looks for.
fn is_read_by_all(body: &Value, status: u16) {
    let message = body["message"].as_str().unwrap_or_else(|| panic!("{body}"));
    assert!(!message.is_empty());
    assert_eq!((&body["detail"], &body["error"]["message"]), (&json!(message), &json!(message)));
    assert_eq!(body["error"]["code"], status);
    assert!(body["error"]["type"].is_string() && body["error_type"].is_string(), "{body}");
}

#[test]
fn mistakes_are_answered_with_what_is_wrong() {
    let server = Running::with_default(ServerOptions::default());
    for (body, status, message) in [
        ("{", 400, "the body is not JSON: EOF while parsing an object"),
        ("", 400, "the body is not JSON: EOF while parsing a value"),
        (r#"{"query":"q","documents":[]}"#, 400, "documents: must not be empty"),
        (r#"{"documents":["a"]}"#, 422, "query: is missing"),
        (r#"{"query":"","documents":["a"]}"#, 422, "query: must not be empty"),
        (r#"{"query":" ","documents":["a"]}"#, 422, "query: must not be empty"),
        (r#"{"query":"q","documents":["","\n"]}"#, 400, "documents: must not all be blank"),
        (r#"{"query":"q"}"#, 422, "documents: are missing"),
        (
            r#"{"query":"q","documents":[3]}"#,
            422,
            "documents[0]: text: must be a string, or an object with a `text`, not 3",
        ),
        (
            r#"{"query":"q","documents":["a"],"top_n":-1}"#,
            422,
            "top_n: must be a whole number, at least 0, not -1",
        ),
    ] {
        let answer = post(server.address, "/v2/rerank", body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        is_read_by_all(&answer.json(), status);
        assert_eq!(answer.json()["message"], message);
    }
    let tei = post(server.address, "/rerank", r#"{"query":"q","texts":[]}"#);
    assert_eq!(tei.json(), json!({"error": "texts: must not be empty", "error_type": "Empty"}));
    let long = json!({"query": "q", "texts": ["word ".repeat(1000)], "truncate": false});
    let long = post(server.address, "/rerank", &long.to_string());
    assert_eq!((long.status, &long.json()["error_type"]), (422, &json!("Validation")));
    // A score beside no words is one.
    let blank = post(server.address, "/score", r#"{"queries":"","documents":["a",""]}"#);
    let data = blank.json()["data"].as_array().map(Vec::len);
    assert_eq!((blank.status, data), (200, Some(2)), "{}", blank.text());
    let score = post(server.address, "/score", r#"{"queries":["a","b"],"documents":["a"]}"#);
    assert_eq!(score.status, 422);
    is_read_by_all(&score.json(), 422);
}

#[test]
fn paths_methods_and_types_that_are_not_there_have_that_body_too() {
    let options = |most| {
        let mut options = ServerOptions::default();
        options.max_body_bytes = most;
        options
    };
    let server = Running::with_default(options(1000));
    let json_type = [("content-type", "application/json")];
    let large = vec![b' '; 1001];
    for (method, path, headers, body, status) in [
        ("GET", "/v3/rerank", &[][..], &b""[..], 404),
        ("POST", "/", &[], b"{}", 405),
        ("GET", "/rerank", &[], b"", 405),
        ("POST", "/health", &json_type, b"{}", 405),
        ("POST", "/rerank", &[("content-type", "text/plain")], b"{}", 415),
        ("POST", "/rerank", &[("content-type", "application/x-www-form-urlencoded")], b"a=b", 415),
        ("POST", "/rerank", &json_type, &large, 413),
    ] {
        let answer = call(server.address, method, path, headers, body);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        is_read_by_all(&answer.json(), status);
    }
    assert!(call(server.address, "PUT", "/rerank", &[], b"").header("allow").is_some());
    // A body whose length is not said.
    let chunk = format!("{:x}\r\n{}\r\n", large.len(), " ".repeat(large.len()));
    let chunked = format!("{chunk}0\r\n\r\n");
    let headers = "transfer-encoding: chunked\r\ncontent-type: application/json\r\n";
    let head = format!("POST /rerank HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n");
    let mut stream = crate::client::connect(server.address);
    std::io::Write::write_all(&mut stream, (head + &chunked).as_bytes()).unwrap();
    assert_eq!(crate::client::Answer::read(&stream).unwrap().status, 413);
}

#[test]
fn a_key_is_asked_for_wherever_texts_are() {
    let mut options = ServerOptions::default();
    options.api_key = ApiKey::new("secret");
    let server = Running::with_default(options);
    let body = br#"{"query":"q","documents":["a"]}"#;
    for header in
        [("authorization", "Bearer secret"), ("authorization", "secret"), ("x-api-key", "secret")]
    {
        assert_eq!(call(server.address, "POST", "/rerank", &[header], body).status, 200);
    }
    for headers in [&[][..], &[("authorization", "Bearer wrong")]] {
        for (method, path) in
            [("POST", "/rerank"), ("GET", "/info"), ("GET", "/metrics"), ("GET", "/none")]
        {
            let answer = call(server.address, method, path, headers, body);
            assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")));
            is_read_by_all(&answer.json(), 401);
        }
    }
    assert_eq!(get(server.address, "/health").status, 200);
}

#[test]
fn a_request_has_an_id_its_own_or_ours() {
    let server = Running::with_default(ServerOptions::default());
    let ask = |id: &str| {
        let body = br#"{"query":"q","documents":["a"]}"#;
        let answer = call(server.address, "POST", "/rerank", &[("x-request-id", id)], body);
        let id = answer.header("x-request-id").unwrap().to_string();
        assert_eq!(answer.json()["id"], id.as_str());
        id
    };
    assert_eq!(ask("abc-1.2"), "abc-1.2");
    let (ours, next) = (ask("a b\""), ask(""));
    assert!(ours.starts_with("rr-") && ours != next);
}

#[test]
fn a_server_that_cannot_serve_says_why() {
    let bind = |options, models| Server::bind(options, models).map(drop).unwrap_err();
    let mut options = ServerOptions::default();
    assert!(matches!(bind(options.clone(), vec![]), ServerError::NoModel));
    let two = ["a", "a"].map(|name| model(name, Reranker::builder()));
    assert!(matches!(bind(options.clone(), two.into()), ServerError::SameName { .. }));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    options.bind = taken.local_addr().unwrap();
    let error = bind(options, vec![model("a", Reranker::builder())]);
    assert!(error.to_string().starts_with("cannot listen on 127.0.0.1:"), "{error}");
    let missing = model("a", Reranker::builder().model(golden("none")));
    let server = Running::start(ServerOptions::default(), vec![missing]);
    let error = server.ended().unwrap_err().to_string();
    assert!(error.contains("none"), "{error}");
}
