//! The README's numbers: each stands in the table that was measured, or in the file that it is of.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::KEPT;
use super::markdown::shown;
use super::summary::{SETTINGS, row_of};
use crate::bench::table::{Cell, Row, Table, Unit};
use crate::tidy::outside_fences;

/// Numbers that are no measurement: where each is from, and the words that have it there.
const SOURCES: [(&str, &str, &str); 8] = [
    ("10", "docs/measurements/benchmarks/summary.svg", "The best 10 of 20 texts"),
    ("20", "docs/measurements/benchmarks/summary.svg", "The best 10 of 20 texts"),
    ("1.90", "Cargo.toml", "rust-version = \"1.90\""),
    ("1.95", "crates/grating-candle/Cargo.toml", "rust-version = \"1.95\""),
    ("1e-4", "crates/grating-conformance/src/layers.rs", "TOLERANCE: f32 = 1e-4"),
    ("95", "models/default/grating-profile.json", "\"target\":{\"agreement\":0.95"),
    ("0.95", "models/default/grating-profile.json", "\"confidence\":0.95"),
    ("2510.15620", "CITATION.cff", "arXiv:2510.15620"),
];
/// What stands where a system was not measured with a model.
const NOT_MEASURED: &str = "–";
/// How far a figure may be from the measured one: it is rounded to two digits.
const ROUNDED: f64 = 0.012;
/// The same of lengths of texts, which are told as "about".
const ABOUT: f64 = 0.03;

/// What the README says that nothing says beside it.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let read = |path: &str| fs::read_to_string(root.join(path)).with_context(|| path.to_owned());
    let table: Table = serde_json::from_str(&read(&format!("{KEPT}/micro.json"))?)?;
    let mut sources = Vec::new();
    for (number, path, words) in SOURCES {
        if read(path)?.contains(words) {
            sources.push(number);
        }
    }
    Ok(findings(&read("README.md")?, &table, &sources))
}

fn findings(readme: &str, table: &Table, sources: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut rows = 0;
    for line in outside_fences(readme) {
        if line.contains(" MiB |") {
            rows += 1;
            findings.extend(row(line, table));
        } else {
            let unknown = |word: &&str| !sources.contains(word) && !measured(word, table);
            let words = numbers(line);
            let words = words.iter().map(String::as_str).filter(unknown);
            findings.extend(words.map(|word| format!("README.md: nothing says {word}: {line}")));
        }
    }
    if rows == 0 {
        findings.push("README.md: it has no table of figures".to_owned());
    }
    findings
}

/// A row of the README's table, against those of its model.
fn row(line: &str, table: &Table) -> Vec<String> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let wrong = |cell: &str, measured: &str| {
        format!("README.md: {}: `{cell}` where {measured} was measured", cells[0])
    };
    let model =
        |row: &&Row| row.words("model").and_then(|model| model.split(' ').next()) == Some(cells[0]);
    let model = table.rows.iter().find(model).and_then(|row| row.words("model"));
    let expected = 2 + SETTINGS.len();
    let (Some(model), true) = (model, cells.len() == expected) else {
        return vec![format!("README.md: no such row was measured: {line}")];
    };
    let mut findings = Vec::new();
    let of_model = |row: &&Row| row.words("model") == Some(model);
    let mut lengths = table.rows.iter().filter(of_model).filter_map(|row| row.value("tokens"));
    if !lengths.any(|tokens| near(cells[1], &tokens.to_string())) {
        findings.push(wrong(cells[1], "another length of the texts"));
    }
    for ((setting, _), cell) in SETTINGS.iter().zip(&cells[2..]) {
        let Some(row) = row_of(table, model, setting) else {
            if *cell != NOT_MEASURED {
                findings.push(wrong(cell, "nothing"));
            }
            continue;
        };
        let value = |key, unit| row.value(key).map(|value| shown(&Cell::Number(value), unit));
        let (request, peak) = (value("request", Unit::Seconds), value("peak", Unit::Mib));
        let measured =
            format!("{} s, {} MiB", request.unwrap_or_default(), peak.unwrap_or_default());
        if !near(cell, &measured) {
            findings.push(wrong(cell, &measured));
        }
    }
    findings
}

/// Whether two texts have as many numbers, one by one the same but for rounding.
fn near(quoted: &str, measured: &str) -> bool {
    let digits = |text: &str| -> Vec<f64> {
        let kept = |c: char| !(c.is_ascii_digit() || c == '.');
        text.split(kept).filter_map(|number| number.parse().ok()).collect()
    };
    let (quoted, measured) = (digits(quoted), digits(measured));
    let pairs = quoted.iter().zip(&measured);
    quoted.len() == measured.len() && pairs.into_iter().all(|(a, b)| (a - b).abs() <= ROUNDED * b)
}

/// Whether a number of the prose is a length of the texts, or of the machine and the days of the table.
fn measured(word: &str, table: &Table) -> bool {
    let machine = table.machine.shown();
    let is_part = |c: char| !(c.is_ascii_alphanumeric() || ".-".contains(c));
    let tokens = |row: &Row| row.value("tokens").unwrap_or_default();
    let is_length =
        |number: f64| table.rows.iter().any(|row| (number - tokens(row)).abs() <= ABOUT * number);
    machine.split(is_part).any(|part| part == word) || word.parse().is_ok_and(is_length)
}

/// Words of a line that are numbers, code and targets of links left out; names with digits in them are none.
fn numbers(line: &str) -> Vec<String> {
    let prose: String = line.split('`').step_by(2).collect();
    let prose: Vec<&str> = prose
        .split("](")
        .enumerate()
        .map(
            |(i, part)| {
                if i == 0 { part } else { part.split_once(')').map_or("", |(_, rest)| rest) }
            },
        )
        .collect();
    let words = prose.join(" ");
    let words = words
        .split_whitespace()
        .map(|word| word.trim_matches(|c: char| !c.is_ascii_alphanumeric()));
    let is_number = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_digit())
            && word.chars().all(|c| c.is_ascii_digit() || "e.,-–%".contains(c))
    };
    words.filter(is_number).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured_table() -> Table {
        let mut table = Table::bare("micro", "b");
        for ((setting, _), (seconds, mib)) in SETTINGS.iter().zip([
            (11.6, 198.0),
            (6.0, 197.0),
            (5.0, 150.0),
            (17.9, 4171.0),
            (30.9, 2081.0),
        ]) {
            let row = Row::default().text("model", "m (planted)").text("setting", *setting);
            let row = row.number("pool", 20.0).number("tokens", 263.0).number("request", seconds);
            table.rows.push(row.number("peak", mib * f64::from(1 << 20)));
        }
        table
    }

    fn found(readme: &str) -> Vec<String> {
        findings(readme, &measured_table(), &["10", "1.90"])
    }

    const ROW: &str = "| m | 263 | 11.6 s, 198 MiB | 6.0 s, 197 MiB | 5.0 s, 150 MiB | 17.9 s, 4171 MiB | 30.9 s, 2081 MiB |\n";

    #[test]
    fn figures_are_those_of_the_table() {
        assert_eq!(found(ROW), [""; 0]);
        assert_eq!(found(&ROW.replace("11.6", "11.2")).len(), 1);
        assert_eq!(found(&ROW.replace("2081", "2800")).len(), 1);
        assert_eq!(found(&ROW.replace("| 263", "| 163")).len(), 1);
        assert_eq!(found(&ROW.replace("17.9 s, 4171 MiB", "–")).len(), 1);
        assert_eq!(found(&ROW.replace("| m", "| other")).len(), 1);
        assert_eq!(found("No table.").len(), 1);
    }

    #[test]
    fn numbers_of_the_prose_have_a_source() {
        let said = |words: &str| found(&format!("{ROW}{words}\n"));
        assert!(
            said("*The best 10, about 260 tokens*, on [Rust](https://x.org/99) 1.90, `--k 77`.")
                .is_empty()
        );
        assert!(
            said("bge-v2-m3, 8b, x86-64, Q8_0 and AVX-512 are names; measured 2026-11-22.")
                .is_empty()
        );
        assert_eq!(said("Ten times, 40 % less (and 3.5).").len(), 2);
    }

    #[test]
    fn the_readme_has_no_number_of_its_own() {
        assert_eq!(check(&crate::process::root()).unwrap(), [""; 0]);
    }
}
