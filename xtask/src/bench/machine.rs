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
    /// The day of the last figure where it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_date: Option<String>,
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
            last_date: None,
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

    /// Whether both are one machine, on whatever days.
    pub(super) fn is_that_of(&self, other: &Self) -> bool {
        let known = |machine: &Self| {
            let Self { processor, threads, memory_bytes, system, .. } = machine.clone();
            (processor, threads, memory_bytes, system)
        };
        known(self) == known(other)
    }

    /// Takes up what another run measured: its days, its peers and, where that is another one, its binary.
    pub(super) fn join(&mut self, other: Self) {
        if self.binary != other.binary {
            for (own, others) in
                [(&mut self.commit, &other.commit), (&mut self.binary, &other.binary)]
            {
                own.push_str(" and ");
                own.push_str(others);
            }
        }
        let days = |machine: &Self| {
            let last = machine.last_date.clone().unwrap_or_else(|| machine.date.clone());
            (machine.date.clone(), last)
        };
        let ((first, last), (others_first, others_last)) = (days(self), days(&other));
        self.date = first.min(others_first);
        // Written as they are, days have the order of their words.
        self.last_date = Some(last.max(others_last)).filter(|last| *last != self.date);
        self.peers.extend(other.peers);
    }

    /// One line for people.
    pub(super) fn shown(&self) -> String {
        let memory = self.memory_bytes.map_or(String::new(), |bytes| {
            format!(", {:.0} GiB", bytes as f64 / f64::from(1 << 30))
        });
        let until = self.last_date.as_ref().map_or(String::new(), |last| format!(" to {last}"));
        let Self { date, processor, threads, system, .. } = self;
        format!("Measured {date}{until}: {processor}, {threads} threads{memory}, {system}")
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
