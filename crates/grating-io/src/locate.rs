//! Which files make up the checkpoint that a path means.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{IoError, Result};

/// One GGUF file.
const GGUF: &str = "model.gguf";
/// One file with all tensors; it wins over an index beside it, as in `transformers`.
const SINGLE: &str = "model.safetensors";
/// The list of tensors and shards.
const INDEX: &str = "model.safetensors.index.json";

#[derive(Debug, PartialEq)]
pub(crate) enum Located {
    /// One file, safetensors or GGUF by its content.
    Single(PathBuf),
    /// An index; its shards lie beside it.
    Index(PathBuf),
    /// One GGUF file.
    Gguf(PathBuf),
    /// All parts of a model that was split and has no index, in order.
    Parts(Vec<PathBuf>),
}

/// Decides by names alone; what the files hold is for others to check.
pub(crate) fn locate(path: &Path) -> Result<Located> {
    let metadata = fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => IoError::NotFound { path: path.into() },
        _ => IoError::Open { path: path.into(), reason: Arc::new(source) },
    })?;
    if metadata.is_dir() { locate_in_folder(path) } else { locate_file(path) }
}

fn locate_file(path: &Path) -> Result<Located> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    refuse_foreign(&name, path)?;
    if name.ends_with(".index.json") {
        return Ok(Located::Index(path.into()));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    if PartName::parse(&name).is_some() {
        // One part stands for all of them; an index beside it says more.
        if !is_gguf(&name) && folder.join(INDEX).exists() {
            return Ok(Located::Index(folder.join(INDEX)));
        }
        return parts(folder, &name);
    }
    Ok(one(path.into()))
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
        .map_err(|source| IoError::Open { path: folder.into(), reason: Arc::new(source) })?;
    let candidates = models(&names);
    if let [only] = candidates.as_slice() {
        return match PartName::parse(only) {
            Some(_) => parts(folder, only),
            None => Ok(one(folder.join(only))),
        };
    }
    let candidates = match candidates.is_empty() {
        true => names.iter().filter(|name| has_ending(name)).cloned().collect(),
        false => candidates,
    };
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

/// Files that can be a model each; of one that is in parts, its first part that is there. Sorted.
fn models(names: &[String]) -> Vec<String> {
    let mut models = BTreeMap::new();
    for name in names.iter().filter(|name| is_model_file(name)) {
        let key = match PartName::parse(name) {
            Some(PartName { stem, count, ending, .. }) => format!("{stem}-of-{count}{ending}"),
            None => name.clone(),
        };
        models.entry(key).or_insert_with(|| name.clone());
    }
    let mut models: Vec<String> = models.into_values().collect();
    models.sort_unstable();
    models
}

fn one(path: PathBuf) -> Located {
    match is_gguf(&path.to_string_lossy()) {
        true => Located::Gguf(path),
        false => Located::Single(path),
    }
}

/// All parts of the model that the file of this name is one of.
fn parts(folder: &Path, name: &str) -> Result<Located> {
    let Some(part) = PartName::parse(name) else { return Ok(one(folder.join(name))) };
    let paths: Vec<PathBuf> = (1..=part.count).map(|number| folder.join(part.of(number))).collect();
    if let Some(missing) = paths.iter().position(|path| !path.exists()) {
        let file = folder.join(name).display().to_string();
        let missing = part.of(missing + 1);
        return Err(IoError::MissingPart { file, count: part.count, missing });
    }
    match paths.as_slice() {
        [only] => Ok(one(only.clone())),
        _ => Ok(Located::Parts(paths)),
    }
}

/// `model-00001-of-00003.gguf`: the name that splitting gives a part, of safetensors as of GGUF.
///
/// ```
/// use grating_io::PartName;
///
/// let part = PartName::parse("model-00002-of-00003.gguf").unwrap();
/// assert_eq!((part.stem, part.count), ("model", 3));
/// assert_eq!(part.of(1), "model-00001-of-00003.gguf");
/// assert_eq!(PartName::parse("model.gguf"), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartName<'a> {
    /// What all parts begin with.
    pub stem: &'a str,
    /// Parts in all.
    pub count: usize,
    ending: &'a str,
}

/// More parts than any model has.
const MAX_PARTS: usize = 10_000;

impl<'a> PartName<'a> {
    /// Reads the name of a part; `None` for others.
    pub fn parse(name: &'a str) -> Option<Self> {
        let (rest, ending) = name.split_at(name.rfind('.')?);
        let (rest, count) = rest.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let digits = |text: &str| {
            let all = text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
            all.then(|| text.parse::<usize>().ok()).flatten()
        };
        let (number, count) = (digits(number)?, digits(count)?);
        let valid = (1..=count).contains(&number) && count <= MAX_PARTS && is_model_file(name);
        valid.then_some(PartName { stem, count, ending })
    }

    /// The name of another part, counted from 1.
    pub fn of(&self, number: usize) -> String {
        format!("{}-{number:05}-of-{:05}{}", self.stem, self.count, self.ending)
    }
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

/// Whether a file of this name, or path, can be a model; adapters, projectors and importance matrices come beside one.
pub fn is_model_file(name: &str) -> bool {
    let beside = ["adapter_", "mmproj", "imatrix"];
    let own = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    has_ending(name) && !beside.iter().any(|start| own.starts_with(start))
}

fn has_ending(name: &str) -> bool {
    name.ends_with(".safetensors") || is_gguf(name)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_known_by_their_names() {
        let part = PartName::parse("a-b-00002-of-00003.gguf").unwrap();
        assert_eq!((part.stem, part.count, part.ending), ("a-b", 3, ".gguf"));
        assert_eq!(part.of(1), "a-b-00001-of-00003.gguf");
        for name in [
            "model.gguf",
            "a-00000-of-00003.gguf",
            "a-00004-of-00003.gguf",
            "a-1-of-3.gguf",
            "00001-of-00003.gguf",
            "a-00001-of-00003.txt",
            "a-+0001-of-00003.gguf",
        ] {
            assert_eq!(PartName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn what_comes_beside_a_model_is_none() {
        let names =
            |names: &[&str]| models(&names.iter().map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(
            names(&["mmproj-a.gguf", "adapter_model.safetensors", "a.gguf", "x.json"]),
            ["a.gguf"]
        );
        assert_eq!(
            names(&["a-00001-of-00002.gguf", "a-00002-of-00002.gguf", "b.safetensors"]),
            ["a-00001-of-00002.gguf", "b.safetensors"]
        );
    }
}
