//! Passages of long texts: what they cover, and that each is encoded as a text of its own.

use std::path::{Path, PathBuf};

use grating_model::{
    EncodeOptions, EncodedQuery, GratingJson, PairTemplate, Passage, PassageLimits, Template,
    TextEncoder, TokenLimits, TokenizeError,
};
use proptest::prelude::*;

/// A tokenizer of each kind, prompts of each order.
const KINDS: [&str; 7] = [
    "byte-level-bpe",
    "byte-level-bpe-text-first",
    "byte-level-bpe-text-in-the-middle",
    "wordpiece",
    "unigram",
    "unigram-deberta",
    "byte-level-bpe-roberta",
];
/// Most tokens of a candidate.
const LIMIT: usize = 160;

fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/tokenizers").join(kind)
}

fn encoder(kind: &str) -> TextEncoder {
    encoder_of(kind, LIMIT)
}

fn encoder_of(kind: &str, limit: usize) -> TextEncoder {
    let read = |file: &str| std::fs::read(folder(kind).join(file)).unwrap();
    let golden: serde_json::Value = serde_json::from_slice(&read("tokenization.json")).unwrap();
    let template = match golden.get("template").filter(|template| !template.is_null()) {
        Some(template) => {
            let file = serde_json::json!({ "template": template }).to_string();
            Template::YesNo(GratingJson::parse(file.as_bytes()).unwrap().template)
        }
        None if kind.starts_with("wordpiece") => Template::Pair(PairTemplate::Bert),
        None => Template::Pair(PairTemplate::XlmRoberta),
    };
    TextEncoder::new(&read("tokenizer.json"), template, EncodeOptions::new(limit)).unwrap()
}

fn query(encoder: &TextEncoder, limits: TokenLimits) -> EncodedQuery {
    encoder.encode_query_while("what is a window", None, limits, &|_| true).unwrap()
}

/// All passages, and whether something of the text is in none.
fn read(
    encoder: &TextEncoder,
    query: &EncodedQuery,
    text: &str,
    limits: PassageLimits,
) -> (Vec<Passage>, bool) {
    let mut reader = encoder.passages(query, text, limits);
    let mut passages = Vec::new();
    while let Some(passage) = reader.next_while(&|_| true).unwrap() {
        passages.push(passage);
    }
    (passages, reader.is_cut())
}

/// Sentences of words, some of them long or of scripts without spaces.
fn long_text(sentences: usize) -> String {
    let sentence = |n: usize| match n % 4 {
        0 => format!("The river number {n} is {} miles long, and it is wide.", n * 37),
        1 => "窓は光を通す。川は海へ流れる。".to_string(),
        2 => format!("A{} stands in one word\n", "window".repeat(1 + n % 9)),
        _ => format!("Did you see the 🙂 window on day {n}?"),
    };
    (0..sentences).map(sentence).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_text_that_fits_is_itself() {
    for kind in KINDS {
        let encoder = encoder(kind);
        let query = query(&encoder, TokenLimits::default());
        for text in ["", " ", "a river", "  the glass of a window is old  "] {
            for limits in [PassageLimits::new(64), PassageLimits::new(1).overlap(5)] {
                let encoding = encoder.encode(&query, text).unwrap();
                let whole = Passage { encoding, bytes: 0..text.len() };
                assert_eq!(read(&encoder, &query, text, limits), (vec![whole], false), "{kind}");
            }
        }
    }
}

#[test]
fn a_character_of_more_tokens_than_a_passage_may_have_is_a_passage() {
    let encoder = encoder("unigram");
    let query = query(&encoder, TokenLimits::default());
    for text in ["c", "c c"] {
        let limits = PassageLimits::new(64).tokens(Some(1));
        let (passages, cut) = read(&encoder, &query, text, limits);
        let bytes: Vec<_> = passages.iter().map(|passage| passage.bytes.clone()).collect();
        let all = [0..1, 2..3];
        assert_eq!((&bytes[..], cut), (&all[..text.len().div_ceil(2)], false), "{text}");
    }
}

#[test]
fn passages_cover_the_text_and_are_encoded_as_texts_of_their_own() {
    let text = long_text(120);
    for kind in KINDS {
        let encoder = encoder(kind);
        let query = query(&encoder, TokenLimits::default());
        for (tokens, overlap) in [(None, 0), (None, 20), (Some(40), 0), (Some(25), 10)] {
            let limits = PassageLimits::new(10_000).tokens(tokens).overlap(overlap);
            let (passages, cut) = read(&encoder, &query, &text, limits);
            let at = format!("{kind} {tokens:?} {overlap}");
            assert!(!cut && passages.len() > 3, "{at}");
            assert_eq!(
                (passages[0].bytes.start, passages.last().unwrap().bytes.end),
                (0, text.len())
            );
            let own = TokenLimits::default().max_text_tokens(tokens);
            let own = encoder.encode_query_while("what is a window", None, own, &|_| true).unwrap();
            for passage in &passages {
                let alone = encoder.encode(&own, &text[passage.bytes.clone()]).unwrap();
                assert_eq!(alone, passage.encoding, "{at}");
                assert!(!alone.truncated && alone.ids.len() <= LIMIT, "{at}");
            }
            for pair in passages.windows(2) {
                let (before, after) = (&pair[0].bytes, &pair[1].bytes);
                assert!(before.start < after.start && before.end < after.end, "{at}");
                let between = text.get(before.end..after.start);
                match overlap {
                    0 => assert_eq!(between.unwrap().trim(), "", "{at}"),
                    _ => assert!(after.start < before.end, "{at}"),
                }
            }
            // Most of the room is used.
            let full = passages.iter().map(|passage| passage.encoding.ids.len()).max().unwrap();
            let empty = encoder.encode(&query, "").unwrap().ids.len();
            let few = passages.len() - 1;
            let used = passages[..few].iter().map(|p| p.encoding.ids.len() - empty).sum::<usize>();
            assert!(used * 10 > (full - empty) * few * 6, "{at}: {used} of {few} x {full}");
        }
    }
}

#[test]
fn what_is_beyond_the_most_passages_or_the_texts_own_limit_is_left_out() {
    let text = long_text(60);
    for kind in KINDS {
        let encoder = encoder(kind);
        let whole = query(&encoder, TokenLimits::default());
        let (all, _) = read(&encoder, &whole, &text, PassageLimits::new(1000));
        let (two, cut) = read(&encoder, &whole, &text, PassageLimits::new(2));
        assert!(cut && two == all[..2], "{kind}");
        let own = query(&encoder, TokenLimits::default().max_text_tokens(Some(300)));
        let (passages, cut) = read(&encoder, &own, &text, PassageLimits::new(1000));
        let end = passages.last().unwrap().bytes.end;
        assert!(cut && end < text.len() && passages.len() < all.len(), "{kind}");
        // As much as the limit allows, and no more.
        let wide = encoder_of(kind, 100_000);
        let unbound = query(&wide, TokenLimits::default());
        let tokens = |text: &str| wide.encode(&unbound, text).unwrap().ids.len();
        let read = tokens(&text[..end]) - tokens("");
        assert!((281..=301).contains(&read), "{kind}: {read}");
    }
}

#[test]
fn a_long_query_is_whole_beside_every_passage_where_it_leaves_a_quarter() {
    let long = "the ".repeat(110);
    let text = long_text(60);
    for refuse in [false, true] {
        let json = std::fs::read(folder("wordpiece").join("tokenizer.json")).unwrap();
        let options = EncodeOptions::new(LIMIT).refuse_long_query(refuse);
        let encoder = TextEncoder::new(&json, Template::Pair(PairTemplate::Bert), options).unwrap();
        let query = encoder.encode_query(&long, None).unwrap();
        // Beside the text as one it would be cut to half of the room.
        match encoder.encode(&query, &text) {
            Ok(cut) => assert!(cut.query_truncated && !refuse),
            Err(error) => assert!(refuse && matches!(error, TokenizeError::QueryTooLong { .. })),
        }
        let (passages, cut) = read(&encoder, &query, &text, PassageLimits::new(1000));
        assert!(!cut && passages.iter().all(|passage| !passage.encoding.query_truncated));
        assert!(passages.iter().all(|passage| passage.encoding.ids.len() <= LIMIT));
    }
}

#[test]
fn a_query_that_fills_the_room_leaves_one_candidate_as_without_passages() {
    for kind in ["byte-level-bpe", "byte-level-bpe-text-in-the-middle"] {
        let encoder = encoder(kind);
        let Ok(query) = encoder.encode_query(&"river ".repeat(400), None) else { continue };
        let text = long_text(20);
        let (passages, cut) = read(&encoder, &query, &text, PassageLimits::new(64));
        assert_eq!(passages.len(), 1, "{kind}");
        assert_eq!(passages[0].encoding, encoder.encode(&query, &text).unwrap(), "{kind}");
        assert!(cut, "{kind}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn any_text_is_covered_within_its_limits(
        kind in prop::sample::select(KINDS.to_vec()),
        parts in prop::collection::vec(
            prop_oneof![
                "[a-zA-Z ,.!?]{0,60}", "\\PC{0,20}", "[ \\n\\t]{0,300}", "(🙂|窓|。){0,60}", "[a-z]{100,400}",
            ],
            1..12,
        ),
        tokens in prop::option::of(1..60usize),
        overlap in 0..30usize,
    ) {
        let text = parts.concat();
        let encoder = encoder(kind);
        let query = query(&encoder, TokenLimits::default());
        let limits = PassageLimits::new(100_000).tokens(tokens).overlap(overlap);
        let (passages, _) = read(&encoder, &query, &text, limits);
        prop_assert_eq!(passages[0].bytes.start, 0);
        prop_assert_eq!(text[passages.last().unwrap().bytes.end..].trim(), "");
        for passage in &passages {
            let alone = encoder.encode(&query, &text[passage.bytes.clone()]).unwrap();
            prop_assert_eq!(&alone, &passage.encoding);
        }
        for pair in passages.windows(2) {
            let (before, after) = (&pair[0].bytes, &pair[1].bytes);
            prop_assert!(before.start < after.start && before.end < after.end);
            let between = text.get(before.end..after.start).unwrap_or_default();
            prop_assert_eq!(between.trim(), "");
        }
    }
}
