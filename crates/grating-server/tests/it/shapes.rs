//! What each client sends, and that it gets what it reads.

use std::collections::BTreeSet;

use grating::{Long, Passages, Pruning, Request, Reranker};
use grating_server::ServerOptions;
use serde_json::{Value, json};

use crate::client::{call, get, post};
use crate::running::{QUERY, Running, TEXTS, golden, model};

const PATHS: [&str; 5] = ["/rerank", "/reranking", "/v1/rerank", "/v1/reranking", "/v2/rerank"];

/// Index and score of each text as the library has them, best first.
fn expected() -> Vec<(u64, f64)> {
    let reranker = Reranker::builder().build().unwrap();
    let selection = reranker.rerank(QUERY, &TEXTS, TEXTS.len()).unwrap();
    selection.results.iter().map(|r| (r.index as u64, f64::from(r.score.0))).collect()
}

/// Index and score of each item of an answer.
fn scored(items: &Value, score: &str) -> Vec<(u64, f64)> {
    let item = |item: &Value| (item["index"].as_u64().unwrap(), item[score].as_f64().unwrap());
    items.as_array().unwrap().iter().map(item).collect()
}

fn close(found: &[(u64, f64)], expected: &[(u64, f64)]) {
    assert_eq!(found.len(), expected.len());
    for ((index, score), (i, s)) in found.iter().zip(expected) {
        assert!(index == i && (score - s).abs() < 1e-7, "{found:?}\n{expected:?}");
    }
}

#[test]
fn every_shape_has_the_librarys_order_and_scores() {
    let server = Running::with_default(ServerOptions::default());
    let expected = expected();
    for path in PATHS {
        let body = json!({"query": QUERY, "documents": TEXTS, "model": "any"});
        let answer = post(server.address, path, &body.to_string());
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        let json = answer.json();
        close(&scored(&json["results"], "relevance_score"), &expected);
        // What single clients cannot do without, or cannot stand.
        assert!(json["id"].is_string() && json["usage"]["total_tokens"].as_u64() > Some(20));
        assert_eq!(json["meta"]["api_version"]["version"], "2");
        assert_eq!((&json["model"], &json["object"]), (&json!("default"), &Value::Null));
        assert_eq!(json["results"][0]["document"], Value::Null);
        assert_eq!(json["results"][0]["truncated"], false);
        assert!(json["results"][0]["decided_after_layer"].is_u64());
    }
    let tei = json!({"query": QUERY, "texts": TEXTS, "raw_scores": false, "return_text": true});
    let tei = post(server.address, "/rerank", &tei.to_string());
    assert!(tei.header("x-compute-tokens").is_some_and(|tokens| tokens != "0"));
    let tei = tei.json();
    close(&scored(&tei, "score"), &expected);
    assert_eq!(tei[0]["text"], TEXTS[1]);
    let voyage = json!({"query": QUERY, "documents": TEXTS, "top_k": 2, "return_documents": true});
    let voyage = post(server.address, "/v1/rerank", &voyage.to_string()).json();
    close(&scored(&voyage["data"], "relevance_score"), &expected[..2]);
    assert_eq!(
        (&voyage["object"], &voyage["data"][0]["document"]),
        (&json!("list"), &json!(TEXTS[1]))
    );
}

#[test]
fn pairs_are_scored_in_their_order() {
    let server = Running::with_default(ServerOptions::default());
    let mut expected = expected();
    expected.sort_by_key(|(index, _)| *index);
    for path in ["/score", "/v1/score"] {
        let body = json!({"queries": QUERY, "documents": TEXTS});
        let one = post(server.address, path, &body.to_string()).json();
        close(&scored(&one["data"], "score"), &expected);
        assert_eq!((&one["object"], &one["data"][0]["object"]), (&json!("list"), &json!("score")));
    }
    let other = "Which fruit?";
    let pairs = json!({"text_1": [QUERY, other, QUERY], "text_2": [TEXTS[1], TEXTS[0], TEXTS[2]]});
    let pairs = scored(&post(server.address, "/score", &pairs.to_string()).json()["data"], "score");
    let reranker = Reranker::builder().build().unwrap();
    let alone = reranker.rerank(other, &TEXTS[..1], 1).unwrap().results[0].score.0;
    close(&pairs, &[(0, expected[1].1), (1, f64::from(alone)), (2, expected[2].1)]);
}

#[test]
fn what_clients_send_carelessly_is_understood() {
    let server = Running::with_default(ServerOptions::default());
    let texts = TEXTS.map(|text| json!({"text": text, "meta": [1]}));
    let careless = json!({
        "query": QUERY, "documents": texts, "top_n": 0, "max_tokens_per_doc": null, "user": null, "priority": 3,
        "return_documents": "true", "return_len": "true", "rank": {}, "truncation_direction": "Right", "model": null,
    });
    let answer = post(server.address, "/v2/rerank", &careless.to_string()).json();
    close(&scored(&answer["results"], "relevance_score"), &expected());
    assert_eq!(answer["results"][0]["document"]["text"], TEXTS[1]);
    // Without a type, and with a mark at the beginning.
    let body = "\u{feff}{\"query\":\"q\",\"documents\":[\"a\\ud83d\"],\"top_n\":99}";
    assert_eq!(call(server.address, "POST", "/rerank", &[], body.as_bytes()).status, 200);
    let raw = json!({"query": QUERY, "documents": TEXTS, "raw_scores": true, "top_n": 1});
    let raw = post(server.address, "/rerank", &raw.to_string()).json();
    let result = &raw["results"][0];
    assert_eq!(result["relevance_score"], result["raw_score"]);
    assert!((result["raw_score"].as_f64().unwrap() - expected()[0].1).abs() > 0.1);
}

#[test]
fn limits_of_a_request_cut_its_texts() {
    let server = Running::with_default(ServerOptions::default());
    let reranker = Reranker::builder().build().unwrap();
    let asked = || Request::new(QUERY, TEXTS.map(String::from).to_vec(), TEXTS.len());
    for (field, request, most) in [
        ("max_tokens_per_doc", asked().max_text_tokens(2), 2),
        ("truncate_prompt_tokens", asked().max_length(10), 10),
        ("truncate_prompt_tokens", asked(), -1),
    ] {
        let library = reranker.run(request).unwrap();
        let cut = library.stats.truncated;
        assert_eq!(cut > 0, most > 0, "{field} {most}");
        let library: Vec<(u64, f64)> =
            library.results.iter().map(|r| (r.index as u64, f64::from(r.score.0))).collect();
        let body = json!({"query": QUERY, "documents": TEXTS, field: most});
        let answer = post(server.address, "/rerank", &body.to_string()).json();
        close(&scored(&answer["results"], "relevance_score"), &library);
        let told = answer["results"].as_array().unwrap().iter();
        assert_eq!(told.filter(|result| result["truncated"] == true).count(), cut);
        let body = json!({"queries": QUERY, "documents": TEXTS, field: most});
        let answer = post(server.address, "/score", &body.to_string()).json();
        let mut scores = scored(&answer["data"], "score");
        scores.sort_by(|a, b| b.1.total_cmp(&a.1));
        close(&scores, &library);
    }
    for (field, most) in [("truncate_prompt_tokens", 2), ("max_tokens_per_doc", -2)] {
        let body = json!({"query": QUERY, "documents": TEXTS, field: most});
        assert_eq!(post(server.address, "/rerank", &body.to_string()).status, 422, "{field}");
    }
    let body = json!({"query": QUERY, "texts": TEXTS, "truncate": false, "max_tokens_per_doc": 2});
    let refused = post(server.address, "/rerank", &body.to_string());
    assert!(refused.status == 422 && refused.text().contains("or 2 by themselves"));
}

#[test]
fn long_texts_are_read_in_passages_in_every_shape() {
    let server = Running::with_default(ServerOptions::default());
    let reranker = Reranker::builder().build().unwrap();
    let long = "The glass of a window is old and wide. ".repeat(60) + TEXTS[1];
    let texts = [long.clone(), TEXTS[0].to_string()];
    let ask = |passages: Passages| {
        let request = Request::new(QUERY, texts.to_vec(), 2).long(Long::Passages(passages));
        reranker.run(request.pruning(Pruning::Off)).unwrap()
    };
    let (some, all) =
        (Passages::default().tokens(30).max_passages(3), Passages::default().tokens(30));
    let pool =
        |name: &str| json!({"query": QUERY, name: texts, "long": "passages", "passage_tokens": 30});
    let with = |mut body: Value, field: &str, value: Value| {
        body[field] = value;
        body
    };
    for (body, list, score, passages) in [
        (pool("documents"), "/results", "relevance_score", all),
        (pool("texts"), "", "score", all),
        (with(pool("documents"), "top_k", 2.into()), "/results", "relevance_score", all),
        // Cohere's word asks for passages by itself.
        (
            json!({"query": QUERY, "documents": texts, "max_chunks_per_doc": 3, "passage_tokens": "30"}),
            "/results",
            "relevance_score",
            some,
        ),
    ] {
        let library = ask(passages);
        let expected: Vec<(u64, f64)> =
            library.results.iter().map(|r| (r.index as u64, f64::from(r.score.0))).collect();
        let answer = post(server.address, "/rerank", &body.to_string()).json();
        let results = answer.pointer(list).unwrap();
        close(&scored(results, score), &expected);
        for (result, own) in results.as_array().unwrap().iter().zip(&library.results) {
            let passage = own
                .passage
                .map(|p| json!({"index": p.index, "of": p.of, "start": p.start, "end": p.end}));
            assert_eq!(result.get("passage"), passage.as_ref(), "{body}");
            assert_eq!(result["truncated"], own.truncated);
        }
        assert_eq!(library.all_scores()[0].truncated, passages == some);
    }
    // A word against it, and none.
    for body in [
        json!({"query": QUERY, "documents": texts, "long": "truncate", "max_chunks_per_doc": 3}),
        json!({"query": QUERY, "documents": texts}),
    ] {
        let answer = post(server.address, "/rerank", &body.to_string()).json();
        let results = answer["results"].as_array().unwrap();
        assert!(results.iter().all(|result| result.get("passage").is_none()), "{body}");
    }
    // Texts of which all is read are not cut.
    let whole = with(pool("documents"), "truncate", false.into());
    assert_eq!(post(server.address, "/rerank", &whole.to_string()).status, 200);
    let cut = with(whole, "max_passages", 3.into());
    assert_eq!(post(server.address, "/rerank", &cut.to_string()).status, 422);
    let pairs = with(pool("documents"), "queries", QUERY.into());
    let answer = post(server.address, "/score", &pairs.to_string()).json();
    let scores = scored(&answer["data"], "score");
    let expected = ask(all).all_scores().iter().map(|s| f64::from(s.score.0)).collect::<Vec<_>>();
    close(&scores, &[(0, expected[0]), (1, expected[1])]);
}

#[test]
fn open_webui_pairs_results_with_documents_by_their_place() {
    let server = Running::with_default(ServerOptions::default());
    let body = json!({"model": "m", "query": QUERY, "documents": TEXTS, "top_n": TEXTS.len()});
    let answer = post(server.address, "/v1/rerank", &body.to_string()).json();
    // As it does: sorted by index, and the n-th is the n-th document's.
    let mut results = scored(&answer["results"], "relevance_score");
    results.sort_by_key(|(index, _)| *index);
    let places: Vec<u64> = results.iter().map(|(index, _)| *index).collect();
    assert_eq!(places, (0..TEXTS.len() as u64).collect::<Vec<_>>());
    let best = results.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert_eq!(TEXTS[best.0 as usize], "Paris is the capital of France.");
}

#[test]
fn dify_reads_info_and_finds_probabilities() {
    let server = Running::with_default(ServerOptions::default());
    let info = get(server.address, "/info").json();
    assert!(info["model_type"]["reranker"]["id2label"]["0"].is_string());
    assert_eq!(info["max_input_length"], 512);
    assert!(info["max_client_batch_size"].as_u64().unwrap() >= 65_536);
    assert_eq!(info["grating"]["models"][0]["sha256"].as_str().unwrap().len(), 64);
    for (_, score) in expected() {
        assert!((0.0..=1.0).contains(&score));
    }
    // Its check of the credentials drops what scores less than 0.8.
    let body = json!({"query": QUERY, "texts": TEXTS, "return_text": true});
    let best = &post(server.address, "/rerank", &body.to_string()).json()[0];
    assert!(best["score"].as_f64().unwrap() >= 0.8 && best["text"] == TEXTS[1]);
    let models = get(server.address, "/v1/models").json();
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!("default")));
}

#[test]
fn several_models_answer_by_name() {
    let names = ["bert", "qwen"];
    let cases = ["bert-gelu-f32", "qwen3-tied-f32"];
    let models = names.iter().zip(cases).map(|(name, case)| {
        model(name, Reranker::builder().model(golden(case)).memory_budget(400 << 20))
    });
    let server = Running::start(ServerOptions::default(), models.collect());
    server.until_ready();
    let ask = |model: Value| {
        let body = json!({"model": model, "query": "window", "documents": ["glass", "a window"]});
        post(server.address, "/rerank", &body.to_string())
    };
    let mut scores = BTreeSet::new();
    for (name, case) in names.iter().zip(cases) {
        let json = ask(json!(name)).json();
        assert_eq!(json["model"], *name);
        let reranker = Reranker::builder().model(golden(case)).build().unwrap();
        let own = reranker.rerank("window", &["glass", "a window"], 2).unwrap();
        let own: Vec<_> =
            own.results.iter().map(|r| (r.index as u64, f64::from(r.score.0))).collect();
        close(&scored(&json["results"], "relevance_score"), &own);
        scores.insert(json["results"][0]["relevance_score"].to_string());
    }
    assert_eq!(scores.len(), 2, "two models, two scores");
    assert_eq!(ask(Value::Null).json()["model"], "bert");
    let unknown = ask(json!("other"));
    assert_eq!(unknown.status, 404);
    assert!(unknown.text().contains("only bert, qwen"), "{}", unknown.text());
}

#[test]
fn lengths_of_other_texts_do_not_matter_to_a_score() {
    // Padding elsewhere makes a text's score depend on what it is ranked with, and short texts cost as much as long ones.
    let server = Running::with_default(ServerOptions::default());
    let long = "A long text about rivers, windows and bananas. ".repeat(30);
    let ask = |texts: &[&str]| {
        let body = json!({"query": QUERY, "texts": texts});
        let answer = post(server.address, "/rerank", &body.to_string());
        let tokens: u64 = answer.header("x-compute-tokens").unwrap().parse().unwrap();
        let own = answer.json().as_array().unwrap().iter().find(|item| item["index"] == 0).cloned();
        (own.unwrap()["score"].to_string(), tokens)
    };
    let (alone, few) = ask(&[TEXTS[1]]);
    let (beside, many) = ask(&[TEXTS[1], &long]);
    let (_, only_long) = ask(&[&long]);
    assert_eq!(alone, beside);
    assert_eq!(few + only_long, many);
}
