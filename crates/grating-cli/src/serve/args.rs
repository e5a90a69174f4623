//! Options of `grating serve`, each a variable of the environment, too.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Args, Command, ValueEnum};

use crate::args::{EngineArgs, PruningArgs, at_least_one};
use crate::long::LongArgs;
use crate::units;

#[derive(Debug, Clone, Args)]
pub(crate) struct ServeArgs {
    /// Folder, file of weights or hub id, as with `rerank`; with NAME= the name that requests give it. Several, one after
    /// another or with commas between, share one memory budget. Without any, the model that is built in, which is also
    /// `default`.
    #[arg(long, short, value_name = "[NAME=]DIR|HUB_ID", value_delimiter = ',')]
    pub(super) model: Vec<OsString>,
    /// Branch, tag or commit of hub ids.
    #[arg(long, value_name = "REV", requires = "model")]
    pub(super) revision: Option<String>,
    /// Take hub ids from the cache and make no connection; HF_HUB_OFFLINE=1 does the same.
    #[arg(long)]
    pub(super) offline: bool,
    /// Where to listen. Other machines reach 0.0.0.0:8080; give it an API key then.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080", value_parser = address)]
    pub(super) bind: SocketAddr,
    /// Key that requests must carry, as `Authorization: Bearer KEY`. Other users of this machine can see it; a file or
    /// GRATING_API_KEY hides it.
    #[arg(long, value_name = "KEY", hide_env_values = true)]
    pub(super) api_key: Option<String>,
    /// File that holds the key.
    #[arg(long, value_name = "FILE", conflicts_with = "api_key")]
    pub(super) api_key_file: Option<PathBuf>,
    /// How many texts matter where a request does not say (`top_k_hint`): all are answered, but those that are surely not
    /// among them may be dropped early, and come last.
    #[arg(long, value_name = "K", value_parser = at_least_one)]
    pub(super) top_k_hint: Option<usize>,
    /// Answer with the model's raw scores (logits) where a request does not say.
    #[arg(long)]
    pub(super) raw_scores: bool,
    /// What queries are for where a request does not say, if the model's template has an instruction.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(super) instruction: Option<String>,
    /// Most tokens of a text with its query and template; longer texts are cut. By default the model's own limit.
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one)]
    pub(super) max_length: Option<usize>,
    #[command(flatten)]
    pub(super) long: LongArgs,
    /// Refuse a query that does not fit beside a text instead of cutting it.
    #[arg(long)]
    pub(super) refuse_long_query: bool,
    /// Let strings such as [SEP] or <|im_end|> in query and texts become control tokens, as other tools do.
    #[arg(long)]
    pub(super) special_tokens_in_text: bool,
    /// Most requests of a model that wait while others are computed; further ones are answered with 429.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one, help_heading = LIMITS)]
    pub(super) queue_length: usize,
    /// Most tokens that may wait before further requests are answered with 429.
    #[arg(long, value_name = "TOKENS", default_value_t = 4 << 20, value_parser = at_least_one, help_heading = LIMITS)]
    pub(super) max_queued_tokens: usize,
    /// Answer within this time, waiting included, or give up; requests may say another (`deadline_ms`).
    #[arg(long, value_name = "TIME", value_parser = units::duration, help_heading = LIMITS)]
    pub(super) deadline: Option<Duration>,
    /// Compute requests one after another, also where they would share the reading of the weights.
    #[arg(long, help_heading = LIMITS)]
    pub(super) no_joint_passes: bool,
    /// Largest body of a request; by default 32 MiB, or an eighth of the memory budget.
    #[arg(long, value_name = "SIZE", value_parser = units::size, help_heading = LIMITS)]
    pub(super) max_body: Option<u64>,
    /// Most bytes of bodies and answers at one time; by default 128 MiB, or an eighth of the memory budget.
    #[arg(long, value_name = "SIZE", value_parser = units::size, help_heading = LIMITS)]
    pub(super) max_held: Option<u64>,
    /// Most connections at one time; further ones wait.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = at_least_one, help_heading = LIMITS)]
    pub(super) max_connections: usize,
    /// Within which the head of a request must be there, and then its body; idle connections are closed after it.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = units::duration, help_heading = LIMITS)]
    pub(super) read_timeout: Duration,
    /// Within which a client must take some of its answer.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = units::duration, help_heading = LIMITS)]
    pub(super) write_timeout: Duration,
    /// How the log on stderr is written.
    #[arg(long, value_enum, default_value_t = Log::Plain, help_heading = "Log")]
    pub(super) log: Log,
    /// Least level that is logged.
    #[arg(long, value_enum, default_value_t = LogLevel::Info, help_heading = "Log")]
    pub(super) log_level: LogLevel,
    /// Log the queries of requests; texts are never logged.
    #[arg(long, help_heading = "Log")]
    pub(super) log_queries: bool,
    #[command(flatten)]
    pub(super) engine: EngineArgs,
    #[command(flatten)]
    pub(super) pruning: PruningArgs,
}

const LIMITS: &str = "Limits";

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Log {
    /// A line for people.
    Plain,
    /// An object a line.
    Json,
    /// Not at all.
    Off,
}

/// What is logged: this, and what is more serious.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    /// Failures of the server.
    Error,
    /// What may become one.
    Warn,
    /// Each request.
    Info,
    /// Each connection that ended early.
    Debug,
}

/// Where to listen; `localhost` is this machine's own address.
fn address(text: &str) -> Result<SocketAddr, String> {
    let numbers = text.replacen("localhost:", "127.0.0.1:", 1);
    numbers.parse().map_err(|_| {
        format!(
            "{text:?} is no address with a port: write one such as 127.0.0.1:8080 or [::1]:8080"
        )
    })
}

/// Gives every option of `serve` a variable: `--top-k-hint` is GRATING_TOP_K_HINT.
pub(crate) fn with_environment(command: Command) -> Command {
    command.mut_subcommand("serve", |serve| serve.mut_args(variable))
}

fn variable(argument: Arg) -> Arg {
    let Some(long) = argument.get_long() else { return argument };
    if ["help", "version"].contains(&long) {
        return argument;
    }
    let name = format!("GRATING_{}", long.to_ascii_uppercase().replace('-', "_"));
    // As long as the process.
    let argument = argument.env(&*name.leak());
    match argument.get_action() {
        ArgAction::SetTrue => argument.value_parser(BoolishValueParser::new()),
        _ => argument,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use crate::args::Cli;

    #[test]
    fn addresses_are_numbers_with_a_port() {
        let address = super::address;
        assert_eq!(address("localhost:80").unwrap().to_string(), "127.0.0.1:80");
        assert_eq!(address("[::1]:80").unwrap().to_string(), "[::1]:80");
        for wrong in ["nowhere", "8080", "127.0.0.1", "localhost:x", ""] {
            let error = address(wrong).unwrap_err();
            assert!(error.contains(wrong) && error.contains("127.0.0.1:8080"), "{error}");
        }
    }

    #[test]
    fn every_option_is_a_variable_too() {
        let mut command = super::with_environment(Cli::command());
        command.build();
        let serve = command.find_subcommand("serve").unwrap();
        let mut names = 0;
        for argument in serve.get_arguments().filter(|a| a.get_id() != "help") {
            let long = argument.get_long().unwrap();
            let name = argument.get_env().unwrap_or_else(|| panic!("{long}")).to_str().unwrap();
            assert_eq!(name, format!("GRATING_{}", long.to_uppercase().replace('-', "_")));
            names += 1;
        }
        assert!(names > 40, "{names}");
    }
}
