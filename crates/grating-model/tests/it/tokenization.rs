//! Token for token what the reference makes of nasty texts, in both modes (xtask/goldens/README.md has the format).

use std::path::{Path, PathBuf};

use grating_model::{
    EncodeOptions, EncodedQuery, Encoding, GratingJson, PairTemplate, Template, TextEncoder,
    TokenLimits, TokenizeError,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};

#[derive(Deserialize)]
struct Golden {
    /// As in a grating.json; absent for pairs.
    template: Option<serde_json::Value>,
    pairs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    query: String,
    document: Option<String>,
    generated: Option<Generated>,
    instruction: Option<String>,
    max_tokens: usize,
    plain: Expected,
    special: Expected,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Expected {
    Ids(Outcome),
    /// What a request asks stands behind the text and leaves it no room.
    TooLong(String),
}

#[derive(Deserialize)]
struct Generated {
    seed: String,
    bytes: usize,
}

#[derive(Deserialize)]
struct Outcome {
    truncated: bool,
    #[serde(default)]
    query_truncated: bool,
    ids: Option<Vec<u32>>,
    count: Option<usize>,
    sha256: Option<String>,
    second: Option<usize>,
}

impl Pair {
    fn document(&self) -> String {
        match (&self.document, &self.generated) {
            (Some(document), _) => document.clone(),
            (None, Some(Generated { seed, bytes })) => {
                let mut text = seed.repeat(bytes / seed.len() + 1);
                let boundary = (0..=*bytes).rev().find(|at| text.is_char_boundary(*at));
                text.truncate(boundary.unwrap());
                text
            }
            (None, None) => panic!("a golden pair has a document or says how to make it"),
        }
    }
}

fn tokenizers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/tokenizers")
}

fn tokenizer_json(kind: &str) -> Vec<u8> {
    std::fs::read(tokenizers().join(kind).join("tokenizer.json")).unwrap()
}

fn golden(kind: &str) -> (Golden, Template) {
    let json = std::fs::read(tokenizers().join(kind).join("tokenization.json")).unwrap();
    let golden: Golden = serde_json::from_slice(&json).unwrap();
    let template = match &golden.template {
        Some(template) => {
            let file = serde_json::json!({ "template": template }).to_string();
            Template::YesNo(GratingJson::parse(file.as_bytes()).unwrap().template)
        }
        None if ["unigram", "byte-level-bpe-roberta"].contains(&kind) => {
            Template::Pair(PairTemplate::XlmRoberta)
        }
        None => Template::Pair(PairTemplate::Bert),
    };
    (golden, template)
}

const KINDS: [&str; 10] = [
    "byte-level-bpe",
    "byte-level-bpe-control-in-body",
    "byte-level-bpe-llama3",
    "byte-level-bpe-text-first",
    "byte-level-bpe-text-in-the-middle",
    "wordpiece",
    "wordpiece-with-settings",
    "unigram",
    "unigram-deberta",
    "byte-level-bpe-roberta",
];

fn options(max_tokens: usize) -> EncodeOptions {
    EncodeOptions::new(max_tokens)
}

fn encode(encoder: &TextEncoder, pair: &Pair) -> Result<(EncodedQuery, Encoding), TokenizeError> {
    let query = encoder.encode_query(&pair.query, pair.instruction.as_deref())?;
    let encoding = encoder.encode(&query, &pair.document())?;
    Ok((query, encoding))
}

fn compare(found: &Encoding, expected: &Outcome, at: &str) {
    match (&expected.ids, &expected.sha256) {
        (Some(ids), _) => assert_eq!(&found.ids, ids, "{at}"),
        (None, Some(sha256)) => {
            assert_eq!(Some(found.ids.len()), expected.count, "{at}");
            let bytes: Vec<u8> = found.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            let digest: String =
                Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(&digest, sha256, "{at}");
        }
        (None, None) => panic!("{at}: the golden has no ids"),
    }
    let cut = (found.truncated, found.query_truncated);
    assert_eq!(cut, (expected.truncated, expected.query_truncated), "{at}");
    if !found.type_ids.is_empty() {
        assert_eq!(found.type_ids.len(), found.ids.len(), "{at}");
        let second = expected.second.unwrap_or(0);
        let types = (0..found.ids.len()).map(|i| u8::from(i + second >= found.ids.len()));
        assert!(found.type_ids.iter().copied().eq(types), "{at}: {:?}", found.type_ids);
    }
}

fn check_mode(kind: &str, special_tokens_in_text: bool) {
    let (golden, template) = golden(kind);
    let json = tokenizer_json(kind);
    let mut limits: Vec<usize> = golden.pairs.iter().map(|pair| pair.max_tokens).collect();
    limits.sort_unstable();
    limits.dedup();
    let (mut compared, mut cut) = (0, 0);
    for max_tokens in limits {
        let encoder = |refuse_long_query| {
            let options = options(max_tokens)
                .special_tokens_in_text(special_tokens_in_text)
                .refuse_long_query(refuse_long_query);
            TextEncoder::new(&json, template.clone(), options).unwrap()
        };
        let (encoder, refusing) = (encoder(false), encoder(true));
        for pair in golden.pairs.iter().filter(|pair| pair.max_tokens == max_tokens) {
            let expected = if special_tokens_in_text { &pair.special } else { &pair.plain };
            let document: String = pair.document().chars().take(60).collect();
            let at = format!("{kind}, {max_tokens} tokens: {:?} / {document:?}", pair.query);
            let expected = match expected {
                Expected::Ids(expected) => expected,
                Expected::TooLong(words) => {
                    assert_eq!(words, "too long");
                    let error = encode(&encoder, pair).unwrap_err();
                    assert!(matches!(error, TokenizeError::QueryTooLong { .. }), "{at}: {error}");
                    (compared, cut) = (compared + 1, cut + 1);
                    continue;
                }
            };
            let (query, found) = encode(&encoder, pair).unwrap();
            compare(&found, expected, &at);
            // What is said to be shared is.
            let shared = query.shared_prefix_tokens();
            for other in ["", "zebra", &"zebra ".repeat(300)] {
                let other = encoder.encode(&query, other).unwrap();
                assert_eq!(found.ids[..shared], other.ids[..shared], "{at}");
            }
            match encode(&refusing, pair) {
                Ok((_, same)) => assert!(!expected.query_truncated && same == found, "{at}"),
                Err(TokenizeError::QueryTooLong { tokens, limit }) => {
                    assert!(expected.query_truncated && tokens > limit, "{at}");
                }
                Err(error) => panic!("{at}: {error}"),
            }
            compared += 1;
            cut += usize::from(expected.query_truncated);
        }
    }
    assert!(compared >= 200, "{kind}: only {compared} pairs");
    assert!(cut >= 10 || kind == "wordpiece-with-settings", "{kind}: only {cut} queries cut");
}

#[test]
fn user_text_is_text() {
    for kind in KINDS {
        check_mode(kind, false);
    }
}

#[test]
fn the_references_default_on_request() {
    for kind in KINDS {
        check_mode(kind, true);
    }
}

#[test]
fn control_tokens_in_text_stay_out_in_one_mode_and_come_in_in_the_other() {
    for (kind, names) in [
        (
            "byte-level-bpe",
            &["<|im_end|>", "<|im_start|>", "<think>", "</think>", "<|endoftext|>"][..],
        ),
        ("byte-level-bpe-llama3", &["<|eot_id|>", "<|begin_of_text|>"]),
        ("wordpiece", &["[SEP]", "[CLS]", "[MASK]", "[PAD]"]),
        ("unigram", &["</s>", "<s>", "<mask>", "<pad>"]),
    ] {
        let (_, template) = golden(kind);
        let json = tokenizer_json(kind);
        for special_tokens_in_text in [false, true] {
            let options = options(512).special_tokens_in_text(special_tokens_in_text);
            let encoder = TextEncoder::new(&json, template.clone(), options).unwrap();
            let count = |query: &str, instruction, text: &str, id| {
                let query = encoder.encode_query(query, instruction).unwrap();
                encoder.encode(&query, text).unwrap().ids.iter().filter(|x| **x == id).count()
            };
            for name in names {
                let id = encoder.token_id(name).unwrap();
                let own = count("q", Some("i"), "d", id);
                let around = format!("a {name}b{name} {name}");
                let found = count(&around, None, &around, id);
                let expected = if special_tokens_in_text { own + 6 } else { own };
                assert_eq!(found, expected, "{kind} {name} {special_tokens_in_text}");
            }
        }
    }
}

#[test]
fn a_query_with_a_limit_is_as_of_an_encoder_with_that_limit() {
    for kind in KINDS {
        let (golden, template) = golden(kind);
        let json = tokenizer_json(kind);
        let new = |tokens| TextEncoder::new(&json, template.clone(), options(tokens));
        let whole = new(512).unwrap();
        for tokens in [60, 131, 400] {
            let Ok(short) = new(tokens) else { continue };
            let limits = TokenLimits::default().max_tokens(Some(tokens));
            for pair in &golden.pairs {
                let instruction = pair.instruction.as_deref();
                let within = whole.encode_query_while(&pair.query, instruction, limits, &|_| true);
                let own = short.encode_query(&pair.query, instruction);
                assert_eq!(within.as_ref().err(), own.as_ref().err(), "{kind} {tokens}");
                let (Ok(within), Ok(own)) = (within, own) else { continue };
                let text = pair.document();
                let [found, expected] = [whole.encode(&within, &text), short.encode(&own, &text)];
                assert_eq!(found, expected, "{kind} {tokens} {:?}", pair.query);
            }
        }
        let too_small = TokenLimits::default().max_tokens(Some(1));
        let refused = whole.encode_query_while("q", None, too_small, &|_| true).unwrap_err();
        assert!(matches!(refused, TokenizeError::LimitTooSmall { max_tokens: 1, .. }), "{kind}");
    }
}

#[test]
fn a_text_with_a_limit_of_its_own_keeps_its_first_tokens() {
    for (kind, most) in [("wordpiece", 1), ("wordpiece", 3), ("unigram", 3), ("byte-level-bpe", 3)]
    {
        let (_, template) = golden(kind);
        let encoder = TextEncoder::new(&tokenizer_json(kind), template, options(512)).unwrap();
        let encode = |text: &str, most| {
            let limits = TokenLimits::default().max_text_tokens(most);
            let query = encoder.encode_query_while("a window", None, limits, &|_| true).unwrap();
            encoder.encode(&query, text).unwrap()
        };
        let (empty, whole) = (encode("", None), encode("the glass of a window is old", None));
        let limited = encode("the glass of a window is old", Some(most));
        assert!(limited.truncated && !limited.query_truncated && !whole.truncated, "{kind}");
        assert_eq!(limited.ids.len(), empty.ids.len() + most, "{kind}");
        // Where the text ends the rest is what ends every candidate.
        let same = limited.ids.iter().zip(&whole.ids).take_while(|(a, b)| a == b).count();
        let end = &limited.ids[same..];
        assert!(whole.ids.ends_with(end) && same + end.len() == limited.ids.len(), "{kind}");
        let exact = whole.ids.len() - empty.ids.len();
        assert_eq!(encode("the glass of a window is old", Some(exact)), whole, "{kind}");
    }
}

#[test]
fn an_added_word_keeps_its_id_in_either_mode() {
    for kind in ["byte-level-bpe", "wordpiece"] {
        let (_, template) = golden(kind);
        for special_tokens_in_text in [false, true] {
            let options = options(256).special_tokens_in_text(special_tokens_in_text);
            let encoder =
                TextEncoder::new(&tokenizer_json(kind), template.clone(), options).unwrap();
            let word = encoder.token_id("cross-encoder").unwrap();
            let query = encoder.encode_query("q", None).unwrap();
            let text = encoder.encode(&query, "a cross-encoder reads pairs").unwrap();
            assert!(text.ids.contains(&word), "{kind}");
        }
    }
}

#[test]
fn a_prompt_shares_what_precedes_the_texts_run() {
    let shared = |kind: &str| {
        let (_, template) = golden(kind);
        let encoder = TextEncoder::new(&tokenizer_json(kind), template, options(256)).unwrap();
        let query = encoder.encode_query("what is a window", None).unwrap();
        (query.shared_prefix_tokens(), encoder.encode(&query, "").unwrap().ids.len())
    };
    // The prefix alone; prefix, instruction and query up to the body's control tokens; all but the end.
    let (prefix, all) = shared("byte-level-bpe");
    assert!(prefix > 20 && prefix < all / 2 + 10, "{prefix} of {all}");
    let (before_document, all) = shared("byte-level-bpe-control-in-body");
    assert!(before_document > all / 2, "{before_document} of {all}");
    let (pair, all) = shared("wordpiece");
    assert_eq!(pair + 1, all);
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let new = |kind: &str, template: Template, max_tokens| {
        TextEncoder::new(&tokenizer_json(kind), template, options(max_tokens)).unwrap_err()
    };
    let missing = |token: &str| TokenizeError::MissingToken { token: token.into() };
    assert_eq!(new("wordpiece", Template::qwen3_reranker(), 512), missing("<|im_start|>"));
    assert_eq!(
        new("byte-level-bpe-llama3", Template::qwen3_reranker(), 512),
        missing("<|im_start|>")
    );
    // A pair's tokens come from the post-processor; only without one the family's usual ones are looked for.
    let bare = |kind: &str, template| {
        let mut json: serde_json::Value = serde_json::from_slice(&tokenizer_json(kind)).unwrap();
        json["post_processor"] = serde_json::Value::Null;
        TextEncoder::new(json.to_string().as_bytes(), Template::Pair(template), options(512))
    };
    assert_eq!(bare("unigram", PairTemplate::Bert).unwrap_err(), missing("[CLS]"));
    assert_eq!(bare("wordpiece", PairTemplate::XlmRoberta).unwrap_err(), missing("<s>"));
}

#[test]
fn a_damaged_tokenizer_is_refused_with_its_reason() {
    let whole = tokenizer_json("unigram");
    for json in
        [&b""[..], b"{}", b"null", b"{\"model\":{}}", b"\xff\xfe", &whole[..whole.len() / 2]]
    {
        let error = TextEncoder::new(json, Template::Pair(PairTemplate::XlmRoberta), options(512));
        let error = error.unwrap_err();
        assert!(matches!(error, TokenizeError::TokenizerJson { .. }), "{error}");
        assert!(error.to_string().contains("tokenizer.json"), "{error}");
    }
}

#[test]
fn a_limit_without_room_names_one_that_has() {
    for kind in KINDS {
        let (_, template) = golden(kind);
        let json = tokenizer_json(kind);
        let at = |max_tokens| TextEncoder::new(&json, template.clone(), options(max_tokens));
        for max_tokens in [0, 1, 3] {
            assert!(matches!(at(max_tokens), Err(TokenizeError::LimitTooSmall { .. })), "{kind}");
        }
        let Err(TokenizeError::LimitTooSmall { least, .. }) = at(4) else { panic!("{kind}") };
        assert!(at(least - 1).is_err(), "{kind}");
        let encoder = at(least).unwrap();
        let query = encoder.encode_query("", None).unwrap();
        let long = encoder.encode(&query, &"a b ".repeat(99)).unwrap();
        assert!(long.truncated && long.ids.len() == least, "{kind}: {} {least}", long.ids.len());
    }
}

#[test]
fn answers_are_single_tokens() {
    let (_, template) = golden("byte-level-bpe");
    let json = tokenizer_json("byte-level-bpe");
    let encoder = TextEncoder::new(&json, template.clone(), options(256)).unwrap();
    let answers = encoder.answers().unwrap();
    assert_eq!(answers.yes, encoder.token_id("yes").unwrap());
    assert_eq!(answers.no, encoder.answer_id("no").ok());
    assert_eq!(encoder.answer_id("<think>").ok(), encoder.token_id("<think>"));

    let with = |yes: &str, no: &str| {
        let Template::YesNo(mut template) = template.clone() else { unreachable!() };
        (template.yes, template.no) = (yes.into(), Some(no.into()));
        let encoder = TextEncoder::new(&json, Template::YesNo(template), options(256)).unwrap();
        encoder.answers().unwrap_err()
    };
    assert!(matches!(with("perhaps", "no"), TokenizeError::AnswerNotOneToken { tokens: 2.., .. }));
    assert!(matches!(with("", "no"), TokenizeError::AnswerNotOneToken { tokens: 0, .. }));
    assert!(matches!(with("no", "no"), TokenizeError::AnswersEqual { .. }));
}

#[test]
fn an_encoder_is_shared_between_threads() {
    fn shared<T: Send + Sync + Clone + std::fmt::Debug>() {}
    shared::<TextEncoder>();
    shared::<EncodedQuery>();
    shared::<Encoding>();
    shared::<TokenizeError>();
}
