//! Retrieval-augmented generation up to the prompt: passages of a folder by BM25, the best of them by
//! GRATING, the context for a language model.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use grating::Reranker;
use grating_examples::{
    Asked, Bm25, DataSet, Evaluation, Report, RerankerOptions, found, segments,
};

/// Select the passages of a folder that answer a question
#[derive(Parser)]
#[command(max_term_width = 100)]
struct Options {
    /// Folder of .txt and .md files, searched with all its folders
    #[arg(value_name = "FOLDER", required_unless_present = "data", requires = "query")]
    folder: Option<PathBuf>,
    /// The question
    #[arg(long, short)]
    query: Option<String>,
    /// Passages that the first stage hands to the reranker
    #[arg(long, value_name = "N", default_value_t = 20)]
    retrieve: usize,
    /// Passages in the context
    #[arg(long, short = 'k', value_name = "K", default_value_t = 5)]
    top_k: usize,
    /// Longest passage, in tokens
    #[arg(long, value_name = "TOKENS", default_value_t = 160)]
    passage: usize,
    #[command(flatten)]
    reranker: RerankerOptions,
    #[command(flatten)]
    evaluation: Evaluation,
}

/// A passage and the file that it is from.
struct Passage {
    file: PathBuf,
    text: String,
}

/// What a question brought: numbers of passages.
struct Answer {
    retrieved: Vec<usize>,
    selected: Vec<usize>,
    asked: Asked,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let reranker = options.reranker.build()?;
    if let Some(data) = &options.evaluation.data {
        return evaluate(&options, &reranker, data);
    }
    let (Some(folder), Some(query)) = (&options.folder, &options.query) else {
        unreachable!("the command line requires both");
    };
    let passages = passages(folder, options.passage)?;
    ensure!(!passages.is_empty(), "{} holds no .txt or .md file with text", folder.display());
    let texts: Vec<&str> = passages.iter().map(|passage| passage.text.as_str()).collect();
    let answer = ask(&options, &reranker, &Bm25::new(&texts)?, &texts, query)?;
    for &number in &answer.selected {
        let Passage { file, text } = &passages[number];
        println!("[{}]\n{text}\n", file.display());
    }
    eprintln!("{} of {} passages in {}", answer.selected.len(), texts.len(), answer.asked.shown());
    Ok(())
}

/// The pipeline: retrieve, rerank, select.
fn ask(
    options: &Options,
    reranker: &Reranker,
    index: &Bm25,
    texts: &[&str],
    query: &str,
) -> Result<Answer> {
    let start = Instant::now();
    let retrieved = index.search(query, options.retrieve)?;
    if retrieved.is_empty() {
        let asked = Asked::since(start, std::time::Duration::ZERO);
        return Ok(Answer { retrieved, selected: Vec::new(), asked });
    }
    let candidates: Vec<&str> = retrieved.iter().map(|&number| texts[number]).collect();
    let reranking = Instant::now();
    let selection = reranker.rerank(query, &candidates, options.top_k)?;
    let asked = Asked::since(start, reranking.elapsed()).with_pool(query, &candidates);
    let selected = selection.results.iter().map(|result| retrieved[result.index]).collect();
    Ok(Answer { retrieved, selected, asked })
}

fn evaluate(options: &Options, reranker: &Reranker, data: &Path) -> Result<()> {
    let set = DataSet::open(data)?;
    let texts: Vec<&str> = set.texts.iter().map(String::as_str).collect();
    let index = Bm25::new(&texts)?;
    let mut queries = Vec::new();
    for question in set.sample(options.evaluation.queries) {
        let answer = ask(options, reranker, &index, &texts, &question.text)?;
        let first = &answer.retrieved[..options.top_k.min(answer.retrieved.len())];
        let first = found(first, &question.relevant);
        let after = found(&answer.selected, &question.relevant);
        queries.push(answer.asked.with_found(after, first));
    }
    Report { queries }.print(options.evaluation.json, options.evaluation.pools.as_deref())
}

/// All passages below a folder, in the order of the files' names.
fn passages(folder: &Path, tokens: usize) -> Result<Vec<Passage>> {
    let mut found = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort_unstable();
    for path in paths {
        if path.is_dir() {
            found.extend(passages(&path, tokens)?);
        } else if path.extension().is_some_and(|extension| extension == "txt" || extension == "md")
        {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let cut = segments(&text, tokens).into_iter();
            found.extend(cut.map(|text| Passage { file: path.clone(), text }));
        }
    }
    Ok(found)
}
