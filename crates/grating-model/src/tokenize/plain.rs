//! The two tokenizers of one `tokenizer.json`.

use serde_json::Value;
use tokenizers::Tokenizer;

use super::TokenizeError;

/// The file as it is, less its truncation and padding.
pub(super) fn read(json: &[u8]) -> Result<Tokenizer, TokenizeError> {
    let mut tokenizer = Tokenizer::from_bytes(json).map_err(|e| fail(e.to_string()))?;
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|e| fail(e.to_string()))?;
    Ok(tokenizer)
}

/// The file without its added tokens. Entries of the model's own vocabulary that carry the name of an added token
/// get a name that no text has, so that Unigram cannot find them either; ids and scores stay.
pub(super) fn without_added_tokens(json: &[u8]) -> Result<Tokenizer, TokenizeError> {
    let mut file: Value = serde_json::from_slice(json).map_err(|e| fail(e.to_string()))?;
    let added = file.get_mut("added_tokens").map(Value::take);
    let names: Vec<String> = added
        .as_ref()
        .and_then(Value::as_array)
        .map(|tokens| {
            tokens.iter().filter_map(|t| Some(t.get("content")?.as_str()?.to_string())).collect()
        })
        .unwrap_or_default();
    if let Some(added) = file.get_mut("added_tokens") {
        *added = Value::Array(Vec::new());
    }
    let model = file.get_mut("model").ok_or_else(|| fail("it has no `model`".into()))?;
    hide(model, &names);
    read(file.to_string().as_bytes())
}

/// The noncharacter U+FFFF does not occur in valid interchange text.
fn hidden(name: &str) -> String {
    format!("\u{ffff}{name}\u{ffff}")
}

fn hide(model: &mut Value, names: &[String]) {
    // The unknown token is found by its name (WordPiece, BPE) or its place (Unigram); it must keep the former.
    let unknown = model.get("unk_token").and_then(Value::as_str).map(str::to_string);
    let unknown_id = model.get("unk_id").and_then(Value::as_u64);
    match model.get_mut("vocab") {
        Some(Value::Object(vocab)) => {
            for name in names.iter().filter(|name| Some(*name) != unknown.as_ref()) {
                if let Some(id) = vocab.remove(name) {
                    vocab.insert(hidden(name), id);
                }
            }
        }
        Some(Value::Array(vocab)) => {
            for (id, entry) in vocab.iter_mut().enumerate() {
                let name = entry.get_mut(0);
                if let Some(Value::String(name)) = name
                    && names.contains(name)
                    && Some(id as u64) != unknown_id
                {
                    *name = hidden(name);
                }
            }
        }
        _ => {}
    }
}

fn fail(reason: String) -> TokenizeError {
    TokenizeError::TokenizerJson { reason }
}
