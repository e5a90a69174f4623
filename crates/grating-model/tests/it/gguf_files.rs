//! Tokenizers from the metadata of GGUF files give the ids of the `tokenizer.json` that was converted.
//!
//! `tests/gguf_tokenizers` comes from `xtask/goldens/to_llama_cpp.py`.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use grating_io::{Checkpoint, GgufList};
use grating_model::{EncodeOptions, GgufFiles, PairTemplate, Template, TextEncoder};
use proptest::prelude::*;
use serde_json::Value;

fn folder(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// `tokenizer.json` of a vocabulary alone.
fn converted(kind: &str) -> Vec<u8> {
    let path = folder("gguf_tokenizers").join(format!("{kind}.gguf"));
    let checkpoint = Checkpoint::open(path).unwrap();
    GgufFiles::of(&checkpoint).unwrap().tokenizer().unwrap().tokenizer
}

/// The original, less a normalization that the conversion does not keep or the model it stands for does not have.
fn original(kind: &str) -> Vec<u8> {
    if ["sentencepiece", "modern-bert"].contains(&kind) {
        return std::fs::read(folder("gguf_tokenizers").join(format!("{kind}.json"))).unwrap();
    }
    let path = folder("goldens/tokenizers").join(kind).join("tokenizer.json");
    let json = std::fs::read_to_string(path).unwrap();
    let (from, to) = match kind {
        // Llama 3 normalizes nothing; the golden one does.
        "byte-level-bpe-llama3" => {
            (r#""normalizer":{"type":"NFC"}"#, r#""normalizer":null"#.to_string())
        }
        // NFKC stands in for a table there; the file has a small one.
        "unigram" => {
            let table = serde_json::json!({"type": "Precompiled", "precompiled_charsmap": STANDARD.encode(table())});
            (r#"{"type":"NFKC"}"#, table.to_string())
        }
        _ => return json.into_bytes(),
    };
    assert!(json.contains(from));
    json.replace(from, &to).into_bytes()
}

/// The table of normalization in `unigram.gguf`.
fn table() -> Vec<u8> {
    let checkpoint = Checkpoint::open(folder("gguf_tokenizers").join("unigram.gguf")).unwrap();
    let key = "tokenizer.ggml.precompiled_charsmap";
    match checkpoint.metadata_list(key).unwrap().unwrap() {
        GgufList::Numbers(bytes) => bytes.into_iter().map(|byte| byte as u8).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_table_of_normalization_is_used() {
    let encoder = encoder("unigram", &converted("unigram"), false);
    let query = encoder.encode_query("what", None).unwrap();
    let ids = |text: &str| encoder.encode(&query, text).unwrap().ids;
    assert_eq!(ids("the \u{fb01}ne window"), ids("the fine window"));
}

const KINDS: [&str; 6] = [
    "byte-level-bpe",
    "byte-level-bpe-llama3",
    "wordpiece",
    "unigram",
    "sentencepiece",
    "modern-bert",
];

fn encoder(kind: &str, json: &[u8], special: bool) -> TextEncoder {
    let template = match kind {
        "wordpiece" | "modern-bert" => Template::Pair(PairTemplate::Bert),
        "unigram" => Template::Pair(PairTemplate::XlmRoberta),
        "byte-level-bpe" => Template::qwen3_reranker(),
        _ => {
            let file = r#"{"template":{"body":"{query} {document}","yes":"yes","no":"no"}}"#;
            let file = grating_model::GratingJson::parse(file.as_bytes()).unwrap();
            Template::YesNo(file.template)
        }
    };
    let options = EncodeOptions::new(8192).special_tokens_in_text(special);
    TextEncoder::new(json, template, options).unwrap()
}

fn check(kind: &str, texts: &[String]) {
    let (converted, original) = (converted(kind), original(kind));
    for special in [false, true] {
        let [found, expected] = [&converted, &original].map(|json| encoder(kind, json, special));
        let [a, b] = [&found, &expected].map(|e| e.encode_query("what is a window", None).unwrap());
        for text in texts {
            let (found, expected) =
                (found.encode(&a, text).unwrap(), expected.encode(&b, text).unwrap());
            assert_eq!(found, expected, "{kind}, special {special}: {text:?}");
        }
    }
}

#[test]
fn nasty_texts_become_the_originals_ids() {
    for kind in KINDS {
        let golden = match kind {
            "sentencepiece" => "unigram",
            "modern-bert" => "byte-level-bpe",
            kind => kind,
        };
        let json =
            std::fs::read(folder("goldens/tokenizers").join(golden).join("tokenization.json"))
                .unwrap();
        let json: Value = serde_json::from_slice(&json).unwrap();
        let documents = json["pairs"].as_array().unwrap().iter();
        let texts: Vec<String> =
            documents.filter_map(|pair| pair["document"].as_str().map(str::to_string)).collect();
        assert!(texts.len() > 20);
        check(kind, &texts);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_texts_become_the_originals_ids(
        texts in prop::collection::vec(
            prop::collection::vec(prop_oneof![
                3 => "[a-zA-Z0-9]{1,9} ",
                1 => " {1,3}",
                1 => "\\PC{1,6}",
                2 => prop::sample::select(vec![
                    "\n", "e\u{301}", "'s ", "東京 ", "<|im_end|> ", "</s> a ", "[SEP]", "<mask> ", "[MASK] ",
                    "<think> ", "cross-encoder ", "Cross-Encoder", "1234567 ", "ﬁ ", "\u{200b}", "İ ", "ß", "É ",
                    "▁", "🙂", "<0x41>", "<s>", "<|eot_id|>", "window ", "the ",
                ]).prop_map(str::to_string),
            ], 0..20).prop_map(|words| words.concat()),
            8,
        ),
    ) {
        for kind in KINDS {
            check(kind, &texts);
        }
    }
}

/// The file of a kind with one text in its metadata replaced by another of the same length.
fn changed(kind: &str, from: &str, to: &str) -> String {
    assert_eq!(from.len(), to.len());
    let bytes = std::fs::read(folder("gguf_tokenizers").join(format!("{kind}.gguf"))).unwrap();
    let mut changed = bytes.clone();
    let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
    changed[at..at + to.len()].copy_from_slice(to.as_bytes());
    let storage = grating_io::MemoryStorage::from_vec("m.gguf", changed);
    let checkpoint = Checkpoint::from_storage(std::sync::Arc::new(storage)).unwrap();
    match GgufFiles::of(&checkpoint).unwrap().tokenizer() {
        Ok(_) => panic!("{kind} was accepted with {to}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_cannot_be_used_is_named() {
    for (kind, from, to, words) in [
        ("byte-level-bpe", "qwen2", "qwen9", "`tokenizer.ggml.pre` is `qwen9`"),
        ("byte-level-bpe", "gpt2", "rwkv", "`tokenizer.ggml.model` is `rwkv`"),
        ("byte-level-bpe", "ggml.merges", "ggml.absent", "`tokenizer.ggml.merges` is missing"),
        ("byte-level-bpe", "ggml.model", "ggml.absen", "no tokenizer in it"),
        ("unigram", "ggml.scores", "ggml.absent", "`tokenizer.ggml.scores` is missing"),
        ("sentencepiece", "ggml.scores", "ggml.absent", "`tokenizer.ggml.scores` is missing"),
        ("wordpiece", "ggml.tokens", "ggml.absent", "no tokenizer in it"),
    ] {
        let error = changed(kind, from, to);
        assert!(error.contains(words) && error.contains("tokenizer.json"), "{kind}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn damaged_metadata_never_panics(
        kind in prop::sample::select(&KINDS[..]),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..12),
    ) {
        let path = folder("gguf_tokenizers").join(format!("{kind}.gguf"));
        let mut bytes = std::fs::read(path).unwrap();
        for (at, flip) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        let storage = grating_io::MemoryStorage::from_vec("m.gguf", bytes);
        let Ok(checkpoint) = Checkpoint::from_storage(std::sync::Arc::new(storage)) else { return Ok(()) };
        if let Some(files) = GgufFiles::of(&checkpoint) {
            _ = (files.config(), files.tokenizer(), files.grating());
        }
    }
}
