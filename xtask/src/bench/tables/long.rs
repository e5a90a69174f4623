//! Long texts: read whole, cut, in passages, or with tokens that leave.

use anyhow::{Context, Result, ensure};
use grating_chart::Series;
use grating_prune::metrics::{agreement_at_k, kendall_tau_b};

use super::quality::{Judged, Quality, mean_of, workloads};
use crate::bench::Bench;
use crate::bench::measure::Run;
use crate::bench::model::Model;
use crate::bench::settings::{Setting, Weights};
use crate::bench::stats::{Summary, change_percent, mean};
use crate::bench::table::{Chart, Row, Table, Unit};

const COLUMNS: [(&str, &str, Unit); 16] = [
    ("model", "model", Unit::Text),
    ("set", "data", Unit::Text),
    ("queries", "queries", Unit::Count),
    ("texts", "texts", Unit::Count),
    ("tokens", "tokens a text", Unit::Count),
    ("setting", "method", Unit::Text),
    ("ndcg", "nDCG@K", Unit::Share),
    ("overlap5", "overlap@5", Unit::Share),
    ("overlap", "overlap@10", Unit::Share),
    ("tau", "τ", Unit::Share),
    ("request", "request s", Unit::Seconds),
    ("cpu", "processor s", Unit::Seconds),
    ("change", "processor vs full", Unit::Change),
    ("token_layers", "token-layers vs full", Unit::Change),
    ("peak", "peak MiB", Unit::Mib),
    ("note", "note", Unit::Text),
];

/// The columns of overlap, and how many of the best each counts. Of a pool of no more nothing is said.
const OVERLAPS: [(&str, usize); 2] = [("overlap5", 5), ("overlap", 10)];

const ABOUT: &str = "Each method on each query's long texts (`xtask/long_texts/build.py` makes such sets), nothing pruned but \
    what the method says. The first method is what the others are compared with: overlap@5 and @10 are the share of its best that \
    the other has among as many (nothing is said where the pool has no more), τ is Kendall's rank correlation of all texts' scores \
    with its scores. nDCG@K is against the judgments; texts of planted models and made ones have none. One run a query; times are \
    the median over the queries with their range: of the request as it was waited for, and of the processor for the whole process, \
    which others who compute at the same time lengthen less. Changes are of the sums over the same queries. Memory is the largest \
    resident set (VmHWM) of the whole process. Rows of a length put the queries of all sets of that length together.";

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
        let mut sets: Vec<(String, Vec<Collected>)> = Vec::new();
        for (set, queries) in workloads(bench, model, pool(bench, model)) {
            bench.expect(queries.len() * methods.len());
            let collected = one_set(bench, model, &queries, &methods)?;
            table.rows.extend(rows(&model.shown(), &set, &methods, &collected));
            sets.push((set, collected));
        }
        for (length, collected) in by_length(&sets) {
            let set = format!("{TOGETHER}{length}");
            table.rows.extend(rows(&model.shown(), &set, &methods, &collected));
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
#[derive(Debug, Clone, Default)]
struct Collected {
    qualities: Vec<Quality>,
    /// By column.
    overlaps: [Vec<f64>; OVERLAPS.len()],
    tau: Vec<f64>,
    seconds: Vec<f64>,
    cpu: Vec<f64>,
    token_layers: f64,
    peak: f64,
    tokens: f64,
    texts: f64,
    /// Why there is nothing.
    reason: Option<String>,
}

impl Collected {
    /// Takes in one query's run; `full` is the first method's.
    fn take(&mut self, run: &Run, full: &Run, judged: &Judged<'_>, k: usize) {
        let (ranking, reference) = (ranking(run), ranking(full));
        let best = &ranking[..k.min(ranking.len())];
        self.qualities.push(judged.quality(best, &reference, k));
        for (overlaps, (_, k)) in self.overlaps.iter_mut().zip(OVERLAPS) {
            if reference.len() > k && ranking.len() == reference.len() {
                overlaps.push(agreement_at_k(&ranking[..k], &reference, k));
            }
        }
        self.tau.extend(kendall_tau_b(&scores(full), &scores(run)));
        self.seconds.push(run.request_s);
        self.cpu.push(run.cpu_s);
        self.token_layers += run.stats["token_layers"].as_f64().unwrap_or(0.0);
        self.peak = self.peak.max(run.peak_rss_bytes as f64);
        self.tokens += run.stats["tokens"].as_f64().unwrap_or(0.0);
        self.texts += judged.work.texts.len() as f64;
    }

    /// Takes in the queries of another set.
    fn join(&mut self, other: &Self) {
        self.qualities.extend(&other.qualities);
        for (own, others) in self.overlaps.iter_mut().zip(&other.overlaps) {
            own.extend(others);
        }
        self.tau.extend(&other.tau);
        self.seconds.extend(&other.seconds);
        self.cpu.extend(&other.cpu);
        self.token_layers += other.token_layers;
        self.peak = self.peak.max(other.peak);
        self.tokens += other.tokens;
        self.texts += other.texts;
        self.reason = self.reason.take().or_else(|| other.reason.clone());
    }

    fn row(&self, row: Row, full: Option<&Self>) -> Row {
        if self.seconds.is_empty() {
            let reason = self.reason.clone().unwrap_or_else(|| "not measured".into());
            return row.text("note", reason);
        }
        let median = |times: &[f64]| Summary::of(times.iter().copied());
        let sum = |of: &Self| of.cpu.iter().sum::<f64>();
        let same = full.filter(|full| full.cpu.len() == self.cpu.len());
        let work = same.filter(|full| full.token_layers > 0.0);
        let row = row
            .number("queries", self.seconds.len() as f64)
            .number("texts", self.texts / self.seconds.len() as f64)
            .number("tokens", self.tokens / self.texts)
            .number("ndcg", mean_of(&self.qualities, |q| q.ndcg))
            .number("tau", mean(self.tau.iter().copied()))
            .summary("request", median(&self.seconds))
            .summary("cpu", median(&self.cpu))
            .number("change", same.map(|full| change_percent(sum(self), sum(full))))
            .number(
                "token_layers",
                work.map(|full| change_percent(self.token_layers, full.token_layers)),
            )
            .number("peak", self.peak);
        let overlaps = self.overlaps.iter().zip(OVERLAPS);
        overlaps.fold(row, |row, (of, (key, _))| row.number(key, mean(of.iter().copied())))
    }
}

/// All texts, the best first.
fn ranking(run: &Run) -> Vec<usize> {
    run.selected.iter().map(|&(index, _)| index).collect()
}

/// By text.
fn scores(run: &Run) -> Vec<f32> {
    let mut scores = run.selected.clone();
    scores.sort_by_key(|&(index, _)| index);
    scores.into_iter().map(|(_, score)| score as f32).collect()
}

/// By method.
fn one_set(
    bench: &Bench,
    model: &Model,
    queries: &[Judged<'_>],
    methods: &[Setting],
) -> Result<Vec<Collected>> {
    let k = bench.args.top_k();
    let mut collected = vec![Collected::default(); methods.len()];
    for judged in queries {
        let mut full: Option<Run> = None;
        for (method, collected) in methods.iter().zip(&mut collected) {
            let measured = bench.measure(model, method, &judged.work, usize::MAX, 1)?;
            match measured.runs().first() {
                Some(run) => {
                    let full = full.get_or_insert_with(|| run.clone());
                    collected.take(run, full, judged, k);
                }
                None => collected.reason = measured.reason(),
            }
        }
    }
    Ok(collected)
}

/// A row for each method.
fn rows(model: &str, set: &str, methods: &[Setting], collected: &[Collected]) -> Vec<Row> {
    let row = |(i, (method, of)): (usize, (&Setting, &Collected))| {
        let row = Row::default().text("model", model).text("set", set);
        of.row(row.text("setting", method.name.as_str()), collected.first().filter(|_| i > 0))
    };
    methods.iter().zip(collected).enumerate().map(row).collect()
}

/// Before the length of sets that are put together.
const TOGETHER: &str = "all of ";

/// What stands behind the last hyphen of a set's name: the length of its texts, as `build.py` names them.
fn length(set: &str) -> Option<&str> {
    let (_, length) = set.rsplit_once('-')?;
    length.bytes().all(|byte| byte.is_ascii_digit()).then_some(length).filter(|l| !l.is_empty())
}

/// Sets of one length put together, where there are several.
fn by_length(sets: &[(String, Vec<Collected>)]) -> Vec<(String, Vec<Collected>)> {
    let mut all: Vec<(String, usize, Vec<Collected>)> = Vec::new();
    for (set, collected) in sets {
        let Some(length) = length(set) else { continue };
        match all.iter_mut().find(|(of, ..)| of == length) {
            Some((_, count, joined)) => {
                *count += 1;
                joined.iter_mut().zip(collected).for_each(|(own, other)| own.join(other));
            }
            None => all.push((length.to_owned(), 1, collected.clone())),
        }
    }
    let several = all.into_iter().filter(|&(_, count, _)| count > 1);
    several.map(|(length, _, collected)| (length, collected)).collect()
}

/// nDCG where somebody has judged, and overlap with the first method, against the processor's time as a share of the first
/// method's: a panel for each length, in it a line for each method through its shares (`lazy-llm:0.5` is of `lazy-llm`).
fn charts(table: &Table, model: &Model, k: usize) -> Vec<Chart> {
    let chart = |(column, words): (&str, String)| {
        let series = lines(table, &model.shown(), column);
        (!series.is_empty()).then(|| Chart {
            name: format!("{}-{column}", model.name),
            title: format!("{}: {words} against the processor's time", model.shown()),
            x: "processor's time, 1 is the first method's".into(),
            y: words,
            log_x: false,
            series,
        })
    };
    [("ndcg", format!("nDCG@{k}")), ("overlap5", "overlap@5 with the first method".to_owned())]
        .into_iter()
        .filter_map(chart)
        .collect()
}

/// A line "LENGTH tokens: METHOD" for each, of the sets of a length together where there are several; "SET: METHOD" where the
/// set's name tells no length.
fn lines(table: &Table, model: &str, column: &str) -> Vec<Series> {
    let together = |row: &Row| row.words("set")?.strip_prefix(TOGETHER).map(str::to_owned);
    let rows: Vec<&Row> =
        table.rows.iter().filter(|row| row.words("model") == Some(model)).collect();
    let lengths: Vec<String> = rows.iter().filter_map(|row| together(row)).collect();
    let alone = |row: &Row| {
        let set = row.words("set")?;
        match length(set) {
            Some(length) if lengths.iter().any(|together| together == length) => None,
            Some(length) => Some(format!("{length} tokens")),
            None => Some(set.to_owned()),
        }
    };
    let mut lines: Vec<Series> = Vec::new();
    for row in rows {
        let texts = together(row).map(|length| format!("{length} tokens")).or_else(|| alone(row));
        let (Some(texts), Some(method), Some(value)) =
            (texts, row.words("setting"), row.value(column))
        else {
            continue;
        };
        let family = method.split(':').next().unwrap_or(method);
        let name = format!("{texts}: {family}");
        let point = (1.0 + row.value("change").unwrap_or(0.0) / 100.0, value);
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None => lines.push(Series::new(name, vec![point])),
        }
    }
    lines.iter_mut().for_each(|line| line.points.sort_by(|a, b| a.0.total_cmp(&b.0)));
    lines
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

    /// One query of so many texts, ranked as their numbers are but for two that change places.
    fn run(texts: usize, changed: [usize; 2], cpu_s: f64) -> Run {
        let mut order: Vec<usize> = (0..texts).collect();
        order.swap(changed[0], changed[1]);
        let selected = order.iter().enumerate().map(|(at, &text)| (text, -(at as f64))).collect();
        let stats = serde_json::json!({"token_layers": 100.0 * cpu_s, "tokens": 10 * texts});
        let (request_s, process_s, mean_rss_bytes) = (cpu_s, cpu_s, None);
        Run { request_s, process_s, cpu_s, peak_rss_bytes: 9, mean_rss_bytes, selected, stats }
    }

    #[test]
    fn sets_of_a_length_are_put_together_and_small_pools_tell_no_overlap() {
        let texts = |count: usize| Judged::of_made((0..count).map(|i| i.to_string()).collect());
        let collected = |texts_of: usize, cpu: [f64; 2]| {
            let full = run(texts_of, [0, 0], cpu[0]);
            let mut both = [Collected::default(), Collected::default()];
            both[0].take(&full, &full, &texts(texts_of), 5);
            both[1].take(&run(texts_of, [4, 5], cpu[1]), &full, &texts(texts_of), 5);
            both.to_vec()
        };
        let sets = [
            ("a-1024".to_owned(), collected(20, [4.0, 1.0])),
            ("b-en-1024".to_owned(), collected(10, [2.0, 2.0])),
            ("a-4096".to_owned(), collected(10, [1.0, 1.0])),
            ("made".to_owned(), collected(10, [1.0, 1.0])),
        ];
        let both = by_length(&sets);
        assert_eq!(both.iter().map(|(length, _)| length.as_str()).collect::<Vec<_>>(), ["1024"]);
        let methods = methods(&["full=".to_owned(), "lazy:0.5=".to_owned()]).unwrap();
        let rows = rows("m", "all of 1024", &methods, &both[0].1);
        let value = |row: usize, key: &str| rows[row].value(key);
        assert_eq!((value(1, "overlap5"), value(1, "overlap")), (Some(0.8), Some(1.0)));
        assert_eq!((value(1, "change"), value(0, "change")), (Some(-50.0), None));
        assert_eq!((value(1, "queries"), value(1, "texts")), (Some(2.0), Some(15.0)));
        assert!(value(1, "tau").unwrap() < 1.0 && value(0, "tau") == Some(1.0));
        let mut table = Table::bare("long", "b");
        table.rows = rows;
        let lines = lines(&table, "m", "overlap");
        assert_eq!(lines[1].name, "1024 tokens: lazy");
        assert_eq!(lines[1].points, [(0.5, 1.0)]);
    }
}
