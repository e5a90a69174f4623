//! `grating serve`.

mod args;
mod log;

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use grating::ModelSource;
use grating_server::{ApiKey, ServedModel, Server, ServerOptions, Stopper};

use crate::exit::ExitCode;
use crate::{engine, model};

pub(crate) use args::ServeArgs;
pub(crate) use args::with_environment;

/// As shells report a process that a signal has ended.
const INTERRUPTED: i32 = 130;
/// Of the memory budget, what bodies of requests may take together.
const BODIES: u64 = 8;

pub(crate) fn run(args: &ServeArgs) -> Result<ExitCode> {
    log::start(args.log, args.log_level);
    raise_descriptors();
    let models = named(args)?;
    let models = models.into_iter().map(|(name, place)| served(name, place, args)).collect();
    let options = options(args)?;
    let has_key = options.api_key.is_some();
    let server = Server::bind(options, models)?;
    stop_on_signals(server.stopper());
    eprintln!("grating: listening on http://{}", server.local_addr());
    if is_open_to_others(server.local_addr(), has_key) {
        eprintln!(
            "grating: whoever reaches this address may use it; --api-key-file FILE, or GRATING_API_KEY, asks them for a key"
        );
    }
    server.run()?;
    Ok(ExitCode::SUCCESS)
}

/// The models with their names; nothing for the one that is built in.
fn named(args: &ServeArgs) -> Result<Vec<(String, Option<OsString>)>> {
    if args.model.is_empty() {
        return Ok(vec![("default".into(), None)]);
    }
    args.model.iter().map(|given| name_and_place(given)).collect()
}

/// `NAME=PATH`, or a place that is its own name.
fn name_and_place(given: &OsStr) -> Result<(String, Option<OsString>)> {
    let text = given.to_str().filter(|_| !Path::new(given).exists());
    if let Some((name, place)) = text.and_then(|text| text.split_once('=')) {
        if name.is_empty() || place.is_empty() {
            bail!("--model {}: expected NAME=PATH", given.to_string_lossy());
        }
        let place = (place != "default").then(|| place.into());
        return Ok((name.to_string(), place));
    }
    if given == "default" && !Path::new(given).exists() {
        return Ok(("default".into(), None));
    }
    let is_local = Path::new(given).exists();
    let last = Path::new(given).file_name().filter(|_| is_local).unwrap_or(given);
    Ok((last.to_string_lossy().into_owned(), Some(given.to_owned())))
}

/// Fetched and opened once the server is there to say that it is not ready.
fn served(name: String, place: Option<OsString>, args: &ServeArgs) -> ServedModel {
    let args = args.clone();
    ServedModel::new(name, move || {
        let source = model::resolve(place.as_deref(), args.revision.as_deref(), args.offline)?;
        Ok(build(source, &args)?)
    })
}

fn build(source: ModelSource, args: &ServeArgs) -> Result<grating::Reranker> {
    let mut builder = engine::pruning(engine::builder(source, &args.engine), &args.pruning)?
        .queue_length(args.queue_length)
        .joint_passes(!args.no_joint_passes)
        .refuse_long_query(args.refuse_long_query)
        .special_tokens_in_text(args.special_tokens_in_text);
    if let Some(instruction) = &args.instruction {
        builder = builder.instruction(instruction);
    }
    if let Some(tokens) = args.max_length {
        builder = builder.max_length(tokens);
    }
    args.long.warn_of_idle();
    if let Some(long) = args.long.long() {
        builder = builder.long(long);
    }
    let reranker = engine::build(builder)?;
    engine::warn_of_instruction(args.instruction.as_deref(), &reranker);
    Ok(reranker)
}

fn options(args: &ServeArgs) -> Result<ServerOptions> {
    let mut options = ServerOptions::default();
    options.bind = args.bind;
    options.api_key = api_key(args)?;
    // What is held of requests is within the budget, too.
    let share = args.engine.memory_budget.map_or(u64::MAX, |budget| budget / BODIES);
    let bytes = |given: Option<u64>, otherwise: usize| {
        let bytes = given.unwrap_or(share.min(otherwise as u64));
        usize::try_from(bytes).unwrap_or(usize::MAX)
    };
    options.max_body_bytes = bytes(args.max_body, options.max_body_bytes);
    options.max_held_bytes = bytes(args.max_held, options.max_held_bytes);
    options.max_connections = args.max_connections;
    options.max_queued_tokens = args.max_queued_tokens;
    options.read_timeout = args.read_timeout;
    options.write_timeout = args.write_timeout;
    options.deadline = args.deadline;
    options.top_k_hint = args.top_k_hint;
    options.raw_scores = args.raw_scores;
    options.log_queries = args.log_queries;
    if let Some(mode) = args.pruning.mode {
        options.mode = mode.into();
    }
    Ok(options)
}

/// Whether other machines may send requests without a key.
fn is_open_to_others(address: SocketAddr, has_key: bool) -> bool {
    !has_key && !address.ip().to_canonical().is_loopback()
}

fn api_key(args: &ServeArgs) -> Result<Option<ApiKey>> {
    let text = match (&args.api_key, &args.api_key_file) {
        (Some(key), _) => key.clone(),
        (None, Some(file)) => std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the API key in {}", file.display()))?,
        (None, None) => return Ok(None),
    };
    match ApiKey::new(&text) {
        Some(key) => Ok(Some(key)),
        None => bail!("the API key is empty; leave it out where none is wanted"),
    }
}

/// The first signal has what was taken on answered, the second ends the process at once.
fn stop_on_signals(stopper: Stopper) {
    let told = AtomicBool::new(false);
    let handler = move || match told.swap(true, Ordering::Relaxed) {
        false => stopper.stop(),
        true => std::process::exit(INTERRUPTED),
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        eprintln!("grating: a signal will end the server at once: {error}");
    }
}

/// As many open files as the system lets a process have: each connection is one.
#[cfg(unix)]
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it is refused, fewer connections can be taken.
    _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

#[cfg(not(unix))]
fn raise_descriptors() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_others_reach_without_a_key_is_told() {
        let open = |address: &str, has_key| is_open_to_others(address.parse().unwrap(), has_key);
        assert!(
            open("0.0.0.0:80", false) && open("192.168.1.2:80", false) && open("[::]:80", false)
        );
        assert!(!open("127.0.0.1:80", false) && !open("[::1]:80", false));
        assert!(!open("[::ffff:127.0.0.1]:80", false) && !open("0.0.0.0:80", true));
    }

    #[test]
    fn models_are_named_by_the_user_or_by_their_place() {
        let named = |given: &str| {
            let (name, place) = name_and_place(given.as_ref()).unwrap();
            (name, place.map(|place| place.to_string_lossy().into_owned()))
        };
        assert_eq!(named("a=/b/c"), ("a".into(), Some("/b/c".into())));
        assert_eq!(named("a=owner/name"), ("a".into(), Some("owner/name".into())));
        assert_eq!(named("owner/name"), ("owner/name".into(), Some("owner/name".into())));
        assert_eq!(named("default"), ("default".into(), None));
        assert_eq!(named("small=default"), ("small".into(), None));
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("x=y");
        std::fs::create_dir(&place).unwrap();
        let place = place.to_string_lossy().into_owned();
        assert_eq!(named(&place), ("x=y".into(), Some(place.clone())));
        assert!(name_and_place("=a".as_ref()).is_err() && name_and_place("a=".as_ref()).is_err());
    }
}
