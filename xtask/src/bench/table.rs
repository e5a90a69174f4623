//! A measured table as data: what is stored, and what every rendering is made from.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use grating_chart::{Axis, Panel, Series};
use serde::{Deserialize, Serialize};

use super::Bench;
use super::machine::Machine;
use super::stats::Summary;

/// One table with everything that a reader needs to judge it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) title: String,
    /// What was measured and how.
    pub(super) about: String,
    /// The command that measures it again.
    pub(super) command: String,
    pub(super) machine: Machine,
    pub(super) seed: u64,
    /// A look, not a result.
    pub(super) quick: bool,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
    pub(super) charts: Vec<Chart>,
    pub(super) notes: Vec<String>,
}

/// A column: where its values are found in a row and how they are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Column {
    pub(super) key: String,
    pub(super) title: String,
    pub(super) unit: Unit,
}

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unit {
    Text,
    Count,
    /// Stored in seconds.
    Seconds,
    /// Stored in milliseconds.
    Milliseconds,
    /// Stored in bytes, written in MiB.
    Mib,
    /// A change in percent.
    Change,
    /// A number around 0 to 1.
    Share,
}

/// The values of one row by column key; what is missing was not measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Row(pub(super) BTreeMap<String, Cell>);

/// One value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Cell {
    Summary(Summary),
    Number(f64),
    Text(String),
}

/// A figure: lines through points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Chart {
    /// Part of the file's name.
    pub(super) name: String,
    pub(super) title: String,
    pub(super) x: String,
    pub(super) y: String,
    /// Whether x is drawn by orders of magnitude.
    pub(super) log_x: bool,
    pub(super) series: Vec<Series>,
}

impl Chart {
    /// The figure in the style of all.
    pub(super) fn svg(&self) -> Result<String> {
        let mut series = self.series.clone();
        // Kept in bytes, as all sizes are, and read in MiB.
        let x = match self.x.strip_suffix(", bytes") {
            Some(size) => {
                let points = series.iter_mut().flat_map(|line| &mut line.points);
                points.for_each(|point| point.0 /= f64::from(1 << 20));
                format!("{size}, MiB")
            }
            None => self.x.clone(),
        };
        let x = Axis { log: self.log_x, ..Axis::new(x) };
        let y = Axis::new(&self.y).from_zero();
        let panels = match series.len() > MOST_LINES {
            false => vec![Panel::new(x, y, series)],
            true => {
                let panel = |(title, lines)| Panel::new(x.clone(), y.clone(), lines).titled(title);
                by_group(series).into_iter().map(panel).collect()
            }
        };
        Ok(grating_chart::Chart::new(self.title.trim_end_matches(", bytes"), panels).svg()?)
    }
}

/// Lines that can be told apart in one panel.
const MOST_LINES: usize = 4;

/// Lines named "group: line" by their group, in the order in which the groups occur.
fn by_group(series: Vec<Series>) -> Vec<(String, Vec<Series>)> {
    let mut groups: Vec<(String, Vec<Series>)> = Vec::new();
    for mut line in series {
        let (group, name) = line.name.split_once(": ").unwrap_or(("", &line.name));
        let (group, name) = (group.to_owned(), name.to_owned());
        line.name = name;
        match groups.iter_mut().find(|(known, _)| *known == group) {
            Some((_, lines)) => lines.push(line),
            None => groups.push((group, vec![line])),
        }
    }
    groups
}

impl Table {
    /// Takes up the rows of another run of the same table.
    ///
    /// # Errors
    /// When it was measured on another machine or in another form, or one model with two binaries.
    pub(super) fn join(&mut self, other: Self) -> Result<()> {
        let same = |a: &Self, b: &Self| {
            a.machine.is_that_of(&b.machine)
                && (&a.columns, a.seed, a.quick) == (&b.columns, b.seed, b.quick)
        };
        ensure!(same(self, &other), "it was measured on another machine or in another form");
        if self.machine.binary != other.machine.binary {
            // Rows without a model are those of one.
            let (own, others) = (self.models(), other.models());
            let apart = own.is_disjoint(&others) && !own.contains("") && !others.contains("");
            ensure!(apart, "it measured a model that was measured with another binary as well");
            let models = Vec::from_iter(others).join(", ");
            self.note(format!("{models}: measured at commit {}.", other.machine.commit));
        }
        self.command.push_str("\n$ ");
        self.command.push_str(&other.command);
        self.machine.join(other.machine);
        self.rows.extend(other.rows);
        self.notes.extend(other.notes);
        for chart in other.charts {
            match self.charts.iter_mut().find(|own| own.name == chart.name) {
                Some(own) => own.series.extend(chart.series),
                None => self.charts.push(chart),
            }
        }
        Ok(())
    }

    /// The models of its rows.
    fn models(&self) -> BTreeSet<String> {
        self.rows.iter().map(|row| row.words("model").unwrap_or_default().to_owned()).collect()
    }
}

impl Row {
    pub(super) fn text(mut self, key: &str, text: impl Into<String>) -> Self {
        self.0.insert(key.to_owned(), Cell::Text(text.into()));
        self
    }

    pub(super) fn number(mut self, key: &str, number: impl Into<Option<f64>>) -> Self {
        if let Some(number) = number.into() {
            self.0.insert(key.to_owned(), Cell::Number(number));
        }
        self
    }

    pub(super) fn summary(mut self, key: &str, summary: Option<Summary>) -> Self {
        if let Some(summary) = summary {
            self.0.insert(key.to_owned(), Cell::Summary(summary));
        }
        self
    }

    /// The number in a column; of several runs the median.
    pub(super) fn value(&self, key: &str) -> Option<f64> {
        match self.0.get(key)? {
            Cell::Summary(summary) => Some(summary.median),
            Cell::Number(number) => Some(*number),
            Cell::Text(_) => None,
        }
    }

    /// The words in a column.
    pub(super) fn words(&self, key: &str) -> Option<&str> {
        match self.0.get(key)? {
            Cell::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Table {
    /// A table without rows.
    pub(super) fn new(bench: &Bench, name: &str, title: &str, about: &str) -> Self {
        let mut machine = bench.machine.clone();
        if let Some(peers) = &bench.peers {
            machine.peers.clone_from(&peers.versions);
        }
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            about: about.to_owned(),
            command: bench.command.clone(),
            machine,
            seed: bench.args.seed,
            quick: bench.args.quick,
            columns: Vec::new(),
            rows: Vec::new(),
            charts: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(super) fn columns(mut self, columns: &[(&str, &str, Unit)]) -> Self {
        self.columns = columns
            .iter()
            .map(|&(key, title, unit)| Column {
                key: key.to_owned(),
                title: title.to_owned(),
                unit,
            })
            .collect();
        self
    }

    /// Says a thing once, however many rows it concerns.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// One line for each value of `series`, in the order of the rows.
    pub(super) fn series(&self, series: &str, x: &str, y: &str) -> Vec<Series> {
        let mut lines: Vec<Series> = Vec::new();
        for row in &self.rows {
            let (Some(name), Some(x), Some(y)) = (row.words(series), row.value(x), row.value(y))
            else {
                continue;
            };
            match lines.iter_mut().find(|line| line.name == name) {
                Some(line) => line.points.push((x, y)),
                None => lines.push(Series::new(name, vec![(x, y)])),
            }
        }
        for line in &mut lines {
            line.points.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        lines
    }
}

#[cfg(test)]
impl Table {
    /// A table without anything that was measured.
    pub(super) fn bare(name: &str, binary: &str) -> Self {
        Self {
            name: name.into(),
            title: String::new(),
            about: String::new(),
            command: String::new(),
            machine: Machine {
                date: "2026-11-22".into(),
                last_date: None,
                processor: "p".into(),
                threads: 2,
                memory_bytes: None,
                system: "s".into(),
                commit: "c".into(),
                rustc: "r".into(),
                binary: binary.into(),
                peers: BTreeMap::new(),
            },
            seed: 0,
            quick: false,
            columns: Vec::new(),
            rows: Vec::new(),
            charts: Vec::new(),
            notes: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(command: &str, binary: &str, model: &str) -> Table {
        let chart = Chart {
            name: "times".into(),
            title: String::new(),
            x: String::new(),
            y: String::new(),
            log_x: false,
            series: vec![Series::new(model, vec![(1.0, 2.0)])],
        };
        let mut table = Table {
            command: command.into(),
            rows: vec![Row::default().text("model", model)],
            charts: vec![chart],
            notes: vec![format!("of {model}")],
            ..Table::bare("micro", binary)
        };
        table.machine.peers.insert(model.to_owned(), "1".to_owned());
        table
    }

    #[test]
    fn runs_of_one_binary_are_put_together() {
        let mut joined = table("one", "b", "small");
        joined.join(table("two", "b", "large")).unwrap();
        assert_eq!(joined.command, "one\n$ two");
        let models: Vec<_> = joined.rows.iter().filter_map(|row| row.words("model")).collect();
        assert_eq!(models, ["small", "large"]);
        assert_eq!((joined.charts.len(), joined.charts[0].series.len()), (1, 2));
        assert_eq!((joined.notes.len(), joined.machine.peers.len()), (2, 2));
        assert!(joined.join(table("three", "other", "small")).is_err());
        assert_eq!(joined.rows.len(), 2, "what was refused left nothing");
    }

    #[test]
    fn another_binary_measures_other_models() {
        let mut joined = table("one", "b", "small");
        joined.machine.commit = "1".to_owned();
        let mut other = table("two", "c", "large");
        other.machine.commit = "2".to_owned();
        joined.join(other.clone()).unwrap();
        assert_eq!((&*joined.machine.commit, &*joined.machine.binary), ("1 and 2", "b and c"));
        assert!(joined.notes.contains(&"large: measured at commit 2.".to_owned()));
        assert!(joined.join(table("three", "d", "large")).is_err());
        other.rows[0] = Row::default();
        assert!(table("one", "b", "small").join(other).is_err(), "a row without a model");
    }

    #[test]
    fn runs_of_several_days_say_all_of_them() {
        let of = |date: &str| {
            let mut table = table("one", "b", "small");
            table.machine.date = date.to_owned();
            table
        };
        let mut joined = of("2026-11-29");
        joined.join(of("2026-11-29")).unwrap();
        assert!(joined.machine.shown().starts_with("Measured 2026-11-29: p"));
        joined.join(of("2026-11-22")).unwrap();
        joined.join(of("2026-11-25")).unwrap();
        assert!(joined.machine.shown().starts_with("Measured 2026-11-22 to 2026-11-29: p"));
        let mut later = of("2026-12-01");
        later.join(joined).unwrap();
        assert!(later.machine.shown().starts_with("Measured 2026-11-22 to 2026-12-01: p"));
    }
}
