//! Texts in the layouts in which people have them, and what comes out beside the scores.

use serde_json::{Value, json};

use crate::{fails, golden, grating};

/// The tiny model's answer as JSON.
fn answer(more: &[&str], input: &[u8]) -> Value {
    let model = golden("bert-gelu-f32");
    let args = ["rerank", "-m", model.to_str().unwrap(), "--json", "--return-text"];
    let output = grating(&[&args[..], more].concat(), input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A field of all results, in the order of the input.
fn in_order(answer: &Value, field: &str) -> Vec<Value> {
    let mut results = answer["results"].as_array().unwrap().clone();
    results.sort_by_key(|result| result["index"].as_u64());
    results.iter().map(|result| result[field].clone()).collect()
}

#[test]
fn json_of_any_layout_is_ranked_by_its_texts() {
    let texts = [json!("a river"), json!("the window slides")];
    for input in [
        "{\"text\":\"a river\"}\n{\"text\":\"the window slides\"}\n",
        "{\"id\":\"a\",\"contents\":\"a river\"}\n{\"id\":\"b\",\"contents\":\"the window slides\"}\n",
        "[\n  {\"id\":\"a\",\"text\":\"a river\"},\n  {\"id\":\"b\",\"text\":\"the window slides\"}\n]\n",
        "[\n  \"a river\",\n  \"the window slides\"\n]",
        "[{\n\"body\": \"a river\"\n}, {\n\"body\": \"the window slides\"\n}]",
        "{\"query\":\"glass\",\"texts\":[\"a river\",\"the window slides\"]}",
        "{\"query\":\"glass\",\"documents\":[{\"text\":\"a river\"},\"the window slides\"],\"top_n\":9}",
        "{\"_id\":\"d1\",\"title\":\"a\",\"text\":\"river\"}\n{\"_id\":\"d2\",\"title\":\"the window\",\"text\":\"slides\"}",
    ] {
        let answer = answer(&["-q", "window"], input.as_bytes());
        assert_eq!(answer["query"], "window");
        assert_eq!(in_order(&answer, "text"), texts, "{input}");
    }
    let named = answer(
        &["-q", "x", "--text-field", "title,n.o"],
        br#"{"title":"a","n":{"o":"b"},"text":"c"}"#,
    );
    assert_eq!(in_order(&named, "text"), ["a b"]);
    let lines = answer(&["-q", "x", "--format", "lines"], b"{\"text\":1}\n[");
    assert_eq!(in_order(&lines, "text"), ["{\"text\":1}", "["]);
    let prose = answer(&["-q", "x"], b"[1] A citation\n{name} wrote\n");
    assert_eq!(in_order(&prose, "text"), ["[1] A citation", "{name} wrote"]);
}

#[test]
fn json_that_cannot_be_used_is_never_ranked_as_it_stands() {
    for (input, words) in [
        (
            "{\"id\":1,\"text\":null}\n{\"id\":2,\"text\":\"a\"}",
            &["line 1", "`text` is null", "--text-field"][..],
        ),
        ("{\"text\":\"a\"}\n{\"text\":7}", &["line 2", "`text` is a number"]),
        ("{\"summary\":\"a\"}", &["line 1", "no `text`", "`body`", "the fields are `summary`"]),
        (
            "{\"content\":\"a\",\"passage\":\"b\"}",
            &["line 1", "`content` and `passage` could both be"],
        ),
        ("{\"text\":\"a\"\n{\"text\":\"b\"}", &["it is no JSON"]),
        ("{'text': 'a'}", &["line 1", "double quotes"]),
        ("[\"a\",\n3]", &["line 2", "a number is neither"]),
        (
            "{\"query\":\"q\",\"texts\":[\"a\"]}\n{\"query\":\"r\",\"texts\":[\"b\"]}",
            &["--queries"],
        ),
    ] {
        let words = [words, &["standard input", "--format lines"]].concat();
        fails(&["rerank", "-q", "x"], input.as_bytes(), 1, &words);
    }
    fails(&["rerank", "-q", "x"], b"[]", 1, &["no texts"]);
    let named = ["rerank", "-q", "x", "--text-field", "summary", "--id-field", "key"];
    fails(&named, b"{\"text\":\"a\"}", 1, &["there is no `summary`; the fields are `text`"]);
    fails(
        &named,
        b"{\"summary\":\"a\"}",
        1,
        &["there is no `key`; the fields are `summary`; --id-field"],
    );
}

#[test]
fn half_of_a_surrogate_pair_does_not_refuse_the_pool() {
    let input = b"{\"text\":\"scraped \\ud83d half\"}\n{\"text\":\"\\ud83d\\ude00\"}\n";
    let answer = answer(&["-q", "x"], input);
    assert_eq!(in_order(&answer, "text"), ["scraped \u{fffd} half", "\u{1f600}"]);
}

#[test]
fn ids_and_fields_pass_through() {
    let input = b"{\"id\":[\"x\",1],\"text\":\"a\",\"url\":\"u\",\"n\":1.50}\n{\"_id\":7,\"text\":\"b\"}\n\"c\"\n";
    let answer = answer(&["-q", "x"], input);
    assert_eq!(in_order(&answer, "id"), [json!(["x", 1]), json!(7), Value::Null]);
    assert_eq!(
        in_order(&answer, "fields"),
        [json!({"url": "u", "n": 1.5}), Value::Null, Value::Null]
    );
    // Numbers as they are written, and texts only where they are wanted.
    let args = ["rerank", "-q", "x", "--json", "--id-field", "n"];
    let output =
        grating(&args, b"{\"n\":123456789012345678901234567890,\"text\":\"a\",\"m\":1.50}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\"id\": 123456789012345678901234567890,"), "{text}");
    assert!(text.contains("{\"m\":1.50}") && !text.contains("\"text\""), "{text}");
}

#[test]
fn a_request_body_brings_query_and_count() {
    let body = br#"{"query":"window","documents":["a","b","c"],"top_n":2}"#;
    let own = answer(&[], body);
    assert_eq!((&own["query"], own["results"].as_array().unwrap().len()), (&json!("window"), 2));
    let given = answer(&["-q", "glass", "-k", "3"], body);
    assert_eq!((&given["query"], given["results"].as_array().unwrap().len()), (&json!("glass"), 3));
    fails(&["rerank"], b"{\"texts\":[\"a\"]}", 2, &["--query"]);
    // What it says beside is honoured, or named.
    let model = golden("bert-gelu-f32");
    let rerank = ["rerank", "-m", model.to_str().unwrap(), "--json"];
    let asks = br#"{"query":"window","documents":["a","b","c"],"top_k":1,"return_documents":true}"#;
    let output = grating(&rerank, asks);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["results"].as_array().unwrap().len(), 1);
    assert!(json["results"][0]["text"].is_string(), "{json}");
    for wrong in ["1.5", "\"1\"", "-3", "true"] {
        let body = format!("{{\"query\":\"q\",\"documents\":[\"a\"],\"top_n\":{wrong}}}");
        let words = ["line 1", &format!("`top_n` is {wrong}, not a whole number, at least 1")];
        fails(&rerank, body.as_bytes(), 1, &words);
    }
    let twice = b"{\"text\":\"a\",\"text\":\"b\"}";
    fails(&["rerank", "-q", "x"], twice, 1, &["line 1", "`text` is there twice"]);
}

#[test]
fn a_pipe_gets_every_digit_and_every_character() {
    let input = b"{\"id\":\"a\\tb\",\"text\":\" x\\ty\\nz\\\\ \\u0007 \"}\n{\"text\":\"river\"}";
    let model = golden("bert-gelu-f32");
    let args = ["rerank", "-m", model.to_str().unwrap(), "-q", "window"];
    let json = answer(&["-q", "window"], input);
    for (more, field) in [(&[][..], "score"), (&["--raw-scores"], "raw_score")] {
        let output = grating(&[&args[..], more].concat(), input);
        let text = String::from_utf8(output.stdout).unwrap();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
        let result = |i: usize| json["results"][i][field].as_f64().unwrap() as f32;
        assert_eq!(rows[0][0].parse::<f32>().unwrap().to_bits(), result(0).to_bits());
        assert_eq!(rows[1][0].parse::<f32>().unwrap().to_bits(), result(1).to_bits());
        let first = rows.iter().find(|row| row[1] != "1").unwrap();
        assert_eq!(first[1..], [r"a\tb", " x\\ty\\nz\\\\ \u{7} "]);
    }
}

#[test]
fn results_below_a_score_are_left_out() {
    let texts = b"a river\nthe window slides\nParis\n";
    let all = answer(&["-q", "window"], texts);
    let raw = |i: usize| all["results"][i]["raw_score"].as_f64().unwrap() as f32;
    let count = |more: &[&str]| {
        answer(&[&["-q", "window"][..], more].concat(), texts)["results"].as_array().unwrap().len()
    };
    let (second, score) = (raw(1).to_string(), all["results"][0]["score"].to_string());
    assert_eq!(count(&["--raw-scores", "--threshold-score", &second]), 2);
    assert_eq!(count(&["--threshold-score", &score]), 1);
    assert_eq!(count(&["--raw-scores", "--threshold-score", "-1e9"]), 3);
    assert_eq!(count(&["--threshold-score", "1.1"]), 0);
    fails(&["rerank", "-q", "x", "--threshold-score", "nan"], texts, 2, &["must be a number"]);
}
