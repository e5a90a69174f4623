//! The facade through its public interface, on the small golden checkpoints of `grating-model`.
#![allow(clippy::unwrap_used)] // a failed test should panic

mod all_scores;
// Rotary angles are the system's sines and cosines: other systems may round them otherwise.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod bits;
mod broken_models;
mod calibration;
mod compression;
mod engine;
mod errors;
mod faults;
mod golden;
mod identity;
mod learning;
mod llama_cpp;
mod long_edges;
mod long_texts;
#[cfg(feature = "default-model")]
mod monitor;
mod named_files;
mod quantize;
mod queue;
mod requests;
#[cfg(feature = "default-model")]
mod shipped_profile;
mod tokenizer_files;

use std::path::{Path, PathBuf};

/// A golden checkpoint's folder.
fn golden(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../grating-model/tests/goldens").join(case)
}

/// Every golden checkpoint.
fn goldens() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(golden("")).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> =
        entries.filter(|path| path.join("golden.json").exists()).collect();
    cases.sort();
    assert!(cases.len() >= 8);
    cases
}

/// A copy of a golden checkpoint that a test may damage.
fn copy_of(case: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(case).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    folder
}
