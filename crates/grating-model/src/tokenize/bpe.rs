//! Byte-pair encoding in a few bytes a token, and of words of any length in bounded memory.
//!
//! `tokenizers` keeps such a vocabulary in two hash maps of strings, a cache of words for each thread that grows to
//! tens of megabytes, and takes about a hundred bytes a character for a long word. Here tokens lie in one buffer, nothing
//! is cached, and a long word is encoded piece by piece (`bpe/commit.rs`). The ids are the same: same pairs, same order
//! of merges.

mod commit;
mod file;
mod merges;

use std::fmt;

use serde::Deserialize;
use tokenizers::Token;

use self::file::File;
use self::merges::{Merges, Scratch};
use super::strings::{Index, Strings};

/// Characters below this have their symbol in a table: all that byte-level models use.
const COMMON: usize = 0x180;
/// No symbol.
const NONE: u32 = u32::MAX;

/// A vocabulary with merges. The options are those of `tokenizer.json`.
#[derive(Clone, Deserialize)]
#[serde(try_from = "File")]
pub(crate) struct Bpe {
    /// By id.
    tokens: Strings,
    /// How many there are: ids may have holes.
    count: usize,
    index: Index,
    /// Ids in the order of their tokens' bytes, to find what a token may begin with.
    sorted: Vec<u32>,
    /// Bytes of the longest token.
    longest: usize,
    merges: Merges,
    /// Tokens of single characters, by code point.
    common: Vec<u32>,
    /// Tokens of single bytes, where all 256 are there.
    bytes: Option<Box<[u32; 256]>>,
    pub(super) options: Options,
}

/// How characters become the symbols that merging starts from.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Options {
    /// The share of merges that training leaves out at random. A model that has it is not used.
    pub(super) dropout: Option<f32>,
    /// The token of characters that have none; without it they are left out.
    pub(super) unknown: Option<String>,
    /// Precedes a symbol's name behind the first of a word.
    pub(super) prefix: Option<String>,
    /// Follows the name of a word's last symbol.
    pub(super) suffix: Option<String>,
    /// Whether unknown characters in a row are one symbol.
    pub(super) fuse_unknown: bool,
    /// Whether characters without a token become their bytes' tokens.
    pub(super) byte_fallback: bool,
    /// Whether a word that is a token is that token, merged or not.
    pub(super) ignore_merges: bool,
}

/// What merging works on: a token, and where it begins in the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Symbol {
    id: u32,
    start: u32,
    /// Whether a word can be cut before it: the symbols on both sides do not depend on each other.
    clear: bool,
}

/// A stretch of a word that symbols are made of.
struct Stretch<'a> {
    word: &'a str,
    from: usize,
    end: usize,
    /// Whether the word ends with it.
    last: bool,
}

impl Bpe {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.index.find(&self.tokens, token)
    }

    pub(super) fn token(&self, id: u32) -> Option<&str> {
        let known = (id as usize) < self.tokens.len();
        known.then(|| self.tokens.get(id)).filter(|token| !token.is_empty())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        (0..self.tokens.len() as u32).filter_map(|id| Some((self.token(id)?, id)))
    }

    /// The ids of `word` from byte `from` on, where a token is known to begin.
    pub(super) fn finish(
        &self,
        word: &str,
        from: usize,
        out: &mut Vec<u32>,
    ) -> Result<(), tokenizers::Error> {
        out.extend(self.merged(word, from)?.iter().map(|symbol| symbol.id));
        Ok(())
    }

    fn merged(&self, word: &str, from: usize) -> Result<Vec<Symbol>, tokenizers::Error> {
        let whole = from == 0 && self.options.ignore_merges;
        if let Some(id) = whole.then(|| self.id(word)).flatten() {
            return Ok(vec![Symbol { id, start: 0, clear: true }]);
        }
        let mut symbols = Vec::new();
        self.symbols(Stretch { word, from, end: word.len(), last: true }, &mut symbols)?;
        self.merges.apply(&mut symbols, &mut Scratch::default());
        Ok(symbols)
    }

    /// A word's tokens, with their places in it.
    pub(super) fn tokenize(&self, word: &str) -> Result<Vec<Token>, tokenizers::Error> {
        let symbols = self.merged(word, 0)?;
        let ends = symbols.iter().skip(1).map(|next| next.start as usize).chain([word.len()]);
        let token = |(symbol, end): (&Symbol, usize)| {
            let text = self.tokens.get(symbol.id).to_owned();
            Token::new(symbol.id, text, (symbol.start as usize, end))
        };
        Ok(symbols.iter().zip(ends).map(token).collect())
    }

    /// The symbols of a stretch, in the order in which `tokenizers` adds them.
    fn symbols(
        &self,
        stretch: Stretch<'_>,
        out: &mut Vec<Symbol>,
    ) -> Result<(), tokenizers::Error> {
        let Stretch { word, from, end, last } = stretch;
        if let Some(dropout) = self.options.dropout {
            let reason = "it would tokenize a text differently each time";
            return Err(format!("the model has a dropout of {dropout}: {reason}").into());
        }
        let mut unknown: Option<Symbol> = None;
        for (offset, character) in word[from..end].char_indices() {
            let at = from + offset;
            let start = at as u32;
            let is_last = last && at + character.len_utf8() == end;
            if let Some(id) = self.symbol(character, at == 0, is_last) {
                out.extend(unknown.take());
                out.push(Symbol { id, start, clear: true });
                continue;
            }
            if let Some(ids) = self.byte_symbols(character, at == 0, is_last) {
                // One that waits stays behind, as it does in `tokenizers`.
                let symbol = |(n, id)| Symbol { id, start: start + n as u32, clear: n == 0 };
                out.extend(ids.into_iter().enumerate().map(symbol));
                continue;
            }
            let Some(name) = &self.options.unknown else { continue };
            let id = self.id(name).ok_or("the unknown token is not in the vocabulary")?;
            if unknown.is_none() || !self.options.fuse_unknown {
                out.extend(unknown.replace(Symbol {
                    id,
                    start,
                    clear: !self.options.byte_fallback,
                }));
            }
        }
        out.extend(unknown);
        Ok(())
    }

    /// The token of one character at its place in a word.
    fn symbol(&self, character: char, first: bool, last: bool) -> Option<u32> {
        let prefix = self.options.prefix.as_deref().filter(|p| !first && !p.is_empty());
        let suffix = self.options.suffix.as_deref().filter(|s| last && !s.is_empty());
        if prefix.is_some() || suffix.is_some() {
            return self.id(&named(character, prefix, suffix));
        }
        match self.common.get(character as usize) {
            Some(&id) => Some(id).filter(|&id| id != NONE),
            None => self.id(character.encode_utf8(&mut [0; 4])),
        }
    }

    /// Whether unknown characters in a row add nothing to the first of them, or add nothing at all.
    pub(super) fn passes_unknown(&self) -> bool {
        let one = self.options.unknown.is_none() || self.options.fuse_unknown;
        one && !self.options.byte_fallback && self.is_local()
    }

    /// Whether a character is unknown, in words of models of which [`Self::passes_unknown`] is true.
    pub(super) fn lacks(&self, character: char) -> bool {
        self.symbol(character, false, false).is_none()
    }

    /// The tokens of a character's bytes, where they are wanted and all of them there.
    fn byte_symbols(&self, character: char, first: bool, last: bool) -> Option<Vec<u32>> {
        if !self.options.byte_fallback {
            return None;
        }
        let prefix = self.options.prefix.as_deref().filter(|_| !first);
        let suffix = self.options.suffix.as_deref().filter(|_| last);
        let name = named(character, prefix, suffix);
        name.bytes().map(|byte| self.byte(byte)).collect()
    }

    fn byte(&self, byte: u8) -> Option<u32> {
        match &self.bytes {
            Some(bytes) => Some(bytes[usize::from(byte)]),
            None => self.id(&format!("<{byte:#04X}>")),
        }
    }
}

fn named(character: char, prefix: Option<&str>, suffix: Option<&str>) -> String {
    format!("{}{character}{}", prefix.unwrap_or(""), suffix.unwrap_or(""))
}

impl fmt::Debug for Bpe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut it = f.debug_struct("Bpe");
        it.field("tokens", &self.tokens.len()).field("options", &self.options);
        it.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokenizers::Model;
    use tokenizers::models::bpe::BPE;

    use super::*;

    /// A model of `letters` with merges of tokens that earlier ones made, in any order of ranks.
    fn model(letters: &str, merges: &[(usize, usize)], order: &[u16]) -> serde_json::Value {
        let mut tokens: Vec<String> = letters.chars().map(String::from).collect();
        let mut pairs = Vec::new();
        for &(left, right) in merges {
            let pair = (tokens[left % tokens.len()].clone(), tokens[right % tokens.len()].clone());
            let token = [pair.0.as_str(), pair.1.as_str()].concat();
            if token.len() <= 12 && !pairs.contains(&pair) {
                if !tokens.contains(&token) {
                    tokens.push(token);
                }
                pairs.push(pair);
            }
        }
        let mut ranks: Vec<usize> = (0..pairs.len()).collect();
        ranks.sort_by_key(|&n| order.get(n));
        let pairs: Vec<_> = ranks.into_iter().map(|n| pairs[n].clone()).collect();
        let bytes = (0..256).map(|byte| format!("<{byte:#04X}>"));
        tokens.extend(["<unk>".to_owned()].into_iter().chain(bytes));
        let vocab: serde_json::Map<String, serde_json::Value> =
            tokens.into_iter().enumerate().map(|(id, token)| (token, id.into())).collect();
        serde_json::json!({"type": "BPE", "vocab": vocab, "merges": pairs})
    }

    fn any_model() -> impl Strategy<Value = serde_json::Value> {
        let merges = prop::collection::vec((0..40_usize, 0..40_usize), 0..60);
        let order = prop::collection::vec(any::<u16>(), 60);
        (merges, order, 0..8_u8).prop_map(|(merges, order, options)| {
            let mut model = model("abc東", &merges, &order);
            let flag = |bit: u8| options & bit != 0;
            model["byte_fallback"] = flag(1).into();
            model["fuse_unk"] = flag(2).into();
            model["ignore_merges"] = flag(4).into();
            model["unk_token"] = "<unk>".into();
            model
        })
    }

    fn both(model: &serde_json::Value) -> (BPE, Bpe) {
        let json = model.to_string();
        let without_type = json.replacen("\"type\":\"BPE\",", "", 1);
        (serde_json::from_str(&json).unwrap(), serde_json::from_str(&without_type).unwrap())
    }

    fn reference(model: &BPE, word: &str) -> Vec<u32> {
        model.tokenize(word).unwrap().iter().map(|token| token.id).collect()
    }

    fn ids(model: &Bpe, word: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        model.finish(word, 0, &mut ids).unwrap();
        ids
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        #[test]
        fn merges_as_the_reference_does(
            model in any_model(),
            words in prop::collection::vec("[abc東x🙂]{1,16}|(ab|c){40,80}|a{30,70}b", 8),
        ) {
            let (theirs, ours) = both(&model);
            for word in &words {
                prop_assert_eq!(reference(&theirs, word), ids(&ours, word), "{}", word);
                prop_assert_eq!(theirs.tokenize(word).unwrap(), ours.tokenize(word).unwrap());
            }
            for (token, id) in theirs.get_vocab() {
                prop_assert_eq!((ours.id(&token), ours.token(id)), (Some(id), Some(token.as_str())));
            }
        }

        #[test]
        fn what_is_certain_of_a_word_is_in_it_however_it_goes_on(
            model in any_model(),
            word in "([abc東x🙂]{1,9}|(ab|ba){1,9}|a{1,9}){20,60}",
            piece in 40_usize..160,
        ) {
            let (theirs, ours) = both(&model);
            let (mut found, mut from, mut end) = (Vec::new(), 0, 0);
            while end < word.len() {
                let next = (end + piece..word.len()).find(|&at| word.is_char_boundary(at));
                end = next.unwrap_or(word.len());
                let cut = ours.commit(&word, from, end, |_| true, &mut found).unwrap();
                from = cut.unwrap_or(from);
            }
            match from {
                0 => found = ids(&ours, &word),
                _ => ours.finish(&word, from, &mut found).unwrap(),
            }
            prop_assert_eq!(found, reference(&theirs, &word));
        }
    }

    #[test]
    fn most_of_a_long_word_is_certain_at_once() {
        let merges: Vec<_> = (0..6).map(|n| ("a".repeat(1 << n), "a".repeat(1 << n))).collect();
        let vocab: serde_json::Map<String, serde_json::Value> =
            (0..=6).map(|n| ("a".repeat(1 << n), n.into())).collect();
        let (_, ours) = both(&serde_json::json!({"vocab": vocab, "merges": merges}));
        let (word, mut out) = ("a".repeat(4000), Vec::new());
        let cut = ours.commit(&word, 0, 3000, |_| true, &mut out).unwrap();
        assert!(cut.is_some_and(|cut| cut > 2700), "{cut:?}");
        assert!(out.iter().all(|&id| id == 6));
    }

    #[test]
    fn both_ways_of_writing_merges_are_read_and_what_does_not_fit_is_an_error() {
        let read = |json: &str| serde_json::from_str::<Bpe>(json).map_err(|e| e.to_string());
        let old = read(r##"{"vocab":{"a":0,"b":1,"ab":9},"merges":["#version: 0.2","a b"]}"##);
        assert_eq!(ids(&old.unwrap(), "ab"), [9]);
        let new = read(r#"{"merges":[["a","b\u0063"]],"vocab":{"a":0,"bc":1,"abc":2}}"#);
        assert_eq!(ids(&new.unwrap(), "a"), [0]);
        for (json, part) in [
            (r#"{"vocab":{"a":0},"merges":["a b"]}"#, "`b`"),
            (r#"{"vocab":{"a":0},"merges":["a b c"]}"#, "no merge"),
            (r#"{"vocab":{"a":0,"b":0},"merges":[]}"#, "the id 0"),
            (r#"{"vocab":{"a":4000000000},"merges":[]}"#, "the id 4000000000"),
            (r#"{"vocab":{"a":0}}"#, "merges"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let random = read(r#"{"vocab":{"a":0},"merges":[],"dropout":0.1}"#).unwrap();
        let error = random.finish("a", 0, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("dropout"), "{error}");
    }
}
