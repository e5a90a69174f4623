//! Options from a file, for whoever gives the same ones each time.
//!
//! A TOML file whose keys are options without their dashes: those at the top are for every command that has the option,
//! those in a table for the command of its name. What stands on the command line or in the environment comes first. Of
//! those at the top a command leaves out what only others take the value of, and says so.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use toml::{Table, Value};

/// The option that names the file.
const OPTION: &str = "config";
/// Where the file is by default, in the folder of settings.
const PLACE: &str = "grating/config.toml";

/// Commands that take options from a file.
const COMMANDS: [&str; 4] = ["rerank", "calibrate", "plan", "serve"];

/// Gives them the option that names the file.
pub(crate) fn with_file(command: Command) -> Command {
    let named = |command: &Command| COMMANDS.contains(&command.get_name());
    let file = Arg::new(OPTION)
        .long(OPTION)
        .value_name("FILE")
        .env("GRATING_CONFIG")
        .value_parser(clap::value_parser!(PathBuf))
        .help("File of options, `option = value` in TOML; by default grating/config.toml in ~/.config (Windows: %APPDATA%)");
    command.mut_subcommands(|one| if named(&one) { one.arg(file.clone()) } else { one })
}

/// `arguments` with the options that the file adds to them, or nothing where there is no file.
///
/// # Errors
/// When the file cannot be read or has a key or value that is no option's.
pub(crate) fn added(
    command: &mut Command,
    matches: &ArgMatches,
    arguments: &[OsString],
) -> Result<Option<Vec<OsString>>> {
    let Some((name, given)) = matches.subcommand().filter(|(name, _)| COMMANDS.contains(name))
    else {
        return Ok(None);
    };
    let Some(path) = place(given) else { return Ok(None) };
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read the options in {}", path.display()))?;
    let within = || format!("options in {}", path.display());
    let table: Table = text.parse().with_context(within)?;
    let mut all = arguments.to_vec();
    // After the command's name, so that they are its own and stand before the arguments by place.
    let at = 2.min(all.len());
    for words in not_given(command, name, given, &table).with_context(within)? {
        if fits(command, arguments, at, &words).with_context(within)? {
            all.splice(at..at, words);
        }
    }
    Ok(Some(all))
}

/// The words of each option that the file has for a command and nobody has given.
fn not_given(
    command: &Command,
    name: &str,
    given: &ArgMatches,
    table: &Table,
) -> Result<Vec<Vec<OsString>>> {
    let one = subcommand(command, name).expect("it was parsed");
    let mut options = Vec::new();
    for Chosen { key, value, common } in chosen(command, one, table)? {
        let argument = option(one, key).expect("`chosen` lets options alone through");
        if is_given(given, argument) {
            continue;
        }
        if common && let Some(word) = for_others(command, argument, key, value) {
            let taken = names(argument).join(" or ");
            eprintln!(
                "grating: `{key} = \"{word}\"` is for other commands and is left out: `grating {name}` takes {taken}, \
                 which `[{name}]` may say"
            );
            continue;
        }
        options.push(words(key, value, argument)?);
    }
    Ok(options)
}

/// What values an option takes, where they are named.
fn names(argument: &Arg) -> Vec<String> {
    argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect()
}

/// The word where it is none that this command's option takes, and one that another command's option of the same name
/// does.
fn for_others<'v>(
    command: &Command,
    argument: &Arg,
    key: &str,
    value: &'v Value,
) -> Option<&'v str> {
    let word = value.as_str()?;
    let takes = |argument: &Arg| names(argument).iter().any(|name| name == word);
    let named = !argument.get_possible_values().is_empty();
    let mut others = command.get_subcommands().filter_map(|other| option(other, key));
    (named && !takes(argument) && others.any(takes)).then_some(word)
}

fn subcommand<'c>(command: &'c Command, name: &str) -> Option<&'c Command> {
    command.get_subcommands().find(|one| one.get_name() == name)
}

fn option<'c>(command: &'c Command, long: &str) -> Option<&'c Arg> {
    command.get_arguments().find(|argument| argument.get_long() == Some(long))
}

fn is_given(matches: &ArgMatches, argument: &Arg) -> bool {
    let source = matches.value_source(argument.get_id().as_str());
    matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
}

/// The file that is named, or the one at its usual place if that is there.
fn place(given: &ArgMatches) -> Option<PathBuf> {
    let named = given.get_one::<PathBuf>(OPTION).cloned();
    named.or_else(|| {
        let path = settings()?.join(PLACE);
        path.is_file().then_some(path)
    })
}

fn settings() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if cfg!(windows) {
        return folder("APPDATA").map(PathBuf::from);
    }
    let own = folder("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    own.or_else(|| Some(std::env::home_dir()?.join(".config")))
}

/// What the file says of an option.
struct Chosen<'t> {
    key: &'t str,
    value: &'t Value,
    /// Whether for every command that has it.
    common: bool,
}

/// What the file says for the command `one`, what is for it alone last.
fn chosen<'t>(command: &Command, one: &Command, table: &'t Table) -> Result<Vec<Chosen<'t>>> {
    let as_chosen =
        |common| move |(key, value): (&'t String, &'t Value)| Chosen { key, value, common };
    let (mut common, mut own) = (Vec::new(), Vec::new());
    for (key, value) in table {
        match value {
            Value::Table(options) => {
                let Some(named) =
                    subcommand(command, key).filter(|c| COMMANDS.contains(&c.get_name()))
                else {
                    bail!("`[{key}]` is no command that takes options from a file");
                };
                if let Some(unknown) = options.keys().find(|key| !is_option(named, key)) {
                    bail!("`{unknown}` is no option of `grating {key}`");
                }
                if named.get_name() == one.get_name() {
                    own.extend(options.iter().map(as_chosen(false)));
                }
            }
            _ if is_option(one, key) => common.push(as_chosen(true)((key, value))),
            _ if command.get_subcommands().any(|other| is_option(other, key)) => {}
            _ => bail!("`{key}` is no option of any command"),
        }
    }
    common.retain(|Chosen { key, .. }| own.iter().all(|other| *key != other.key));
    common.extend(own);
    Ok(common)
}

fn is_option(command: &Command, long: &str) -> bool {
    ![OPTION, "help", "version"].contains(&long) && option(command, long).is_some()
}

/// The words of the command line that stand for a value.
fn words(key: &str, value: &Value, argument: &Arg) -> Result<Vec<OsString>> {
    let takes_values = argument.get_action().takes_values();
    let word = |value: &Value| match value {
        Value::String(text) => Ok(format!("--{key}={text}").into()),
        Value::Integer(number) => Ok(format!("--{key}={number}").into()),
        Value::Float(number) => Ok(format!("--{key}={number}").into()),
        _ => bail!("`{key}` is {}, expected text or a number", value.type_str()),
    };
    match value {
        Value::Boolean(true) if !takes_values => Ok(vec![format!("--{key}").into()]),
        Value::Boolean(false) if !takes_values => Ok(Vec::new()),
        other if !takes_values => {
            bail!("`{key}` is {}, expected true or false", other.type_str())
        }
        Value::Array(values) => values.iter().map(word).collect(),
        other => Ok(vec![word(other)?]),
    }
}

/// Whether the words go with the arguments; where they exclude each other the arguments win.
fn fits(
    command: &mut Command,
    arguments: &[OsString],
    at: usize,
    words: &[OsString],
) -> Result<bool> {
    let mut all = arguments.to_vec();
    all.splice(at..at, words.iter().cloned());
    match command.try_get_matches_from_mut(all) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::ArgumentConflict => Ok(false),
        Err(error) => {
            let words = error.to_string();
            let first = words.lines().next().unwrap_or_default();
            bail!("{}", first.trim_start_matches("error: "))
        }
    }
}
