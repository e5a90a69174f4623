//! Whether the names that a model goes by say that it is its family's published reranker, or made from it.

use grating_io::{Checkpoint, GgufValue};
use serde_json::Value;

use crate::families::Known;
use crate::side_files::{ModelName, SideFiles};

/// What the names say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// This one names the reranker that was asked for.
    Known(ModelName),
    /// The author named the model, and by another name.
    Otherwise(ModelName),
    /// Nobody named it, but for a folder that may have any name.
    Nothing,
}

/// All names: those the caller knows, the model card's, `config.json`'s and the GGUF file's.
pub(super) fn named(
    known: Option<Known>,
    files: &SideFiles,
    config: &Value,
    checkpoint: &Checkpoint,
) -> Named {
    let mut names = files.names().to_vec();
    names.extend(card_names(&files.text("README.md").unwrap_or_default()));
    if files.get("README.md").is_some() {
        // A card that names no base model is still one of another model.
        let (stated_by, name) = ("README.md's model".into(), "(unnamed)".into());
        names.push(ModelName { stated_by, name, by_author: true });
    }
    if let Some(name) = config.get("_name_or_path").and_then(Value::as_str) {
        // Often a folder of the training machine.
        let stated_by = "config.json's `_name_or_path`".into();
        names.push(ModelName { stated_by, name: name.into(), by_author: false });
    }
    names.extend(gguf_names(checkpoint));
    let file = checkpoint.name().rsplit(['/', '\\']).next().unwrap_or_default();
    let stated_by = "the file of the weights".into();
    names.push(ModelName { stated_by, name: file.into(), by_author: false });
    let is_known = |name: &&ModelName| known.is_some_and(|known| known.is_named(&name.name));
    if let Some(name) = names.iter().find(is_known) {
        return Named::Known(name.clone());
    }
    let by_author = names.into_iter().find(|name| name.by_author);
    by_author.map_or(Named::Nothing, Named::Otherwise)
}

/// The base models of a model card's front matter, and its title.
fn card_names(card: &str) -> Vec<ModelName> {
    let name = |stated_by: &str, name: &str| ModelName {
        stated_by: stated_by.into(),
        name: name.trim().trim_matches(['"', '\'']).into(),
        by_author: true,
    };
    let mut names = Vec::new();
    let mut lines = card.lines().peekable();
    if lines.next_if(|line| line.trim_end() == "---").is_some() {
        let mut in_list = false;
        for line in lines.by_ref().take_while(|line| line.trim_end() != "---") {
            if let Some(value) = line.strip_prefix("base_model:") {
                in_list = true;
                let inline = value.trim().trim_start_matches('[').trim_end_matches(']');
                let inline = inline.split(',').filter(|v| !v.trim().is_empty());
                names.extend(inline.map(|value| name("README.md's `base_model`", value)));
            } else if let Some(value) = line.trim_start().strip_prefix("- ").filter(|_| in_list) {
                names.push(name("README.md's `base_model`", value));
            } else {
                in_list = false;
            }
        }
    }
    let title = lines.find_map(|line| line.strip_prefix("# "));
    names.extend(title.map(|title| name("the title of README.md", title)));
    names
}

fn gguf_names(checkpoint: &Checkpoint) -> Vec<ModelName> {
    let text = |key: &str| match checkpoint.metadata().get(key) {
        Some(GgufValue::Text(text)) => Some(text.clone()),
        _ => None,
    };
    // Files of our own making carry what the model was called when it was quantized.
    let by_author = text("general.architecture").as_deref() != Some("grating");
    ["general.name", "general.basename", "general.base_model.0.name"]
        .into_iter()
        .filter_map(|key| {
            let stated_by = format!("the GGUF file's `{key}`");
            text(key).map(|name| ModelName { stated_by, name, by_author })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_reranker_and_of_others() {
        let qwen3 = Known {
            template: "qwen3-reranker",
            title: "Qwen3-Reranker",
            unnamed: crate::families::Unnamed::Assumed,
        };
        let is_qwen3_reranker = |name: &str| qwen3.is_named(name);
        for name in
            ["Qwen/Qwen3-Reranker-0.6B", "qwen3_reranker_8b-q8_0", "my-Qwen3-Reranker-4B-seq-cls"]
        {
            assert!(is_qwen3_reranker(name), "{name}");
        }
        for name in ["Qwen/Qwen3-0.6B", "Qwen3-VL-Reranker-2B", "zerank-2", "Qwen3-Embedding-0.6B"]
        {
            assert!(!is_qwen3_reranker(name), "{name}");
        }
    }

    #[test]
    fn a_model_card_names_its_base_and_itself() {
        let names = |card: &str| card_names(card).into_iter().map(|n| n.name).collect::<Vec<_>>();
        assert_eq!(
            names(
                "---\nlicense: x\nbase_model: Qwen/Qwen3-0.6B-Base\ntags:\n- a\n---\n\n# Qwen3-Reranker-0.6B\ntext"
            ),
            ["Qwen/Qwen3-0.6B-Base", "Qwen3-Reranker-0.6B"]
        );
        assert_eq!(names("---\nbase_model:\n- \"a/b\"\n  - c/d\nx: y\n- e\n---\n"), ["a/b", "c/d"]);
        assert_eq!(names("---\nbase_model: [a/b, c/d]\n---\n## No title\n"), ["a/b", "c/d"]);
        assert_eq!(names("compared with Qwen3-Reranker-0.6B"), Vec::<String>::new());
        assert_eq!(names(""), Vec::<String>::new());
    }
}
