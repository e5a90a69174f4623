//! A table as Markdown.

use std::fmt::Write as _;

use super::Figure;
use crate::bench::table::{Cell, Table, Unit};

/// The whole table with its head, its figures (found in `folder`) and its notes.
pub(super) fn table(table: &Table, figures: &[Figure], folder: &str) -> String {
    let mut out = format!("## {}\n\n{}\n\n", table.title, table.about);
    if table.quick {
        out.push_str("Measured with `--quick`: a look, not a result.\n\n");
    }
    out.push_str(&rows(table));
    for figure in figures {
        let _ = writeln!(out, "\n![{}]({folder}{})", figure.title, figure.file);
    }
    if !table.notes.is_empty() {
        out.push('\n');
        for note in &table.notes {
            let _ = writeln!(out, "- {note}");
        }
    }
    let machine = &table.machine;
    let _ = write!(
        out,
        "\n{}. Commit {}, {}, seed {}.",
        machine.shown(),
        machine.commit,
        machine.rustc,
        table.seed
    );
    if !machine.peers.is_empty() {
        let versions: Vec<String> =
            machine.peers.iter().map(|(name, version)| format!("{name} {version}")).collect();
        let _ = write!(out, " Peers: {}.", versions.join(", "));
    }
    let _ = writeln!(out, "\n\n```console\n$ {}\n```", table.command);
    out
}

/// Only the grid.
fn rows(table: &Table) -> String {
    // A column that no row fills says nothing.
    let filled = |key: &str| table.rows.iter().any(|row| row.0.contains_key(key));
    let columns: Vec<_> = table.columns.iter().filter(|column| filled(&column.key)).collect();
    let mut out = String::new();
    let titles: Vec<&str> = columns.iter().map(|column| column.title.as_str()).collect();
    let rule: Vec<&str> = columns
        .iter()
        .map(|column| if column.unit == Unit::Text { "---" } else { "---:" })
        .collect();
    let _ = writeln!(out, "| {} |\n| {} |", titles.join(" | "), rule.join(" | "));
    for row in &table.rows {
        let cells = columns.iter().map(|column| match row.0.get(&column.key) {
            Some(cell) => shown(cell, column.unit),
            None => String::new(),
        });
        let _ = writeln!(out, "| {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    out
}

/// A value in its unit; of several runs the median and the range.
pub(super) fn shown(cell: &Cell, unit: Unit) -> String {
    match cell {
        Cell::Text(text) => text.replace('|', "\\|"),
        Cell::Number(number) => in_unit(*number, unit),
        Cell::Summary(summary) if summary.runs == 1 => in_unit(summary.median, unit),
        Cell::Summary(summary) => format!(
            "{} ({}–{})",
            in_unit(summary.median, unit),
            in_unit(summary.low, unit),
            in_unit(summary.high, unit)
        ),
    }
}

fn in_unit(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Text | Unit::Count => format!("{value:.0}"),
        Unit::Seconds => significant(value),
        Unit::Milliseconds => format!("{value:.1}"),
        Unit::Mib => format!("{:.0}", value / f64::from(1 << 20)),
        Unit::Change => format!("{value:+.1} %"),
        Unit::Share => format!("{value:.3}"),
    }
}

/// Three figures, as a clock on a shared machine has no more.
fn significant(value: f64) -> String {
    let decimals = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::stats::Summary;

    #[test]
    fn values_are_written_in_their_unit() {
        let summary = Cell::Summary(Summary::of([1.0, 1.25, 30.0]).unwrap());
        assert_eq!(shown(&summary, Unit::Seconds), "1.25 (1.00–30.0)");
        assert_eq!(shown(&Cell::Number(3.0 * 1024.0 * 1024.0), Unit::Mib), "3");
        assert_eq!(shown(&Cell::Number(-80.04), Unit::Change), "-80.0 %");
        assert_eq!(shown(&Cell::Number(0.98765), Unit::Share), "0.988");
        assert_eq!(shown(&Cell::Number(0.01234), Unit::Seconds), "0.012");
        assert_eq!(shown(&Cell::Text("a|b".into()), Unit::Text), "a\\|b");
    }
}
