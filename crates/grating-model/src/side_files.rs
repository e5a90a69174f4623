//! The small files beside a model's weights that say what the model is, and the names it goes by.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::{ModelError, Result};

/// The small files of a model's folder by their path in it, less `config.json`, `tokenizer.json` and `grating.json`;
/// and what the model is called. All of it may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SideFiles {
    files: BTreeMap<String, Vec<u8>>,
    names: Vec<ModelName>,
}

/// A name of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelName {
    /// Who says it, in words for messages: `the folder`, `the hub id`.
    pub stated_by: String,
    /// The name.
    pub name: String,
    /// Whether it was given by the model's author, so that another name is another model. A folder may have any.
    pub by_author: bool,
}

/// Where sentence-transformers lists a model's modules.
pub(crate) const MODULES: &str = "modules.json";
pub(crate) const ADAPTER: &str = "adapter_config.json";

impl SideFiles {
    /// The files that are looked at, where they are there.
    pub const WANTED: [&str; 8] = [
        MODULES,
        "config_sentence_transformers.json",
        "sentence_bert_config.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "chat_template.json",
        "README.md",
        ADAPTER,
    ];

    /// The folder of further chat templates, `NAME.jinja`.
    pub const CHAT_TEMPLATES: &str = "additional_chat_templates";

    /// Files whose being there is enough: a LoRA adapter's weights.
    pub const ADAPTER_WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];

    /// Whether a file of a repository, by its path there, is one that is looked at.
    pub fn is_wanted(path: &str) -> bool {
        match path.split_once('/') {
            None => SideFiles::WANTED.contains(&path),
            Some((SideFiles::CHAT_TEMPLATES, name)) => {
                name.ends_with(".jinja") && !name.contains('/')
            }
            // sentence-transformers numbers its modules' folders: `1_LogitScore/config.json`.
            Some((folder, "config.json")) => folder.starts_with(|c: char| c.is_ascii_digit()),
            Some(_) => false,
        }
    }

    /// Adds a file.
    pub fn insert(&mut self, path: impl Into<String>, content: Vec<u8>) {
        self.files.insert(path.into(), content);
    }

    /// Adds a name.
    pub fn add_name(&mut self, name: ModelName) {
        self.names.push(name);
    }

    /// The content of a file.
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    /// All files by path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(path, content)| (path.as_str(), content.as_slice()))
    }

    /// All names.
    pub fn names(&self) -> &[ModelName] {
        &self.names
    }

    /// The folders of sentence-transformers' modules, which hold a `config.json` each. None where `modules.json` is
    /// absent or no such list: that is told when the model is loaded.
    pub fn module_folders(&self) -> Vec<String> {
        let modules = self.json(MODULES).ok().flatten();
        let paths = modules.iter().flat_map(|modules| modules.as_array().into_iter().flatten());
        let paths = paths.filter_map(|module| module.get("path")?.as_str());
        // A path that leaves the folder is no module of this model.
        let within = |path: &&str| {
            !path.is_empty()
                && !path.starts_with('/')
                && !path.split(['/', '\\']).any(|p| p == "..")
        };
        paths.filter(within).map(|path| path.trim_end_matches('/').to_string()).collect()
    }

    /// A file as JSON, if it is there.
    pub(crate) fn json(&self, path: &str) -> Result<Option<Value>> {
        let Some(bytes) = self.get(path) else { return Ok(None) };
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        serde_json::from_slice(bytes).map(Some).map_err(|error| ModelError::OtherModel {
            file: path.to_string(),
            says: format!("cannot be read: {error}"),
            remedy: "download the file again".into(),
        })
    }

    pub(crate) fn text(&self, path: &str) -> Option<String> {
        self.get(path).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_at_and_what_is_not() {
        for wanted in [
            "README.md",
            "modules.json",
            "1_LogitScore/config.json",
            "additional_chat_templates/reranker.jinja",
        ] {
            assert!(SideFiles::is_wanted(wanted), "{wanted}");
        }
        for other in [
            "config.json",
            "onnx/config.json",
            "onnx/README.md",
            "1_LogitScore/other.json",
            "additional_chat_templates/a/b.jinja",
            "model.safetensors",
        ] {
            assert!(!SideFiles::is_wanted(other), "{other}");
        }
    }

    #[test]
    fn modules_cannot_lie_outside_of_the_folder() {
        let mut files = SideFiles::default();
        let modules =
            r#"[{"path":""},{"path":"1_A"},{"path":"../b"},{"path":"/c"},{"path":"2_D/"},{}]"#;
        files.insert("modules.json", modules.into());
        assert_eq!(files.module_folders(), ["1_A", "2_D"]);
        files.insert("modules.json", b"{".to_vec());
        assert!(files.module_folders().is_empty());
        assert!(files.json("modules.json").unwrap_err().to_string().starts_with("modules.json"));
    }
}
