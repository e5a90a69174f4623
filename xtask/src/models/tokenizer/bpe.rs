//! Byte-level BPE as in Qwen and SmolLM2: 256 bytes, merges learned from the word list, characters
//! of other scripts, filler, and the template's special tokens.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::words::{self, ENDINGS};
use super::{AddedToken, Model, TokenizerFile, Vocab};
use crate::models::shapes::{Family, Shape};

/// Qwen's control tokens in the order of their ids; the second part is not "special" in the sense
/// of the format (it survives `skip_special_tokens`).
const QWEN_SPECIAL: [&str; 14] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
];
const QWEN_ADDED: [&str; 12] = [
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
];
/// The last four came with Qwen3.
const QWEN2_ADDED: usize = 8;

const SMOLLM2_SPECIAL: [&str; 17] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<repo_name>",
    "<reponame>",
    "<file_sep>",
    "<filename>",
    "<gh_stars>",
    "<issue_start>",
    "<issue_comment>",
    "<issue_closed>",
    "<jupyter_start>",
    "<jupyter_text>",
    "<jupyter_code>",
    "<jupyter_output>",
    "<jupyter_script>",
    "<empty_output>",
];

/// Qwen's pre-tokenization: contractions, words with one leading mark, single digits, punctuation,
/// line ends, spaces.
const QWEN_SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Merges that the word list is trained for at most; it is exhausted at about this many.
const TRAINED_MERGES: usize = 16_384;

/// Ids of the control tokens that config.json names.
pub(crate) struct SpecialIds {
    pub(crate) end_of_text: usize,
    pub(crate) start_of_turn: usize,
    pub(crate) end_of_turn: usize,
}

/// The control tokens' ids: at the end of Qwen's vocabulary, at the start of SmolLM2's.
pub(crate) fn special_ids(shape: &Shape) -> SpecialIds {
    let first = match shape.family {
        Family::Llama => 0,
        _ => shape.tokenizer_entries().saturating_sub(control_tokens(shape).len()),
    };
    SpecialIds { end_of_text: first, start_of_turn: first + 1, end_of_turn: first + 2 }
}

/// Control tokens with whether they are special, in the order of their ids.
fn control_tokens(shape: &Shape) -> Vec<(&'static str, bool)> {
    let special = |token| (token, true);
    let added = |token| (token, false);
    match shape.family {
        Family::Llama => SMOLLM2_SPECIAL.map(special).to_vec(),
        Family::Qwen2 => {
            let added = QWEN_ADDED[..QWEN2_ADDED].iter().copied().map(added);
            QWEN_SPECIAL.map(special).into_iter().chain(added).collect()
        }
        Family::MiniCpm | Family::Gemma | Family::Gemma2 => Vec::new(),
        _ => QWEN_SPECIAL.map(special).into_iter().chain(QWEN_ADDED.map(added)).collect(),
    }
}

/// Words and the merges that make them, of printable characters alone, `\u{120}` standing for a space: at most `size`,
/// `first` among them.
pub(super) fn printable(size: usize, first: &[&str]) -> (Vec<String>, Vec<(String, String)>) {
    let mut grown = Builder::default();
    for word in first {
        let places = word.bytes().map(|byte| grown.bytes[usize::from(byte)]).collect::<Vec<_>>();
        places.into_iter().reduce(|head, place| grown.merge(head, place));
    }
    grown.train(corpus(), size.min(256 + TRAINED_MERGES));
    let trained = grown.spelling.len();
    grown.filler(trained, size);
    let is_printable = |token: &str| token.chars().all(|c| c.is_ascii_graphic() || c == '\u{120}');
    let tokens = grown.spelling.iter().filter(|token| is_printable(token)).cloned().collect();
    let spelled = |&(a, b): &(usize, usize)| (grown.spelling[a].clone(), grown.spelling[b].clone());
    let merges = grown.merges.iter().map(spelled);
    let merges = merges.filter(|(a, b)| is_printable(a) && is_printable(b)).collect();
    (tokens, merges)
}

/// The tokenizer of a decoder shape.
pub(super) fn tokenizer(shape: &Shape) -> Result<TokenizerFile> {
    let control = control_tokens(shape);
    let entries = shape.tokenizer_entries();
    // Bytes, control tokens, and the merges of the two answers ("no"; "yes" in two steps).
    let least = 256 + control.len() + 3;
    ensure!(
        entries >= least,
        "a vocabulary of {entries} is too small for {}: it takes {least} entries at least",
        shape.name
    );
    let llama = shape.family == Family::Llama;
    let first_regular = if llama { control.len() } else { 0 };
    let mut grown = Builder::default();
    grown.grow(entries - control.len());
    for (answer, id) in
        if llama { [("no", 4607), ("yes", 10407)] } else { [("no", 2152), ("yes", 9693)] }
    {
        grown.place(answer, id - first_regular);
    }

    let first_control = if llama { 0 } else { grown.tokens.len() };
    let added_tokens = control
        .iter()
        .enumerate()
        .map(|(i, &(token, special))| AddedToken {
            special,
            ..AddedToken::special(first_control + i, token)
        })
        .collect();
    let mut vocab = grown.tokens;
    if llama {
        vocab.splice(0..0, control.iter().map(|(token, _)| (*token).to_owned()));
    }
    let merges =
        grown.merges.iter().map(|&(a, b)| format!("{} {}", grown.spelling[a], grown.spelling[b]));
    Ok(TokenizerFile {
        version: "1.0",
        truncation: Value::Null,
        padding: Value::Null,
        added_tokens,
        normalizer: if llama { Value::Null } else { json!({"type": "NFC"}) },
        pre_tokenizer: pre_tokenizer(llama),
        post_processor: if llama { Value::Null } else { byte_level(false, false) },
        decoder: if llama { byte_level(true, true) } else { byte_level(false, false) },
        model: Model::Bpe {
            dropout: Value::Null,
            unk_token: Value::Null,
            continuing_subword_prefix: if llama { Value::Null } else { json!("") },
            end_of_word_suffix: if llama { Value::Null } else { json!("") },
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: false,
            vocab: Vocab(vocab),
            merges: merges.collect(),
        },
    })
}

fn byte_level(trim_offsets: bool, use_regex: bool) -> Value {
    json!({
        "type": "ByteLevel",
        "add_prefix_space": false,
        "trim_offsets": trim_offsets,
        "use_regex": use_regex,
    })
}

fn pre_tokenizer(llama: bool) -> Value {
    let steps = if llama {
        json!([{"type": "Digits", "individual_digits": true}, byte_level(true, true)])
    } else {
        json!([
            {"type": "Split", "pattern": {"Regex": QWEN_SPLIT}, "behavior": "Isolated", "invert": false},
            byte_level(false, false),
        ])
    };
    json!({"type": "Sequence", "pretokenizers": steps})
}

/// The printable stand-in of each byte (GPT-2's table), in the order of the token ids.
fn byte_alphabet() -> Vec<(u8, char)> {
    let printable = |b: &u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let shown = (0..=255).filter(printable).map(|b| (b, char::from(b)));
    let hidden = (0..=255).filter(|b| !printable(b)).zip('\u{100}'..);
    shown.chain(hidden).collect()
}

/// A vocabulary that grows merge by merge.
struct Builder {
    /// Tokens by their final id.
    tokens: Vec<String>,
    /// Tokens in the order they were made, which the merges refer to.
    spelling: Vec<String>,
    /// Place in `spelling` of each token.
    made: HashMap<String, usize>,
    merges: Vec<(usize, usize)>,
    /// The same merges, to keep each once.
    merged: HashSet<(usize, usize)>,
    /// Place in `spelling` of each byte.
    bytes: [usize; 256],
}

impl Default for Builder {
    fn default() -> Self {
        let mut bytes = [0; 256];
        let mut spelling = Vec::new();
        for (place, (byte, shown)) in byte_alphabet().into_iter().enumerate() {
            bytes[usize::from(byte)] = place;
            spelling.push(shown.to_string());
        }
        let made = spelling.iter().cloned().zip(0..).collect();
        let (tokens, merges, merged) = Default::default();
        Self { tokens, spelling, made, merges, merged, bytes }
    }
}

impl Builder {
    /// Grows to `size` tokens: trained merges, then other scripts' characters, then filler.
    fn grow(&mut self, size: usize) {
        self.train(corpus(), size.min(256 + TRAINED_MERGES));
        let trained = self.spelling.len();
        for c in words::letters().chain(words::ideographs()) {
            self.character(c, size);
        }
        self.filler(trained, size);
        self.tokens.clone_from(&self.spelling);
    }

    /// Puts `token` at `id` by exchange with the token there; out of range leaves it where it is.
    fn place(&mut self, token: &str, id: usize) {
        let from = self.tokens.iter().position(|t| t == token);
        if let (Some(from), true) = (from, id < self.tokens.len()) {
            self.tokens.swap(from, id);
        }
    }

    /// Adds the merge of two tokens; the place of the token they make, which may be there already,
    /// made of other parts.
    fn merge(&mut self, a: usize, b: usize) -> usize {
        if self.merged.insert((a, b)) {
            self.merges.push((a, b));
        }
        let joined = format!("{}{}", self.spelling[a], self.spelling[b]);
        *self.made.entry(joined).or_insert_with_key(|joined| {
            self.spelling.push(joined.clone());
            self.spelling.len() - 1
        })
    }

    /// Adds the merges that join the UTF-8 bytes of `c`, while there is room for all of them.
    fn character(&mut self, c: char, size: usize) {
        let mut utf8 = [0; 4];
        let utf8 = c.encode_utf8(&mut utf8).as_bytes();
        if self.spelling.len() + utf8.len() > size {
            return;
        }
        let places = utf8.iter().map(|&byte| self.bytes[usize::from(byte)]);
        let mut whole = None;
        for place in places.collect::<Vec<_>>() {
            whole = Some(whole.map_or(place, |head| self.merge(head, place)));
        }
    }

    /// Fills up with compounds of trained tokens: a word start with a piece that continues it.
    fn filler(&mut self, trained: usize, size: usize) {
        let plain = |piece: &str| piece.len() > 1 && piece.bytes().all(|b| b.is_ascii_lowercase());
        let starts =
            (0..trained).filter(|&i| self.spelling[i].strip_prefix('Ġ').is_some_and(plain));
        let starts: Vec<usize> = starts.collect();
        let ends: Vec<usize> = (0..trained).filter(|&i| plain(&self.spelling[i])).collect();
        let n = starts.len().max(ends.len());
        for (a, b) in words::pairs(n) {
            if self.spelling.len() >= size {
                return;
            }
            if let (Some(&a), Some(&b)) = (starts.get(a), ends.get(b)) {
                self.merge(a, b);
            }
        }
    }

    /// BPE training (Sennrich et al. 2016) on weighted words: merges the most frequent pair until
    /// there are `size` tokens or no pair is left. Ties go to the pair made first.
    fn train(&mut self, corpus: BTreeMap<String, u64>, size: usize) {
        let mut words: Vec<(Vec<usize>, u64)> = corpus
            .into_iter()
            .map(|(word, weight)| {
                (word.bytes().map(|b| self.bytes[usize::from(b)]).collect(), weight)
            })
            .collect();
        let mut pairs = Pairs::default();
        for (at, (word, weight)) in words.iter().enumerate() {
            pairs.add(word, *weight, at);
        }
        while self.spelling.len() < size
            && let Some(((a, b), places)) = pairs.take_most_frequent()
        {
            let joined = self.merge(a, b);
            for at in places {
                let (word, weight) = &mut words[at];
                pairs.remove(word, *weight);
                *word = replaced(word, (a, b), joined);
                pairs.add(word, *weight, at);
            }
        }
    }
}

/// `word` with each adjacent `a, b` replaced by `joined`, from left to right.
fn replaced(word: &[usize], (a, b): (usize, usize), joined: usize) -> Vec<usize> {
    let mut out = Vec::with_capacity(word.len());
    let mut at = 0;
    while at < word.len() {
        if word[at..].starts_with(&[a, b]) {
            out.push(joined);
            at += 2;
        } else {
            out.push(word[at]);
            at += 1;
        }
    }
    out
}

/// Weighted counts of adjacent pairs, with the words that hold them.
#[derive(Default)]
struct Pairs {
    counts: HashMap<(usize, usize), (u64, HashSet<usize>)>,
    /// Candidates, some with an outdated count; the map has the truth.
    heap: BinaryHeap<(u64, Reverse<(usize, usize)>)>,
}

impl Pairs {
    fn add(&mut self, word: &[usize], weight: u64, at: usize) {
        for pair in word.windows(2).map(|w| (w[0], w[1])) {
            let (count, places) = self.counts.entry(pair).or_default();
            *count += weight;
            places.insert(at);
            self.heap.push((*count, Reverse(pair)));
        }
    }

    fn remove(&mut self, word: &[usize], weight: u64) {
        for pair in word.windows(2).map(|w| (w[0], w[1])) {
            if let Some((count, _)) = self.counts.get_mut(&pair) {
                *count -= weight;
                self.heap.push((*count, Reverse(pair)));
            }
        }
    }

    /// Removes the most frequent pair; the pair and the words that may hold it, in order.
    fn take_most_frequent(&mut self) -> Option<((usize, usize), Vec<usize>)> {
        while let Some((count, Reverse(pair))) = self.heap.pop() {
            if count == 0 || self.counts.get(&pair).is_none_or(|(now, _)| *now != count) {
                continue;
            }
            let (_, places) = self.counts.remove(&pair)?;
            let mut places: Vec<usize> = places.into_iter().collect();
            places.sort_unstable();
            return Some((pair, places));
        }
        None
    }
}

/// What the merges are trained on: the words as they stand in running text, with weights.
fn corpus() -> BTreeMap<String, u64> {
    let mut corpus = BTreeMap::new();
    let mut add = |word: String, weight: u64| *corpus.entry(word).or_default() += weight;
    // The answers come first of all, so that the smallest vocabulary holds them as single tokens.
    for answer in ["no", "yes"] {
        add(answer.to_owned(), 1_000_000_000);
    }
    for (text, weight) in [
        ("\n\n", 90_000),
        ("        ", 30_000),
        (" (", 9_000),
        (".\n", 9_000),
        ("),", 4_000),
        (").", 4_000),
    ] {
        add(text.to_owned(), weight);
    }
    for (rank, word) in words::words().into_iter().enumerate() {
        let weight = words::zipf(rank);
        let capital = word[..1].to_uppercase() + &word[1..];
        add(format!(" {word}"), weight);
        add(word.to_owned(), weight / 10);
        add(format!(" {capital}"), weight / 10);
        add(capital, weight / 20);
        if (3..=8).contains(&word.len()) {
            for (i, ending) in ENDINGS.iter().enumerate() {
                add(format!(" {word}{ending}"), weight / (10 + 10 * i as u64));
            }
        }
    }
    corpus
}
