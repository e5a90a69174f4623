//! The pictures that summaries open with: full passes beside other systems, of the table of latency and memory, and what
//! the default model's profiles save.

use anyhow::{Context, Result};
use grating_chart::{Axis, Bars, BarsPanel, Chart, Label, Panel, Series};

use super::markdown::shown;
use crate::bench::peers;
use crate::bench::table::{Cell, Row, Table, Unit};

/// Whose times and peaks are 1 in the README's picture.
const PEER: &str = "transformers, bf16";
/// Of the table, and what they are called.
pub(super) const SETTINGS: [(&str, &str); 5] = [
    ("GRATING, full", "GRATING, exact"),
    ("GRATING, full, fast", "GRATING, fast"),
    ("GRATING, full, streamed, quantized", "GRATING, weights in Q8_0, fast"),
    ("transformers, f32", "transformers, f32"),
    (PEER, PEER),
];
/// What the pictures of all systems have, beside those of [`SETTINGS`].
const OTHERS: [&str; 6] = [
    "transformers, dynamic int8",
    "sentence-transformers",
    "ONNX Runtime, f32",
    "ONNX Runtime, dynamic int8",
    "OpenVINO, int8",
    "llama.cpp, q8_0",
];
/// Models that most of these systems have run.
const MODELS: [&str; 3] = ["default", "bge-v2-m3 (planted)", "qwen3-0.6b (planted)"];
const CANDIDATES: f64 = 20.0;

/// Models beside transformers, each with its own scale; nothing where there is none.
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
        peer: peers::is_peer(name),
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

/// Time and peak memory of all systems, a picture each: its file and its bars.
pub(super) fn systems(table: &Table) -> Vec<(&'static str, Bars)> {
    if table.name != "micro" {
        return Vec::new();
    }
    let measured = |&(setting, _): &(&str, &str)| {
        MODELS.iter().any(|model| row_of(table, model, setting).is_some())
    };
    let others = OTHERS.map(|setting| (setting, setting));
    let settings: Vec<(&str, &str)> = SETTINGS.into_iter().chain(others).filter(measured).collect();
    let label = |&(setting, name): &(&str, &str)| Label {
        text: name.into(),
        peer: peers::is_peer(setting),
    };
    let bars = |title: &str, key: &str, unit: Unit, name: &str| {
        let panel = |model: &str| {
            let value = |&(setting, _): &(&str, &str)| {
                let value = row_of(table, model, setting)?.value(key)?;
                Some((value, format!("{} {name}", shown(&Cell::Number(value), unit))))
            };
            BarsPanel { title: model.into(), values: settings.iter().map(value).collect() }
        };
        Bars {
            title: format!("The best 10 of 20 texts, full passes: {title}"),
            labels: settings.iter().map(label).collect(),
            panels: MODELS.map(panel).into(),
        }
    };
    vec![
        ("summary-time.svg", bars("time of a request", "request", Unit::Seconds, "s")),
        ("summary-memory.svg", bars("peak memory of the process", "peak", Unit::Mib, "MiB")),
    ]
}

/// What the default model's profiles save and keep, of the first table of their page.
pub(super) fn pruning(page: &str) -> Result<Chart> {
    let rows = || page.lines().filter_map(|line| line.strip_prefix("| ")).map(cells);
    let head = rows().find(|cells| cells[0] == "K").context("no table of profiles")?;
    let first = head.iter().position(|cell| *cell == "all").context("no column of all sets")? + 1;
    let measured: Vec<Vec<&str>> =
        rows().filter(|cells| cells.get(first - 2) == Some(&"the other half")).collect();
    let promise: f64 = measured.first().context("no profile")?[1].parse()?;
    let panel = |which: usize, y: Axis| -> Result<Panel> {
        let series = |(set, name): (usize, &&str)| -> Result<Series> {
            let mut points = Vec::new();
            for row in &measured {
                let words = row.get(first + set).copied().unwrap_or_default();
                // A dash where a set has no pools of more than K texts.
                let Some((kept, saved)) = words.trim_end_matches(" %").split_once(", ") else {
                    continue;
                };
                points.push((row[0].parse()?, [kept, saved][which].parse()?));
            }
            Ok(Series::new(*name, points))
        };
        let series = head[first..].iter().enumerate().map(series).collect::<Result<_>>()?;
        Ok(Panel::new(Axis::new("K").log(), y, series))
    };
    let saved = panel(1, Axis::new("candidate-layers saved, %").between(0.0, 60.0))?;
    let kept = panel(0, Axis::new("agreement with the full model").between(0.9, 1.0))?;
    let title = "The default model with the profiles that it ships with";
    Ok(Chart::new(title, vec![saved, kept.with_level("promised", promise)]))
}

/// The cells of a row of a table, its first bar taken off.
fn cells(row: &str) -> Vec<&str> {
    row.trim_end_matches(" |").split(" | ").map(str::trim).collect()
}

/// The row of a setting, where it was measured.
pub(super) fn row_of<'a>(table: &'a Table, model: &str, setting: &str) -> Option<&'a Row> {
    table.rows.iter().find(|row| {
        row.words("model") == Some(model)
            && row.words("setting") == Some(setting)
            && row.value("pool") == Some(CANDIDATES)
            && row.value("request").is_some()
    })
}

/// A page of profiles gives its lines, and only those of the half that was measured.
#[cfg(test)]
#[test]
fn profiles_are_read_from_their_page() {
    let page = "# A\n\n| K | promise | confidence | on | all | a | b |\n| ---: | ---: | ---: | --- | ---: | ---: | ---: |\n\
        | 1 | 0.95 | 0.9 | the other half | 0.98, 32 % | 1.000, 32.4 % | 0.977, 3 % |\n\
        | 1 | 0.95 | 0.9 | another kind of traffic | | 0.9, 50 % | none certified |\n\
        | 5 | 0.95 | 0.9 | the other half | 0.97, 40 % | 1.000, 44.8 % | – |\n";
    let chart = pruning(page).unwrap();
    assert_eq!(chart.panels[0].series[0].points, [(1.0, 32.4), (5.0, 44.8)]);
    assert_eq!(chart.panels[0].series[1].points, [(1.0, 3.0)]);
    assert_eq!(chart.panels[1].series[0].points, [(1.0, 1.0), (5.0, 1.0)]);
    assert_eq!(chart.panels[1].level, Some(("promised".into(), 0.95)));
    assert!(pruning("no table").is_err());
}
