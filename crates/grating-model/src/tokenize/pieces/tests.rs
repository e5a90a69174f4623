//! Texts of all kinds, in pieces and whole.

mod left_out;
mod marks;
mod table;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::tokenize::{as_written, control};

const KINDS: [&str; 4] = ["byte-level-bpe", "byte-level-bpe-llama3", "wordpiece", "unigram"];

fn file(kind: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/tokenizers");
    let json = std::fs::read(format!("{folder}/{kind}/tokenizer.json")).unwrap();
    serde_json::from_slice(&json).unwrap()
}

/// As Llama 2's and Mistral's files: spaces are `▁`, there are no words, and what the vocabulary lacks becomes bytes.
fn sentencepiece_bpe() -> Value {
    let mut tokens: Vec<String> = vec!["<unk>".into(), "<s>".into(), "</s>".into()];
    tokens.extend((0..256).map(|byte| format!("<{byte:#04X}>")));
    tokens.extend(
        "▁abcdefghijklmnopqrstuvwxyz0123456789[]{}\"',.:|-_é東京都กา🙂".chars().map(String::from),
    );
    let mut merges = Vec::new();
    for pair in "▁ t,▁ a,h e,i n,r e,▁t he,o n,e r,n d,▁a nd,[ [,[[ [[,[[[[ [[[[,▁ ▁,▁▁ ▁▁,1 2,12 3,東 京,a b,a b,▁▁▁▁ ▁▁▁▁,\
                  \" :,, \",0 0,00 00,b a,ab ab,abab abab,i ng,▁ w,▁w in,d o,▁win do,▁windo w"
        .split(',')
    {
        let Some((left, right)) = pair.split_once(' ') else { continue };
        let token = [left, right].concat();
        if !tokens.contains(&token) && tokens.iter().any(|t| t == left) && tokens.iter().any(|t| t == right) {
            tokens.push(token);
            merges.push(json!([left, right]));
        }
    }
    let vocab: serde_json::Map<String, Value> =
        tokens.into_iter().enumerate().map(|(id, token)| (token, id.into())).collect();
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    json!({
        "version": "1.0",
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true, "vocab": vocab,
                  "merges": merges},
    })
}

/// The tokenizers of the goldens, and kinds of steps that these do not have.
fn files() -> Vec<(String, Value)> {
    let mut files: Vec<_> = KINDS.iter().map(|kind| (kind.to_string(), file(kind))).collect();
    let with = |kind: &str, changes: &[(&str, Value)]| {
        let mut file = file(kind);
        for (path, value) in changes {
            *file.pointer_mut(path).unwrap() = value.clone();
        }
        file
    };
    files.push(("sentencepiece-bpe".into(), sentencepiece_bpe()));
    let cased = json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": false});
    files.push(("wordpiece, cased".into(), with("wordpiece", &[("/normalizer", cased)])));
    let gpt2 = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let bare = [("/pre_tokenizer", gpt2), ("/normalizer", Value::Null)];
    files.push(("byte-level-bpe, GPT-2".into(), with("byte-level-bpe", &bare)));
    let metaspace =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
    files.push(("unigram, one step".into(), with("unigram", &[("/pre_tokenizer", metaspace)])));
    let mut llama = sentencepiece_bpe();
    llama["normalizer"] = Value::Null;
    llama["pre_tokenizer"] =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false});
    files.push(("sentencepiece-bpe, first".into(), llama));
    for (name, options) in [
        ("fused", json!({"unk_token": "<unk>", "fuse_unk": true, "byte_fallback": false})),
        ("unknown", json!({"unk_token": "<unk>", "fuse_unk": false, "byte_fallback": false})),
        ("left out", json!({"unk_token": null, "fuse_unk": false, "byte_fallback": false})),
    ] {
        let mut bpe = sentencepiece_bpe();
        for (key, value) in options.as_object().unwrap() {
            bpe["model"][key] = value.clone();
        }
        bpe["normalizer"] = json!({"type": "Sequence", "normalizers": [
            {"type": "NFKC"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]});
        files.push((format!("sentencepiece-bpe, {name}"), bpe));
    }
    for (kind, name, steps) in normalizers() {
        let steps = json!({"type": "Sequence", "normalizers": steps});
        files.push((format!("{kind}, {name}"), with(kind, &[("/normalizer", steps)])));
    }
    files
}

/// Normalizers of published tokenizers that the goldens do not have.
fn normalizers() -> Vec<(&'static str, &'static str, Value)> {
    let quotes =
        |literal: &str| json!({"type": "Replace", "pattern": {"String": literal}, "content": "\""});
    let spaces = json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "});
    let table = json!({"type": "Precompiled", "precompiled_charsmap": table::table()});
    vec![
        ("unigram", "table", json!([table, spaces])),
        ("unigram", "Nmt", json!([{"type": "Nmt"}, {"type": "NFKC"}, spaces])),
        (
            "unigram",
            "ALBERT",
            json!([quotes("``"), quotes("''"), {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}, table]),
        ),
        ("byte-level-bpe", "NFD", json!([{"type": "NFD"}])),
        ("byte-level-bpe", "NFKC", json!([{"type": "NFKC"}, quotes("''")])),
        (
            "wordpiece",
            "stripped",
            json!([{"type": "NFD"}, {"type": "Lowercase"}, {"type": "StripAccents"}]),
        ),
    ]
}

fn ours(file: &Value) -> Tokenizer {
    as_written(file.to_string().as_bytes()).unwrap().0
}

fn plain(file: &Value) -> Tokenizer {
    let (mut tokenizer, unknown) = as_written(file.to_string().as_bytes()).unwrap();
    control::make_plain(&mut tokenizer, unknown).unwrap();
    tokenizer
}

/// `tokenizers`' own.
fn reference(file: &Value) -> tokenizers::Tokenizer {
    let mut tokenizer = tokenizers::Tokenizer::from_bytes(file.to_string()).unwrap();
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).unwrap();
    tokenizer
}

fn whole(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    crate::tokenize::ids(tokenizer, text).unwrap()
}

fn in_pieces(tokenizer: &Tokenizer, text: &str, room: usize, piece: usize) -> (Vec<u32>, bool) {
    let rules = Rules::of(tokenizer);
    let lead = text.char_indices().nth(7).map_or(0, |(at, _)| at);
    let source = Source { lead: &text[..lead], text: &text[lead..] };
    read_first(Reader::new(tokenizer, &rules, source, room, piece), room, &|_| true).unwrap()
}

/// A stretch of one kind of text; long ones have words longer than any piece.
fn stretch() -> impl Strategy<Value = String> {
    let repeated = |all: &[&'static str]| {
        let part = prop::sample::select(all.to_vec());
        (part, prop_oneof![4 => 1..12_usize, 1 => 100..700_usize])
            .prop_map(|(part, times)| part.repeat(times))
    };
    prop_oneof![
        4 => "([a-z]{1,8} ){1,40}",
        2 => "(\\| [a-z]{1,6} \\| [0-9]{1,4} \\|\n){1,20}",
        2 => "([a-z]{1,5},[0-9]{1,9},\"[A-Z]{1,4}\"\n){1,20}",
        2 => "(\\{\"[a-z]{1,5}\":[0-9]{1,5},\"[a-z]{1,4}\":\\[[0-9]{1,3}\\]\\}){1,20}",
        2 => "[A-Za-z0-9+/]{50,600}",
        1 => "[0-9a-f]{50,600}",
        1 => "[0-9]{50,300}",
        1 => "([a-z]{1,9}\n){1,40}",
        2 => "[東京都市河川橋石光紙]{1,200}[。、]",
        1 => "([ก-ฮ][ัาิี]?){1,150}",
        1 => "([ا-ي][ًَ]?){1,150} ",
        1 => "[가-힣]{1,90} ",
        1 => "[\u{900}-\u{97F}]{1,60}",
        1 => "([a-e]\u{301}?\u{323}?){1,99}",
        1 => "(👩‍👩‍👧|🙂|🇩🇪|👍🏽){1,60}",
        1 => "[\u{0}-\u{1f}\u{7f}-\u{9f}]{1,40}",
        1 => "[ \t\r\n\u{a0}\u{3000}\u{2028}]{1,40}",
        1 => "\\PC{1,40}",
        4 => repeated(&["[", "a", " ", "\n", "\r\n", "\u{0}", "ab", "1", "é", "e\u{301}", "東", "🙂", "ก", "\u{200b}",
            "\u{301}", "▁", "=-", "aA", "[ ", "ö", "ﬁ", "½", "x\u{ad}",
            "\u{1}", "word\u{1}", "\u{feff}", "\u{fffd}", "\u{302e}", "\u{1161}", "\u{11a8}", "\u{1112}\u{1161}\u{11ab}",
            "\u{fdfa}", "ﾞ", "ｶﾞ", "\u{fe0f}", "\u{e0041}", "``", "''", "＇", "🇩", "👩\u{200d}", "❤\u{fe0f}\u{200d}", "\u{ad}",
            "\u{323}\u{301}", "\u{f73}", "\u{344}", "\u{e000}", "\u{ffff}", "\u{378}", "\u{2028}", "\u{93c}", "क\u{94d}",
            "Ⱥ", "ƀ\u{301}", "ậ\u{328}", "é\u{1}", "\u{b9f}\u{200d}", "ᾳ", "½\u{301}"]),
        2 => "[\u{300}-\u{34e}]{1,200}",
        2 => "[aąậ][\u{301}-\u{304}\u{316}\u{323}\u{327}\u{328}\u{345}]{20,300}",
        1 => "[\u{591}-\u{5bd}\u{610}-\u{61a}\u{64b}-\u{65f}]{1,120}",
        1 => "[\u{f39}\u{f71}-\u{f84}]{1,60}",
        1 => "[\u{1100}-\u{1112}\u{1161}-\u{1175}\u{11a8}-\u{11c2}가각]{1,200}",
        1 => "[\u{fb50}-\u{fdff}\u{fe70}-\u{feff}]{1,60}",
        1 => "[\u{ff00}-\u{ffef}]{1,90}",
        1 => "[\u{2f00}-\u{2fd5}\u{3300}-\u{33ff}\u{f900}-\u{fad9}]{1,60}",
        1 => "[\u{fe00}-\u{fe0f}\u{e0100}-\u{e01ef}]{1,150}",
        1 => "[\u{e0001}\u{e0020}-\u{e007f}]{1,150}",
        1 => "[\u{200b}-\u{200f}\u{202a}-\u{202e}\u{2060}-\u{206f}\u{feff}]{1,150}",
        1 => "[\u{e000}-\u{e0ff}\u{f0000}-\u{f00ff}\u{fdd0}-\u{fdef}\u{fff0}-\u{ffff}]{1,150}",
        1 => "[\u{1f1e6}-\u{1f1ff}]{1,90}",
        1 => "[©®™❤\u{200d}\u{fe0f}\u{301}\u{1f3fb}]{1,150}",
        1 => "[\u{915}-\u{939}\u{93c}\u{94d}\u{200d}]{1,90}",
        1 => "[\u{c0}-\u{17f}\u{1e00}-\u{1eff}]{100,600}",
        1 => "[a'`＇ ]{1,150}",
        1 => "([a-z]\u{1}|\u{301}[\u{0}\u{200b}]){1,200}",
        2 => "[🙂🎉⚡東]{300,700}",
        1 => "[éàüößñÉ]{300,700}",
        1 => prop::sample::select(vec!["'s ", "'", "cross-encoder", "cross-", "<think>", "<|im_end|>", "<s>", "</s>",
            "[SEP]", "[MASK] ", "  <mask> ", "İ", "Σς", "\u{fffd}", "<unk>", "ŉ"]).prop_map(str::to_string),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn pieces_give_the_ids_of_the_whole(
        stretches in prop::collection::vec(stretch(), 1..14),
        cut in 0.0..1.3_f64,
        piece in 150_usize..900,
    ) {
        let text = stretches.concat();
        for (kind, file) in files() {
            let theirs = reference(&file).encode_fast(text.as_str(), false).unwrap().get_ids().to_vec();
            let plain = plain(&file);
            let both = [(ours(&file), theirs), (plain.clone(), whole(&plain, &text))];
            for (tokenizer, all) in both {
                let room = (all.len() as f64 * cut) as usize;
                let first: Vec<u32> = all.iter().take(room).copied().collect();
                let found = in_pieces(&tokenizer, &text, room, piece);
                prop_assert_eq!(found, (first, all.len() > room), "{}", kind);
            }
            let count = count_ids(&plain, &Rules::of(&plain), &text, &|_| true).unwrap();
            prop_assert_eq!(count, whole(&plain, &text).len(), "{}", kind);
        }
    }
}

/// Bytes of a long text that were looked at for 512 ids.
fn read(tokenizer: &Tokenizer, text: &str) -> (usize, usize) {
    let rules = Rules::of(tokenizer);
    let source = Source { lead: "", text };
    let mut reader = Reader::new(tokenizer, &rules, source, 512, PIECE);
    let (mut ids, mut largest) = (Vec::new(), 0);
    while ids.len() <= 512 && !reader.is_done() {
        largest = largest.max(reader.size);
        reader.read(512, &mut ids).unwrap();
    }
    (reader.at, largest)
}

/// What texts are made of that someone might send: one or more of each kind of Unicode's characters, over and over.
const UNITS: &[&str] = &[
    "[",
    "| river | 12 | stone |\n",
    "a,12,\"b\"\n",
    "{\"a\":1,\"b\":[2,3]}",
    "東京都市河川",
    "aGVsbG8gd29ybGQ",
    "window\n",
    "0123456789",
    "🙂",
    "a window keeps the warmth inside ",
    "''",
    "``",
    " ",
    // Controls, formats, separators, unassigned, private use and noncharacters.
    "\u{0}",
    "\u{1}",
    "\u{7f}",
    "\u{85}",
    "word\u{1}",
    "\u{ad}",
    "\u{200b}",
    "\u{200d}",
    "\u{202e}",
    "\u{2060}",
    "\u{2028}",
    "\u{a0}",
    "\u{3000}",
    "\u{feff}",
    "\u{fff9}",
    "\u{fffd}",
    "\u{378}",
    "\u{e000}",
    "\u{f0000}",
    "\u{ffff}",
    "\u{e0041}",
    "\u{0}\u{1}\u{200b}\u{feff}\u{fffd}",
    // Marks: one class, several, in and out of order, spacing and enclosing ones, variation selectors.
    "\u{301}",
    "\u{327}",
    "\u{301}\u{323}",
    "a\u{301}",
    "\u{302e}",
    "\u{20dd}",
    "\u{93e}",
    "\u{93c}",
    "\u{5b0}",
    "\u{64b}",
    "\u{e31}",
    "\u{fe0f}",
    "\u{e0100}",
    "\u{3099}",
    "\u{34f}",
    "\u{1}\u{301}",
    // Letters, digits and signs that a vocabulary may lack, modifiers, and what is composed or decomposed.
    "é",
    "ƀ",
    "Ⱥé",
    "ʰ",
    "˅",
    "꜀",
    "ꙮ",
    "ก",
    "\u{1200}",
    "\u{13000}",
    "\u{1100}",
    "\u{1161}",
    "\u{11a8}",
    "\u{1112}\u{1161}\u{11ab}",
    "가",
    "ﷺ",
    "ﻼ",
    "ｶﾞ",
    "ﾞ",
    "Ａ",
    "㍿",
    "ﬁ",
    "½",
    "①",
    "Ⅷ",
    "€",
    "∑",
    "İ",
    "क\u{94d}\u{200d}",
    // Pictures.
    "👩\u{200d}👩\u{200d}👧",
    "🇩",
    "🇩🇪",
    "👍🏽",
    "❤\u{fe0f}",
    "©",
    "1\u{fe0f}\u{20e3}",
];

#[test]
fn what_a_text_costs_depends_on_the_room_not_on_its_length() {
    for (kind, file) in files() {
        let tokenizer = plain(&file);
        for unit in UNITS {
            // A space before every piece would be one before every text: such tokenizers are cut at spaces alone.
            let text =
                ["", "ab "].map(|start| [start, &unit.repeat((1 << 19) / unit.len())].concat());
            for text in &text {
                let (bytes, largest) = read(&tokenizer, text);
                assert!(largest <= 2 * PIECE, "{kind}: {unit:?}: a piece of {largest}");
                // Runs that add no token are read to their end, which takes time but no memory.
                let ended = bytes == text.len();
                assert!(ended || bytes <= 100_000, "{kind}: {unit:?}: {bytes} bytes read");
            }
        }
    }
}

/// What such a run takes is to look at each of its characters once, not to tokenize it.
#[test]
fn runs_that_add_no_token_are_passed_over() {
    let runs = ["[", "🙂", "🙂🎉", "éà", "a1", " ", "\n"];
    for (kind, texts) in [("unigram", &["[", "🙂", "🙂🎉", " "][..]), ("wordpiece", &runs[1..])]
    {
        let tokenizer = plain(&file(kind));
        let rules = Rules::of(&tokenizer);
        for run in texts {
            let text = ["window ", &run.repeat((1 << 20) / run.len()), " river"].concat();
            let source = Source { lead: "", text: &text };
            let mut reader = Reader::new(&tokenizer, &rules, source, 512, PIECE);
            let (mut ids, mut pieces) = (Vec::new(), 0);
            while !reader.is_done() {
                reader.read(512, &mut ids).unwrap();
                pieces += 1;
            }
            assert!(pieces < 10 && ids.len() < 512, "{kind}, {run:?}: {pieces} pieces");
            assert_eq!(ids, whole(&tokenizer, &text), "{kind}, {run:?}");
        }
    }
}

#[test]
fn long_blanks_take_no_memory() {
    for blank in [" ", "\n", "\u{0}", "\u{301}", " \n"] {
        let text = ["window", &blank.repeat(1 << 20), "river"].concat();
        for kind in ["wordpiece", "unigram"] {
            let tokenizer = plain(&file(kind));
            if kind == "unigram" && ["\u{0}", "\u{301}"].contains(&blank) {
                continue;
            }
            let (_, largest) = read(&tokenizer, &text);
            assert!(largest <= 2 * PIECE, "{kind}: {blank:?}: a piece of {largest}");
        }
    }
}

#[test]
fn steps_that_are_not_known_are_tokenized_from_the_start() {
    let mut file = file("byte-level-bpe");
    let pattern = file.pointer_mut("/pre_tokenizer/pretokenizers/0/pattern/Regex").unwrap();
    *pattern = r"\p{L}+(?= )|.".into();
    let tokenizer = plain(&file);
    assert!(!Rules::of(&tokenizer).known);
    let text = "one two three ".repeat(5000);
    let all = whole(&tokenizer, &text);
    for room in [0, 100, 3000, all.len(), all.len() + 1] {
        let (found, more) = in_pieces(&tokenizer, &text, room, PIECE);
        assert_eq!((&found[..], more), (&all[..room.min(all.len())], all.len() > room));
    }
}

#[test]
fn pieces_that_grow_are_asked_for_by_their_size() {
    let asked = std::cell::RefCell::new(Vec::new());
    let wanted = |bytes| {
        asked.borrow_mut().push(bytes);
        bytes < 100_000
    };
    let ask = |tokenizer: &Tokenizer, text: &str| {
        asked.borrow_mut().clear();
        let rules = Rules::of(tokenizer);
        let found = first_ids(tokenizer, &rules, Source { lead: "", text }, 30, &wanted);
        (found.map(|(ids, more)| (ids.len(), more)), asked.borrow().iter().copied().max())
    };
    let tokenizer = plain(&file("byte-level-bpe"));
    let text = "a window keeps the warmth inside ".repeat(40_000);
    assert_eq!(ask(&tokenizer, &text), (Ok((30, true)), Some(0)));
    // Each of these is two marks in the normal form, and which of them come first no part of the run tells.
    let marks = "\u{f73}".repeat(400_000);
    let (found, most) = ask(&tokenizer, &marks);
    assert_eq!(found, Err(TokenizeError::Unwanted));
    assert!((100_000..400_000).contains(&most.unwrap()), "{most:?}");
}

#[test]
fn a_text_is_left_where_its_answer_is_no_longer_wanted() {
    let tokenizer = plain(&file("wordpiece"));
    let rules = Rules::of(&tokenizer);
    let text = "a window keeps the warmth inside ".repeat(1000);
    let asked = std::cell::Cell::new(0);
    let wanted = |_| {
        asked.set(asked.get() + 1);
        asked.get() < 4
    };
    let source = Source { lead: "", text: &text };
    let found = first_ids(&tokenizer, &rules, source, usize::MAX, &wanted);
    assert_eq!((found, asked.get()), (Err(TokenizeError::Unwanted), 4));
    assert_eq!(count_ids(&tokenizer, &rules, &text, &|_| false), Err(TokenizeError::Unwanted));
}

/// Each takes another way through the pieces, and its end decides on its beginning or on where words begin.
#[test]
fn texts_whose_parts_depend_on_each_other_have_the_ids_of_the_whole() {
    let marks = "\u{327}\u{316}\u{323}\u{301}".repeat(90);
    let texts = [
        // The last mark of a class is composed with the base, or kept from it by an earlier one.
        ["a", &"\u{323}".repeat(300), "\u{302}bc"].concat(),
        ["a\u{323}\u{303}", &marks, "\u{302}a window"].concat(),
        ["é", &"\u{301}".repeat(300), " é", &"\u{316}".repeat(300), "."].concat(),
        "\u{f73}\u{301}".repeat(200),
        // Left out at the beginning, where places are told wrongly.
        ["\u{ad}\u{ad}", &"🎉⚡東".repeat(200)].concat(),
        ["ab ", &"\u{1}\u{301}".repeat(400)].concat(),
        // Words that begin within a character, and tokens that end there.
        "ﷺ".repeat(150),
        "½".repeat(400),
        "▁".repeat(124),
        ["ab", &"ﾞ".repeat(400), "c"].concat(),
        "\u{1112}\u{1161}\u{11a8}\u{11a8}".repeat(150),
        "'".repeat(701) + "``'",
        "\u{301}\u{200b}".repeat(300),
        "a,b".repeat(300),
    ];
    for (kind, file) in files() {
        let reference = reference(&file);
        let ours = ours(&file);
        for text in &texts {
            let all = reference.encode_fast(text.as_str(), false).unwrap().get_ids().to_vec();
            for (room, piece) in
                [(all.len(), 150), (all.len() / 2, 291), (11, 150), (all.len(), 600)]
            {
                let first = all.iter().take(room).copied().collect();
                let found = in_pieces(&ours, text, room, piece);
                let start: String = text.chars().take(5).collect();
                assert_eq!(found, (first, all.len() > room), "{kind}, {start:?}, {room}, {piece}");
            }
        }
    }
}
