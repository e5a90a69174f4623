//! Bars beside each other: the figures of tables whose rows are things, not points on an axis.

use grating_chart::{Bars, BarsPanel, Label};

use super::markdown::shown;
use crate::bench::peers;
use crate::bench::table::{Cell, Row, Table, Unit};

/// Which rows stand together in a figure, and what of them is drawn.
struct Layout {
    table: &'static str,
    /// Columns that a figure's rows agree in.
    figure: &'static [&'static str],
    /// Columns that name a bar.
    bar: &'static [&'static str],
    /// Columns whose values are drawn, each on a scale of its own.
    panels: &'static [&'static str],
}

#[rustfmt::skip]
const LAYOUTS: [Layout; 6] = [
    Layout { table: "micro", figure: &["model", "pool"], bar: &["setting"], panels: &["request", "peak"] },
    Layout { table: "precision", figure: &["model", "k"], bar: &["set", "setting"], panels: &["agreement", "precision", "request"] },
    Layout { table: "ablation", figure: &["model"], bar: &["step"], panels: &["request", "peak"] },
    Layout { table: "streaming", figure: &["model"], bar: &["pool", "setting"], panels: &["request", "peak"] },
    Layout { table: "budgets", figure: &["model"], bar: &["pool", "budget"], panels: &["peak", "request"] },
    Layout { table: "applications", figure: &["application", "model"], bar: &["set", "setting"], panels: &["total", "peak"] },
];

/// The figures of a table with a part of the file's name for each; none where lines tell more.
pub(super) fn of(table: &Table) -> Vec<(String, Bars)> {
    let Some(layout) = LAYOUTS.iter().find(|layout| layout.table == table.name) else {
        return Vec::new();
    };
    let key = |row: &Row| words(table, row, layout.figure);
    let mut names: Vec<String> = Vec::new();
    for name in table.rows.iter().map(key) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let figure = |name: String| {
        let measured = |row: &&Row| layout.panels.iter().any(|panel| row.value(panel).is_some());
        let rows = table.rows.iter().filter(|row| key(row) == name);
        figure(table, layout, name.clone(), &rows.filter(measured).collect::<Vec<_>>())
    };
    names.into_iter().map(figure).filter(|(_, bars)| !bars.labels.is_empty()).collect()
}

fn figure(table: &Table, layout: &Layout, name: String, rows: &[&Row]) -> (String, Bars) {
    let label = |row: &&Row| Label {
        text: words(table, row, layout.bar),
        peer: row.words("setting").is_some_and(peers::is_peer),
    };
    let panel = |key: &&str| {
        let column = table.columns.iter().find(|column| column.key == *key)?;
        let value = |row: &&Row| Some((row.value(key)?, median(row, key, column.unit)));
        Some(BarsPanel { title: column.title.clone(), values: rows.iter().map(value).collect() })
    };
    let bars = Bars {
        title: format!("{}: {name}", table.title),
        labels: rows.iter().map(label).collect(),
        panels: layout.panels.iter().filter_map(panel).collect(),
    };
    (file_name(&name), bars)
}

/// What a row says in some columns.
fn words(table: &Table, row: &Row, keys: &[&str]) -> String {
    let words = keys.iter().filter_map(|&key| {
        let column = table.columns.iter().find(|column| column.key == key)?;
        let words = median(row, key, column.unit);
        Some(if column.unit == Unit::Text { words } else { format!("{} {words}", column.title) })
    });
    words.collect::<Vec<_>>().join(", ")
}

/// A value without its spread.
fn median(row: &Row, key: &str, unit: Unit) -> String {
    match (row.value(key), row.words(key)) {
        (Some(value), _) => shown(&Cell::Number(value), unit),
        (None, words) => words.unwrap_or_default().to_owned(),
    }
}

/// Letters, digits and points, with dashes between.
fn file_name(words: &str) -> String {
    let kept = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let parts = words.split(|c| !kept(c)).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_names_columns_of_its_table() {
        // Where a column was renamed, its panel would be gone in silence.
        let sources = [
            include_str!("../tables/micro.rs"),
            include_str!("../tables/precision.rs"),
            include_str!("../tables/ablation.rs"),
            include_str!("../tables/streaming.rs"),
            include_str!("../tables/budgets.rs"),
            include_str!("../tables/applications.rs"),
        ];
        for (layout, source) in LAYOUTS.iter().zip(sources) {
            for key in [layout.figure, layout.bar, layout.panels].concat() {
                assert!(source.contains(&format!("(\"{key}\", ")), "{}: {key}", layout.table);
            }
        }
    }

    #[test]
    fn rows_of_a_model_and_pool_stand_together() {
        let row = |pool: f64, setting: &str, request: f64| {
            Row::default()
                .text("model", "bge (planted)")
                .number("pool", pool)
                .text("setting", setting)
                .number("request", request)
        };
        let rows = vec![
            row(20.0, "GRATING, full", 4.0),
            row(20.0, "transformers, bf16", 10.0),
            row(60.0, "GRATING, full", 12.0),
            Row::default()
                .text("model", "bge (planted)")
                .number("pool", 60.0)
                .text("setting", "skipped"),
        ];
        let columns = [
            ("model", "model", Unit::Text),
            ("pool", "candidates", Unit::Count),
            ("setting", "system", Unit::Text),
            ("request", "request s", Unit::Seconds),
            ("peak", "peak MiB", Unit::Mib),
        ];
        let table = Table { rows, ..Table::bare("micro", "b") }.columns(&columns);
        let figures = of(&table);
        assert_eq!(figures.len(), 2);
        assert_eq!(figures[0].0, "bge-planted-candidates-20");
        let labels: Vec<_> =
            figures[0].1.labels.iter().map(|l| (l.text.as_str(), l.peer)).collect();
        assert_eq!(labels, [("GRATING, full", false), ("transformers, bf16", true)]);
        let request = &figures[0].1.panels[0];
        assert_eq!(request.values, [Some((4.0, "4.00".into())), Some((10.0, "10.0".into()))]);
        assert_eq!(figures[0].1.panels[1].values, [None, None]);
        assert_eq!(figures[1].1.labels.len(), 1, "what was not measured has no bar");
        assert!(of(&Table::bare("scaling", "b")).is_empty());
    }
}
