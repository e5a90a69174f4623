//! `cargo xtask shift`: a server that learns pruning from the requests of one set, and what becomes of it when those of
//! another follow.
//!
//! One connection asks, each request when the answer before is there. Rates before and after pruning was proved are those of one
//! run; the server's processor time tells what of them is the machine's other work.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::bench::data::DataSet;
use crate::clients::Serving;
use crate::load::{answer, head, quantile};
use crate::process::root;
use crate::random::Random;

#[derive(clap::Args)]
pub(crate) struct ShiftArgs {
    /// The set whose requests come first, a folder in BEIR layout with pools
    #[arg(long, value_name = "DIR")]
    first: PathBuf,
    /// The set whose requests follow
    #[arg(long, value_name = "DIR")]
    then: PathBuf,
    /// Requests of the first set
    #[arg(long, default_value_t = 240)]
    first_requests: usize,
    /// Requests of the set that follows
    #[arg(long, default_value_t = 160)]
    then_requests: usize,
    /// How many texts are asked for
    #[arg(long, default_value_t = 10)]
    top_k: usize,
    /// Most texts of a request, the first of its pool
    #[arg(long, default_value_t = 50)]
    pool: usize,
    /// Requests of a line of the report
    #[arg(long, default_value_t = 20)]
    block: usize,
    /// Options of `grating serve`, after `--`; its binary is target/release/grating
    #[arg(last = true)]
    serve: Vec<String>,
}

/// One request, as its answer says.
struct Seen {
    took: Duration,
    /// The server's processor time, seconds, in whole ticks of the kernel's clock.
    processor: f64,
    /// Candidate-layers that were computed, and those of the model in full.
    computed: f64,
    full: f64,
    /// Suspicions and alarms so far.
    shifts: u64,
}

impl Seen {
    fn is_pruned(&self) -> bool {
        self.computed < self.full
    }
}

pub(crate) fn run(args: &ShiftArgs) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let learned = folder.path().join("learned.json");
    let learned = learned.to_str().context("a path that is no text")?;
    let own = ["--learn", learned, "--target-agreement", "0.95"];
    let options: Vec<&str> = own.into_iter().chain(args.serve.iter().map(String::as_str)).collect();
    let bodies = [(&args.first, args.first_requests, 1), (&args.then, args.then_requests, 2)];
    let bodies = bodies.map(|(set, count, seed)| bodies_of(set, count, seed, args));
    let serving = Serving::start(&root().join("target/release/grating"), &options)?;
    let address = serving.url.trim_start_matches("http://").to_string();
    let mut runs = Vec::new();
    for (bodies, set) in bodies.into_iter().zip([&args.first, &args.then]) {
        let name = set.file_name().unwrap_or_default().to_string_lossy().into_owned();
        println!("{name}\nrequests   req/s    CPU s    pruned  saved    suspicions and alarms");
        let mut seen = Vec::new();
        for block in bodies?.chunks(args.block.max(1)) {
            let before = seen.len();
            // The server closes connections after some time and number of requests.
            ask(&address, serving.pid(), block, &mut seen)?;
            line(&seen[before..], before);
        }
        runs.push(seen);
    }
    serving.stop()?;
    summary(&runs[0], &runs[1], args.block.max(1));
    Ok(())
}

/// Requests of a set, drawn with replacement, always the same.
fn bodies_of(set: &Path, count: usize, seed: u64, args: &ShiftArgs) -> Result<Vec<Vec<u8>>> {
    let data = DataSet::open(set)?;
    let contested: Vec<_> = data.queries.iter().filter(|q| q.pool.len() > args.top_k).collect();
    ensure!(!contested.is_empty(), "{} has no pool of more than {}", set.display(), args.top_k);
    let mut random = Random::new(seed);
    let body = |_| {
        let query = contested[random.below(contested.len())];
        let texts = &query.pool[..query.pool.len().min(args.pool)];
        let body = json!({
            "query": query.text, "documents": texts, "top_n": args.top_k, "explain": true,
        });
        body.to_string().into_bytes()
    };
    Ok((0..count).map(body).collect())
}

fn ask(address: &str, pid: u32, bodies: &[Vec<u8>], seen: &mut Vec<Seen>) -> Result<()> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    for body in bodies {
        let (began, ran) = (Instant::now(), processor(pid));
        (&stream).write_all(&[head(body).as_bytes(), body].concat())?;
        let (status, _, answer) = answer(&mut reader)?;
        let took = began.elapsed();
        ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&answer));
        let answer: Value = serde_json::from_slice(&answer)?;
        let stats = &answer["grating"]["stats"];
        let count = |name: &str| stats[name].as_f64().with_context(|| format!("no {name}"));
        let learning = |name: &str| stats["learning"][name].as_u64().unwrap_or(0);
        seen.push(Seen {
            took,
            processor: processor(pid) - ran,
            computed: count("candidate_layers")?,
            full: count("distinct_candidates")? * count("layers")?,
            shifts: learning("suspicions") + learning("alarms"),
        });
    }
    Ok(())
}

fn line(block: &[Seen], before: usize) {
    let pruned = block.iter().filter(|seen| seen.is_pruned()).count();
    println!(
        "{:<9}  {:<7.2}  {:<7.3}  {pruned:<6}  {:<5.1} %  {}",
        format!("{}-{}", before + 1, before + block.len()),
        rate(block),
        cost(block),
        100.0 * saved(block),
        block.last().map_or(0, |seen| seen.shifts),
    );
}

fn summary(first: &[Seen], then: &[Seen], block: usize) {
    let began = first.iter().position(Seen::is_pruned);
    let before = first[..began.unwrap_or(first.len())].len();
    let last = &first[first.len().saturating_sub(2 * block).max(before)..];
    let so_far = first.last().map_or(0, |seen| seen.shifts);
    let speed = |seen: &[Seen]| format!("{:.2} a second, {:.3} CPU s each", rate(seen), cost(seen));
    println!("before pruning: {before} requests, {}", speed(&first[..before]));
    println!("the last {} before the other set: {}", last.len(), speed(last));
    for (name, pruned) in [("in full", false), ("pruned", true)] {
        let took = first.iter().filter(|seen| seen.is_pruned() == pruned);
        let mut took: Vec<f64> = took.map(|seen| seen.took.as_secs_f64()).collect();
        println!("{name}: {} requests, median {:.3} s", took.len(), quantile(&mut took, 0.5));
    }
    match then.iter().position(|seen| seen.shifts > so_far) {
        Some(at) => println!("noticed with the request {} of the other set", at + 1),
        None => println!("not noticed in {} requests of the other set", then.len()),
    }
    println!("the other set: {}, {:.1} % saved", speed(then), 100.0 * saved(then));
}

/// Requests a second.
fn rate(seen: &[Seen]) -> f64 {
    let took: f64 = seen.iter().map(|seen| seen.took.as_secs_f64()).sum();
    seen.len() as f64 / took
}

/// The server's processor seconds for a request.
fn cost(seen: &[Seen]) -> f64 {
    seen.iter().map(|seen| seen.processor).sum::<f64>() / seen.len() as f64
}

/// A process's processor time so far, seconds; not a number where the system has no such file.
fn processor(pid: u32) -> f64 {
    /// Of a second, on all of Linux (`USER_HZ`).
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The fields after the name, which ends with the last parenthesis: state is the first, times in user and system mode the
    // twelfth and thirteenth.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let times: Vec<f64> = fields.skip(11).take(2).filter_map(|time| time.parse().ok()).collect();
    if times.is_empty() { f64::NAN } else { times.iter().sum::<f64>() / TICKS }
}

/// Share of the candidate-layers.
fn saved(seen: &[Seen]) -> f64 {
    let sum = |of: fn(&Seen) -> f64| seen.iter().map(of).sum::<f64>();
    1.0 - sum(|seen| seen.computed) / sum(|seen| seen.full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_used_the_processor() {
        let before = processor(std::process::id());
        let mut sum = 0_u64;
        while processor(std::process::id()) < before + 0.03 {
            sum = (0..100_000).fold(sum, |sum, n| std::hint::black_box(sum ^ n));
        }
        assert!(processor(u32::MAX).is_nan());
    }

    #[test]
    fn rates_and_shares_by_hand() {
        let seen = |ms, computed| Seen {
            took: Duration::from_millis(ms),
            processor: 0.002 * ms as f64,
            computed,
            full: 100.0,
            shifts: 0,
        };
        let both = [seen(300, 100.0), seen(200, 50.0)];
        assert!((rate(&both) - 4.0).abs() < 1e-9);
        assert!((cost(&both) - 0.5).abs() < 1e-9);
        assert!((saved(&both) - 0.25).abs() < 1e-9);
        assert_eq!(both.each_ref().map(Seen::is_pruned), [false, true]);
    }
}
