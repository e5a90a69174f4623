//! Pools and models that the benches share.
//!
//! The model is the project's default one, which has the shape of ms-marco-MiniLM-L-6 (6 layers, hidden 384): weights
//! do not change time or memory, shapes do.

use std::path::{Path, PathBuf};

use grating_io::Checkpoint;
use grating_model::{LoadOptions, LoadedModel, SideFiles};

/// Folder of the default model.
pub fn default_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/default")
}

/// The default model, opened.
///
/// # Panics
/// If the repository's own model is not in order.
pub fn load_default() -> (LoadedModel, Checkpoint) {
    let folder = default_model();
    let read = |name: &str| {
        std::fs::read(folder.join(name)).expect("the repository holds the default model")
    };
    let checkpoint = Checkpoint::open(&folder).expect("the default model's weights are in order");
    let (config, tokenizer) = (read("config.json"), read("tokenizer.json"));
    let (files, options) = (SideFiles::default(), LoadOptions::default());
    let loaded =
        LoadedModel::load(&config, tokenizer.as_slice(), None, &files, &checkpoint, options);
    (loaded.expect("the default model is in order"), checkpoint)
}

/// `n` texts of about `words` common words each (about one token a word), all different.
pub fn pool(n: usize, words: usize) -> Vec<String> {
    const WORDS: [&str; 16] = [
        "water", "light", "engine", "market", "river", "paper", "music", "school", "winter",
        "bridge", "garden", "doctor", "island", "window", "number", "forest",
    ];
    let text = |i: usize| {
        // A small multiplicative walk: deterministic, and no two texts alike.
        let word = |j: usize| WORDS[(i * 7 + j * (i % 11 + 3)) % WORDS.len()];
        let words: Vec<&str> = (0..words).map(word).collect();
        format!("{} {i}", words.join(" "))
    };
    (0..n).map(text).collect()
}
