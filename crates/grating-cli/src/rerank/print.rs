//! The answer to a query: a table for people, tabs and JSON for programs.

use std::io::Write;

use anyhow::Result;
use grating::input::{QueryInput, Text};
use grating::{AuditTotals, LastScore, Ranked, Reranker, Selection, Stats};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::args::RerankArgs;
use crate::output;

/// A query with its texts and what was selected of them; nothing where there were none.
pub(super) struct Answered<'a> {
    pub(super) query: &'a QueryInput,
    /// Its place among the queries, from 0.
    pub(super) number: usize,
    pub(super) texts: &'a [Text],
    pub(super) selection: Option<&'a Selection>,
}

#[derive(Serialize)]
struct Output<'a> {
    /// Of one of several queries: its id, or its place among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    query_id: Option<Id<'a>>,
    query: &'a str,
    model: &'a str,
    results: Vec<OutputResult<'a>>,
    stats: Option<&'a Stats>,
    audits: AuditTotals,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Id<'a> {
    Given(&'a RawValue),
    Number(usize),
}

#[derive(Serialize)]
struct OutputResult<'a> {
    index: usize,
    id: Option<&'a RawValue>,
    score: f32,
    raw_score: f32,
    decided_after_layer: usize,
    truncated: bool,
    #[serde(flatten)]
    outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// The other fields of the text's object.
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<&'a RawValue>,
}

/// What is said of one of all texts.
#[derive(Clone, Copy, Serialize)]
struct Outcome {
    selected: bool,
    /// That the score was read after.
    layer: usize,
    #[serde(rename = "final")]
    is_final: bool,
    altered: bool,
}

/// One text that is printed.
struct Row {
    index: usize,
    score: f32,
    raw_score: f32,
    decided_after_layer: usize,
    truncated: bool,
    outcome: Option<Outcome>,
}

impl From<&Ranked> for Row {
    fn from(r: &Ranked) -> Self {
        Row {
            index: r.index,
            score: r.score.0,
            raw_score: r.raw_score.0,
            decided_after_layer: r.decided_after_layer,
            truncated: r.truncated,
            outcome: None,
        }
    }
}

impl From<&LastScore> for Row {
    fn from(r: &LastScore) -> Self {
        let LastScore { selected, layer, is_final, altered, .. } = *r;
        Row {
            index: r.index,
            score: r.score.0,
            raw_score: r.raw_score.0,
            decided_after_layer: r.decided_after_layer,
            truncated: r.truncated,
            outcome: Some(Outcome { selected, layer, is_final, altered }),
        }
    }
}

impl Row {
    fn score(&self, args: &RerankArgs) -> f32 {
        if args.raw_scores { self.raw_score } else { self.score }
    }
}

impl Outcome {
    /// In three words, for people and tabs.
    fn words(&self) -> [String; 3] {
        let verdict = if self.selected { "selected" } else { "dropped" };
        let kind = match self {
            Outcome { altered: true, .. } => "altered",
            Outcome { is_final: true, .. } => "final",
            _ => "early",
        };
        [verdict.to_string(), self.layer.to_string(), kind.to_string()]
    }
}

impl Answered<'_> {
    pub(super) fn print(
        &self,
        out: &mut impl Write,
        args: &RerankArgs,
        reranker: &Reranker,
    ) -> Result<()> {
        if args.json {
            return self.print_json(out, args, reranker);
        }
        match output::terminal_width() {
            Some(width) => self.print_table(out, args, width),
            None => self.print_tabs(out, args),
        }
    }

    /// The results that are wanted.
    fn rows(&self, args: &RerankArgs) -> Vec<Row> {
        let Some(selection) = self.selection else { return Vec::new() };
        let mut rows: Vec<Row> = match args.all {
            true => selection.ranking().iter().map(Row::from).collect(),
            false => selection.results.iter().map(Row::from).collect(),
        };
        let enough = |row: &Row| args.threshold_score.is_none_or(|least| row.score(args) >= least);
        rows.retain(enough);
        rows
    }

    fn print_json(
        &self,
        out: &mut impl Write,
        args: &RerankArgs,
        reranker: &Reranker,
    ) -> Result<()> {
        let result = |r: Row| OutputResult {
            index: r.index,
            id: self.texts[r.index].id.as_deref(),
            score: r.score,
            raw_score: r.raw_score,
            decided_after_layer: r.decided_after_layer,
            truncated: r.truncated,
            outcome: r.outcome,
            text: args.return_text.then(|| self.texts[r.index].text.as_str()),
            fields: self.texts[r.index].fields.as_deref(),
        };
        let several = args.queries.is_some();
        let id = || self.query.id.as_deref().map_or(Id::Number(self.number), Id::Given);
        let output = Output {
            query_id: several.then(id),
            query: &self.query.query,
            model: &reranker.info().name,
            results: self.rows(args).into_iter().map(result).collect(),
            stats: self.selection.map(|selection| &selection.stats),
            audits: reranker.audits(),
        };
        match several {
            true => output::json_line(out, &output),
            false => output::json(out, &output),
        }
    }

    /// Aligned and cut to the width.
    fn print_table(&self, out: &mut impl Write, args: &RerankArgs, width: usize) -> Result<()> {
        if args.queries.is_some() {
            let query = output::printable(&self.query.query);
            writeln!(out, "{}query: {query}", if self.number > 0 { "\n" } else { "" })?;
        }
        let rows = self.rows(args);
        let by_id = rows.iter().any(|r| self.texts[r.index].id.is_some());
        let score = if args.raw_scores { "logit" } else { "score" };
        let name = if by_id { "id" } else { "index" };
        let cells = |r: &Row| {
            let text = &self.texts[r.index];
            let name = output::printable(&id_or_place(text.id.as_deref(), r.index));
            let score = format!("{:.4}", r.score(args));
            let words = r.outcome.as_ref().map(Outcome::words).unwrap_or_default();
            (score, name, words, output::printable(&text.text))
        };
        if args.all {
            let row = |r: &Row| {
                let (score, name, [verdict, layer, kind], text) = cells(r);
                [score, name, verdict, layer, kind, text]
            };
            let rows: Vec<[String; 6]> = rows.iter().map(row).collect();
            let header = [score, name, "verdict", "layer", "kind", "text"];
            return output::table(out, header, &rows, width);
        }
        let row = |r: &Row| {
            let (score, name, _, text) = cells(r);
            [score, name, text]
        };
        let rows: Vec<[String; 3]> = rows.iter().map(row).collect();
        output::table(out, [score, name, "text"], &rows, width)
    }

    /// Whole and exact: every digit that tells a score from its neighbours, every character of a text.
    fn print_tabs(&self, out: &mut impl Write, args: &RerankArgs) -> Result<()> {
        for r in self.rows(args) {
            if args.queries.is_some() {
                let query = id_or_place(self.query.id.as_deref(), self.number);
                write!(out, "{}\t", output::escaped(&query))?;
            }
            let text = &self.texts[r.index];
            let name = id_or_place(text.id.as_deref(), r.index);
            write!(out, "{}\t{}\t", r.score(args), output::escaped(&name))?;
            if let Some(outcome) = &r.outcome {
                write!(out, "{}\t", outcome.words().join("\t"))?;
            }
            writeln!(out, "{}", output::escaped(&text.text))?;
        }
        Ok(())
    }
}

/// An id, strings without their quotes, or else a place.
fn id_or_place(id: Option<&RawValue>, place: usize) -> String {
    let unquoted =
        |id: &RawValue| serde_json::from_str(id.get()).unwrap_or_else(|_| id.get().into());
    id.map_or_else(|| place.to_string(), unquoted)
}
