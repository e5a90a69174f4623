//! Arguments of `cargo xtask bench`.

use std::fmt;
use std::path::PathBuf;

use clap::ValueEnum;

use super::report::ReportArgs;

/// Measure the paper's tables on this machine
#[derive(Debug, Clone, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(super) command: Option<BenchCommand>,
    /// Tables to measure [default: all]
    #[arg(value_enum, value_name = "TABLE")]
    pub(super) tables: Vec<TableName>,
    /// `default`, a shape of `cargo xtask models shapes` (planted weights are written on demand), a
    /// model folder or a hub id; may be repeated
    #[arg(long, value_name = "MODEL", default_value = "default")]
    pub(super) model: Vec<String>,
    /// Folder in BEIR layout, with candidates.jsonl where there is one; may be repeated
    #[arg(long, value_name = "DIR")]
    pub(super) data: Vec<PathBuf>,
    /// Measure other systems too; sets them up from PyPI in target/peers-venv, or takes the Python
    /// that GRATING_PEERS_PYTHON names
    #[arg(long)]
    pub(super) peers: bool,
    /// Of the other systems only those whose name contains these words; may be repeated
    #[arg(long, value_name = "WORDS")]
    pub(super) peer: Vec<String>,
    /// Small pools and few runs: a look, not a result
    #[arg(long)]
    pub(super) quick: bool,
    /// Where tables and cells go
    #[arg(long, value_name = "DIR", default_value = "results/bench")]
    pub(super) out: PathBuf,
    /// Runs of each timed cell [default: 5, with --quick 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) runs: Option<u16>,
    /// Queries of each data set at most [default: 40, with --quick 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) queries: Option<u16>,
    /// Queries of each cell of the first table that selects otherwise than the full pass may
    /// [default: 8, with --quick 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) micro_queries: Option<u16>,
    /// Candidates of the pools in the timed tables [default: 20 and 60, with --quick 10]
    #[arg(long, value_name = "N")]
    pub(super) pool: Vec<usize>,
    /// Tokens of a candidate with its template in the timed tables [default: 500, with --quick 128]
    #[arg(long, value_name = "N")]
    pub(super) tokens: Option<usize>,
    /// Ways to read the texts of table `long`: a name, `=` and options of `grating rerank`, the first of which the others
    /// are compared with [default: full, truncated, passages, and the token policies]
    #[arg(long, value_name = "NAME=OPTIONS", allow_hyphen_values = true)]
    pub(super) method: Vec<String>,
    /// How many are selected in the timed tables
    #[arg(long, short = 'k', value_name = "K", default_value_t = 10)]
    pub(super) top_k: usize,
    /// Threads that compute, of all systems [default: the machine's]
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<usize>,
    /// Seed of texts and planted weights
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// Measure this binary instead of building one
    #[arg(long, value_name = "PATH")]
    pub(super) grating: Option<PathBuf>,
    /// Take the example programs from this folder instead of building them
    #[arg(long, value_name = "DIR", hide = true)]
    pub(super) programs: Option<PathBuf>,
    /// Where planted checkpoints are kept
    #[arg(long, value_name = "DIR", default_value = "target/bench-models")]
    pub(super) models_dir: PathBuf,
    /// Leave the model's pages in the system's cache between runs, instead of asking for their removal
    #[arg(long)]
    pub(super) warm_page_cache: bool,
}

/// What `bench` does beside measuring.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum BenchCommand {
    /// Make docs/measurements/benchmarks.md and its figures from measured tables
    Report(ReportArgs),
}

/// The tables, by the paper's experiments where they match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum TableName {
    /// E1.1 and E1.2: latency and peak memory by model, pool and setting
    Micro,
    /// E1.1: quality and agreement on data sets, full against pruned
    Precision,
    /// E1.3: latency against precision over policies
    Sweep,
    /// Time, stalls and memory by chunk size
    Chunks,
    /// E3.1: one mechanism after the other
    Ablation,
    /// Pool size, text length and memory budget
    Scaling,
    /// What streaming costs in time
    Streaming,
    /// Peak memory within budgets, over models and pools
    Budgets,
    /// E2.1 to E2.3: retrieval, agent memory, long context, end to end
    Applications,
    /// Texts of thousands of tokens: whole, cut, in passages, or with tokens that leave
    Long,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no table is hidden");
        f.write_str(value.get_name())
    }
}

impl BenchArgs {
    pub(super) fn wanted_tables(&self) -> Vec<TableName> {
        let all = TableName::value_variants();
        let asked = |name: &TableName| self.tables.is_empty() || self.tables.contains(name);
        all.iter().copied().filter(asked).collect()
    }

    /// Whether other systems are measured.
    pub(super) fn with_peers(&self) -> bool {
        self.peers || !self.peer.is_empty()
    }

    pub(super) fn runs(&self) -> usize {
        self.runs.map_or(if self.quick { 2 } else { 5 }, usize::from)
    }

    pub(super) fn queries(&self) -> usize {
        self.queries.map_or(if self.quick { 3 } else { 40 }, usize::from)
    }

    pub(super) fn micro_queries(&self) -> usize {
        self.micro_queries.map_or(if self.quick { 2 } else { 8 }, usize::from)
    }

    pub(super) fn pools(&self) -> Vec<usize> {
        match (self.pool.is_empty(), self.quick) {
            (false, _) => self.pool.clone(),
            (true, true) => vec![10],
            (true, false) => vec![20, 60],
        }
    }

    pub(super) fn tokens(&self) -> usize {
        self.tokens.unwrap_or(if self.quick { 128 } else { 500 })
    }

    pub(super) fn top_k(&self) -> usize {
        // Half of a small pool: with all selected nothing would be decided.
        if self.quick { self.top_k.min(5) } else { self.top_k }
    }

    pub(super) fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// The command that measures the same again.
    pub(super) fn shown(&self) -> String {
        let mut words = vec!["cargo xtask bench".to_owned()];
        words.extend(self.tables.iter().map(ToString::to_string));
        words.extend(self.model.iter().map(|model| format!("--model {}", named(model))));
        words.extend(self.data.iter().map(|data| format!("--data {}", folder_name(data))));
        let options = [
            (self.peers, "--peers".to_owned()),
            (self.quick, "--quick".to_owned()),
            (self.runs.is_some(), format!("--runs {}", self.runs())),
            (self.queries.is_some(), format!("--queries {}", self.queries())),
            (self.micro_queries.is_some(), format!("--micro-queries {}", self.micro_queries())),
            (self.tokens.is_some(), format!("--tokens {}", self.tokens())),
            (self.top_k != 10, format!("--top-k {}", self.top_k)),
            (self.threads.is_some(), format!("--threads {}", self.threads())),
            (self.seed != 0, format!("--seed {}", self.seed)),
            (self.warm_page_cache, "--warm-page-cache".to_owned()),
        ];
        words.extend(options.into_iter().filter(|(given, _)| *given).map(|(_, word)| word));
        words.extend(self.method.iter().map(|method| format!("--method \"{method}\"")));
        words.extend(self.peer.iter().map(|peer| format!("--peer \"{peer}\"")));
        words.extend(self.pool.iter().map(|pool| format!("--pool {pool}")));
        words.join(" ")
    }
}

/// A model as it is shown: of a folder only its own name.
fn named(model: &str) -> String {
    let path = std::path::Path::new(model);
    if path.is_dir() { folder_name(path) } else { model.to_owned() }
}

fn folder_name(path: &std::path::Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into())
}
