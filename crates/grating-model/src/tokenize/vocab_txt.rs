//! A `tokenizer.json` of the `vocab.txt` that older BERT repositories have instead.

use serde_json::{Map, Value, json};

use super::TokenizeError;
use super::class::TokenizerClass;

/// Makes a `tokenizer.json` of a `vocab.txt`, as `BertTokenizer` of transformers does: one token a line, its id the
/// line's number from 0. `class` is the tokenizer's class where a file names one.
///
/// # Errors
/// [`TokenizeError::VocabTxt`] for another class, or a file that is no such vocabulary.
pub fn wordpiece_json(vocab_txt: &[u8], class: Option<&str>) -> Result<Vec<u8>, TokenizeError> {
    let unusable = |reason: String| TokenizeError::VocabTxt { reason };
    if let Some(name) = class
        && !matches!(TokenizerClass::named(name), TokenizerClass::Bert | TokenizerClass::DistilBert)
    {
        return Err(unusable(format!("it is BERT's, and the tokenizer's class is `{name}`")));
    }
    let text = std::str::from_utf8(vocab_txt).map_err(|error| unusable(error.to_string()))?;
    let lines = text.lines().enumerate();
    let vocab: Map<String, Value> =
        lines.map(|(id, line)| (line.trim_end().to_owned(), Value::from(id))).collect();
    if !vocab.contains_key("[UNK]") {
        return Err(unusable("it has no line `[UNK]`".into()));
    }
    let special = |name: &str| {
        let id = vocab.get(name)?;
        Some(json!({"id": id, "content": name, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true}))
    };
    let mut added: Vec<Value> =
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].into_iter().filter_map(special).collect();
    added.sort_by_key(|token| token["id"].as_u64());
    let around = |name: &str| vocab.get(name).map(|id| json!([name, id]));
    let post_processor = around("[CLS]")
        .zip(around("[SEP]"))
        .map(|(cls, sep)| json!({"type": "BertProcessing", "sep": sep, "cls": cls}));
    let file = json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": post_processor,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab},
    });
    Ok(file.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_vocabulary_of_bert_is_refused_with_its_reason() {
        let error = |text: &[u8], class| wordpiece_json(text, class).unwrap_err().to_string();
        assert!(
            error(b"[UNK]\na", Some("BertJapaneseTokenizer")).contains("BertJapaneseTokenizer")
        );
        assert!(error(b"a\nb", None).contains("[UNK]"));
        assert!(error(b"\xff", None).contains("utf-8"));
        assert!(wordpiece_json(b"[UNK]\r\na \r\n", Some("BertTokenizerFast")).is_ok());
    }
}
