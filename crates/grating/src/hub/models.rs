//! Models among the files of a repository that go by names of their own: GGUF files of several quantizations, mostly.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use grating_io::{PartName, is_model_file};

use super::HubError;

/// Folders below a repository's own that are looked into.
const MAX_DEPTH: usize = 2;

pub(super) fn is_gguf(file: &str) -> bool {
    file.to_ascii_lowercase().ends_with(".gguf")
}

/// The files of the model that `choice` names, or of the only one: all its parts in order. `None` where there are no
/// models at all.
pub(super) fn choose(
    id: &str,
    files: &BTreeSet<String>,
    choice: Option<&str>,
) -> Result<Option<Vec<String>>, HubError> {
    let all = models(files);
    if all.is_empty() && choice.is_none() {
        return Ok(None);
    }
    let matching: Vec<&Vec<String>> =
        all.iter().filter(|model| choice.is_none_or(|choice| is_named(model, choice))).collect();
    let first = |models: &[&Vec<String>]| models.iter().map(|m| m[0].clone()).collect::<Vec<_>>();
    match matching.as_slice() {
        [only] => Ok(Some((*only).clone())),
        [] => Err(HubError::NoSuchModel {
            id: id.to_string(),
            choice: choice.unwrap_or_default().to_string(),
            found: first(&all.iter().collect::<Vec<_>>()),
        }),
        several => Err(HubError::SeveralModels { id: id.to_string(), files: first(several) }),
    }
}

/// Every model's files. Those in folders count where they are GGUF: others there are parts of something else.
fn models(files: &BTreeSet<String>) -> Vec<Vec<String>> {
    let mut models: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let can_be = |file: &&String| is_model_file(file) && (is_gguf(file) || !file.contains('/'));
    for file in files.iter().filter(can_be) {
        match PartName::parse(file) {
            Some(part) => {
                let all = || (1..=part.count).map(|number| part.of(number)).collect();
                models.entry(part.of(1)).or_insert_with(all);
            }
            None => _ = models.insert(file.clone(), vec![file.clone()]),
        }
    }
    models.into_values().collect()
}

/// Whether `choice` is one of the files, or the quantization at the end of their name or of their folder's.
fn is_named(model: &[String], choice: &str) -> bool {
    let own = |file: &str| file.rsplit('/').next().unwrap_or(file).to_string();
    if model.iter().any(|file| file == choice || own(file) == choice) {
        return true;
    }
    let (folder, name) = model[0].rsplit_once('/').unwrap_or(("", &model[0]));
    let stem = match PartName::parse(name) {
        Some(part) => part.stem,
        None => name.rsplit_once('.').map_or(name, |(stem, _)| stem),
    };
    let ends = |text: &str| {
        let (text, choice) = (text.to_ascii_lowercase(), choice.to_ascii_lowercase());
        text.strip_suffix(&choice)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with(['-', '.', '_']))
    };
    ends(stem) || folder.split('/').any(|part| part.eq_ignore_ascii_case(choice))
}

/// What to write after `owner/name:` for a file.
pub(super) fn tag(file: &str) -> &str {
    let name = file.rsplit('/').next().unwrap_or(file);
    let stem = match PartName::parse(name) {
        Some(part) => part.stem,
        None => name.rsplit_once('.').map_or(name, |(stem, _)| stem),
    };
    stem.rsplit(['-', '.']).next().unwrap_or(stem)
}

/// Paths of a snapshot's files, with `/` between their parts.
pub(super) fn in_folder(folder: &Path) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    collect(folder, "", MAX_DEPTH, &mut files);
    files
}

fn collect(folder: &Path, prefix: &str, depth: usize, files: &mut BTreeSet<String>) {
    // What cannot be listed is not there.
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        if path.is_dir() && depth > 0 {
            collect(&path, &format!("{prefix}{name}/"), depth - 1, files);
        } else if path.exists() {
            files.insert(format!("{prefix}{name}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn one_is_named_by_its_quantization_or_file() {
        let all = files(&[
            "m-F16.gguf",
            "m-Q4_K_M.gguf",
            "m.Q8_0.gguf",
            "Q6_K/m-Q6_K-00001-of-00002.gguf",
            "Q6_K/m-Q6_K-00002-of-00002.gguf",
            "1_Dense/model.safetensors",
        ]);
        let chosen = |choice| choose("a/b", &all, Some(choice)).map(|files| files.unwrap());
        for (choice, file) in [
            ("Q4_K_M", "m-Q4_K_M.gguf"),
            ("q8_0", "m.Q8_0.gguf"),
            ("m-F16.gguf", "m-F16.gguf"),
            ("Q6_K", "Q6_K/m-Q6_K-00001-of-00002.gguf"),
            ("Q6_K/m-Q6_K-00002-of-00002.gguf", "Q6_K/m-Q6_K-00001-of-00002.gguf"),
        ] {
            assert_eq!(chosen(choice).unwrap()[0], file, "{choice}");
        }
        assert_eq!(chosen("Q6_K").unwrap().len(), 2);
        for absent in ["Q5_0", "Q4", "model.safetensors"] {
            assert!(matches!(chosen(absent), Err(HubError::NoSuchModel { .. })), "{absent}");
        }
        let error = choose("a/b", &all, None).unwrap_err().to_string();
        assert!(error.contains("m-Q4_K_M.gguf") && error.contains("a/b:Q6_K"), "{error}");
    }

    #[test]
    fn tags_are_the_ends_of_names() {
        for (file, expected) in
            [("m-Q4_K_M.gguf", "Q4_K_M"), ("x/a.b.Q8_0.gguf", "Q8_0"), ("m.gguf", "m")]
        {
            assert_eq!(tag(file), expected);
            assert!(is_named(&[file.to_string()], expected));
        }
    }
}
