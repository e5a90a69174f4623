//! sentencepiece's BPE (Llama 2, Mistral): scores are the order in which neighbours merge, and bytes stand for what
//! the vocabulary lacks.
//!
//! `tokenizer.json` lists merges instead. They are made from the scores as transformers makes them
//! (`generate_merges` in `convert_slow_tokenizer.py`): every way to cut a piece into two others, by falling score, then
//! by falling lengths of the parts.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;

use serde_json::{Value, json};

use super::tokens::{Kind, SCORES, Tokens, quoted, tokenizer_json, write_vocabulary};
use super::{GgufFiles, unusable};
use crate::error::Result;

/// A piece and the byte at which it is cut.
struct Merge {
    id: u32,
    at: usize,
    score: f64,
    /// Characters of both parts.
    lengths: (usize, usize),
}

pub(super) fn write(files: &GgufFiles<'_>, tokens: &Tokens) -> Result<Vec<u8>> {
    let scores = files
        .numbers(SCORES)?
        .ok_or_else(|| unusable(SCORES, "is missing, which pieces merge by".to_string()))?;
    if scores.len() != tokens.texts.len() {
        let problem = format!("has {} entries for {} tokens", scores.len(), tokens.texts.len());
        return Err(unusable(SCORES, problem));
    }
    let unknown = tokens.kinds.iter().position(|kind| *kind == Kind::Unknown);
    let unknown = match unknown {
        Some(id) => Some(id as u32),
        None => tokens.id(files, "unknown")?,
    };
    let unknown = unknown.map_or(Value::Null, |id| tokens.texts[id as usize].as_str().into());
    let bytes = tokens.kinds.contains(&Kind::Byte);
    let mut model = format!(
        r#"{{"type":"BPE","dropout":null,"unk_token":{unknown},"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":true,"byte_fallback":{bytes},"ignore_merges":false,"vocab":{{"#
    );
    let in_use = tokens.iter().filter(|(.., kind)| *kind != Kind::Unused);
    write_vocabulary(in_use.map(|(id, text, _)| (id, Cow::from(text))), &mut model);
    model.push_str(r#"},"merges":["#);
    for (number, Merge { id, at, .. }) in merges(tokens, &scores).into_iter().enumerate() {
        let (left, right) = tokens.texts[id as usize].split_at(at);
        let comma = if number > 0 { "," } else { "" };
        model.push_str(&format!("{comma}[{},{}]", quoted(left), quoted(right)));
    }
    model.push_str("]}");
    let added = tokens.added(|_, text| text.to_string());
    let space = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
    let prefix = json!({"type": "Prepend", "prepend": "\u{2581}"});
    let normalizer = match files.flag("tokenizer.ggml.add_space_prefix") {
        Some(false) => space,
        _ => json!({"type": "Sequence", "normalizers": [prefix, space]}),
    };
    Ok(tokenizer_json(&added, &normalizer, &Value::Null, &Value::Null, &model))
}

/// All merges, the first to be made first.
fn merges(tokens: &Tokens, scores: &[f64]) -> Vec<Merge> {
    let pieces: HashMap<&str, u32> = tokens
        .iter()
        .filter(|(.., kind)| *kind == Kind::Normal)
        .map(|(id, text, _)| (text, id))
        .collect();
    let mut merges = Vec::new();
    for (id, text, _) in tokens.iter().filter(|(.., kind)| *kind == Kind::Normal) {
        let length = text.chars().count();
        let cut = |(before, (at, _)): (usize, (usize, char))| {
            let parts = text.split_at(at);
            let ids = (*pieces.get(parts.0)?, *pieces.get(parts.1)?);
            let lengths = (before, length - before);
            Some((ids, Merge { id, at, score: scores[id as usize], lengths }))
        };
        let mut cuts: Vec<_> = text.char_indices().enumerate().skip(1).filter_map(cut).collect();
        cuts.sort_by_key(|(ids, _)| *ids);
        merges.extend(cuts.into_iter().map(|(_, merge)| merge));
    }
    // Stable, as Python's sort: equal ones stay in the order of ids.
    merges.sort_by(|a, b| {
        b.score.total_cmp(&a.score).then_with(|| Reverse(a.lengths).cmp(&Reverse(b.lengths)))
    });
    merges
}
