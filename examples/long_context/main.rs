//! Long-context selection: of a document that is too long for a language model, the segments that a
//! question needs, within a token budget and in their order.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use grating::Reranker;
use grating_examples::{
    Asked, DataSet, Evaluation, Report, RerankerOptions, approximate_tokens, found, segments,
};

/// Keep of a long document what a question needs
#[derive(Parser)]
#[command(max_term_width = 100)]
struct Options {
    /// The document
    #[arg(value_name = "FILE", required_unless_present = "data", requires = "query")]
    file: Option<PathBuf>,
    /// The question
    #[arg(long, short)]
    query: Option<String>,
    /// Tokens to keep, about
    #[arg(long, value_name = "TOKENS", default_value_t = 600)]
    budget: usize,
    /// Tokens of a segment at most, about
    #[arg(long, value_name = "TOKENS", default_value_t = 120)]
    segment: usize,
    #[command(flatten)]
    reranker: RerankerOptions,
    #[command(flatten)]
    evaluation: Evaluation,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let reranker = options.reranker.build()?;
    if let Some(data) = &options.evaluation.data {
        return evaluate(&options, &reranker, data);
    }
    let (Some(file), Some(query)) = (&options.file, &options.query) else {
        unreachable!("the command line requires both");
    };
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let cut = segments(&text, options.segment);
    ensure!(!cut.is_empty(), "{} holds no text", file.display());
    let (kept, asked) = select(&options, &reranker, query, &cut)?;
    for (i, &number) in kept.iter().enumerate() {
        let follows = i > 0 && kept[i - 1] + 1 == number;
        println!("{}{}", if i == 0 || follows { "" } else { "[...]\n" }, cut[number]);
    }
    eprintln!("{} of {} segments in {}", kept.len(), cut.len(), asked.shown());
    Ok(())
}

/// Numbers of the segments to keep, in the document's order.
fn select(
    options: &Options,
    reranker: &Reranker,
    query: &str,
    segments: &[String],
) -> Result<(Vec<usize>, Asked)> {
    let start = Instant::now();
    // As many as fit if all are as long as the longest; what is left over is filled below.
    let wanted = (options.budget / options.segment).max(1);
    let reranking = Instant::now();
    let selection = reranker.rerank(query, segments, wanted)?;
    let rerank = reranking.elapsed();
    let best = selection.results.iter().map(|result| result.index);
    let mut kept = within_budget(best, segments, options.budget);
    kept.sort_unstable();
    Ok((kept, Asked::since(start, rerank).with_pool(query, segments)))
}

/// The first of `numbers` whose segments fit into the budget together.
fn within_budget(
    numbers: impl Iterator<Item = usize>,
    segments: &[String],
    budget: usize,
) -> Vec<usize> {
    let mut left = budget;
    let mut kept = Vec::new();
    for number in numbers {
        let tokens = approximate_tokens(&segments[number]);
        if tokens <= left {
            left -= tokens;
            kept.push(number);
        }
    }
    kept
}

/// Documents are the texts of a question's pool in the corpus's order, end to end; relevant are the segments of the relevant
/// texts. Without a reranker the beginning of the document is kept.
fn evaluate(options: &Options, reranker: &Reranker, data: &Path) -> Result<()> {
    let set = DataSet::open(data)?;
    let mut queries = Vec::new();
    for question in set.sample(options.evaluation.queries) {
        ensure!(!question.pool.is_empty(), "{} has no candidates.jsonl", data.display());
        let mut pool = question.pool.clone();
        pool.sort_unstable();
        let mut document = Vec::new();
        let mut source = Vec::new();
        for text in pool {
            for segment in segments(&set.texts[text], options.segment) {
                document.push(segment);
                source.push(text);
            }
        }
        let (kept, asked) = select(options, reranker, &question.text, &document)?;
        let beginning = within_budget(0..document.len(), &document, options.budget);
        // Only what the document holds can be found.
        let relevant: HashSet<usize> =
            question.relevant.iter().copied().filter(|text| question.pool.contains(text)).collect();
        let texts = |numbers: &[usize]| numbers.iter().map(|&n| source[n]).collect::<Vec<_>>();
        let after = found(&texts(&kept), &relevant);
        queries.push(asked.with_found(after, found(&texts(&beginning), &relevant)));
    }
    Report { queries }.print(options.evaluation.json, options.evaluation.pools.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_left_out_and_smaller_ones_fill_up() {
        let segments = [40, 400, 20, 8].map(|characters| "x".repeat(characters)).to_vec();
        assert_eq!(within_budget([0, 1, 2, 3].into_iter(), &segments, 16), [0, 2]);
        assert_eq!(within_budget([3, 0].into_iter(), &segments, 12), [3, 0]);
        assert!(within_budget([1].into_iter(), &segments, 10).is_empty());
    }
}
