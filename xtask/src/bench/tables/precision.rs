//! E1.1, the quality side: P@K, nDCG@K and agreement on data sets, full against pruned.

use anyhow::Result;

use super::quality::{Judged, Quality, mean_of, workloads};
use crate::bench::Bench;
use crate::bench::model::Model;
use crate::bench::settings::{LATENCY_FIRST, PRECISION_FIRST, full, pruned};
use crate::bench::stats::{change_percent, mean};
use crate::bench::table::{Row, Table, Unit};

const COLUMNS: [(&str, &str, Unit); 11] = [
    ("model", "model", Unit::Text),
    ("set", "data", Unit::Text),
    ("queries", "queries", Unit::Count),
    ("k", "K", Unit::Count),
    ("setting", "setting", Unit::Text),
    ("precision", "P@K", Unit::Share),
    ("ndcg", "nDCG@K", Unit::Share),
    ("mrr", "MRR@K", Unit::Share),
    ("agreement", "agreement@K", Unit::Share),
    ("request", "mean request s", Unit::Seconds),
    ("change", "request vs full", Unit::Change),
];

const ABOUT: &str = "Each query's pool in first-stage order, the K best selected. P@K is the number \
    of relevant texts among the K selected, divided by K or by the number of relevant texts where \
    that is smaller; nDCG@K and MRR@K are trec_eval's. Agreement@K is the share of the full pass's K \
    best that the pruned pass selected. The order within a pruned selection is by the scores that \
    candidates left with, which are not comparable across layers: nDCG and MRR of pruned rows \
    suffer from that, P and agreement do not. One run a query.";

/// Pool size, and the K that are measured.
fn sizes(bench: &Bench) -> (usize, Vec<usize>) {
    match bench.args.quick {
        true => (20, vec![5]),
        false => (60, vec![1, 5, 10, 20]),
    }
}

pub(super) fn measure(bench: &Bench) -> Result<Table> {
    let mut table =
        Table::new(bench, "precision", "Quality and agreement (E1.1)", ABOUT).columns(&COLUMNS);
    let (pool, ks) = sizes(bench);
    for model in &bench.models {
        for (set, queries) in workloads(bench, model, pool) {
            bench.expect(queries.len() * (1 + 2 * ks.len()));
            one_set(bench, &mut table, model, &set, &queries)?;
        }
    }
    if bench.data.is_empty() {
        table.note("No --data was given: made texts, without judgments.");
    }
    Ok(table)
}

/// What one setting did on all queries of a set.
#[derive(Default)]
struct Collected {
    qualities: Vec<Quality>,
    seconds: Vec<f64>,
}

fn one_set(
    bench: &Bench,
    table: &mut Table,
    model: &Model,
    set: &str,
    queries: &[Judged<'_>],
) -> Result<()> {
    let (pool, ks) = sizes(bench);
    let settings = ks
        .iter()
        .map(|&k| {
            let points = bench.points(model, k, pool)?;
            table.note(format!("{}, K = {k}: {}.", model.name, points.shown()));
            let bold = pruned(LATENCY_FIRST, &points.latency_first.policy);
            Ok([pruned(PRECISION_FIRST, &points.precision_first.policy), bold])
        })
        .collect::<Result<Vec<_>>>()?;
    // For each K the full pass, then each setting.
    let mut collected: Vec<[Collected; 3]> = ks.iter().map(|_| Default::default()).collect();
    let mut missing = None;
    for judged in queries {
        let reference = bench.measure(model, &full(), &judged.work, usize::MAX, 1)?;
        let (Some(ranking), Some(time)) = (reference.selected(), reference.request()) else {
            continue;
        };
        for (i, &k) in ks.iter().enumerate() {
            collected[i][0].qualities.push(judged.quality(&ranking, &ranking, k));
            collected[i][0].seconds.push(time.median);
            for (setting, collected) in settings[i].iter().zip(&mut collected[i][1..]) {
                let run = bench.measure(model, setting, &judged.work, k, 1)?;
                match (run.selected(), run.request()) {
                    (Some(selected), Some(time)) => {
                        collected.qualities.push(judged.quality(&selected, &ranking, k));
                        collected.seconds.push(time.median);
                    }
                    _ => missing = run.reason(),
                }
            }
        }
    }
    for (k, collected) in ks.iter().zip(&collected) {
        let baseline = mean(collected[0].seconds.iter().copied());
        let names = ["full", PRECISION_FIRST, LATENCY_FIRST];
        for (i, (name, collected)) in names.into_iter().zip(collected).enumerate() {
            if collected.qualities.is_empty() {
                continue;
            }
            let row = Row::default()
                .text("model", model.shown())
                .text("set", set)
                .number("k", *k as f64)
                .text("setting", name);
            table.rows.push(filled(row, collected, baseline.filter(|_| i > 0)));
        }
    }
    if let Some(reason) = missing {
        table.note(format!("Pruned rows are missing: {reason}."));
    }
    Ok(())
}

fn filled(row: Row, collected: &Collected, baseline: Option<f64>) -> Row {
    let seconds = mean(collected.seconds.iter().copied());
    let change = seconds.zip(baseline).map(|(s, baseline)| change_percent(s, baseline));
    row.number("queries", collected.qualities.len() as f64)
        .number("precision", mean_of(&collected.qualities, |q| q.precision))
        .number("ndcg", mean_of(&collected.qualities, |q| q.ndcg))
        .number("mrr", mean_of(&collected.qualities, |q| q.mrr))
        .number("agreement", mean_of(&collected.qualities, |q| Some(q.agreement)))
        .number("request", seconds)
        .number("change", change)
}
