//! Long texts: read whole, cut, in passages, or with tokens that leave.

use anyhow::{Context, Result, ensure};

use super::quality::{Judged, Quality, mean_of, workloads};
use crate::bench::Bench;
use crate::bench::model::Model;
use crate::bench::settings::{Setting, Weights};
use crate::bench::stats::{Summary, change_percent};
use crate::bench::table::{Chart, Row, Table, Unit};

const COLUMNS: [(&str, &str, Unit); 12] = [
    ("model", "model", Unit::Text),
    ("set", "data", Unit::Text),
    ("queries", "queries", Unit::Count),
    ("texts", "texts", Unit::Count),
    ("tokens", "tokens a text", Unit::Count),
    ("setting", "method", Unit::Text),
    ("ndcg", "nDCG@10", Unit::Share),
    ("overlap", "overlap@10", Unit::Share),
    ("request", "request s", Unit::Seconds),
    ("change", "request vs full", Unit::Change),
    ("peak", "peak MiB", Unit::Mib),
    ("note", "note", Unit::Text),
];

const ABOUT: &str = "Each method on each query's long texts (`xtask/long_texts/build.py` makes such sets), nothing pruned but \
    what the method says. `full` reads as much of a text as the model does; its ten best are what overlap@10 counts. nDCG@10 is \
    against the judgments; texts of planted models and made ones have none. One run a query; times are the median over the queries \
    with their range, memory is the largest resident set (VmHWM) of the whole process.";

const K: usize = 10;

/// What is measured where no `--method` is given: a name, and options of `grating rerank`.
const METHODS: [&str; 6] = [
    "full=--no-prune",
    "truncated at 512=--no-prune --max-length 512",
    "passages=--no-prune --long passages --passage-tokens 384 --passage-overlap 64",
    "lazy-llm=--no-prune --long prune --token-policy lazy-llm",
    "slim-infer=--no-prune --long prune --token-policy slim-infer",
    "grating=--no-prune --long prune --token-policy grating",
];

/// The methods as `--method` names them, the first of which the others are compared with.
fn methods(given: &[String]) -> Result<Vec<Setting>> {
    let method = |words: &str| {
        let (name, options) = words
            .split_once('=')
            .with_context(|| format!("--method {words}: it must be NAME=OPTIONS"))?;
        let flags: Vec<&str> = options.split_whitespace().collect();
        ensure!(!name.is_empty(), "--method {words}: the name is missing");
        Ok(Setting { weights: Weights::Own, ..Setting::new(name, &[&flags]) })
    };
    match given.is_empty() {
        true => METHODS.iter().map(|words| method(words)).collect(),
        false => given.iter().map(|words| method(words)).collect(),
    }
}

pub(super) fn measure(bench: &Bench) -> Result<Table> {
    let methods = methods(&bench.args.method)?;
    let mut table = Table::new(bench, "long", "Long texts", ABOUT).columns(&COLUMNS);
    for model in &bench.models {
        for (set, queries) in workloads(bench, model, pool(bench, model)) {
            bench.expect(queries.len() * methods.len());
            table.rows.extend(one_set(bench, model, &set, &queries, &methods)?);
        }
        let chart = chart(&table, model);
        table.charts.extend(chart);
    }
    if bench.data.is_empty() {
        table.note("No --data was given: made texts, without judgments.");
    }
    Ok(table)
}

/// Texts of a made pool; of a set's pools all that they have.
fn pool(bench: &Bench, model: &Model) -> usize {
    match model.planted.is_some() || bench.data.is_empty() {
        true => bench.args.pools()[0],
        false => usize::MAX,
    }
}

/// What one method did on all queries of a set.
#[derive(Default)]
struct Collected {
    qualities: Vec<Quality>,
    seconds: Vec<f64>,
    peak: f64,
    tokens: f64,
    texts: f64,
}

fn one_set(
    bench: &Bench,
    model: &Model,
    set: &str,
    queries: &[Judged<'_>],
    methods: &[Setting],
) -> Result<Vec<Row>> {
    let mut collected: Vec<Collected> = methods.iter().map(|_| Collected::default()).collect();
    let mut reasons: Vec<Option<String>> = vec![None; methods.len()];
    for judged in queries {
        let mut full: Option<Vec<usize>> = None;
        for ((method, collected), reason) in methods.iter().zip(&mut collected).zip(&mut reasons) {
            let measured = bench.measure(model, method, &judged.work, usize::MAX, 1)?;
            let Some(run) = measured.runs().first() else {
                *reason = measured.reason();
                continue;
            };
            let ranking: Vec<usize> = run.selected.iter().map(|&(index, _)| index).collect();
            let full = full.get_or_insert_with(|| ranking.clone());
            let best = &ranking[..K.min(ranking.len())];
            collected.qualities.push(judged.quality(best, full, K));
            collected.seconds.push(run.request_s);
            collected.peak = collected.peak.max(run.peak_rss_bytes as f64);
            collected.tokens += run.stats["tokens"].as_f64().unwrap_or(0.0);
            collected.texts += judged.work.texts.len() as f64;
        }
    }
    let median = |of: &Collected| Summary::of(of.seconds.iter().copied());
    let baseline = median(&collected[0]).map(|seconds| seconds.median);
    let row = |((i, method), reason): ((usize, &Setting), Option<String>)| {
        let of = &collected[i];
        let row = Row::default()
            .text("model", model.shown())
            .text("set", set)
            .text("setting", method.name.as_str());
        if of.seconds.is_empty() {
            return row.text("note", reason.unwrap_or_else(|| "not measured".into()));
        }
        let seconds = median(of);
        let change = seconds.zip(baseline).map(|(s, full)| change_percent(s.median, full));
        row.number("queries", of.seconds.len() as f64)
            .number("texts", of.texts / of.seconds.len() as f64)
            .number("tokens", of.tokens / of.texts)
            .number("ndcg", mean_of(&of.qualities, |q| q.ndcg))
            .number("overlap", mean_of(&of.qualities, |q| Some(q.agreement)))
            .summary("request", seconds)
            .number("change", change.filter(|_| i > 0))
            .number("peak", of.peak)
    };
    Ok(methods.iter().enumerate().zip(reasons).map(row).collect())
}

/// nDCG against time, a line for each method through the sets; overlap where nobody has judged.
fn chart(table: &Table, model: &Model) -> Option<Chart> {
    let mut of_model = table.clone();
    of_model.rows.retain(|row| row.words("model") == Some(model.shown().as_str()));
    let judged = of_model.rows.iter().any(|row| row.value("ndcg").is_some());
    let (y, words) = if judged { ("ndcg", "nDCG@10") } else { ("overlap", "overlap@10 with full") };
    let series = of_model.series("setting", "request", y);
    (!series.is_empty()).then(|| Chart {
        name: model.name.clone(),
        title: format!("{}: {words} against the time of a request", model.shown()),
        x: "median time of a request, seconds".into(),
        y: words.into(),
        log_x: true,
        series,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_a_name_and_options() {
        let given = ["a b=--long passages --max-passages 3".to_owned(), "plain=".to_owned()];
        let found = methods(&given).unwrap();
        assert_eq!(found[0].name, "a b");
        assert_eq!(found[0].flags, ["--long", "passages", "--max-passages", "3"]);
        assert!(found[1].flags.is_empty());
        assert!(
            methods(&["nothing".to_owned()]).is_err() && methods(&["=--all".to_owned()]).is_err()
        );
        assert_eq!(methods(&[]).unwrap().len(), METHODS.len());
    }
}
