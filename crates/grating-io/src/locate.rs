//! Which files make up the checkpoint that a path means.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{IoError, Result};

/// One GGUF file; a folder with exactly one of another name is as good.
const GGUF: &str = "model.gguf";
/// One file with all tensors; it wins over an index beside it, as in `transformers`.
const SINGLE: &str = "model.safetensors";
/// The list of tensors and shards.
const INDEX: &str = "model.safetensors.index.json";

#[derive(Debug, PartialEq)]
pub(crate) enum Located {
    /// One safetensors file.
    Single(PathBuf),
    /// An index; its shards lie beside it.
    Index(PathBuf),
    /// One GGUF file.
    Gguf(PathBuf),
}

/// Decides by names alone; what the files hold is for others to check.
pub(crate) fn locate(path: &Path) -> Result<Located> {
    let metadata = fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => IoError::NotFound { path: path.into() },
        _ => IoError::Open { path: path.into(), source: Arc::new(source) },
    })?;
    if metadata.is_dir() { locate_in_folder(path) } else { locate_file(path) }
}

fn locate_file(path: &Path) -> Result<Located> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    refuse_foreign(&name, path)?;
    Ok(match () {
        () if name.ends_with(".index.json") => Located::Index(path.into()),
        () if is_gguf(&name) => Located::Gguf(path.into()),
        () => Located::Single(path.into()),
    })
}

fn locate_in_folder(folder: &Path) -> Result<Located> {
    // Links count even when their target is gone: opening them gives the better message.
    let holds = |name: &str| folder.join(name).symlink_metadata().is_ok();
    if holds(SINGLE) {
        return Ok(Located::Single(folder.join(SINGLE)));
    }
    if holds(INDEX) {
        return Ok(Located::Index(folder.join(INDEX)));
    }
    if holds(GGUF) {
        return Ok(Located::Gguf(folder.join(GGUF)));
    }
    let names = list(folder)
        .map_err(|source| IoError::Open { path: folder.into(), source: Arc::new(source) })?;
    let candidates: Vec<_> =
        names.iter().filter(|n| n.ends_with(".safetensors") || is_gguf(n)).cloned().collect();
    if let [only] = candidates.as_slice()
        && is_gguf(only)
    {
        return Ok(Located::Gguf(folder.join(only)));
    }
    if candidates.is_empty() {
        for name in names.iter().filter(|name| may_be_weights(name)) {
            refuse_foreign(name, &folder.join(name))?;
        }
    }
    Err(IoError::NoCheckpoint {
        folder: folder.into(),
        looked_for: vec![SINGLE, INDEX, GGUF],
        candidates,
    })
}

fn list(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

fn is_gguf(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".gguf")
}

/// Whether the file is not one of those that training leaves behind under the endings of weights.
fn may_be_weights(name: &str) -> bool {
    let leftovers = ["training_args", "optimizer", "scheduler", "scaler", "rng_state"];
    !leftovers.iter().any(|start| name.starts_with(start))
}

/// Weights of other formats, by the names that their own tools give them.
fn refuse_foreign(name: &str, path: &Path) -> Result<()> {
    let name = name.to_ascii_lowercase();
    let file = path.display().to_string();
    // Not every .bin is a pickle, but each that lies where weights were asked for is.
    let pickles = [".bin", ".bin.index.json", ".pt", ".pth", ".ckpt", ".pkl"];
    match pickles.iter().any(|ending| name.ends_with(ending)) {
        true => Err(IoError::Pickle { file }),
        false => Ok(()),
    }
}
