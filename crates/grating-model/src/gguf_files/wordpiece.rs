//! BERT's vocabulary. The conversion marks the beginning of a word with U+2581, which here is what has no `##`.

use std::borrow::Cow;

use serde_json::json;

use super::GgufFiles;
use super::tokens::{
    CLS, Kind, SEP, Tokens, pair_processor, quoted, tokenizer_json, write_vocabulary,
};
use crate::error::Result;

const WORD_START: char = '\u{2581}';

pub(super) fn write(files: &GgufFiles<'_>, tokens: &Tokens) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let named = |names: &[&str], default: &str| -> Result<(String, u32)> {
        let id = tokens.special(files, names, default)?;
        let (text, kind) = (&tokens.texts[id as usize], tokens.kinds[id as usize]);
        Ok((original(text, kind).into(), id))
    };
    let (cls, sep) = (named(&CLS, "[CLS]")?, named(&SEP, "[SEP]")?);
    let unknown = named(&["unknown"], "[UNK]")?;
    let lowercase = !tokens.iter().any(|(_, text, kind)| kind == Kind::Normal && has_upper(text));
    // Without upper case accents went too, unless the vocabulary has some.
    let accents = tokens.iter().any(|(_, text, kind)| kind == Kind::Normal && has_accent(text));
    let strip_accents = lowercase && !accents;
    let normalizer = json!({"type": "BertNormalizer", "clean_text": true,
        "handle_chinese_chars": true, "strip_accents": strip_accents, "lowercase": lowercase});
    let mut model = format!(
        r###"{{"type":"WordPiece","unk_token":{},"continuing_subword_prefix":"##","max_input_chars_per_word":100,"vocab":{{"###,
        quoted(&unknown.0)
    );
    let in_use = tokens.iter().filter(|(.., kind)| *kind != Kind::Unused);
    write_vocabulary(in_use.map(|(id, text, kind)| (id, original(text, kind))), &mut model);
    model.push_str("}}");
    let added = tokens.added(|id, text| original(text, tokens.kinds[id as usize]).into());
    let post = pair_processor((&cls.0, cls.1), (&sep.0, sep.1), 1, true);
    let pre = json!({"type": "BertPreTokenizer"});
    let config = json!({"tokenizer_class": "BertTokenizer", "do_lower_case": lowercase,
        "strip_accents": strip_accents, "cls_token": cls.0, "sep_token": sep.0, "unk_token": unknown.0});
    let tokenizer = tokenizer_json(&added, &normalizer, &pre, &post, &model);
    Ok((tokenizer, Some(config.to_string().into_bytes())))
}

/// The token before the conversion.
fn original(text: &str, kind: Kind) -> Cow<'_, str> {
    if kind == Kind::Control {
        return text.into();
    }
    match text.strip_prefix(WORD_START) {
        Some(word) => word.into(),
        None => format!("##{text}").into(),
    }
}

fn has_upper(text: &str) -> bool {
    text.chars().any(char::is_uppercase)
}

/// Letters of Latin-1 that are ASCII letters with a mark, which BERT strips along with upper case.
const ACCENTED: &str = "àáâãäåçèéêëìíîïñòóôõöùúûüýÿ";

fn has_accent(text: &str) -> bool {
    text.chars().any(|c| ACCENTED.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_what_continues_them() {
        let original = |text: &'static str, kind| original(text, kind).into_owned();
        assert_eq!(original("\u{2581}word", Kind::Normal), "word");
        assert_eq!(original("ing", Kind::Normal), "##ing");
        assert_eq!(original("", Kind::Normal), "##");
        assert_eq!(original("[CLS]", Kind::Control), "[CLS]");
    }

    #[test]
    fn accents_are_letters_with_marks() {
        for text in ["für", "ç", "\u{2581}ñ"] {
            assert!(has_accent(text), "{text}");
        }
        for text in ["fur", "ß", "ø", "æ", "й", "日"] {
            assert!(!has_accent(text), "{text}");
        }
    }
}
