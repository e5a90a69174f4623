//! The small files of a model's folder that say what the model is, and what the folder's place says.

use std::path::{Path, PathBuf};

use grating_model::{ModelName, SideFiles};

use crate::error::Result;
use crate::{files, regular};

/// What the hub calls a model.
pub(crate) fn hub_name(id: String) -> ModelName {
    ModelName { stated_by: "the hub id".into(), name: id, by_author: true }
}

/// The small files of a model's folder, as far as they are there, and what the folder's name says.
pub(crate) fn read(folder: &Path) -> Result<SideFiles> {
    let mut found = SideFiles::default();
    let add = |found: &mut SideFiles, path: String| -> Result<()> {
        let file = folder.join(&path);
        if regular::exists(&file) && !file.is_dir() {
            found.insert(path, files::read(&file)?);
        }
        Ok(())
    };
    for name in SideFiles::WANTED {
        add(&mut found, name.into())?;
    }
    for module in found.module_folders() {
        add(&mut found, format!("{module}/config.json"))?;
    }
    for name in chat_templates(folder) {
        add(&mut found, format!("{}/{name}", SideFiles::CHAT_TEMPLATES))?;
    }
    for name in SideFiles::ADAPTER_WEIGHTS {
        if regular::exists(&folder.join(name)) {
            found.insert(name, Vec::new());
        }
    }
    for name in folder_names(folder) {
        found.add_name(name);
    }
    Ok(found)
}

/// Names of the further chat templates' files.
fn chat_templates(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join(SideFiles::CHAT_TEMPLATES)).into_iter().flatten();
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".jinja")).collect();
    names.sort();
    names
}

/// The folder's name as given and where links lead to, and the hub id if it lies in the hub's cache.
fn folder_names(folder: &Path) -> Vec<ModelName> {
    let last = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let absolute = folder.canonicalize();
    let mut names = Vec::new();
    for name in [last(folder), absolute.as_deref().ok().and_then(last)].into_iter().flatten() {
        names.push(ModelName { stated_by: "the folder".into(), name, by_author: false });
    }
    names.dedup();
    let cached = absolute.unwrap_or_else(|_| PathBuf::from(folder));
    let id = cached.iter().find_map(|part| part.to_str()?.strip_prefix("models--"));
    if let (Some(id), true) = (id, cached.iter().any(|part| part == "snapshots")) {
        names.push(hub_name(id.replacen("--", "/", 1)));
    }
    names
}
