//! Long texts: only as much of one is tokenized as its room needs, where that provably gives the same ids.
//!
//! Tokenizers work in steps: added tokens are found, the text is normalized, split into words, and each word becomes
//! tokens by itself. If no step looks across a space between two ASCII letters or digits, a text that ends at such a
//! space has exactly the first tokens of the whole. All that rerankers come with are of this kind; whether one is, is
//! read off its file, and any step that is not known makes it "no".

use serde_json::Value;

use super::vocabulary::Tokenizer;
use super::{TokenizeError, ids};

/// Patterns that split at such a space and look ahead over white space only: GPT-2's, Qwen's, Llama 3's.
const PATTERNS: [&str; 3] = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];

/// Bytes of a window per token of room: more than words of any language take on average.
const BYTES_PER_TOKEN: usize = 8;

/// The first `room` ids of `text`, and whether there are more. `local` is [`is_local`] of the tokenizer.
pub(super) fn first_ids(
    tokenizer: &Tokenizer,
    local: bool,
    text: &str,
    room: usize,
) -> Result<(Vec<u32>, bool), TokenizeError> {
    let mut window = BYTES_PER_TOKEN * (room + 8);
    let mut found = None;
    while local && found.is_none() && window < text.len() / 2 {
        let Some(end) = seam(text, window) else { break };
        found = Some(ids(tokenizer, &text[..end])?).filter(|ids| ids.len() > room);
        window = end.saturating_mul(4);
    }
    let mut found = match found {
        Some(found) => found,
        None => ids(tokenizer, text)?,
    };
    let more = found.len() > room;
    found.truncate(room);
    Ok((found, more))
}

/// The first space at or after byte `from` that stands between two ASCII letters or digits.
fn seam(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let windows = bytes.get(from.saturating_sub(1)..)?.windows(3);
    let is_seam =
        |w: &[u8]| w[0].is_ascii_alphanumeric() && w[1] == b' ' && w[2].is_ascii_alphanumeric();
    Some(from.saturating_sub(1) + 1 + windows.into_iter().position(is_seam)?)
}

/// Whether the tokens up to a [`seam`] depend on nothing behind it.
pub(super) fn is_local(tokenizer: &Tokenizer) -> bool {
    let added = tokenizer.get_added_tokens_decoder();
    let spans = |content: &str| content.contains(|c: char| c.is_whitespace() || c == '\u{2581}');
    if added.values().any(|token| spans(&token.content)) {
        return false;
    }
    let step = |step: Option<Value>| step.unwrap_or(Value::Null);
    let normalizer = step(tokenizer.get_normalizer().and_then(|n| serde_json::to_value(n).ok()));
    let pre = step(tokenizer.get_pre_tokenizer().and_then(|p| serde_json::to_value(p).ok()));
    (normalizer.is_null() || normalizes_locally(&normalizer)) && splits(&pre) == Some(true)
}

fn kind(step: &Value) -> &str {
    step.get("type").and_then(Value::as_str).unwrap_or("")
}

/// None of these changes a character by what is on the other side of a seam, and none removes the seam.
fn normalizes_locally(normalizer: &Value) -> bool {
    let steps = |name: &str| normalizer.get(name).and_then(Value::as_array).cloned();
    match kind(normalizer) {
        "NFC" | "NFD" | "NFKC" | "NFKD" | "Nmt" | "Lowercase" | "StripAccents" | "Strip"
        | "Precompiled" | "BertNormalizer" => true,
        // Runs of spaces become one; a seam is a single space.
        "Replace" => normalizer["pattern"]["Regex"] == " {2,}" && normalizer["content"] == " ",
        "Sequence" => steps("normalizers").is_some_and(|all| all.iter().all(normalizes_locally)),
        _ => false,
    }
}

/// `Some(true)`: splits at every seam and looks across none. `Some(false)`: looks across none. `None`: unknown.
fn splits(pre: &Value) -> Option<bool> {
    let flag = |name: &str| pre.get(name).and_then(Value::as_bool);
    match kind(pre) {
        "BertPreTokenizer" | "Whitespace" | "WhitespaceSplit" => Some(true),
        "ByteLevel" => Some(flag("use_regex").unwrap_or(true)),
        "Metaspace" => Some(flag("split").unwrap_or(true)),
        "Digits" | "Punctuation" => Some(false),
        "Split" => {
            let known = PATTERNS.iter().any(|pattern| pre["pattern"]["Regex"] == *pattern);
            (known && pre["behavior"] == "Isolated" && flag("invert") != Some(true)).then_some(true)
        }
        "Sequence" => {
            let mut any = false;
            for step in pre.get("pretokenizers")?.as_array()? {
                any |= splits(step)?;
            }
            Some(any)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{as_written, control};
    use super::*;

    fn tokenizer(kind: &str) -> Tokenizer {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/tokenizers");
        let json = std::fs::read(format!("{folder}/{kind}/tokenizer.json")).unwrap();
        let (mut tokenizer, unknown) = as_written(&json).unwrap();
        control::make_plain(&mut tokenizer, unknown).unwrap();
        tokenizer
    }

    const KINDS: [&str; 4] = ["byte-level-bpe", "byte-level-bpe-llama3", "wordpiece", "unigram"];

    #[test]
    fn the_tokenizers_of_rerankers_are_local() {
        for kind in KINDS {
            assert!(is_local(&tokenizer(kind)), "{kind}");
        }
    }

    #[test]
    fn an_unknown_step_or_a_token_with_a_space_is_not() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/tokenizers");
        let json =
            std::fs::read_to_string(format!("{folder}/byte-level-bpe/tokenizer.json")).unwrap();
        let local = |from: &str, to: &str| {
            assert!(json.contains(from), "{from}");
            is_local(&as_written(json.replace(from, to).as_bytes()).unwrap().0)
        };
        assert!(local("cross-encoder", "crossencoder"));
        assert!(!local("cross-encoder", "cross encoder"));
        assert!(!local(r"|\\s*[\\r\\n]+|", r"|\\s*[\\r\\n]+\\p{L}*|"));
        assert!(!local(
            r#"{"type":"NFC"}"#,
            r#"{"type":"Replace","pattern":{"String":" a"},"content":"b"}"#
        ));
    }

    #[test]
    fn a_seam_is_a_space_between_ascii_letters_or_digits() {
        assert_eq!(seam("ab cd", 0), Some(2));
        assert_eq!(seam("ab cd 5e", 3), Some(5));
        assert_eq!(seam("ab cd", 2), Some(2));
        assert_eq!(seam("ab  cd, e é f", 0), None);
        assert_eq!(seam("", 0), None);
        assert_eq!(seam("a b", 9), None);
    }

    #[test]
    fn a_long_text_costs_what_its_room_costs() {
        let tokenizer = tokenizer("wordpiece");
        let text = "a window keeps the warmth inside ".repeat(300_000); // 10 MB; seconds when tokenized whole
        let started = std::time::Instant::now();
        let (ids, more) = first_ids(&tokenizer, true, &text, 512).unwrap();
        assert!(ids.len() == 512 && more);
        assert!(started.elapsed().as_millis() < 1000, "{:?}", started.elapsed());
    }

    proptest! {
        #[test]
        fn a_window_gives_the_ids_of_the_whole(
            words in prop::collection::vec(prop_oneof![
                3 => "[a-zA-Z0-9]{1,9} ",
                1 => "[a-z]{1,3}",
                1 => " {1,3}",
                1 => prop::sample::select(vec![
                    "\n", "\r\n ", "e\u{301}", "\u{301}", "'s ", "'", "東京 ", "<|im_end|> ", "</s> a ", "[SEP]",
                    "<think> ", "cross-encoder ", "cross-", "encoder ", "!? ", "1234567 ", "ﬁ ", "\u{200b}", "\u{0} ",
                    "İ ", "Σ ", "\u{a0}a ", "▁",
                ]).prop_map(str::to_string),
            ], 20..120),
            room in 0_usize..12,
        ) {
            let text = words.concat();
            for kind in KINDS {
                let tokenizer = tokenizer(kind);
                let windowed = first_ids(&tokenizer, true, &text, room).unwrap();
                prop_assert_eq!(windowed, first_ids(&tokenizer, false, &text, room).unwrap());
            }
        }
    }
}
