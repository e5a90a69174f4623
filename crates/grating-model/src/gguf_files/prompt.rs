//! The prompt that a reranker's GGUF file brings (`tokenizer.chat_template.rerank`), as a `grating.json`.

use serde_json::json;

use super::{GgufFiles, unusable};
use crate::error::Result;
use crate::template::{Template, YesNoTemplate};

const KEY: &str = "tokenizer.chat_template.rerank";
const QUERY: &str = "{query}";
const DOCUMENT: &str = "{document}";

/// `None` where the file has no such prompt.
pub(super) fn write(files: &GgufFiles<'_>) -> Result<Option<Vec<u8>>> {
    let Some(text) = files.text(KEY) else { return Ok(None) };
    let Template::YesNo(known) = Template::qwen3_reranker() else { return Ok(None) };
    // The conversion's copy of Qwen3-Reranker's prompt has its default instruction for good.
    if text == spelled(&known) {
        let YesNoTemplate { prefix, body, suffix, default_instruction, .. } = known;
        let template = json!({"prefix": prefix, "body": body, "suffix": suffix,
            "default_instruction": default_instruction, "yes": "yes", "no": "no"});
        return Ok(Some(json!({ "template": template }).to_string().into_bytes()));
    }
    if ![QUERY, DOCUMENT].iter().all(|place| text.contains(place)) {
        return Err(unusable(KEY, format!("has no {QUERY} with a {DOCUMENT}")));
    }
    let template = json!({"body": text, "yes": "yes", "no": "no"});
    Ok(Some(json!({ "template": template }).to_string().into_bytes()))
}

fn spelled(template: &YesNoTemplate) -> String {
    let body = template.body.to_string().replace("{instruction}", &template.default_instruction);
    [template.prefix.as_str(), &body, &template.suffix].concat()
}
