//! The paper's headline figures beside ours.

use std::fmt::Write as _;

use crate::bench::stats::{change_percent, mean};
use crate::bench::table::{Row, Table};

/// What the paper reports (version 1, and version 2 where it differs).
const PAPER: [(&str, &str); 6] = [
    ("largest latency cut, against disk offload", "-89.0 % (v2: -89.2 %)"),
    ("largest cut of peak memory", "-94.9 % (v2: -91.3 %)"),
    ("mean latency cut against in-memory transformers, by model", "-20 % to -44 %"),
    ("largest loss of precision", "0.008"),
    ("ablation, all mechanisms: latency, peak memory", "-48.5 %, -78.4 %"),
    ("applications: latency, peak memory", "-11.6 % to -51.0 %, -18.6 % to -77.8 %"),
];

/// The paper's headline figures and ours, each against the same kind of baseline.
pub(super) fn beside_the_paper<'a>(tables: impl Iterator<Item = &'a Table> + Clone) -> String {
    let table = |name: &str| tables.clone().find(|table| table.name == name);
    let micro = table("micro");
    let ours = [
        micro.and_then(|t| {
            best_against(t, "request", "transformers + accelerate, bf16, disk offload")
        }),
        micro.and_then(|t| best_against(t, "peak", "transformers, bf16")),
        micro.and_then(|t| means_by_model(t, "transformers, bf16")),
        table("precision").and_then(largest_loss),
        table("ablation").and_then(last_step),
        table("applications").and_then(range_of_changes),
    ];
    let mut out = String::from(
        "\n## Beside the paper\n\nThe paper measured a graphics processor and a Mac; these tables \
         were measured on the machine that they name. Percentages are against the same kind of \
         baseline: a minus is a cut, a plus takes more. The largest cuts are those of rows that select at least 0.98 of what the full pass does; \
         means are of all rows, whatever their agreement, which the next table has. Where the processor has AMX transformers multiplies \
         bf16 with it; our exact products of f32 and f16 weights give f32's scores.\n\n| figure | paper | here |\n| --- | --- | --- |\n",
    );
    for ((figure, paper), ours) in PAPER.iter().zip(ours) {
        let ours = ours.unwrap_or_else(|| "not measured".to_owned());
        let _ = writeln!(out, "| {figure} | {paper} | {ours} |");
    }
    out
}

/// The row whose agreement is `row`'s too: within the least memory the selection is the same to the bit, but was
/// measured with fewer queries.
fn judged<'a>(table: &'a Table, row: &'a Row) -> &'a Row {
    let name = row.words("setting").unwrap_or_default().replace(", least memory", "");
    beside(table, row, &name).unwrap_or(row)
}

/// The row of another setting with the same model and pool.
fn beside<'a>(table: &'a Table, row: &Row, setting: &str) -> Option<&'a Row> {
    table.rows.iter().find(|other| {
        other.words("setting") == Some(setting)
            && other.words("model") == row.words("model")
            && other.value("pool") == row.value("pool")
    })
}

/// How a figure of `row` changes from the peer `baseline` with the same model and pool, percent.
fn cut(table: &Table, row: &Row, key: &str, baseline: &str) -> Option<f64> {
    let peer = beside(table, row, baseline)?;
    Some(change_percent(row.value(key)?, peer.value(key)?))
}

/// Rows that agree less are no measure of what pruning saves.
const AGREES: f64 = 0.98;

/// The largest cut of a pruned row that agrees with the full pass, against a peer's row of the same model and
/// pool.
fn best_against(table: &Table, key: &str, baseline: &str) -> Option<String> {
    let pruned = |row: &&Row| {
        row.words("setting").is_some_and(|name| name.contains("precision-first"))
            && judged(table, row).value("agreement").is_some_and(|agreement| agreement >= AGREES)
    };
    let cuts = table.rows.iter().filter(pruned);
    let cuts = cuts.filter_map(|row| Some((cut(table, row, key, baseline)?, row)));
    let (change, row) = cuts.min_by(|a, b| a.0.total_cmp(&b.0))?;
    let model = row.words("model").unwrap_or_default();
    let pool = row.value("pool").unwrap_or_default();
    let judged = judged(table, row);
    let queries = judged.value("queries").map_or(String::new(), |n| {
        format!(" over {n:.0} {}", if n == 1.0 { "query" } else { "queries" })
    });
    let agreement = judged
        .value("agreement")
        .map_or(String::new(), |agreement| format!(", agreement {agreement:.3}{queries}"));
    let setting = row.words("setting").unwrap_or_default().trim_start_matches("GRATING, ");
    Some(format!("{change:.1} % ({model}, {pool:.0} candidates, {setting}{agreement})"))
}

/// Of each model the mean cut in latency over its pools, precision-first, with its own weights and
/// quantized.
fn means_by_model(table: &Table, baseline: &str) -> Option<String> {
    let mut models: Vec<&str> = table.rows.iter().filter_map(|row| row.words("model")).collect();
    models.dedup();
    let means = models.into_iter().filter_map(|model| {
        let mean_of = |setting: &str| {
            let rows = table.rows.iter().filter(|row| {
                row.words("model") == Some(model) && row.words("setting") == Some(setting)
            });
            mean(rows.filter_map(|row| cut(table, row, "request", baseline)))
        };
        let own = mean_of("GRATING, pruned, precision-first")?;
        let quantized = mean_of("GRATING, pruned, precision-first, quantized")?;
        Some(format!("{own:+.1} %, quantized {quantized:+.1} % ({model})"))
    });
    let means: Vec<String> = means.collect();
    (!means.is_empty()).then(|| means.join("; "))
}

/// The most that P@K falls from the full pass to the precision-first one.
fn largest_loss(table: &Table) -> Option<String> {
    let losses = table.rows.iter().filter_map(|row| {
        let pruned = row.words("setting")?.contains("precision-first");
        let full = table.rows.iter().find(|full| {
            full.words("setting") == Some("full")
                && ["model", "set"].iter().all(|key| full.words(key) == row.words(key))
                && full.value("k") == row.value("k")
        })?;
        pruned.then(|| Some((full.value("precision")? - row.value("precision")?, row))).flatten()
    });
    let (loss, row) = losses.max_by(|a, b| a.0.total_cmp(&b.0))?;
    let (set, k) = (row.words("set").unwrap_or_default(), row.value("k").unwrap_or_default());
    let queries = row.value("queries").unwrap_or_default();
    Some(format!("{loss:.3} ({set}, K = {k:.0}, {queries:.0} queries)"))
}

fn last_step(table: &Table) -> Option<String> {
    let row = table.rows.iter().rfind(|row| row.value("request").is_some())?;
    let (latency, peak) = (row.value("latency_change")?, row.value("peak_change")?);
    let step = row.words("step").unwrap_or_default();
    let model = row.words("model").unwrap_or_default();
    Some(format!("{latency:.1} %, {peak:.1} % ({model}, at \"{step}\")"))
}

/// Over the applications, what the pruned reranker cuts against transformers, or against our full pass
/// where that was not measured.
fn range_of_changes(table: &Table) -> Option<String> {
    let range = |key: &str, setting: &str| {
        let rows = table.rows.iter().filter(|row| row.words("setting") == Some(setting));
        let changes: Vec<f64> = rows.filter_map(|row| row.value(key)).collect();
        let (low, high) =
            (changes.iter().copied().reduce(f64::min)?, changes.into_iter().reduce(f64::max)?);
        Some(format!("{high:.1} % to {low:.1} %"))
    };
    let own = range("change", "pruned")?;
    let against = |setting: &str| {
        Some(format!(
            "latency {}, peak {}",
            range("latency_change", setting)?,
            range("peak_change", setting)?
        ))
    };
    Some(match (against("pruned"), against("pruned, quantized")) {
        (Some(pruned), Some(quantized)) => format!(
            "pruned {pruned}; quantized {quantized}, against transformers bf16 (pruned against our \
             own full pass: latency {own})"
        ),
        _ => format!("latency {own}, pruned against our own full pass"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micro() -> Table {
        let row = |setting: &str, pool: f64, request: f64, peak: f64| {
            Row::default()
                .text("model", "m")
                .text("setting", setting)
                .number("pool", pool)
                .number("request", request)
                .number("peak", peak)
                .number("agreement", 1.0)
        };
        let rough = row("GRATING, pruned, precision-first", 20.0, 1.0, 10.0);
        Table {
            rows: vec![
                row("GRATING, pruned, precision-first", 20.0, 4.0, 100.0),
                row("GRATING, pruned, precision-first, quantized", 20.0, 2.0, 50.0),
                row("transformers, bf16", 20.0, 10.0, 1000.0),
                row("GRATING, pruned, precision-first", 60.0, 6.0, 200.0),
                row("GRATING, pruned, precision-first, quantized", 60.0, 3.0, 60.0),
                row("transformers, bf16", 60.0, 30.0, 1000.0),
                rough.number("agreement", 0.9).text("model", "another"),
                row("GRATING, pruned, precision-first, least memory", 20.0, 1.0, 5.0)
                    .text("model", "another"),
                row("transformers, bf16", 20.0, 10.0, 1000.0).text("model", "another"),
            ],
            ..Table::bare("micro", "b")
        }
    }

    #[test]
    fn cuts_are_against_the_same_pool() {
        let means = means_by_model(&micro(), "transformers, bf16");
        assert_eq!(means.unwrap(), "-70.0 %, quantized -85.0 % (m)", "no quantized row of another");
        let best = best_against(&micro(), "peak", "transformers, bf16").unwrap();
        assert!(best.starts_with("-95.0 % (m, 20 candidates, pruned, precision-first, quantized"));
        assert_eq!(means_by_model(&micro(), "another system"), None);
    }

    #[test]
    fn what_was_not_measured_is_said() {
        let table = beside_the_paper([&micro()].into_iter());
        let ablation = table.lines().find(|line| line.contains("ablation")).unwrap();
        assert!(ablation.ends_with("| not measured |"));
    }

    #[test]
    fn applications_are_against_transformers_where_it_was_measured() {
        let row = |setting: &str, change: f64| {
            Row::default().text("setting", setting).number("change", change)
        };
        let own = vec![row("pruned", -10.0), row("full", 0.0), row("pruned", -30.5)];
        let alone = Table { rows: own.clone(), ..Table::bare("applications", "b") };
        let words = "latency -10.0 % to -30.5 %, pruned against our own full pass";
        assert_eq!(range_of_changes(&alone).unwrap(), words);
        let both = |row: Row| row.number("latency_change", -80.0).number("peak_change", -90.0);
        let rows = own.into_iter().chain([row("pruned, quantized", -50.0)]).map(both).collect();
        let words = range_of_changes(&Table { rows, ..Table::bare("applications", "b") }).unwrap();
        assert!(
            words.starts_with("pruned latency -80.0 % to -80.0 %, peak -90.0 % to -90.0 %; quant")
        );
    }
}
