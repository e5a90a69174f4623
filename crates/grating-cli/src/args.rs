//! Commands and options.

mod models;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{NonEmptyStringValueParser, OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use grating::{Device, Isa, Precision, RowCacheSize, WeightFormat, WindowSize};

pub(crate) use self::models::{ModelArgs, ModelChoice, ModelsArgs, PullArgs};
use crate::long::{LongArgs, TokenPolicyArgs};
#[cfg(feature = "serve")]
use crate::serve::ServeArgs;
use crate::units;

/// What `grating --help` and `grating -h` end with.
const EXAMPLES: &str = "\
Examples:
  grating rerank -q \"what is a window\" -k 3 texts.txt           the 3 best lines of a file
  grating rerank -q \"what is a window\" --json docs.jsonl        JSON in, JSON out
  grating rerank --queries queries.jsonl docs.jsonl              several queries in one run
  grating rerank -q TEXT -m Qwen/Qwen3-Reranker-0.6B docs.jsonl  another model, from the hub
  grating plan DIR -n 100 --tokens 512 --memory-budget 300MiB    what it would take
  grating doctor DIR                                             what is wrong with a model
  grating serve --memory-budget 400MiB                           a server that rerank clients speak to

`grating COMMAND --help` has the options of each command.";

/// Select the texts most relevant to a query with a cross-encoder reranker.
#[derive(Debug, Parser)]
#[command(name = "grating", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Rank texts by their relevance to a query and print the best.
    Rerank(Box<RerankArgs>),
    /// Find the cheapest pruning policy that keeps a promise on sample queries.
    Calibrate(CalibrateArgs),
    /// Print how a pool would be run within a memory budget, and why.
    Plan(PlanArgs),
    /// Print a model's family, shapes, bytes per layer and tensors; reads headers only.
    Inspect(InspectArgs),
    /// Write a model with its matrices in blocks of 8 or 4 bits: a folder that runs like any other.
    Quantize(QuantizeArgs),
    /// Show a pruning profile, or what pruning has learned.
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// Print the published models that go by short names, and which of them are in the cache.
    Models(ModelsArgs),
    /// Fetch models from the hub into the cache and print their folders; from then on they run without a connection.
    Pull(PullArgs),
    /// Check a model's files, head, template and tokenizer, and rank a few pairs that are beyond doubt.
    Doctor(DoctorArgs),
    /// Answer rerank requests over HTTP, in the shapes of Cohere, Jina, TEI, vLLM and Voyage. Every option is a variable of
    /// the environment, too: --memory-budget is GRATING_MEMORY_BUDGET.
    #[cfg(feature = "serve")]
    Serve(Box<ServeArgs>),
    /// Print completions for a shell, made of the options.
    Completions(CompletionsArgs),
    /// Print the manual page, or write those of all commands into a folder.
    Man(ManArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RerankArgs {
    /// What to look for. A request body that has a `query` needs none.
    #[arg(long, short, value_name = "TEXT", allow_hyphen_values = true, value_parser = words)]
    pub(crate) query: Option<String>,
    /// Queries to answer one after another: one a line, or JSON with `query` (or `text`) and optional `id`, and `texts` or
    /// `documents` where a query has its own; `-` is standard input.
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["query", "timeline"])]
    pub(crate) queries: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// What the query is for, where the model's template has an instruction.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) instruction: Option<String>,
    /// How many texts to select; by default 10, or `top_n` of a request body.
    #[arg(long, short = 'k', alias = "k", value_name = "K", value_parser = at_least_one)]
    pub(crate) top_k: Option<usize>,
    /// Leave out texts that score less: probabilities, or with --raw-scores logits. After pruning only --mode rank has
    /// the full model's scores.
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true, value_parser = units::score)]
    pub(crate) threshold_score: Option<f32>,
    /// Print all texts, best first, the selected ones before the others: with whether each was selected, the layer that its
    /// score was read after, and whether that is final, early, or altered so that the list falls.
    #[arg(long)]
    pub(crate) all: bool,
    /// Print one JSON object; with --queries one a line for each query.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the texts in JSON, too.
    #[arg(long, requires = "json")]
    pub(crate) return_text: bool,
    /// Print the model's raw scores (logits) instead of probabilities. JSON has both.
    #[arg(long)]
    pub(crate) raw_scores: bool,
    /// Print on stderr what the request cost. JSON always has it.
    #[arg(long)]
    pub(crate) stats: bool,
    /// How FILE is to be read.
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    pub(crate) format: Format,
    /// Field of JSON objects that is the text, or several, joined by spaces. By default `text`, after the `title` if there
    /// is one, or else `content`, `contents`, `passage`, `document` or `body`.
    #[arg(long, value_name = "NAME[,NAME]", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    pub(crate) text_field: Vec<String>,
    /// Field of JSON objects that is the id; by default `id` or `_id`.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) id_field: Option<String>,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    #[command(flatten)]
    pub(crate) pruning: PruningArgs,
    /// Print on stderr who was accepted, dropped and deferred after each layer, and why, and what was planned and moved.
    #[arg(long, help_heading = "Pruning")]
    pub(crate) explain: bool,
    /// Most tokens of a text with its query and template; longer texts are cut. By default the model's own limit.
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one)]
    pub(crate) max_length: Option<usize>,
    /// Most tokens of a text by itself; longer texts are cut.
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one)]
    pub(crate) max_text_tokens: Option<usize>,
    #[command(flatten)]
    pub(crate) long: LongArgs,
    /// Give up where the answer is not there within this time from the start, reading and opening the model included:
    /// 500ms, 2s, 1.5m.
    #[arg(long, value_name = "TIME", value_parser = units::duration, conflicts_with = "queries")]
    pub(crate) deadline: Option<Duration>,
    /// Write what ran when to FILE, for Perfetto or chrome://tracing.
    #[arg(long, value_name = "FILE")]
    pub(crate) timeline: Option<PathBuf>,
    /// Refuse a query that does not fit beside a text instead of cutting it.
    #[arg(long)]
    pub(crate) refuse_long_query: bool,
    /// What happens anyhow.
    #[arg(long, hide = true, conflicts_with = "refuse_long_query")]
    pub(crate) allow_query_truncation: bool,
    /// Let strings such as [SEP] or <|im_end|> in query and texts become control tokens, as other tools do.
    #[arg(long)]
    pub(crate) special_tokens_in_text: bool,
    /// Texts: one a line, or JSON: objects or strings one a line or in an array, or a request body
    /// (`{"query", "texts"}`, `{"query", "documents"}`); `-` is standard input.
    #[arg(value_name = "FILE|-")]
    pub(crate) file: Option<PathBuf>,
}

/// Memory, threads and precision.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Memory and speed")]
pub(crate) struct EngineArgs {
    /// Run only so many layers and take the score of the head after them: for models with a head for each of the later
    /// layers (bge-reranker-v2-minicpm-layerwise).
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) cutoff_layers: Option<usize>,
    /// Compress passages on their way: so many neighbouring tokens become one, 2, 4 or 8 (1 compresses nothing). For models that were
    /// trained to read them so (bge-reranker-v2.5-gemma2-lightweight).
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) compress_ratio: Option<usize>,
    /// Layers, counted from 0, before which --compress-ratio does that; 8 by default.
    #[arg(long, value_name = "N[,N]", value_delimiter = ',')]
    pub(crate) compress_layers: Vec<usize>,
    /// Most memory that the process may use, e.g. 200MiB or 1GB.
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub(crate) memory_budget: Option<u64>,
    /// What computes: the processor, a CUDA device by its number, `auto` for the first one that can be used, or the GPU of a
    /// Mac. Not yet tried on a card or a Mac.
    #[arg(long, value_name = "cpu|auto|cuda[:N]|metal", default_value = "cpu")]
    pub(crate) device: Device,
    /// Most of the device's own memory, e.g. 1GiB; by default nine tenths of what is free.
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub(crate) device_memory_budget: Option<u64>,
    /// Layers in memory at one time: a number, `all`, or `auto` for what the budget allows.
    #[arg(long, value_name = "N|all|auto", default_value = "auto", value_parser = units::window)]
    pub(crate) window: WindowSize,
    /// Most tokens that go through a layer together; bounds memory.
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one)]
    pub(crate) chunk_tokens: Option<usize>,
    /// Whether hidden states go to disk between layers.
    #[arg(long, value_enum, default_value_t = SpillArg::Auto)]
    pub(crate) spill: SpillArg,
    /// Folder of the hidden states' nameless temporary file; by default the system's, or /var/tmp where that lies in
    /// memory.
    #[arg(long, value_name = "DIR")]
    pub(crate) spill_folder: Option<PathBuf>,
    /// Embedding rows to keep: a number, a share of the vocabulary such as `10%`, `all`, or `auto`.
    #[arg(long, value_name = "ROWS|%|all|auto", default_value = "auto", value_parser = units::row_cache)]
    pub(crate) row_cache: RowCacheSize,
    /// Whether weights are read through or past the system's page cache.
    #[arg(long, value_enum, default_value_t = IoArg::Auto)]
    pub(crate) io: IoArg,
    /// In which type products are taken: `full` f32, `exact` the weights' own type, `fast` 8-bit integers, with AMX
    /// bfloat16.
    #[arg(long, value_name = "full|exact|fast", default_value = "exact")]
    pub(crate) precision: Precision,
    /// Instructions to compute with: native (the fastest that the processor has), portable, avx2, avxvnni, avx512,
    /// avx512vnni, avx512bf16 or amx.
    #[arg(long, value_name = "NAME", env = "GRATING_ISA", value_parser = Isa::from_name)]
    pub(crate) isa: Option<Isa>,
    /// Threads that compute; by default one for each core.
    #[arg(long, value_name = "N", value_parser = units::threads)]
    pub(crate) threads: Option<usize>,
    /// Compute the tokens that all texts begin with for each of them.
    #[arg(long)]
    pub(crate) no_shared_prefix: bool,
    /// Compute all tokens in the last layer, not only those that are scored.
    #[arg(long)]
    pub(crate) no_scored_rows: bool,
    /// Compute texts that occur more than once each time.
    #[arg(long)]
    pub(crate) no_equal_texts: bool,
}

/// Who may stop computing early.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Pruning")]
pub(crate) struct PruningArgs {
    /// Prune by the paper's policy: from this coefficient of variation of the scores on, clusters of candidates that
    /// are clear of the top-K's boundary are decided.
    #[arg(long, value_name = "CV", value_parser = units::threshold)]
    pub(crate) threshold: Option<f64>,
    /// Prune by this policy: JSON, or a file that holds it, with the fields of a profile's `policy`.
    #[arg(long, value_name = "JSON|FILE", value_parser = OsStringValueParser::new().try_map(|text| units::policy(&text)),
        conflicts_with = "threshold")]
    pub(crate) policy: Option<grating::Policy>,
    /// Prune as `grating calibrate` found for this model and this K. Without it, as the model's own
    /// grating-profile.json says, if it has one.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["threshold", "policy"])]
    pub(crate) profile: Option<PathBuf>,
    /// Learn pruning from the requests: everything is computed until a policy is proved to keep the promise of
    /// --target-agreement on them. What is learned, no texts, is kept in FILE, from which the next run goes on.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["threshold", "policy", "profile", "no_prune"])]
    pub(crate) learn: Option<PathBuf>,
    /// Least mean agreement with the full model's top K that --learn promises, between 0 and 1; 0.95 by default. Without
    /// --learn what is learned ends with the process.
    #[arg(long, alias = "target-precision", value_name = "P", value_parser = units::probability,
        conflicts_with_all = ["threshold", "policy", "profile", "no_prune"])]
    pub(crate) target_agreement: Option<f64>,
    /// Probability that the promise of --learn is kept, between 0 and 1.
    #[arg(long, value_name = "C", default_value_t = 0.95, value_parser = units::probability)]
    pub(crate) confidence: f64,
    /// Compute every layer for every candidate, whatever the model ships and other options say.
    #[arg(long)]
    pub(crate) no_prune: bool,
    /// Run this share of the requests, 0 to 1, in full and say what pruning would have done [default: where a profile
    /// prunes, 0.2 of the first requests, falling to 0.02; else 0]. A profile whose audits show its promise broken is put out
    /// of use until it is proved again.
    #[arg(long, value_name = "SHARE", value_parser = units::share)]
    pub(crate) audit: Option<f64>,
    /// `select` promises membership in the top-K; `rank` also exact scores and order, and saves less.
    #[arg(long, value_enum)]
    pub(crate) mode: Option<ModeArg>,
}

/// From sample queries to a pruning profile.
#[derive(Debug, Args)]
pub(crate) struct CalibrateArgs {
    /// Folder in BEIR layout with candidates.jsonl (judgments optional), or JSON lines with `query`, `texts` and
    /// optional `grades`.
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) data: PathBuf,
    /// How many texts requests will ask for.
    #[arg(long, short = 'k', alias = "k", value_name = "K", value_parser = at_least_one)]
    pub(crate) top_k: usize,
    /// Least mean agreement with the full model's top K to promise, between 0 and 1.
    #[arg(long, alias = "target-precision", value_name = "P", value_parser = units::probability)]
    pub(crate) target_agreement: f64,
    /// Probability that the promise is kept, over the draw of the sample queries, between 0 and 1.
    #[arg(long, value_name = "C", default_value_t = 0.95, value_parser = units::probability)]
    pub(crate) confidence: f64,
    /// Where the profile goes.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// File of the recorded scores: a run that was stopped goes on from it, and another K or promise needs no new run.
    #[arg(long, value_name = "FILE")]
    pub(crate) traces: Option<PathBuf>,
    /// Draw work against agreement, as SVG.
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    /// What becomes of accepted texts.
    #[arg(long, value_enum, default_value_t = ModeArg::Select)]
    pub(crate) mode: ModeArg,
    /// How scores after intermediate layers are read: by the model's own head, by readouts fitted to a part of the
    /// queries, or (best) by readouts where they save clearly more.
    #[arg(long, value_enum, default_value_t = ReadoutArg::Best)]
    pub(crate) readout: ReadoutArg,
    /// Take so many of the queries, at random but always the same.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) queries: Option<usize>,
    #[command(flatten)]
    pub(crate) model: ModelChoice,
    /// What queries are for, where the model's template has an instruction.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) instruction: Option<String>,
    /// Most tokens of a text with its query and template; longer texts are cut. By default the model's own limit.
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one)]
    pub(crate) max_length: Option<usize>,
    #[command(flatten)]
    pub(crate) tokens: TokenPolicyArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    /// Print the profile as JSON on standard output, too.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) model: ModelChoice,
    /// How many texts.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = at_least_one)]
    pub(crate) candidates: usize,
    /// Tokens of each, with query and template; by default 256, or the model's limit where that is lower.
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one)]
    pub(crate) tokens: Option<usize>,
    /// Most tokens of a text with its query and template; longer texts are cut.
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one)]
    pub(crate) max_length: Option<usize>,
    /// Plan for a CUDA device with so much memory, which need not be there, e.g. 8GiB.
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub(crate) device_memory: Option<u64>,
    /// What the link to that device carries a second, e.g. 12GB/s.
    #[arg(long, value_name = "SIZE/s", value_parser = units::rate, requires = "device_memory")]
    pub(crate) link: Option<f64>,
    /// What the disk beside that device reads a second, e.g. 6GB/s.
    #[arg(long, value_name = "SIZE/s", value_parser = units::rate, requires = "device_memory")]
    pub(crate) disk: Option<f64>,
    /// What that device computes, FLOP a second, e.g. 40T.
    #[arg(long, value_name = "N", value_parser = units::flops, requires = "device_memory")]
    pub(crate) flops: Option<f64>,
    #[command(flatten)]
    pub(crate) long: LongArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// Print the promise, the policies, what proves them, and the model that they are for.
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// A file of `grating calibrate --out` or of `--learn`.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// See [`grating::Spill`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SpillArg {
    /// Where the budget demands it.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// See [`grating::IoMode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum IoArg {
    /// Past it where the model takes more than half of the free memory.
    Auto,
    /// Past it.
    Direct,
    /// Through it.
    Cached,
}

/// See [`grating::calibrate::Reading`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReadoutArg {
    /// Fitted readouts where they save at least a tenth of the candidate-layers more, else the head.
    Best,
    /// The model's own head.
    Head,
    /// Fitted readouts.
    Fitted,
}

/// See [`grating::Mode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeArg {
    /// Accepted texts stop computing.
    Select,
    /// Accepted texts run to the end.
    Rank,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) model: ModelChoice,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// Leave the list of tensors out.
    #[arg(long)]
    pub(crate) summary: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) model: ModelChoice,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct QuantizeArgs {
    #[command(flatten)]
    pub(crate) model: ModelChoice,
    /// Blocks of the layers' matrices: 8.5 bits a weight, 4.5, or 4.5 with finer scales.
    #[arg(long, value_name = "q8_0|q4_0|q4_k")]
    pub(crate) format: WeightFormat,
    /// New folder for model.gguf, config.json and the tokenizer's files.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell's.
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Folder for grating.1, grating-rerank.1 and so on.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// How the file of texts is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// JSON if the first line begins as JSON does, else lines.
    Auto,
    /// One text a line, whatever it looks like; an empty line is an empty text.
    Lines,
    /// Objects or strings, one a line or in an array, or a request body.
    #[value(alias = "jsonl")]
    Json,
}

fn words(text: &str) -> Result<String, String> {
    match text.trim().is_empty() {
        true => Err("it is blank: say what the texts are to be ranked by".into()),
        false => Ok(text.to_owned()),
    }
}

pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".into()),
        Ok(n) => Ok(n),
        Err(_) => Err("it must be a whole number, at least 1".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
