//! E1.3: latency against precision over policies, the paper's and ours.

use anyhow::Result;

use super::quality::{mean_of, workloads};
use crate::bench::Bench;
use crate::bench::settings::{full, pruned};
use crate::bench::stats::{change_percent, mean};
use crate::bench::table::{Chart, Row, Table, Unit};

const COLUMNS: [(&str, &str, Unit); 10] = [
    ("model", "model", Unit::Text),
    ("set", "data", Unit::Text),
    ("queries", "queries", Unit::Count),
    ("family", "policies", Unit::Text),
    ("policy", "policy", Unit::Text),
    ("agreement", "agreement@K", Unit::Share),
    ("precision", "P@K", Unit::Share),
    ("request", "mean request s", Unit::Seconds),
    ("change", "request vs full", Unit::Change),
    ("line", "", Unit::Text),
];

const ABOUT: &str = "The same queries with one policy after the other: the paper's form at rising \
    thresholds, and ours. Of each family those that no other of it beat in work and agreement on traces of \
    other queries are taken, spread over the work that they left. The first row of each set is the full \
    pass. Latency is the mean over queries, one run each.";

pub(super) fn measure(bench: &Bench) -> Result<Table> {
    let title = "Latency against precision (E1.3)";
    let mut table = Table::new(bench, "sweep", title, ABOUT).columns(&COLUMNS[..9]);
    let (pool, k) = (if bench.args.quick { 20 } else { 60 }, bench.args.top_k());
    for model in &bench.models {
        let policies = bench.points(model, k, pool)?.sweep;
        for (set, queries) in workloads(bench, model, pool) {
            bench.expect(queries.len() * (1 + policies.len()));
            let row = || Row::default().text("model", model.shown()).text("set", &set);
            let mut rankings = Vec::new();
            let (mut seconds, mut qualities) = (Vec::new(), Vec::new());
            for judged in &queries {
                let full = bench.measure(model, &full(), &judged.work, usize::MAX, 1)?;
                let ranking = full.selected().unwrap_or_default();
                seconds.extend(full.request().map(|s| s.median));
                qualities.push(judged.quality(&ranking, &ranking, k));
                rankings.push(ranking);
            }
            let baseline = mean(seconds.iter().copied());
            let filled = |row: Row, qualities: &[_], seconds: &[f64]| {
                row.number("queries", qualities.len() as f64)
                    .number("agreement", mean_of(qualities, |q| Some(q.agreement)))
                    .number("precision", mean_of(qualities, |q| q.precision))
                    .number("request", mean(seconds.iter().copied()))
            };
            table.rows.push(filled(row().text("family", "full pass"), &qualities, &seconds));
            for (family, policy) in &policies {
                let setting = pruned(format!("{family}: {policy}"), policy);
                let (mut seconds, mut qualities) = (Vec::new(), Vec::new());
                for (judged, ranking) in queries.iter().zip(&rankings) {
                    let run = bench.measure(model, &setting, &judged.work, k, 1)?;
                    if let (Some(selected), Some(time)) = (run.selected(), run.request()) {
                        qualities.push(judged.quality(&selected, ranking, k));
                        seconds.push(time.median);
                    } else if let Some(reason) = run.reason() {
                        table.note(reason);
                    }
                }
                if qualities.is_empty() {
                    continue;
                }
                let change = mean(seconds.iter().copied())
                    .zip(baseline)
                    .map(|(s, baseline)| change_percent(s, baseline));
                let row = row()
                    .text("family", *family)
                    .text("policy", policy.to_string())
                    .text("line", format!("{}, {set}: {family}", model.shown()))
                    .number("change", change);
                table.rows.push(filled(row, &qualities, &seconds));
            }
        }
    }
    let series = table.series("line", "request", "agreement");
    table.charts.push(Chart {
        name: "pareto".into(),
        title: "Agreement with the full pass against latency".into(),
        x: "mean request, seconds".into(),
        y: format!("agreement@{k}"),
        log_x: false,
        series,
    });
    Ok(table)
}
