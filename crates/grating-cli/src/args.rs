//! Commands and options.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Select the texts most relevant to a query with a cross-encoder reranker.
#[derive(Debug, Parser)]
#[command(name = "grating", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Rank texts by their relevance to a query and print the best.
    Rerank(RerankArgs),
    /// Print a model's family, shapes, bytes per layer and tensors; reads headers only.
    Inspect(InspectArgs),
    /// Check a model's files, head, template and tokenizer, and rank a few pairs that are beyond doubt.
    Doctor(DoctorArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// Folder with config.json, tokenizer.json and safetensors weights, or a hub id (owner/name).
    /// Without it, the model that is built in.
    #[arg(long, short, value_name = "DIR|HUB_ID")]
    pub(crate) model: Option<String>,
    /// Branch, tag or commit of a hub id.
    #[arg(long, value_name = "REV", requires = "model")]
    pub(crate) revision: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RerankArgs {
    /// What to look for.
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) query: String,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// What the query is for, where the model's template has an instruction.
    #[arg(long, value_name = "TEXT")]
    pub(crate) instruction: Option<String>,
    /// How many texts to select.
    #[arg(long, short = 'k', value_name = "K", default_value_t = 10, value_parser = at_least_one)]
    pub(crate) top_k: usize,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the model's raw scores (logits) instead of probabilities. JSON has both.
    #[arg(long)]
    pub(crate) raw_scores: bool,
    /// Print on stderr what the request cost. JSON always has it.
    #[arg(long)]
    pub(crate) stats: bool,
    /// How FILE is to be read.
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    pub(crate) format: Format,
    /// Threads that compute; by default one for each core.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) threads: Option<usize>,
    /// Most tokens of a text with its query and template; longer texts are cut.
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one)]
    pub(crate) max_length: Option<usize>,
    /// Most tokens that go through a layer together; bounds memory.
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one)]
    pub(crate) chunk_tokens: Option<usize>,
    /// Cut a query that takes more than three quarters of the maximum length instead of refusing it.
    #[arg(long)]
    pub(crate) allow_query_truncation: bool,
    /// Let strings such as [SEP] or <|im_end|> in query and texts become control tokens, as other tools do.
    #[arg(long)]
    pub(crate) special_tokens_in_text: bool,
    /// One text a line, or JSON lines with `text` and optional `id`; `-` is standard input.
    #[arg(value_name = "FILE|-")]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Folder or hub id; without it, the model that is built in.
    #[arg(value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Branch, tag or commit of a hub id.
    #[arg(long, value_name = "REV", requires = "model")]
    pub(crate) revision: Option<String>,
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
    pub(crate) model: ModelArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How the file of texts is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// JSON lines if the first line is a JSON object with a `text`, else lines.
    Auto,
    /// One text a line; an empty line is an empty text.
    Lines,
    /// One JSON object a line, with `text` and optional `id`.
    Jsonl,
}

fn at_least_one(text: &str) -> Result<usize, String> {
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
