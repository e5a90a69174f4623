//! The description of the interface, against the interface.

use std::collections::BTreeSet;

use grating_server::ServerOptions;
use serde_json::{Value, json};

use crate::client::{call, get, post};
use crate::running::Running;

/// What of a value is not as its schema says, with the place.
fn differences(root: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let schema = root.pointer(name.trim_start_matches('#')).unwrap_or_else(|| panic!("{name}"));
        return differences(root, schema, value, at);
    }
    if let Some(one_of) = schema["oneOf"].as_array() {
        let each: Vec<_> = one_of.iter().map(|one| differences(root, one, value, at)).collect();
        let fits = each.iter().any(Vec::is_empty);
        return if fits { Vec::new() } else { each.concat() };
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        several => {
            several.as_array().map_or(vec![], |all| all.iter().filter_map(Value::as_str).collect())
        }
    };
    let fits = allowed.contains(&kind) || (kind == "integer" && allowed.contains(&"number"));
    if !fits {
        return vec![format!("{at} is {kind}, not {allowed:?}")];
    }
    let mut found = Vec::new();
    if let Value::Array(items) = value {
        let item = |(n, item)| differences(root, &schema["items"], item, &format!("{at}[{n}]"));
        found.extend(items.iter().enumerate().flat_map(item));
    }
    if let (Value::Object(object), Some(properties)) = (value, schema["properties"].as_object()) {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let missing =
            required.iter().filter_map(Value::as_str).filter(|key| !object.contains_key(*key));
        found.extend(missing.map(|key| format!("{at} lacks {key}")));
        for (key, value) in object {
            match properties.get(key) {
                Some(schema) => {
                    found.extend(differences(root, schema, value, &format!("{at}.{key}")))
                }
                // What TEI has beside is described by it.
                None if at == "info" => {}
                None => found.push(format!("{at} has {key}, which is not described")),
            }
        }
    }
    found
}

#[test]
fn the_description_is_of_what_is_there() {
    let server = Running::with_default(ServerOptions::default());
    let described = get(server.address, "/openapi.json").json();
    let schema = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let fits = |name: &str, value: &Value, at: &str| {
        assert_eq!(differences(&described, &schema(name), value, at), Vec::<String>::new());
    };
    for (path, methods) in described["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let answer = call(server.address, &method.to_uppercase(), path, &[], b"{}");
            let expected = if method == "get" { 200 } else { 422 };
            assert_eq!(answer.status, expected, "{method} {path}");
            if method == "post" {
                fits("Error", &answer.json(), "error");
            }
        }
    }
    let texts = json!(["a", {"text": "b"}]);
    for (request, body, name) in [
        (
            "RerankRequest",
            json!({"query": "q", "documents": texts, "return_documents": true}),
            "RerankAnswer",
        ),
        (
            "RerankRequest",
            json!({"query": "q", "documents": texts, "top_k": 1, "explain": true}),
            "RerankAnswer",
        ),
        (
            "RerankRequest",
            json!({"query": "q", "texts": texts, "return_text": true, "top_n": null}),
            "TextsAnswer",
        ),
        (
            "RerankRequest",
            json!({"query": "q", "documents": ["a river is wide", "b"], "long": "passages", "passage_tokens": 2}),
            "RerankAnswer",
        ),
        (
            "RerankRequest",
            json!({"query": "q", "texts": ["a river is wide"], "max_chunks_per_doc": 9, "passage_tokens": 2}),
            "TextsAnswer",
        ),
    ] {
        fits(request, &body, "request");
        fits(name, &post(server.address, "/rerank", &body.to_string()).json(), "answer");
    }
    let pairs = json!({"queries": "q", "documents": texts});
    fits("ScoreRequest", &pairs, "request");
    fits("ScoreAnswer", &post(server.address, "/score", &pairs.to_string()).json(), "answer");
    fits("Error", &post(server.address, "/rerank", r#"{"query":"q","texts":[]}"#).json(), "error");
    for (path, name) in [("/info", "Info"), ("/health", "Health"), ("/v1/models", "Models")] {
        fits(name, &get(server.address, path).json(), &path[1..]);
    }
    // What is asked for by name is what is read.
    let properties = |name: &str| {
        let of = &described["components"]["schemas"][name]["properties"];
        of.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>()
    };
    assert!(properties("RerankRequest").is_superset(&BTreeSet::from(
        ["query", "texts", "documents", "top_n", "top_k", "top_k_hint", "mode"].map(String::from)
    )));
    let page = get(server.address, "/");
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    assert!(!page.text().contains("https://") && page.text().contains("<h1>GRATING</h1>"));
}
