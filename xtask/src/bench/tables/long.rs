//! Long texts: read whole, cut, in passages, or with tokens that leave.

use anyhow::{Context, Result, ensure};

use super::quality::{Judged, Quality, mean_of, workloads};
use crate::bench::Bench;
use crate::bench::model::Model;
use crate::bench::settings::{Setting, Weights};
use crate::bench::stats::{Summary, change_percent};
use crate::bench::table::{Chart, Row, Table, Unit};

const COLUMNS: [(&str, &str, Unit); 14] = [
    ("model", "model", Unit::Text),
    ("set", "data", Unit::Text),
    ("queries", "queries", Unit::Count),
    ("texts", "texts", Unit::Count),
    ("tokens", "tokens a text", Unit::Count),
    ("setting", "method", Unit::Text),
    ("ndcg", "nDCG@K", Unit::Share),
    ("overlap", "overlap@K", Unit::Share),
    ("request", "request s", Unit::Seconds),
    ("cpu", "processor s", Unit::Seconds),
    ("change", "processor vs full", Unit::Change),
    ("token_layers", "token-layers vs full", Unit::Change),
    ("peak", "peak MiB", Unit::Mib),
    ("note", "note", Unit::Text),
];

const ABOUT: &str = "Each method on each query's long texts (`xtask/long_texts/build.py` makes such sets), nothing pruned but \
    what the method says. `full` reads as much of a text as the model does; its K best (`--top-k`) are what overlap@K counts. nDCG@K is \
    against the judgments; texts of planted models and made ones have none. One run a query; times are the median over the queries \
    with their range: of the request as it was waited for, and of the processor for the whole process, which others who compute at \
    the same time lengthen less. Memory is the largest resident set (VmHWM) of the whole process.";

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
        let charts = charts(&table, model, bench.args.top_k());
        table.charts.extend(charts);
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
    cpu: Vec<f64>,
    token_layers: f64,
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
    let k = bench.args.top_k();
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
            let best = &ranking[..k.min(ranking.len())];
            collected.qualities.push(judged.quality(best, full, k));
            collected.seconds.push(run.request_s);
            collected.cpu.push(run.cpu_s);
            collected.token_layers += run.stats["token_layers"].as_f64().unwrap_or(0.0);
            collected.peak = collected.peak.max(run.peak_rss_bytes as f64);
            collected.tokens += run.stats["tokens"].as_f64().unwrap_or(0.0);
            collected.texts += judged.work.texts.len() as f64;
        }
    }
    let median = |times: &[f64]| Summary::of(times.iter().copied());
    let baseline = median(&collected[0].cpu).map(|seconds| seconds.median);
    let all = Some(collected[0].token_layers).filter(|&all| all > 0.0);
    let row = |((i, method), reason): ((usize, &Setting), Option<String>)| {
        let of = &collected[i];
        let row = Row::default()
            .text("model", model.shown())
            .text("set", set)
            .text("setting", method.name.as_str());
        if of.seconds.is_empty() {
            return row.text("note", reason.unwrap_or_else(|| "not measured".into()));
        }
        let cpu = median(&of.cpu);
        let change = cpu.zip(baseline).map(|(s, full)| change_percent(s.median, full));
        let work = all.map(|all| change_percent(of.token_layers, all));
        row.number("queries", of.seconds.len() as f64)
            .number("texts", of.texts / of.seconds.len() as f64)
            .number("tokens", of.tokens / of.texts)
            .number("ndcg", mean_of(&of.qualities, |q| q.ndcg))
            .number("overlap", mean_of(&of.qualities, |q| Some(q.agreement)))
            .summary("request", median(&of.seconds))
            .summary("cpu", cpu)
            .number("change", change.filter(|_| i > 0))
            .number("token_layers", work.filter(|_| i > 0))
            .number("peak", of.peak)
    };
    Ok(methods.iter().enumerate().zip(reasons).map(row).collect())
}

/// nDCG where somebody has judged, and overlap with the first method, against the processor's time: a line for each method through
/// the sets.
fn charts(table: &Table, model: &Model, k: usize) -> Vec<Chart> {
    let mut of_model = table.clone();
    of_model.rows.retain(|row| row.words("model") == Some(model.shown().as_str()));
    let chart = |(column, words): (&str, String)| {
        let series = of_model.series("setting", "cpu", column);
        (!series.is_empty()).then(|| Chart {
            name: format!("{}-{column}", model.name),
            title: format!("{}: {words} against the processor's time for a request", model.shown()),
            x: "median processor time of a request, seconds".into(),
            y: words,
            log_x: true,
            series,
        })
    };
    [("ndcg", format!("nDCG@{k}")), ("overlap", format!("overlap@{k} with the first method"))]
        .into_iter()
        .filter_map(chart)
        .collect()
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
