//! What the figures were measured on and with.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::binary::Binary;
use crate::process::{command, stdout_of};

/// Machine and versions, part of every table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Machine {
    /// The day of the first figure, as `2026-11-22`.
    #[serde(default)]
    pub(super) date: String,
    pub(super) processor: String,
    pub(super) threads: usize,
    pub(super) memory_bytes: Option<u64>,
    pub(super) system: String,
    /// The measured source, with `+` where files differ from it.
    pub(super) commit: String,
    pub(super) rustc: String,
    /// SHA-256 of the measured binary, first 64 bits.
    pub(super) binary: String,
    /// Versions of the peers' packages.
    pub(super) peers: BTreeMap<String, String>,
}

impl Machine {
    pub(super) fn of(binary: &Binary) -> Result<Self> {
        Ok(Self {
            date: line("date", &["-u", "+%F"]).unwrap_or_default(),
            processor: processor().unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory("MemTotal:"),
            system: system(),
            commit: commit().unwrap_or_else(|| "unknown".to_owned()),
            rustc: line("rustc", &["--version"]).unwrap_or_else(|| "unknown".to_owned()),
            binary: binary.digest.clone(),
            peers: BTreeMap::new(),
        })
    }

    /// One line for people.
    pub(super) fn shown(&self) -> String {
        let memory = self.memory_bytes.map_or(String::new(), |bytes| {
            format!(", {:.0} GiB", bytes as f64 / f64::from(1 << 30))
        });
        let Self { date, processor, threads, system, .. } = self;
        format!("Measured {date}: {processor}, {threads} threads{memory}, {system}")
    }
}

/// A line of /proc/meminfo, in bytes; Linux only.
pub(super) fn memory(field: &str) -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kibibytes: u64 = info
        .lines()
        .find_map(|l| l.strip_prefix(field))?
        .trim()
        .strip_suffix("kB")?
        .trim()
        .parse()
        .ok()?;
    Some(kibibytes * 1024)
}

fn processor() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn system() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.split(['-', '+']).next().unwrap_or_default().trim().to_owned();
    format!("{} {release}", std::env::consts::OS).trim().to_owned()
}

fn commit() -> Option<String> {
    let commit = line("git", &["rev-parse", "--short=12", "HEAD"])?;
    // Only what the measured binary is made of.
    let changed = line("git", &["status", "--porcelain", "--", "crates", "Cargo.lock"])?;
    Some(if changed.is_empty() { commit } else { format!("{commit}+") })
}

fn line(program: &str, args: &[&str]) -> Option<String> {
    let output = stdout_of(command(program, args)).ok()?;
    Some(String::from_utf8_lossy(&output).trim().to_owned())
}
