//! Golden checkpoints: where they are, and how they are loaded. The engine's own tests load them by this file, too.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use grating_io::Checkpoint;
use grating_model::{LoadOptions, LoadedModel, SideFiles, TokenizerFiles};

/// Where the golden checkpoints are, if not in the workspace.
static ELSEWHERE: OnceLock<PathBuf> = OnceLock::new();

/// Looks for the golden checkpoints in this folder from now on: on a machine without the workspace. The first call counts.
pub fn look_in(folder: PathBuf) {
    ELSEWHERE.get_or_init(|| folder);
}

/// The folder of a golden checkpoint.
pub fn folder(case: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../grating-model/tests/goldens");
    ELSEWHERE.get().unwrap_or(&here).join(case)
}

/// Folders of the golden checkpoints.
pub fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder(""))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("golden.json").exists())
        .collect();
    cases.sort();
    assert!(cases.len() >= 8, "only {} golden cases", cases.len());
    cases
}

/// Loads a golden checkpoint.
pub fn load(case: &Path, max_tokens: Option<usize>, special: bool) -> (LoadedModel, Checkpoint) {
    load_with(case, LoadOptions::default().max_tokens(max_tokens).special_tokens_in_text(special))
}

/// Loads a golden checkpoint with these options.
pub fn load_with(case: &Path, options: LoadOptions) -> (LoadedModel, Checkpoint) {
    let read = |name: &str| std::fs::read(case.join(name)).ok();
    let checkpoint = Checkpoint::open(case).unwrap();
    let (config, tokenizer) = (read("config.json").unwrap(), read("tokenizer.json").unwrap());
    let beside = TokenizerFiles::BESIDE.map(|name| (name, read(name)));
    let get = |name: &str| beside.iter().find(|(n, _)| *n == name)?.1.as_deref();
    let loaded = LoadedModel::load(
        &config,
        TokenizerFiles::of(&tokenizer, get),
        read("grating.json").as_deref(),
        &SideFiles::default(),
        &checkpoint,
        options,
    )
    .unwrap_or_else(|error| panic!("{}: {error}", case.display()));
    (loaded, checkpoint)
}
