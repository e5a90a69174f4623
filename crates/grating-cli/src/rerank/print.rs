//! The answer to a query: a table for people, tabs and JSON for programs.

use std::borrow::Cow;
use std::io::Write;

use grating::input::{BodyOptions, Query, Text, TextList};
use grating::{AuditTotals, BestPassage, LastScore, Ranked, Reranker, Selection, Stats};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::args::RerankArgs;
use crate::output;

type Printed = anyhow::Result<()>;

/// A query with its texts and what was selected of them; nothing where there were none.
pub(super) struct Answered<'a> {
    pub(super) query: &'a Query<'a>,
    /// Its place among the queries, from 0.
    pub(super) number: usize,
    /// Where its texts are, from `first` on.
    pub(super) texts: &'a TextList,
    pub(super) first: usize,
    pub(super) selection: Option<&'a Selection>,
    pub(super) wanted: Wanted,
}

/// What is printed, as the options or else the request body say.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// Texts in JSON.
    texts: bool,
    raw_scores: bool,
}

impl Wanted {
    pub(super) fn new(args: &RerankArgs, body: &BodyOptions) -> Self {
        Wanted {
            texts: args.return_text || body.return_text == Some(true),
            raw_scores: args.raw_scores || body.raw_scores == Some(true),
        }
    }
}

#[derive(Serialize)]
struct Output<'a> {
    /// Of one of several queries: its id, or its place among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    query_id: Option<Id<'a>>,
    query: &'a str,
    model: &'a str,
    results: Results<'a>,
    stats: Option<&'a Stats>,
    audits: AuditTotals,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Id<'a> {
    Given(&'a RawValue),
    Number(usize),
}

/// One after another: there may be as many as there are texts.
struct Results<'a> {
    of: &'a Answered<'a>,
    rows: Vec<Row>,
}

impl Serialize for Results<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.rows.iter().map(|row| self.of.result(row)))
    }
}

#[derive(Serialize)]
struct OutputResult<'a> {
    index: usize,
    id: Option<&'a RawValue>,
    score: f32,
    raw_score: f32,
    decided_after_layer: usize,
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    passage: Option<BestPassage>,
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
    passage: Option<BestPassage>,
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
            passage: r.passage,
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
            passage: r.passage,
            outcome: Some(Outcome { selected, layer, is_final, altered }),
        }
    }
}

impl Row {
    /// For people: of a text in passages the best one, after its place.
    fn shown<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.passage {
            Some(BestPassage { index, of, start, end, .. }) => {
                format!("[{} of {of}] {}", index + 1, &text[start..end]).into()
            }
            None => text.into(),
        }
    }

    /// For programs: where the best passage of a text is, bytes, or that the text was read as one.
    fn place(&self) -> String {
        match self.passage {
            Some(BestPassage { start, end, .. }) => format!("{start}-{end}"),
            None => "whole".into(),
        }
    }

    fn score(&self, wanted: Wanted) -> f32 {
        if wanted.raw_scores { self.raw_score } else { self.score }
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
    fn text(&self, row: &Row) -> Text<'_> {
        self.texts.get(self.first + row.index)
    }

    fn result(&self, r: &Row) -> OutputResult<'_> {
        let text = self.text(r);
        OutputResult {
            index: r.index,
            id: text.id,
            score: r.score,
            raw_score: r.raw_score,
            decided_after_layer: r.decided_after_layer,
            truncated: r.truncated,
            passage: r.passage,
            outcome: r.outcome,
            text: self.wanted.texts.then_some(text.text),
            fields: text.fields,
        }
    }

    pub(super) fn print(
        &self,
        out: &mut impl Write,
        args: &RerankArgs,
        reranker: &Reranker,
    ) -> Printed {
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
        let enough =
            |row: &Row| args.threshold_score.is_none_or(|least| row.score(self.wanted) >= least);
        rows.retain(enough);
        rows
    }

    fn print_json(&self, out: &mut impl Write, args: &RerankArgs, reranker: &Reranker) -> Printed {
        let several = args.queries.is_some();
        let id = || self.query.id.map_or(Id::Number(self.number), Id::Given);
        let output = Output {
            query_id: several.then(id),
            query: self.query.query,
            model: &reranker.info().name,
            results: Results { of: self, rows: self.rows(args) },
            stats: self.selection.map(|selection| &selection.stats),
            audits: reranker.audits(),
        };
        match several {
            true => output::json_line(out, &output),
            false => output::json(out, &output),
        }
    }

    /// Aligned and cut to the width.
    fn print_table(&self, out: &mut impl Write, args: &RerankArgs, width: usize) -> Printed {
        if args.queries.is_some() {
            let query = output::printable(self.query.query);
            writeln!(out, "{}query: {query}", if self.number > 0 { "\n" } else { "" })?;
        }
        let rows = self.rows(args);
        let by_id = rows.iter().any(|r| self.text(r).id.is_some());
        let score = if self.wanted.raw_scores { "logit" } else { "score" };
        let name = if by_id { "id" } else { "index" };
        let cells = |r: &Row| {
            let text = self.text(r);
            let name = output::printable(&id_or_place(text.id, r.index));
            let score = format!("{:.4}", r.score(self.wanted));
            let words = r.outcome.as_ref().map(Outcome::words).unwrap_or_default();
            (score, name, words, output::printable(&r.shown(text.text)))
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
    fn print_tabs(&self, out: &mut impl Write, args: &RerankArgs) -> Printed {
        for r in self.rows(args) {
            if args.queries.is_some() {
                let query = id_or_place(self.query.id, self.number);
                write!(out, "{}\t", output::Escaped(&query))?;
            }
            let text = self.text(&r);
            let name = id_or_place(text.id, r.index);
            write!(out, "{}\t{}\t", r.score(self.wanted), output::Escaped(&name))?;
            if let Some(outcome) = &r.outcome {
                write!(out, "{}\t", outcome.words().join("\t"))?;
            }
            if args.long.has_passages() {
                write!(out, "{}\t", r.place())?;
            }
            writeln!(out, "{}", output::Escaped(text.text))?;
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
