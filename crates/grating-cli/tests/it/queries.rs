//! Several queries in one run.

use serde_json::{Value, json};

use crate::{fails, golden, grating};

const TEXTS: &str = "a river\nthe window slides\nParis\n";

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Files { folder: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_string()
    }
}

fn rerank(more: &[&str], input: &[u8]) -> String {
    let model = golden("bert-gelu-f32");
    let args = ["rerank", "-m", model.to_str().unwrap()];
    let output = grating(&[&args[..], more].concat(), input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn each_query_is_answered_as_if_it_were_alone() {
    let files = Files::new();
    let texts = files.write("texts.txt", TEXTS);
    let queries = files.write(
        "queries.jsonl",
        "{\"_id\":\"q1\",\"text\":\"window\"}\n\n{\"query\":\"-1 degrees\"}\n\
         {\"id\":3,\"query\":\"window\",\"texts\":[\"own\",{\"id\":\"x\",\"text\":\"glass\"}]}\n\
         {\"query\":\"nothing found\",\"documents\":[]}\n",
    );
    let output = rerank(&["--queries", &queries, "--json", &texts], b"");
    let lines: Vec<Value> =
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<&Value> = lines.iter().map(|line| &line["query_id"]).collect();
    assert_eq!(ids, [&json!("q1"), &json!(1), &json!(3), &json!(3)]);
    for (line, query) in lines.iter().zip(["window", "-1 degrees"]) {
        let alone = rerank(&["--query", query, "--json", &texts], b"");
        let alone: Value = serde_json::from_str(&alone).unwrap();
        assert_eq!(line["results"], alone["results"]);
        assert_eq!(line["query"], query);
    }
    assert_eq!(lines[2]["results"].as_array().unwrap().len(), 2);
    assert_eq!((&lines[3]["results"], &lines[3]["stats"]), (&json!([]), &Value::Null));

    let tabs = rerank(&["--queries", &queries, "-k", "1", &texts], b"");
    let rows: Vec<Vec<&str>> = tabs.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), ["q1", "1", "3"]);
    assert!(rows.iter().all(|row| row.len() == 4 && row[1].parse::<f32>().is_ok()), "{tabs}");
}

#[test]
fn queries_or_texts_come_from_standard_input() {
    let files = Files::new();
    let (texts, queries) =
        (files.write("texts.txt", TEXTS), files.write("q.txt", "window\nriver\n"));
    let from_file = rerank(&["--queries", &queries, &texts], b"");
    assert_eq!(from_file.lines().count(), 6);
    assert_eq!(rerank(&["--queries", &queries], TEXTS.as_bytes()), from_file);
    assert_eq!(rerank(&["--queries", "-", &texts], b"window\nriver\n"), from_file);
    let own = b"{\"query\":\"a\",\"texts\":[\"b\"]}\n";
    assert_eq!(rerank(&["--queries", "-"], own).lines().count(), 1);
    // Nothing is read from standard input that nobody needs.
    let own = files.write("own.jsonl", "{\"query\":\"a\",\"texts\":[\"b\"]}\n");
    assert_eq!(rerank(&["--queries", &own], b"\xff").lines().count(), 1);
}

#[test]
fn what_is_wrong_with_queries_is_told() {
    let files = Files::new();
    let wrong = files.write("wrong.jsonl", "{\"query\":\"a\"}\n{\"q\":\"b\"}\n");
    fails(
        &["rerank", "--queries", &wrong, "-"],
        b"a\n",
        1,
        &["wrong.jsonl", "line 2", "no `query`"],
    );
    let error = grating(&["rerank", "--queries", &wrong, "-"], b"a\n").stderr;
    assert!(!String::from_utf8(error).unwrap().contains("--text-field"));
    let empty = files.write("empty.txt", "\n");
    fails(&["rerank", "--queries", &empty, "-"], b"a\n", 1, &["empty.txt", "no queries"]);
    fails(&["rerank", "--queries", "/no/such", "-"], b"a\n", 1, &["/no/such"]);
    fails(&["rerank", "--queries", &wrong, "-q", "x"], b"a\n", 2, &["cannot be used with"]);
    let queries = files.write("q.txt", "a\n");
    fails(&["rerank", "--queries", &queries], b"", 1, &["no texts"]);
    fails(&["rerank", "--queries", &queries], b"\n\n", 1, &["all 2 are blank"]);
    let blank = files.write("blank.jsonl", "\n{\"query\":\" \"}\n{\"query\":\"a\"}\n");
    let words = ["blank.jsonl: line 2", "the query is blank"];
    fails(&["rerank", "--queries", &blank, "-"], b"a\n", 1, &words);
    let both = ["queries and texts cannot both be read from standard input", "name a FILE"];
    for more in [&["-"][..], &[], &["/dev/stdin"]] {
        fails(&[&["rerank", "--queries", "-"][..], more].concat(), b"a\n", 2, &both);
    }
    let long = files.write("long.jsonl", &format!("\n{{\"query\":\"{}\"}}", "river ".repeat(999)));
    let refused = ["rerank", "--queries", &long, "--refuse-long-query", "-"];
    fails(&refused, b"a\n", 1, &["long.jsonl: line 2", "let it be cut"]);
}

#[test]
fn more_queries_than_may_wait_are_answered_one_by_one() {
    let files = Files::new();
    let texts = files.write("texts.txt", TEXTS);
    let queries: String = (0..25).map(|i| format!("query {i}\n")).collect();
    let queries = files.write("q.txt", &queries);
    let pruned = ["--threshold", "0.1", "--audit", "1", "-k", "1"];
    let output = rerank(&[&["--queries", &queries, "--json", &texts][..], &pruned].concat(), b"");
    for (i, line) in output.lines().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["query"], format!("query {i}"));
        // As far as they were answered, however many are ahead.
        assert_eq!(
            (&line["audits"]["requests"], &line["audits"]["audited"]),
            (&json!(i + 1), &json!(i + 1))
        );
        if i % 8 == 0 {
            let query = format!("query {i}");
            let alone = rerank(&["--query", &query, "--json", "-k", "1", &texts], b"");
            assert_eq!(line["results"], serde_json::from_str::<Value>(&alone).unwrap()["results"]);
        }
    }
    assert_eq!(output.lines().count(), 25);
}

#[test]
fn what_was_answered_before_a_query_that_fails_is_printed() {
    let files = Files::new();
    let texts = files.write("texts.txt", TEXTS);
    let queries = format!("a\nb\n{}\nc\n", "river ".repeat(999));
    let queries = files.write("q.txt", &queries);
    let model = golden("bert-gelu-f32");
    let args = ["rerank", "-m", model.to_str().unwrap(), "--json", "--refuse-long-query"];
    let output = grating(&[&args[..], &["--queries", &queries, &texts]].concat(), b"");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2);
    assert!(String::from_utf8(output.stderr).unwrap().contains("q.txt: line 3"));
}

#[test]
fn all_texts_are_printed_with_what_became_of_them() {
    let files = Files::new();
    let texts: Vec<String> =
        (0..12).map(|i| format!("text {i} {}", "river ".repeat(i % 5))).collect();
    let texts = files.write("texts.txt", &texts.join("\n"));
    let args = ["-q", "window", "-k", "2", "--threshold", "0", "--all", &texts];
    let json: Value =
        serde_json::from_str(&rerank(&[&args[..], &["--json"]].concat(), b"")).unwrap();
    let results = json["results"].as_array().unwrap();
    let mut indices: Vec<u64> = results.iter().map(|r| r["index"].as_u64().unwrap()).collect();
    let selected: Vec<bool> = results.iter().map(|r| r["selected"].as_bool().unwrap()).collect();
    assert_eq!(selected, [[true; 2].as_slice(), &[false; 10]].concat());
    assert!(results.windows(2).all(|w| w[0]["score"].as_f64() >= w[1]["score"].as_f64()));
    let last = json["stats"]["layers"].as_u64().unwrap() - 1;
    for result in results {
        assert_eq!(result["final"], result["layer"] == last);
        assert!(result["altered"].is_boolean());
    }
    let tabs = rerank(&args, b"");
    let rows: Vec<Vec<&str>> = tabs.lines().map(|line| line.split('\t').collect()).collect();
    for (row, result) in rows.iter().zip(results) {
        assert_eq!(row.len(), 6, "{row:?}");
        assert_eq!(row[0].parse::<f64>().unwrap() as f32, result["score"].as_f64().unwrap() as f32);
        assert_eq!(row[1], result["index"].to_string());
        assert_eq!(row[2] == "selected", result["selected"] == true);
        assert_eq!(row[3], result["layer"].to_string());
        assert_eq!(row[4] == "altered", result["altered"] == true);
        assert!(["final", "early", "altered"].contains(&row[4]) && row[5].starts_with("text "));
    }
    indices.sort_unstable();
    assert_eq!(indices, (0..12).collect::<Vec<u64>>());
    // Without it nothing changes.
    let plain: Value =
        serde_json::from_str(&rerank(&["-q", "window", "--json", &texts], b"")).unwrap();
    assert!(plain["results"][0].get("selected").is_none());
}
