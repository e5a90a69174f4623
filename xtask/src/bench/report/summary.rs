//! The picture that the README opens with: full passes beside transformers, of the table of latency and memory.

use grating_chart::{Bars, BarsPanel, Label};

use super::markdown::shown;
use crate::bench::table::{Cell, Row, Table, Unit};

/// Whose times and peaks are 1.
const PEER: &str = "transformers, bf16";
/// Of the table, and what they are called.
const SETTINGS: [(&str, &str); 3] = [
    ("GRATING, full", "GRATING, exact"),
    ("GRATING, full, streamed, quantized", "GRATING, weights in Q8_0, fast"),
    (PEER, PEER),
];
const CANDIDATES: f64 = 20.0;

/// A picture of the models that both have run, nothing where there is none.
pub(super) fn of(table: &Table) -> Option<Bars> {
    if table.name != "micro" {
        return None;
    }
    let mut models: Vec<&str> = Vec::new();
    for model in table.rows.iter().filter_map(|row| row.words("model")) {
        if !models.contains(&model) && row_of(table, model, PEER).is_some() {
            models.push(model);
        }
    }
    let rows: Vec<(&str, &str, &Row, &Row)> = models
        .into_iter()
        .flat_map(|model| SETTINGS.map(|(setting, name)| (model, setting, name)))
        .filter_map(|(model, setting, name)| {
            Some((model, name, row_of(table, model, setting)?, row_of(table, model, PEER)?))
        })
        .collect();
    if rows.is_empty() {
        return None;
    }
    let panel = |title: &str, key: &str, unit: Unit, name: &str| {
        let value = |(_, _, row, peer): &(&str, &str, &Row, &Row)| {
            let (value, base) = (row.value(key)?, peer.value(key)?);
            Some((value / base, format!("{} {name}", shown(&Cell::Number(value), unit))))
        };
        BarsPanel { title: title.into(), values: rows.iter().map(value).collect() }
    };
    let label = |(model, name, _, _): &(&str, &str, &Row, &Row)| Label {
        text: format!("{model}: {name}"),
        peer: *name == PEER,
    };
    Some(Bars {
        title: "The best 10 of 20 texts, full passes: shares of transformers".into(),
        labels: rows.iter().map(label).collect(),
        panels: vec![
            panel("time of a request", "request", Unit::Seconds, "s"),
            panel("peak memory of the process", "peak", Unit::Mib, "MiB"),
        ],
    })
}

/// The row of a setting, where it was measured.
fn row_of<'a>(table: &'a Table, model: &str, setting: &str) -> Option<&'a Row> {
    table.rows.iter().find(|row| {
        row.words("model") == Some(model)
            && row.words("setting") == Some(setting)
            && row.value("pool") == Some(CANDIDATES)
            && row.value("request").is_some()
    })
}

/// The README's table has the figures of the measured one, model by model.
#[cfg(test)]
#[test]
fn the_readme_quotes_the_table() {
    let root = crate::process::root();
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let table: Table =
        serde_json::from_str(&read("docs/measurements/benchmarks/micro.json")).unwrap();
    let readme = read("README.md");
    let mut found = 0;
    for line in readme.lines().filter(|line| line.contains(" MiB |")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let model = |row: &&Row| {
            let name = row.words("model").and_then(|model| model.split(' ').next());
            name == Some(cells[0])
        };
        let model = table.rows.iter().find(model).and_then(|row| row.words("model")).unwrap();
        for ((setting, _), cell) in SETTINGS.iter().zip(&cells[2..]) {
            let row = row_of(&table, model, setting).unwrap();
            let value = |key, unit| shown(&Cell::Number(row.value(key).unwrap()), unit);
            let measured =
                format!("{} s, {} MiB", value("request", Unit::Seconds), value("peak", Unit::Mib));
            let digits = |text: &str| -> Vec<f64> {
                let kept = |c: char| !(c.is_ascii_digit() || c == '.');
                text.split(kept).filter_map(|number| number.parse().ok()).collect()
            };
            let (quoted, measured) = (digits(cell), digits(&measured));
            let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 0.012 * b;
            assert!(
                quoted.len() == 2 && quoted.iter().zip(&measured).all(near),
                "{line}: {cell} where {measured:?} was measured"
            );
            found += 1;
        }
    }
    assert!(found >= 9, "the README has no table of figures");
}
