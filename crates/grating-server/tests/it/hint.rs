//! All N scores where K matter: the others come last, marked, and the list falls.

use grating::{Policy, Pruning, Reranker};
use grating_server::ServerOptions;
use serde_json::{Value, json};

use crate::client::post;
use crate::running::{Running, model};

/// Some about what is asked, most about something else.
fn texts() -> Vec<String> {
    let text = |n: usize| match n % 8 {
        3 => format!("Paris, the capital of France, has {n} bridges over the Seine."),
        _ => format!("Bananas number {n} are rich in potassium."),
    };
    (0..40).map(text).collect()
}

fn pruning(options: ServerOptions) -> Running {
    let builder = Reranker::builder().pruning(Pruning::By(Policy::paper(0.05)));
    let server = Running::start(options, vec![model("default", builder)]);
    server.until_ready();
    server
}

fn ask(server: &Running, beside: Value) -> Value {
    let mut body = json!({"query": "What is the capital of France?", "documents": texts()});
    body.as_object_mut().unwrap().extend(beside.as_object().unwrap().clone());
    let answer = post(server.address, "/rerank", &body.to_string());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// All texts once, scores that never rise and are probabilities, the selected first.
fn check(answer: &Value, selected: usize) {
    let results = answer["results"].as_array().unwrap();
    let mut indices: Vec<u64> = results.iter().map(|r| r["index"].as_u64().unwrap()).collect();
    indices.sort_unstable();
    assert_eq!(indices, (0..texts().len() as u64).collect::<Vec<_>>());
    let scores: Vec<f64> = results.iter().map(|r| r["relevance_score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)));
    let is_selected: Vec<bool> = results.iter().map(|r| r["selected"].as_bool().unwrap()).collect();
    assert_eq!(is_selected.iter().filter(|&&is| is).count(), selected);
    assert!(is_selected[..selected].iter().all(|&is| is));
}

#[test]
fn a_hint_prunes_and_all_are_answered() {
    let server = pruning(ServerOptions::default());
    let full = ask(&server, json!({}));
    assert_eq!(full["results"][0]["selected"], Value::Null, "nobody may be dropped");
    let work = |answer: &Value| answer["grating"]["stats"]["candidate_layers"].as_u64().unwrap();
    let hinted = ask(&server, json!({"top_k_hint": 5}));
    check(&hinted, 5);
    assert!(work(&hinted) < work(&full), "{} of {}", work(&hinted), work(&full));
    let top = |answer: &Value, n: usize| {
        let of = |r: &Value| (r["index"].clone(), r["relevance_score"].clone());
        answer["results"].as_array().unwrap()[..n].iter().map(of).collect::<Vec<_>>()
    };
    // The best have the full model's scores and order.
    assert_eq!(top(&hinted, 5), top(&full, 5));
    let layers = |r: &Value| r["decided_after_layer"].as_u64().unwrap();
    let results = hinted["results"].as_array().unwrap();
    assert!(results.iter().any(|r| layers(r) < layers(&full["results"][0])));
    // As many as the answer has are selected where the hint says more.
    let few = ask(&server, json!({"top_k_hint": 5, "top_n": 2}));
    assert_eq!((few["results"].as_array().unwrap().len(), top(&few, 2)), (2, top(&full, 2)));
    check(&ask(&server, json!({"top_k_hint": 5, "mode": "select"})), 5);
}

#[test]
fn the_servers_own_hint_serves_clients_that_want_all() {
    let mut options = ServerOptions::default();
    options.top_k_hint = Some(4);
    let server = pruning(options);
    // As Open WebUI asks.
    check(&ask(&server, json!({"top_n": texts().len()})), 4);
    let tei = json!({"query": "What is the capital of France?", "texts": texts()});
    let tei = post(server.address, "/rerank", &tei.to_string()).json();
    assert_eq!(tei.as_array().unwrap().len(), texts().len());
    let explained = ask(&server, json!({"explain": true}));
    let funnel = explained["grating"]["stats"]["funnel"].as_array().unwrap();
    assert_eq!(funnel[0]["live"], texts().len());
}
