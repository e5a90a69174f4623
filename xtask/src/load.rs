//! `cargo xtask load`: requests from many connections of this machine, bounded in number and time.
//!
//! Each connection sends the next request when it has its answer. Another server of the same shape can be measured
//! with the same requests (`--url`).

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::clients::Serving;
use crate::process::root;
use crate::random::Random;

#[derive(clap::Args)]
pub(crate) struct LoadArgs {
    /// Connections at one time, one run for each number
    #[arg(long, value_delimiter = ',', default_value = "1,8,64,256")]
    connections: Vec<usize>,
    /// How long each run takes, seconds, at most 600
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Texts of each request
    #[arg(long, default_value_t = 20)]
    texts: usize,
    /// Words of each text
    #[arg(long, default_value_t = 60)]
    words: usize,
    /// Options of `grating serve`, after `--`; its binary is target/release/grating
    #[arg(last = true)]
    serve: Vec<String>,
    /// A server that is there already, `http://127.0.0.1:PORT`, instead of one of ours
    #[arg(long, value_name = "URL", conflicts_with = "serve")]
    url: Option<String>,
    /// Its process, whose memory is reported
    #[arg(long, value_name = "PID", requires = "url")]
    pid: Option<u32>,
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    /// Of answers with scores: from the first byte sent to the last one received, and what the server says of it.
    took: Vec<(Duration, Option<f64>)>,
    refused: usize,
    failed: usize,
}

pub(crate) fn run(args: &LoadArgs) -> Result<()> {
    let serving = match &args.url {
        Some(_) => None,
        None => {
            let options: Vec<&str> = args.serve.iter().map(String::as_str).collect();
            Some(Serving::start(&root().join("target/release/grating"), &options)?)
        }
    };
    let url = serving.as_ref().map(|serving| serving.url.clone()).or(args.url.clone());
    let address = url.context("no server")?.trim_start_matches("http://").to_string();
    ensure!(address.starts_with("127.0.0.1:"), "load goes to servers of this machine only");
    let pid = serving.as_ref().map(Serving::pid).or(args.pid);
    let bodies: Vec<Vec<u8>> = (0..32).map(|n| body(n, args)).collect();
    // What the first request opens is not measured.
    one_run(&address, 1, Duration::from_millis(500), &bodies)?;
    println!("connections  req/s    p50 ms   p99 ms   beside ms  429     failed  peak MiB");
    for &connections in &args.connections {
        let seen = one_run(&address, connections, Duration::from_secs(args.seconds), &bodies)?;
        report(connections, args.seconds, seen, pid.and_then(peak));
    }
    serving.map_or(Ok(()), Serving::stop)
}

/// A request of words that are drawn, always the same.
fn body(seed: u64, args: &LoadArgs) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut words = |count: usize| {
        let word = |_| WORDS[random.below(WORDS.len())];
        (0..count).map(word).collect::<Vec<_>>().join(" ")
    };
    let texts: Vec<String> = (0..args.texts).map(|_| words(args.words)).collect();
    json!({ "query": words(8), "documents": texts }).to_string().into_bytes()
}

const WORDS: [&str; 16] = [
    "river", "window", "glass", "capital", "of", "the", "a", "banana", "mountain", "is", "old",
    "city", "music", "and", "water", "stone",
];

fn one_run(address: &str, connections: usize, time: Duration, bodies: &[Vec<u8>]) -> Result<Seen> {
    let until = Instant::now() + time;
    let each: Vec<Result<Seen>> = std::thread::scope(|scope| {
        let ask = |n: usize| move || connection(address, until, bodies, n);
        let threads: Vec<_> = (0..connections).map(|n| scope.spawn(ask(n))).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|seen| seen.unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked"))))
            .collect()
    });
    each.into_iter().try_fold(Seen::default(), |mut all, seen| {
        let seen = seen?;
        all.took.extend(seen.took);
        (all.refused, all.failed) = (all.refused + seen.refused, all.failed + seen.failed);
        Ok(all)
    })
}

fn connection(address: &str, until: Instant, bodies: &[Vec<u8>], first: usize) -> Result<Seen> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut seen, mut next) = (Seen::default(), first);
    while Instant::now() < until {
        let body = &bodies[next % bodies.len()];
        next += 1;
        let began = Instant::now();
        (&stream).write_all(&[head(body).as_bytes(), body].concat())?;
        let (status, retry_after, answer) = answer(&mut reader)?;
        let took = began.elapsed();
        match status {
            200 => seen.took.push((took, total_ms(&answer))),
            429 => {
                seen.refused += 1;
                // At most a second, less than most are asked to wait, so that the queue stays full.
                std::thread::sleep(Duration::from_secs(retry_after.unwrap_or(1).min(1)));
            }
            _ => seen.failed += 1,
        }
    }
    Ok(seen)
}

/// Of a request whose body this is, on a connection that stays.
pub(crate) fn head(body: &[u8]) -> String {
    let length = body.len();
    format!(
        "POST /rerank HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// Status, `Retry-After` in seconds where there is one, and body.
pub(crate) fn answer(reader: &mut impl BufRead) -> Result<(u16, Option<u64>, Vec<u8>)> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let (mut length, mut retry_after) = (0, None);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse()?;
        } else if name.eq_ignore_ascii_case("retry-after") {
            retry_after = value.trim().parse().ok();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((status.context("no status")?, retry_after, body))
}

/// What our server says that the library took.
fn total_ms(answer: &[u8]) -> Option<f64> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    answer["grating"]["stats"]["total_ms"].as_f64()
}

fn report(connections: usize, seconds: u64, seen: Seen, peak: Option<f64>) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let mut took: Vec<f64> = seen.took.iter().map(|(took, _)| ms(*took)).collect();
    let beside = seen.took.iter().filter_map(|(took, total)| Some(ms(*took) - (*total)?));
    let mut beside: Vec<f64> = beside.collect();
    let rate = took.len() as f64 / seconds as f64;
    let (p50, p99) = (quantile(&mut took, 0.5), quantile(&mut took, 0.99));
    println!(
        "{connections:<11}  {rate:<7.2}  {p50:<7.1}  {p99:<7.1}  {:<9.2}  {:<6}  {:<6}  {:.1}",
        quantile(&mut beside, 0.5),
        seen.refused,
        seen.failed,
        peak.unwrap_or(f64::NAN)
    );
}

pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let place = (share * values.len() as f64).ceil() as usize;
    values.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// Largest resident set of a process so far, MiB.
fn peak(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/status"))).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? / 1024.0)
}
