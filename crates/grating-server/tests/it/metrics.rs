//! The exposition, read as Prometheus reads it.

use std::collections::{BTreeMap, BTreeSet};

use grating_server::ServerOptions;

use crate::client::{get, post};
use crate::running::Running;

/// Kind of each family, and the samples by name and labels; fails where a line is not of the format 0.0.4.
fn parse(text: &str) -> (BTreeMap<String, String>, BTreeMap<(String, String), f64>) {
    let is_name = |name: &str| {
        name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
            && !name.is_empty()
            && !name.as_bytes()[0].is_ascii_digit()
    };
    let (mut kinds, mut samples) = (BTreeMap::new(), BTreeMap::new());
    let mut seen = BTreeSet::new();
    let mut family = String::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(seen.insert(name.to_string()), "{name} is not in one piece");
            family = name.to_string();
            kinds.insert(name.to_string(), kind.to_string());
            continue;
        }
        if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(
                rest.split_once(' ').is_some_and(|(name, help)| is_name(name) && !help.is_empty())
            );
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        assert!(is_name(name) && name.starts_with(&family), "{line}");
        let labels = labels.strip_suffix('}').unwrap();
        for pair in labels.split(',').filter(|pair| !pair.is_empty()) {
            let (label, quoted) = pair.split_once('=').unwrap();
            assert!(is_name(label) && quoted.starts_with('"') && quoted.ends_with('"'), "{line}");
        }
        let value: f64 = value.parse().unwrap();
        let key = (name.to_string(), labels.to_string());
        assert!(samples.insert(key, value).is_none(), "twice: {line}");
    }
    (kinds, samples)
}

#[test]
fn the_exposition_is_what_prometheus_reads_and_counts_what_happened() {
    let server = Running::with_default(ServerOptions::default());
    let body = r#"{"query":"q","documents":["a","b","a"]}"#;
    for _ in 0..3 {
        assert_eq!(post(server.address, "/v1/rerank", body).status, 200);
    }
    assert_eq!(post(server.address, "/v1/rerank", "{").status, 400);
    assert_eq!(get(server.address, "/no/such/path").status, 404);
    let answer = get(server.address, "/metrics");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let (kinds, samples) = parse(&answer.text());
    let value = |name: &str, labels: &str| samples.get(&(name.into(), labels.into())).copied();
    let model = "model=\"default\"";
    assert_eq!(
        value("grating_http_requests_total", "path=\"/v1/rerank\",status=\"200\""),
        Some(3.0)
    );
    assert_eq!(value("grating_http_requests_total", "path=\"other\",status=\"404\""), Some(1.0));
    assert_eq!(value("grating_request_failures_total", "kind=\"invalid_json\""), Some(1.0));
    assert_eq!(value("grating_rerank_requests_total", model), Some(3.0));
    assert_eq!(value("grating_texts_total", model), Some(9.0));
    assert_eq!(value("grating_candidate_layers_saved_total", model), Some(0.0));
    assert_eq!(value("grating_queue_requests", model), Some(0.0));
    assert!(value("grating_tokens_total", model) > Some(20.0));
    assert!(value("grating_memory_resident_bytes", "") > Some(1e6));
    let planned = "model=\"default\",use=\"window\"";
    assert!(value("grating_memory_planned_bytes", planned).is_some());
    assert_eq!(value("grating_up", "phase=\"ready\""), Some(1.0));
    let compute = format!("{model},stage=\"compute\"");
    assert_eq!(value("grating_stage_duration_seconds_count", &compute), Some(3.0));
    let infinite = format!("{model},le=\"+Inf\"");
    assert_eq!(value("grating_rerank_duration_seconds_bucket", &infinite), Some(3.0));
    // Names in the usual style.
    for (name, kind) in kinds {
        assert!(name.starts_with("grating_"));
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
    }
}
