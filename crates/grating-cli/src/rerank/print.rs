//! The answer to a query: a table for people, tabs and JSON for programs.

use std::io::Write;

use anyhow::Result;
use grating::input::{QueryInput, Text};
use grating::{AuditTotals, Ranked, Reranker, Selection, Stats};
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
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// The other fields of the text's object.
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<&'a RawValue>,
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
    fn results(&self, args: &RerankArgs) -> Vec<&Ranked> {
        let enough = |r: &&Ranked| args.threshold_score.is_none_or(|least| score(args, r) >= least);
        self.selection.iter().flat_map(|selection| &selection.results).filter(enough).collect()
    }

    fn print_json(
        &self,
        out: &mut impl Write,
        args: &RerankArgs,
        reranker: &Reranker,
    ) -> Result<()> {
        let result = |r: &Ranked| OutputResult {
            index: r.index,
            id: self.texts[r.index].id.as_deref(),
            score: r.score.0,
            raw_score: r.raw_score.0,
            decided_after_layer: r.decided_after_layer,
            truncated: r.truncated,
            text: args.return_text.then(|| self.texts[r.index].text.as_str()),
            fields: self.texts[r.index].fields.as_deref(),
        };
        let several = args.queries.is_some();
        let id = || self.query.id.as_deref().map_or(Id::Number(self.number), Id::Given);
        let output = Output {
            query_id: several.then(id),
            query: &self.query.query,
            model: &reranker.info().name,
            results: self.results(args).into_iter().map(result).collect(),
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
        let results = self.results(args);
        let by_id = results.iter().any(|r| self.texts[r.index].id.is_some());
        let header = [
            if args.raw_scores { "logit" } else { "score" },
            if by_id { "id" } else { "index" },
            "text",
        ];
        let row = |r: &Ranked| {
            let text = &self.texts[r.index];
            let name = output::printable(&name(text.id.as_deref(), r.index));
            [format!("{:.4}", score(args, r)), name, output::printable(&text.text)]
        };
        let rows: Vec<[String; 3]> = results.into_iter().map(row).collect();
        output::table(out, header, &rows, width)
    }

    /// Whole and exact: every digit that tells a score from its neighbours, every character of a text.
    fn print_tabs(&self, out: &mut impl Write, args: &RerankArgs) -> Result<()> {
        for r in self.results(args) {
            if args.queries.is_some() {
                let query = name(self.query.id.as_deref(), self.number);
                write!(out, "{}\t", output::escaped(&query))?;
            }
            let text = &self.texts[r.index];
            let name = name(text.id.as_deref(), r.index);
            let (name, text) = (output::escaped(&name), output::escaped(&text.text));
            writeln!(out, "{}\t{name}\t{text}", score(args, r))?;
        }
        Ok(())
    }
}

fn score(args: &RerankArgs, r: &Ranked) -> f32 {
    if args.raw_scores { r.raw_score.0 } else { r.score.0 }
}

/// An id, strings without their quotes, or else a place.
fn name(id: Option<&RawValue>, place: usize) -> String {
    let unquoted =
        |id: &RawValue| serde_json::from_str(id.get()).unwrap_or_else(|_| id.get().into());
    id.map_or_else(|| place.to_string(), unquoted)
}
