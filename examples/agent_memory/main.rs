//! An agent's memory: the turns of long conversations, recalled for a question and handed on in the order
//! in which they were said.
//!
//! Data in LoCoMo's layout: a BEIR folder whose ids begin with the conversation, `conv-26/D1:3`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use grating::Reranker;
use grating_examples::{Asked, Bm25, DataSet, Report, RerankerOptions, found};

/// Recall what was said in a long conversation
#[derive(Parser)]
#[command(max_term_width = 100)]
struct Options {
    /// Conversations in BEIR layout, ids of the form CONVERSATION/TURN
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The conversation to remember
    #[arg(long, value_name = "ID", requires = "query")]
    conversation: Option<String>,
    /// What the agent wants to know; without it the memory is measured on the judged questions
    #[arg(long, short, requires = "conversation")]
    query: Option<String>,
    /// Judged questions at most
    #[arg(long, value_name = "N", default_value_t = 20)]
    queries: usize,
    /// Turns that the first stage hands to the reranker
    #[arg(long, value_name = "N", default_value_t = 60)]
    retrieve: usize,
    /// Turns to recall
    #[arg(long, short = 'k', value_name = "K", default_value_t = 10)]
    top_k: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Write each question with the turns that were reranked, as JSON lines, e.g. for `grating calibrate`
    #[arg(long, value_name = "FILE")]
    pools: Option<PathBuf>,
    #[command(flatten)]
    reranker: RerankerOptions,
}

/// The memory of one conversation.
struct Memory {
    /// Numbers of its turns in the data set, in the order in which they were said.
    turns: Vec<usize>,
    index: Bm25,
}

/// Turns that came back, as numbers in the data set, and the time it took.
struct Recalled {
    by_words: Vec<usize>,
    turns: Vec<usize>,
    asked: Asked,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let set = DataSet::open(&options.data)?;
    let reranker = options.reranker.build()?;
    if let (Some(conversation), Some(query)) = (&options.conversation, &options.query) {
        let memory = Memory::of(&set, conversation)?;
        let recalled = memory.recall(&options, &reranker, &set, query)?;
        recalled.turns.iter().for_each(|&turn| println!("{}\t{}", set.ids[turn], set.texts[turn]));
        eprintln!(
            "{} of {} turns in {}",
            recalled.turns.len(),
            memory.turns.len(),
            recalled.asked.shown()
        );
        return Ok(());
    }
    let mut memories: HashMap<String, Memory> = HashMap::new();
    let mut queries = Vec::new();
    for question in set.sample(options.queries) {
        let conversation = conversation_of(&question.id);
        if !memories.contains_key(conversation) {
            memories.insert(conversation.to_owned(), Memory::of(&set, conversation)?);
        }
        let recalled = memories[conversation].recall(&options, &reranker, &set, &question.text)?;
        let first = &recalled.by_words[..options.top_k.min(recalled.by_words.len())];
        let first = found(first, &question.relevant);
        let after = found(&recalled.turns, &question.relevant);
        queries.push(recalled.asked.with_found(after, first));
    }
    Report { queries }.print(options.json, options.pools.as_deref())
}

/// The part of an id that names its conversation.
fn conversation_of(id: &str) -> &str {
    id.split_once('/').map_or(id, |(conversation, _)| conversation)
}

impl Memory {
    fn of(set: &DataSet, conversation: &str) -> Result<Self> {
        let mine = |turn: &usize| conversation_of(&set.ids[*turn]) == conversation;
        let turns: Vec<usize> = (0..set.ids.len()).filter(mine).collect();
        turns.first().with_context(|| format!("there is no conversation {conversation}"))?;
        let texts: Vec<&str> = turns.iter().map(|&turn| set.texts[turn].as_str()).collect();
        Ok(Self { index: Bm25::new(&texts)?, turns })
    }

    fn recall(
        &self,
        options: &Options,
        reranker: &Reranker,
        set: &DataSet,
        query: &str,
    ) -> Result<Recalled> {
        let start = Instant::now();
        let hits = self.index.search(query, options.retrieve)?;
        let by_words: Vec<usize> = hits.into_iter().map(|hit| self.turns[hit]).collect();
        if by_words.is_empty() {
            let asked = Asked::since(start, std::time::Duration::ZERO);
            return Ok(Recalled { by_words, turns: Vec::new(), asked });
        }
        let candidates: Vec<&str> = by_words.iter().map(|&turn| set.texts[turn].as_str()).collect();
        let reranking = Instant::now();
        let selection = reranker.rerank(query, &candidates, options.top_k)?;
        let rerank = reranking.elapsed();
        let mut turns: Vec<usize> = selection.results.iter().map(|r| by_words[r.index]).collect();
        // A memory reads in the order in which it happened.
        turns.sort_unstable();
        let asked = Asked::since(start, rerank).with_pool(query, &candidates);
        Ok(Recalled { by_words, turns, asked })
    }
}
