//! Damaged files of every kind, read by the real command: it ends with 0, 1 or 2, soon, and leaves nothing behind.
//!
//! A short run is part of the tests. A long one, from another place in the sequence:
//!
//! ```console
//! $ MUTATIONS=20000 MUTATIONS_SEED=7 cargo test --release -p grating-cli --test it mutations -- --nocapture
//! ```
//! A round that fails is repeated with `MUTATIONS=1 MUTATIONS_FIRST=ROUND`, and `MUTATIONS_KEEP=1` keeps its folder.
//! `MUTATIONS_PROGRAM` names another build of `grating`.

mod damage;
mod kinds;
mod tree;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use damage::Random;
use kinds::{KINDS, Workshop};

/// Longer is a hang, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Address space of a run, KiB: a number in a file must not be an amount of memory.
const ADDRESS_SPACE: u64 = 6 << 20;

/// Bytes of an error: it quotes a file, but is not as long as one.
const LONGEST_ERROR: usize = 4096;

/// What a run ended with.
struct Outcome {
    code: Option<i32>,
    error: String,
    took: Duration,
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap())
}

/// This build's, unless another is named.
fn program() -> std::ffi::OsString {
    std::env::var_os("MUTATIONS_PROGRAM").unwrap_or(env!("CARGO_BIN_EXE_grating").into())
}

/// Through a shell, which sets the limit.
fn run(args: &[String], temporary: &Path) -> Outcome {
    let mut command = match cfg!(unix) {
        true => {
            let mut shell = Command::new("sh");
            let limit = format!("ulimit -v {ADDRESS_SPACE} && exec \"$@\"");
            shell.args(["-c", &limit, "sh"]).arg(program());
            shell
        }
        false => Command::new(program()),
    };
    let errors = temporary.parent().unwrap().join("stderr");
    command.args(args).env("TMPDIR", temporary).env("HF_HUB_OFFLINE", "1").stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(std::fs::File::create(&errors).unwrap());
    let start = Instant::now();
    let mut child = command.spawn().unwrap();
    let code = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let error = String::from_utf8_lossy(&std::fs::read(errors).unwrap()).into_owned();
    Outcome { code, error, took: start.elapsed() }
}

/// What is wrong with how a run ended, if anything is.
fn complaint(outcome: &Outcome, temporary: &Path, model: &Path) -> Option<String> {
    let Outcome { code, error, took } = outcome;
    if !matches!(code, Some(0..=2)) {
        return Some(format!("ended with {code:?} after {took:.1?}"));
    }
    if ["panicked at", "internal error", "RUST_BACKTRACE"].iter().any(|sign| error.contains(sign)) {
        return Some("a panic".into());
    }
    let control = error.chars().any(|c| c.is_control() && c != '\n');
    if control || error.len() > LONGEST_ERROR {
        let bytes = error.len();
        return Some(format!("an error of {bytes} bytes, with control characters: {control}"));
    }
    let names = |folder: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        entries.map(|name| name.to_string_lossy().into_owned()).collect()
    };
    let left = names(temporary);
    let hidden = names(model).into_iter().filter(|name| name.starts_with('.'));
    let left: Vec<String> = left.into_iter().chain(hidden).collect();
    (!left.is_empty()).then(|| format!("left behind: {}", left.join(", ")))
}

#[test]
fn damaged_files_end_in_an_error_or_a_result() {
    let (count, seed) = (setting("MUTATIONS", 150), setting("MUTATIONS_SEED", 1));
    let first = setting("MUTATIONS_FIRST", 0);
    let workshop = Workshop::new();
    let next = AtomicU64::new(first);
    let failures = Mutex::new(Vec::new());
    let endings = Mutex::new(BTreeMap::<(&str, i32), u64>::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let round = next.fetch_add(1, Ordering::Relaxed);
                    if round >= first + count {
                        break;
                    }
                    let kind = &KINDS[round as usize % KINDS.len()];
                    let folder = tempfile::tempdir().unwrap();
                    let (model, temporary) =
                        (folder.path().join("model"), folder.path().join("tmp"));
                    std::fs::create_dir(&temporary).unwrap();
                    let mut random = Random::new(seed, round);
                    let (args, what) = workshop.case(kind, &mut random, &model);
                    let outcome = run(&args, &temporary);
                    if let Some(complaint) = complaint(&outcome, &temporary, &model) {
                        let error: String = outcome.error.chars().take(600).collect();
                        let failure =
                            format!("round {round}, {what}, {}: {complaint}\n{error}", args[0]);
                        println!("{failure}");
                        failures.lock().unwrap().push(failure);
                    }
                    *endings
                        .lock()
                        .unwrap()
                        .entry((kind.name, outcome.code.unwrap_or(-1)))
                        .or_default() += 1;
                    if setting("MUTATIONS_KEEP", 0) == 1 {
                        println!("{}: {args:?}\n{}", folder.keep().display(), outcome.error);
                    }
                }
            });
        }
    });
    let endings = endings.into_inner().unwrap();
    println!("{count} rounds from {first} on, seed {seed}, by kind and exit code: {endings:#?}");
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
    // Or only the first check was ever met.
    let good: u64 = endings.iter().filter(|((_, code), _)| *code == 0).map(|(_, n)| n).sum();
    assert!(count < 100 || good > count / 50, "only {good} of {count} were still good");
    assert!(count < 100 || good < count * 4 / 5, "{good} of {count} were still good");
}
