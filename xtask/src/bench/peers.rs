//! Other systems, measured in the same run: small Python programs that read a job and print scores.
//!
//! Their packages come from PyPI into a virtual environment of the command's own. A system that cannot
//! be had, or cannot do a job, is skipped with the reason.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Bench;
use super::cells::digest;
use super::child;
use super::machine::memory;
use super::measure::ENOUGH_S;
use super::model::Model;
use super::stats::Summary;
use super::workload::Workload;
use crate::process::root;

/// A Python that has the packages already.
const PYTHON: &str = "GRATING_PEERS_PYTHON";
/// Why a peer is skipped whose weights alone are too large.
pub(super) const DOES_NOT_FIT: &str = "it does not fit into memory";
/// A run that takes longer has hung.
const LIMIT: Duration = Duration::from_secs(3 * 3600);
/// Longest candidate with its template, as GRATING's own default for decoders.
const MAX_LENGTH: u64 = 8192;

/// One other system in one way of running.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) name: &'static str,
    script: &'static str,
    variant: &'static str,
    /// What it needs beyond the common packages.
    requirements: Option<&'static str>,
    /// Python modules that tell whether it is there.
    modules: &'static [&'static str],
    /// Bytes a weight takes in memory; `None` where weights are not all in memory.
    weight_bytes: Option<f64>,
}

const TORCH: &[&str] = &["torch", "transformers", "accelerate"];

#[rustfmt::skip]
const PEERS: [Peer; 13] = [
    Peer { name: "transformers, f32", script: "transformers_peer.py", variant: "f32", requirements: None, modules: TORCH, weight_bytes: Some(4.0) },
    Peer { name: "transformers, bf16", script: "transformers_peer.py", variant: "bf16", requirements: None, modules: TORCH, weight_bytes: Some(2.0) },
    Peer { name: "transformers + accelerate, bf16, disk offload", script: "transformers_peer.py", variant: "offload", requirements: None, modules: TORCH, weight_bytes: Some(2.0) },
    Peer { name: "transformers, dynamic int8", script: "transformers_peer.py", variant: "int8", requirements: None, modules: TORCH, weight_bytes: Some(5.0) },
    Peer { name: "sentence-transformers", script: "sentence_transformers_peer.py", variant: "f32", requirements: Some("requirements-sentence-transformers.txt"), modules: &["sentence_transformers"], weight_bytes: Some(4.0) },
    Peer { name: "ONNX Runtime, f32", script: "onnx_peer.py", variant: "f32", requirements: Some("requirements-onnx.txt"), modules: &["onnxruntime", "onnxscript"], weight_bytes: Some(4.0) },
    Peer { name: "ONNX Runtime, dynamic int8", script: "onnx_peer.py", variant: "int8", requirements: Some("requirements-onnx.txt"), modules: &["onnxruntime", "onnxscript"], weight_bytes: Some(4.0) },
    Peer { name: "OpenVINO, f32", script: "openvino_peer.py", variant: "f32", requirements: Some("requirements-openvino.txt"), modules: &["openvino", "nncf"], weight_bytes: Some(4.0) },
    Peer { name: "OpenVINO, int8", script: "openvino_peer.py", variant: "int8", requirements: Some("requirements-openvino.txt"), modules: &["openvino", "nncf"], weight_bytes: Some(4.0) },
    Peer { name: "candding, f32", script: "candding_peer.py", variant: "f32", requirements: Some("requirements-candding.txt"), modules: &["candding"], weight_bytes: Some(4.0) },
    Peer { name: "llama.cpp, bf16", script: "llama_peer.py", variant: "bf16", requirements: Some("requirements-llama.txt"), modules: &["llama_cpp", "gguf"], weight_bytes: Some(2.0) },
    Peer { name: "llama.cpp, q8_0", script: "llama_peer.py", variant: "q8_0", requirements: Some("requirements-llama.txt"), modules: &["llama_cpp", "gguf"], weight_bytes: Some(1.1) },
    Peer { name: "llama.cpp, q4_0", script: "llama_peer.py", variant: "q4_0", requirements: Some("requirements-llama.txt"), modules: &["llama_cpp", "gguf"], weight_bytes: Some(0.6) },
];

/// Whether a row of this name is another system's.
pub(super) fn is_peer(name: &str) -> bool {
    PEERS.iter().any(|peer| peer.name == name)
}

impl Peer {
    /// Whether it makes a file of its own from the checkpoint.
    fn prepares(&self) -> bool {
        matches!(self.script, "onnx_peer.py" | "openvino_peer.py" | "llama_peer.py")
    }
}

/// The environment and what it lacks.
pub(super) struct Peers {
    python: PathBuf,
    /// Those that were asked for.
    chosen: Vec<Peer>,
    /// By requirements file, empty for the common one: why its peers cannot be had.
    missing: BTreeMap<&'static str, String>,
    pub(super) versions: BTreeMap<String, String>,
}

/// One peer's cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PeerMeasured {
    Done(PeerRun),
    Skipped(String),
}

/// Requests in one process, after loading and one batch to warm up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PeerRun {
    load_s: f64,
    /// As they were asked.
    pub(super) requests: Vec<PeerRequest>,
    pub(super) process_s: f64,
    pub(super) peak_rss_bytes: u64,
    pub(super) mean_rss_bytes: Option<u64>,
}

/// What one request took and gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PeerRequest {
    /// One a run.
    seconds: Vec<f64>,
    /// One a candidate; higher is more relevant.
    scores: Vec<f64>,
}

impl PeerRequest {
    pub(super) fn time(&self) -> Option<Summary> {
        Summary::of(self.seconds.iter().copied())
    }

    /// Candidates by falling score, equal ones by number.
    pub(super) fn ranked(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.scores.len()).collect();
        order.sort_by(|&a, &b| self.scores[b].total_cmp(&self.scores[a]).then(a.cmp(&b)));
        order
    }
}

/// What a peer's program prints.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Skip { skip: String },
    Done { load_s: f64, requests: Vec<PeerRequest> },
}

impl Peers {
    /// Takes the Python that the environment names, or makes a virtual environment, for the peers whose
    /// names contain one of `words`, or all.
    pub(super) fn prepare(words: &[String]) -> Result<Self> {
        let chosen = chosen(words)?;
        let (python, own) = match std::env::var_os(PYTHON) {
            Some(python) => (PathBuf::from(python), false),
            None => (environment()?, true),
        };
        let mut missing = BTreeMap::new();
        for (requirements, modules) in groups(&chosen) {
            let found = has(&python, modules);
            let reason = match (found, own) {
                (true, _) => continue,
                (false, false) => Err(anyhow::anyhow!("{PYTHON} lacks {}", modules.join(", "))),
                (false, true) => install(&python, requirements),
            };
            if let Err(reason) = reason {
                eprintln!("bench: peers of {requirements} are skipped: {reason:#}");
                missing.insert(requirements, format!("{reason:#}"));
            }
        }
        let versions = versions(&python);
        Ok(Self { python, chosen, missing, versions })
    }

    pub(super) fn all(&self) -> &[Peer] {
        &self.chosen
    }
}

fn chosen(words: &[String]) -> Result<Vec<Peer>> {
    let wanted = |peer: &&Peer| words.is_empty() || words.iter().any(|w| peer.name.contains(w));
    let chosen: Vec<Peer> = PEERS.iter().filter(wanted).copied().collect();
    let names = PEERS.map(|peer| peer.name).join("; ");
    anyhow::ensure!(!chosen.is_empty(), "no such system; there are: {names}");
    Ok(chosen)
}

/// Requirements files of `peers` with the modules that they bring.
fn groups(peers: &[Peer]) -> Vec<(&'static str, &'static [&'static str])> {
    let mut groups = Vec::new();
    for peer in peers {
        let group = (peer.requirements.unwrap_or("requirements.txt"), peer.modules);
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups
}

fn scripts() -> PathBuf {
    root().join("xtask/peers")
}

/// The Python of a virtual environment under target/.
fn environment() -> Result<PathBuf> {
    let folder = root().join("target/peers-venv");
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if !python.exists() {
        eprintln!("bench: making a virtual environment for the peers in {}", folder.display());
        let mut make = Command::new("python3");
        make.args(["-m", "venv"]).arg(&folder);
        succeed(make).context("peers need Python 3 with its module venv")?;
    }
    Ok(python)
}

fn install(python: &Path, requirements: &str) -> Result<()> {
    eprintln!("bench: installing {requirements}");
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "-r"]).arg(scripts().join(requirements));
    succeed(pip)
}

/// Runs a command whose output does not matter; its last line of complaint is the error.
fn succeed(mut command: Command) -> Result<()> {
    let output = command.output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    let last = complaint.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no message");
    anyhow::ensure!(output.status.success(), "{}", last.trim());
    Ok(())
}

fn has(python: &Path, modules: &[&str]) -> bool {
    let code =
        format!("import importlib.util as u; assert all(u.find_spec(m) for m in {modules:?})");
    let mut check = Command::new(python);
    check.args(["-c", &code]);
    succeed(check).is_ok()
}

/// Versions of the packages that the tables name.
fn versions(python: &Path) -> BTreeMap<String, String> {
    let code = "import json, importlib.metadata as m\nfound = {}\n\
        for p in ['torch', 'transformers', 'accelerate', 'sentence-transformers', 'onnxruntime', 'openvino', 'nncf', 'candding', 'llama-cpp-python']:\n\
        \x20   try: found[p] = m.version(p)\n    except Exception: pass\nprint(json.dumps(found))";
    let output = Command::new(python).args(["-c", code]).output();
    output.ok().and_then(|o| serde_json::from_slice(&o.stdout).ok()).unwrap_or_default()
}

/// Bytes that a peer's weights take, as far as arithmetic tells.
pub(super) fn needed_bytes(peer: &Peer, model: &Model) -> Option<u64> {
    let parameters = model.info["parameters"].as_u64()?;
    Some((parameters as f64 * peer.weight_bytes?) as u64)
}

impl Bench {
    /// Measures one peer on `works`, one after the other in one process, or finds the cell among the finished ones.
    pub(super) fn measure_peer(
        &self,
        peers: &Peers,
        peer: &Peer,
        model: &Model,
        works: &[Workload],
        runs: usize,
    ) -> Result<PeerMeasured> {
        self.progress.set_message(format!("{}: {}", model.name, peer.name));
        let requirements = peer.requirements.unwrap_or("requirements.txt");
        let skipped = |reason: String| Ok(PeerMeasured::Skipped(reason));
        let measured = if let Some(reason) = peers.missing.get(requirements) {
            skipped(reason.clone())
        } else if !fits(peer, model) {
            skipped(DOES_NOT_FIT.into())
        } else if let Some(folder) = &model.folder {
            self.peer_cell(peers, peer, model, folder, works, runs)
        } else {
            skipped("peers read model folders, not hub ids".into())
        };
        self.progress.inc(1);
        measured
    }

    fn peer_cell(
        &self,
        peers: &Peers,
        peer: &Peer,
        model: &Model,
        folder: &Path,
        works: &[Workload],
        runs: usize,
    ) -> Result<PeerMeasured> {
        let script = scripts().join(peer.script);
        let read = |file: &str| fs::read(scripts().join(file));
        let code = [read(peer.script)?, read("common.py")?, read("encoders.py")?].concat();
        let threads = self.args.threads();
        let texts: Vec<&str> = works.iter().map(|work| work.name.as_str()).collect();
        let key = json!({
            "peer": peer.name, "script": digest(&code), "versions": peers.versions,
            "machine": self.machine.shown(), "model": model,
            "planted": model.planted_as(), "texts": texts,
            "runs": runs, "threads": threads,
        });
        self.cells.get_or("peer", key, || {
            let scratch = self.out.join("scratch").join(model.name.replace('/', "-"));
            fs::create_dir_all(&scratch)?;
            let limit = model.info["max_length"].as_u64().unwrap_or(MAX_LENGTH);
            let requests: Vec<_> = works
                .iter()
                .map(|work| json!({"query": work.query, "texts": work.texts}))
                .collect();
            let run = |prepare: bool| {
                let job = json!({
                    "model": folder, "requests": requests, "runs": runs, "enough_s": ENOUGH_S,
                    "max_length": limit, "threads": threads, "variant": peer.variant,
                    "scratch": scratch, "prepare": prepare,
                });
                let mut command = Command::new(&peers.python);
                command.arg(&script);
                child::run(command, job.to_string().as_bytes(), LIMIT)
            };
            if peer.prepares() {
                // What it makes first, an export, say, is no part of what is measured.
                run(true)?;
            }
            let finished = run(false)?;
            if !finished.status.success() {
                let said = finished.stderr.lines().rfind(|line| !line.trim().is_empty());
                let silent = || format!("it ended without a message, {}", finished.status);
                let said = said.map_or_else(silent, |line| line.trim().to_owned());
                return Ok(PeerMeasured::Skipped(said));
            }
            let answer: Answer = serde_json::from_slice(&finished.stdout)
                .with_context(|| format!("{} prints other JSON than expected", peer.script))?;
            Ok(match answer {
                Answer::Skip { skip } => PeerMeasured::Skipped(skip),
                Answer::Done { load_s, requests } => PeerMeasured::Done(PeerRun {
                    load_s,
                    requests,
                    process_s: finished.wall.as_secs_f64(),
                    peak_rss_bytes: finished.peak_rss_bytes,
                    mean_rss_bytes: finished.mean_rss_bytes,
                }),
            })
        })
    }
}

/// Whether a peer's weights leave a tenth of the free memory for everything else.
fn fits(peer: &Peer, model: &Model) -> bool {
    match (needed_bytes(peer, model), memory("MemAvailable:")) {
        (Some(needed), Some(free)) => needed < free / 10 * 9,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_and_requirements_file_is_there() {
        for peer in &PEERS {
            assert!(scripts().join(peer.script).exists(), "{}", peer.script);
        }
        for (requirements, _) in groups(&PEERS) {
            let text = fs::read_to_string(scripts().join(requirements)).unwrap();
            assert!(text.lines().all(|line| line.contains("==")), "{requirements}: pinned");
        }
    }

    #[test]
    fn peers_are_chosen_by_words_of_their_names() {
        let names = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            chosen(&words).map(|peers| peers.iter().map(|peer| peer.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap().len(), PEERS.len());
        let two = names(&["transformers, bf16", "q8_0"]).unwrap();
        assert_eq!(two, ["transformers, bf16", "llama.cpp, q8_0"]);
        assert!(names(&["vllm"]).unwrap_err().to_string().contains("llama.cpp, bf16"));
    }

    #[test]
    fn answers_and_skips_are_told_apart() {
        let skip = serde_json::from_str(r#"{"skip": "no"}"#).unwrap();
        assert!(matches!(skip, Answer::Skip { skip } if skip == "no"));
        let done =
            r#"{"load_s": 1.5, "requests": [{"seconds": [2.0], "scores": [0.5, 2.0, 0.5]}]}"#;
        let Answer::Done { requests, load_s } = serde_json::from_str(done).unwrap() else {
            panic!("it is an answer");
        };
        assert_eq!((requests.len(), load_s), (1, 1.5));
        assert_eq!(requests[0].ranked(), [1, 0, 2]);
        assert_eq!(requests[0].time().unwrap().median, 2.0);
    }
}
