//! Byte-level BPE: tokens and merges as `tokenizer.json` has them; how text is split goes by a name.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::{Value, json};

use super::tokens::{
    CLS, Kind, SEP, Tokens, pair_processor, quoted, tokenizer_json, write_vocabulary,
};
use super::{GgufFiles, unusable};
use crate::error::Result;

const MERGES: &str = "tokenizer.ggml.merges";
const PRE: &str = "tokenizer.ggml.pre";

/// How the text is split before merges, by llama.cpp's names.
struct Split {
    names: &'static [&'static str],
    /// GPT-2's own pattern where there is none.
    pattern: Option<&'static str>,
    nfc: bool,
    single_digits: bool,
    ignore_merges: bool,
}

const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const SPLITS: [Split; 5] = [
    Split {
        names: &["qwen2"],
        pattern: Some(QWEN2),
        nfc: true,
        single_digits: false,
        ignore_merges: false,
    },
    Split {
        names: &["llama-bpe", "llama3", "llama-v3"],
        pattern: Some(LLAMA3),
        nfc: false,
        single_digits: false,
        ignore_merges: true,
    },
    Split {
        names: &["smollm"],
        pattern: None,
        nfc: false,
        single_digits: true,
        ignore_merges: false,
    },
    Split {
        names: &["gpt-2"],
        pattern: None,
        nfc: false,
        single_digits: false,
        ignore_merges: false,
    },
    Split {
        names: &["modern-bert"],
        pattern: None,
        nfc: true,
        single_digits: false,
        ignore_merges: false,
    },
];

pub(super) fn write(files: &GgufFiles<'_>, tokens: &Tokens) -> Result<Vec<u8>> {
    let split = split(files)?;
    let in_use = || tokens.iter().filter(|(.., kind)| *kind != Kind::Unused);
    let known: HashSet<&str> = in_use().map(|(_, text, _)| text).collect();
    let mut model = format!(
        r#"{{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"ignore_merges":{},"vocab":{{"#,
        split.ignore_merges
    );
    write_vocabulary(in_use().map(|(id, text, _)| (id, Cow::from(text))), &mut model);
    model.push_str(r#"},"merges":["#);
    let merges = files
        .texts(MERGES)?
        .ok_or_else(|| unusable(MERGES, "is missing, which words are made by".to_string()))?;
    for (number, merge) in merges.iter().enumerate() {
        // A space within a part is written as U+0120, so the first one between characters is the seam.
        let seam = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at);
        let parts = seam.map(|at| (&merge[..at], &merge[at + 1..]));
        let parts = parts.filter(|(left, right)| {
            known.contains(left)
                && known.contains(right)
                && known.contains([*left, *right].concat().as_str())
        });
        let (left, right) = parts.ok_or_else(|| {
            let problem = format!("holds {}, which are no two tokens that make one", quoted(merge));
            unusable(MERGES, problem)
        })?;
        let comma = if number > 0 { "," } else { "" };
        model.push_str(&format!("{comma}[{},{}]", quoted(left), quoted(right)));
    }
    model.push_str("]}");
    let mut added = tokens.added(|_, text| text.to_string());
    let normalizer = if split.nfc { json!({"type": "NFC"}) } else { Value::Null };
    let post = match files.architecture {
        "modern-bert" => {
            // Spaces before it are part of it (`llama-vocab.cpp` does the same).
            added.iter_mut().filter(|token| token["content"] == "[MASK]").for_each(|token| {
                token["lstrip"] = true.into();
            });
            let named = |names: &[&str], default: &str| -> Result<(&str, u32)> {
                let id = tokens.special(files, names, default)?;
                Ok((tokens.texts[id as usize].as_str(), id))
            };
            pair_processor(named(&CLS, "[CLS]")?, named(&SEP, "[SEP]")?, 1, true)
        }
        _ => {
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false})
        }
    };
    Ok(tokenizer_json(&added, &normalizer, &split.pre_tokenizer(), &post, &model))
}

fn split(files: &GgufFiles<'_>) -> Result<&'static Split> {
    let known = SPLITS.iter().flat_map(|split| split.names).copied().collect::<Vec<_>>();
    let expected = known.join(", ");
    let Some(name) = files.text(PRE) else {
        let problem = format!("is missing: how text is split is not known (expected {expected})");
        return Err(unusable(PRE, problem));
    };
    SPLITS.iter().find(|split| split.names.contains(&name)).ok_or_else(|| {
        unusable(PRE, format!("is `{name}`, which is not known (expected {expected})"))
    })
}

impl Split {
    fn pre_tokenizer(&self) -> Value {
        let bytes = |pattern: bool| {
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                "use_regex": pattern})
        };
        let first = match (self.pattern, self.single_digits) {
            (Some(pattern), _) => json!({"type": "Split", "pattern": {"Regex": pattern},
                "behavior": "Isolated", "invert": false}),
            (None, true) => json!({"type": "Digits", "individual_digits": true}),
            (None, false) => return bytes(true),
        };
        json!({"type": "Sequence", "pretokenizers": [first, bytes(self.pattern.is_none())]})
    }
}
