//! XLM-RoBERTa's vocabulary: sentencepiece's unigram pieces with their scores, and its table of normalization.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::tokens::{Kind, SCORES, Tokens, added_token, pair_processor, quoted, tokenizer_json};
use super::{GgufFiles, unusable};
use crate::error::Result;

const CHARSMAP: &str = "tokenizer.ggml.precompiled_charsmap";
const MASK: &str = "<mask>";

pub(super) fn write(files: &GgufFiles<'_>, mut tokens: Tokens) -> Result<Vec<u8>> {
    let mut scores = files
        .numbers(SCORES)?
        .ok_or_else(|| unusable(SCORES, "is missing, which pieces are chosen by".to_string()))?;
    if scores.len() != tokens.texts.len() {
        let problem = format!("has {} entries for {} tokens", scores.len(), tokens.texts.len());
        return Err(unusable(SCORES, problem));
    }
    if scores.iter().any(|score| !score.is_finite()) {
        return Err(unusable(SCORES, "holds NaN or an infinity".to_string()));
    }
    let mask = restore_mask(files, &mut tokens, &mut scores)?;
    drop_padding(&mut tokens, &mut scores);
    let unknown = match tokens.kinds.iter().position(|kind| *kind == Kind::Unknown) {
        Some(id) => id as u32,
        None => tokens.id(files, "unknown")?.ok_or_else(|| {
            let problem = "is missing, and no token is of that kind".to_string();
            unusable("tokenizer.ggml.unknown_token_id", problem)
        })?,
    };
    let special = |name: &str, text: &str| -> Result<u32> {
        match tokens.id(files, name)? {
            Some(id) if tokens.texts[id as usize] == text => Ok(id),
            _ => tokens.texts.iter().position(|t| t == text).map(|id| id as u32).ok_or_else(|| {
                let problem = format!("does not name {text}, and there is no such token");
                unusable(&format!("tokenizer.ggml.{name}_token_id"), problem)
            }),
        }
    };
    let (start, end) = (special("bos", "<s>")?, special("eos", "</s>")?);
    let bytes = tokens.kinds.contains(&Kind::Byte);
    let mut model =
        format!(r#"{{"type":"Unigram","unk_id":{unknown},"byte_fallback":{bytes},"vocab":["#);
    for (number, (text, score)) in tokens.texts.iter().zip(&scores).enumerate() {
        let comma = if number > 0 { "," } else { "" };
        model.push_str(&format!("{comma}[{},{}]", quoted(text), Value::from(*score)));
    }
    model.push_str("]}");
    let mut added = tokens.added(|_, text| text.to_string());
    if let Some(mask) = mask {
        added.retain(|token| token["id"] != mask);
        added.push(added_token(mask, MASK, true, false, true));
    }
    let post = pair_processor(("<s>", start), ("</s>", end), 2, false);
    Ok(tokenizer_json(&added, &normalizer(files)?, &pre_tokenizer(files), &post, &model))
}

/// sentencepiece's table, and runs of spaces as one: `tokenizer.ggml.remove_extra_whitespaces` is not asked, which
/// conversions from `tokenizer.json` fill with another setting. Without a table texts stay as they are.
fn normalizer(files: &GgufFiles<'_>) -> Result<Value> {
    let spaces = json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "});
    let Some(table) = files.numbers(CHARSMAP)? else { return Ok(spaces) };
    let bytes: Option<Vec<u8>> = table.iter().map(|number| byte(*number)).collect();
    let bytes = bytes.ok_or_else(|| unusable(CHARSMAP, "holds what is no byte".to_string()))?;
    check_table(&bytes)?;
    let table = json!({"type": "Precompiled", "precompiled_charsmap": STANDARD.encode(bytes)});
    Ok(json!({"type": "Sequence", "normalizers": [table, spaces]}))
}

/// Conversions write bytes as i8 or as u8.
fn byte(number: f64) -> Option<u8> {
    let whole = number as i64;
    ((-128..=255).contains(&whole) && whole as f64 == number).then_some(whole as u8)
}

/// A length, a trie of as many bytes, and texts.
fn check_table(bytes: &[u8]) -> Result<()> {
    let length = bytes.first_chunk().map_or(0, |length| u32::from_le_bytes(*length) as usize);
    let units = bytes.len().saturating_sub(4);
    match length >= 4 && length % 4 == 0 && length <= units {
        true => Ok(()),
        false => {
            Err(unusable(CHARSMAP, format!("is no table: {units} bytes for a trie of {length}")))
        }
    }
}

fn pre_tokenizer(files: &GgufFiles<'_>) -> Value {
    let scheme = match files.flag("tokenizer.ggml.add_space_prefix") {
        Some(false) => "never",
        _ => "always",
    };
    let words = json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme,
        "split": true});
    json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, words]})
}

/// A conversion from `sentencepiece.bpe.model` lacks the token `<mask>`, which is at the end of the table.
fn restore_mask(
    files: &GgufFiles<'_>,
    tokens: &mut Tokens,
    scores: &mut [f64],
) -> Result<Option<u32>> {
    let Some(id) = tokens.id(files, "mask")? else { return Ok(None) };
    let at = id as usize;
    if tokens.kinds[at] == Kind::Unused {
        tokens.texts[at] = MASK.to_string();
        tokens.kinds[at] = Kind::Control;
        scores[at] = 0.0;
    }
    Ok((tokens.texts[at] == MASK).then_some(id))
}

/// Rows of the embedding table without a token: those at the end go, others must not be found nor lower the worst score.
fn drop_padding(tokens: &mut Tokens, scores: &mut Vec<f64>) {
    let used = tokens.kinds.iter().rposition(|kind| *kind != Kind::Unused).map_or(0, |at| at + 1);
    tokens.texts.truncate(used);
    tokens.kinds.truncate(used);
    scores.truncate(used);
    let worst = scores
        .iter()
        .zip(&tokens.kinds)
        .filter(|(_, kind)| **kind != Kind::Unused)
        .map(|(score, _)| *score)
        .fold(0.0, f64::min);
    for (score, kind) in scores.iter_mut().zip(&tokens.kinds) {
        if *kind == Kind::Unused {
            *score = worst;
        }
    }
}
