//! Which steps of a tokenizer are known, and so at which places of a text it can begin anew.
//!
//! Tokenizers work in steps: added tokens are found, what is between them is normalized and split into words, and each
//! word becomes tokens by itself. A text can be read in pieces where no step looks across the seam of two pieces. What a
//! step looks at is read off the tokenizer's file; a step that is not known makes the whole tokenizer unknown.

mod characters;
mod normalizing;

use serde_json::Value;
use tokenizers::{AddedToken, NormalizedString, Normalizer, PreTokenizerWrapper};

pub(super) use self::characters::{
    Form, decomposed, first_class, is_simple, is_starter, normal_form,
};
pub(super) use self::normalizing::MANY_MARKS;
use self::normalizing::Normalizing;
use super::vocabulary::Tokenizer;

/// What is known of a tokenizer.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// Whether all steps are.
    pub(super) known: bool,
    normalizer: Normalizing,
    /// Whether places in a text, as the normalizer tells them, may be wrong.
    pub(super) misplaces: bool,
    /// How long runs of marks may be put into their final order, where that changes nothing.
    pub(super) orders_marks: Option<Form>,
    splitting: Splitting,
    /// Added tokens that text can become, as written and as normalized.
    added: Vec<String>,
    /// Whether one of them takes white space before it.
    takes_space: bool,
    /// Whether one of them counts only as a word by itself.
    is_word: bool,
    /// Bytes behind a seam that must be known for the added tokens before it to be certain.
    pub(super) margin: usize,
    /// Splits a text that does not begin with its first word: without the space that would be put before it. Only
    /// where no added token makes other beginnings.
    pub(super) splits_on: Option<PreTokenizerWrapper>,
}

/// What a word must begin with to be the same at the beginning of a text.
#[derive(Clone, Copy, Debug, Default)]
struct Splitting {
    /// The character that stands for a space, in the model's own terms.
    marker: Option<char>,
    /// A space, in the text.
    space: bool,
    /// Whether the text's beginning alone is treated so, and what follows an added token is not.
    first: bool,
    /// Whether some step may split between ASCII letters and digits.
    within_runs: bool,
}

/// Alternatives of patterns that published tokenizers split by. Each matches a run of one class of characters, perhaps
/// with one character before it and a run of another class behind it, and looks at no more than the character behind
/// all that; or it is a contraction's few letters.
const ALTERNATIVES: &[&str] = &[
    "'s",
    "'t",
    "'re",
    "'ve",
    "'m",
    "'ll",
    "'d",
    r"'(?i:[sdmt]|ll|ve|re)",
    r"'(?:[sdmt]|ll|ve|re)",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
    r"(?i:'s|'t|'re|'ve|'m|'d|'ll)",
    r" ?\p{L}+",
    r" ?\p{N}+",
    r" ?[^\s\p{L}\p{N}]+",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*",
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
    r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*",
    r"[^\r\n\p{L}\p{N}]?\p{L}+",
    r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}",
    r"\p{N}{1,3}",
    r"\p{N}{1,2}",
    r"\p{N}+",
    r"\s*[\r\n]+",
    r"\s*[\r\n]",
    r"\s+(?!\S)",
    r"\s+",
];

impl Rules {
    pub(super) fn of(tokenizer: &Tokenizer) -> Self {
        let step = |step: Option<Value>| step.unwrap_or(Value::Null);
        let pre = step(tokenizer.get_pre_tokenizer().and_then(|p| serde_json::to_value(p).ok()));
        let (normalizing, splitting) =
            (Normalizing::of(tokenizer.get_normalizer()), Splitting::of(&pre));
        // What is put before each stretch would come before each word that a text is begun anew with.
        let known = normalizing.is_some() && splitting.is_some();
        let active = |token: &AddedToken| !(tokenizer.get_encode_special_tokens() && token.special);
        let decoder = tokenizer.get_added_tokens_decoder();
        let added: Vec<&AddedToken> = decoder.values().filter(|token| active(token)).collect();
        let mut contents: Vec<String> = added.iter().map(|token| token.content.clone()).collect();
        contents.extend(added.iter().filter_map(|token| normalized(tokenizer, &token.content)));
        let all = decoder.values().map(|token| token.content.len()).max().unwrap_or(0);
        let longest = contents.iter().map(String::len).max().unwrap_or(0).max(all);
        let splitting = splitting.unwrap_or_default();
        let splits_on = (splitting.space && contents.is_empty()).then(|| without_space(pre));
        let normalizer = normalizing.unwrap_or_default();
        let has_marks = |token: &String, form| !token.chars().all(|c| is_starter(c, form));
        let orders_marks = normalizer
            .orders_marks()
            .filter(|form| known && !contents.iter().any(|token| has_marks(token, *form)));
        Rules {
            known,
            orders_marks,
            misplaces: normalizer.misplaces(),
            splits_on: splits_on.flatten(),
            normalizer,
            splitting,
            takes_space: added.iter().any(|token| token.lstrip),
            is_word: added.iter().any(|token| token.single_word),
            added: contents,
            margin: longest + 48,
        }
    }

    /// Whether no step but the splitting into words looks across the place between two stretches of text, of which the
    /// first one begins at such a place or at the beginning of a long word. `settled` says that long runs of marks are in
    /// their final order.
    pub(super) fn is_seam(&self, before: &str, after: &str, settled: bool) -> bool {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii();
        let added = before.chars().next_back().is_some_and(|last| {
            (self.takes_space && last.is_whitespace()) || (self.is_word && is_word(last))
        });
        !added && self.normalizer.is_seam(before, after, settled)
    }

    /// Whether a character is normalized by itself among others of which that is true, too.
    pub(super) fn is_apart(&self, character: char) -> bool {
        self.normalizer.is_apart(character)
    }

    /// Whether a text is the same without a character, wherever it stands, as long as there is another such beside it.
    pub(super) fn deletes(&self, character: char) -> bool {
        let is_added = self.added.iter().any(|token| token.contains(character));
        !is_added && !self.is_word && self.normalizer.deletes(character)
    }

    /// Whether nothing is left of a character when marks are ordered ([`Self::orders_marks`]).
    pub(super) fn deletes_before_marks(&self, character: char) -> bool {
        !is_simple(character) && self.normalizer.deletes_before_marks(character)
    }

    /// Whether a text that begins with a word has the tokens that the word has within a text. `character` is the
    /// word's first in the text, `word` what the model gets of it.
    pub(super) fn may_begin(&self, character: char, word: &str) -> bool {
        let Splitting { marker, space, .. } = self.splitting;
        let marked = marker.is_none_or(|marker| word.starts_with(marker));
        let spaced = !space || self.splits_on.is_some() || character == ' ';
        let kept = !self.normalizer.strips || marker.is_some() || !character.is_whitespace();
        marked && spaced && kept && !self.normalizer.prepends
    }

    /// Whether what follows an added token is treated as the beginning of a text is.
    pub(super) fn begins_behind_added(&self) -> bool {
        !self.splitting.first
    }

    /// Whether ASCII letters and digits in a row are within one word, however many.
    pub(super) fn keeps_runs(&self) -> bool {
        let is_run = |token: &String| token.bytes().all(|byte| byte.is_ascii_alphanumeric());
        !self.splitting.within_runs && !self.added.iter().any(is_run)
    }

    /// Added tokens that text can become, as written and as normalized.
    pub(super) fn added(&self) -> impl Iterator<Item = &str> {
        self.added.iter().map(String::as_str)
    }

    /// Whether an added token is found across the seam of two stretches of text.
    pub(super) fn joins(&self, before: &str, after: &str) -> bool {
        let cuts = |token: &String| {
            let cut = |at: usize| {
                let (left, right) = token.split_at(at);
                before.ends_with(left) && after.starts_with(right)
            };
            (1..token.len()).filter(|&at| token.is_char_boundary(at)).any(cut)
        };
        self.added.iter().any(cuts)
    }
}

fn normalized(tokenizer: &Tokenizer, text: &str) -> Option<String> {
    let mut string = NormalizedString::from(text);
    tokenizer.get_normalizer()?.normalize(&mut string).ok()?;
    Some(string.get().to_owned())
}

/// The same steps, but that none puts a space before a text.
fn without_space(mut pre: Value) -> Option<PreTokenizerWrapper> {
    fn unset(step: &mut Value) {
        if let Some(flag) = step.get_mut("add_prefix_space") {
            *flag = false.into();
        }
        let steps = step.get_mut("pretokenizers").and_then(Value::as_array_mut);
        steps.into_iter().flatten().for_each(unset);
    }
    unset(&mut pre);
    serde_json::from_value(pre).ok()
}

fn kind(step: &Value) -> &str {
    step.get("type").and_then(Value::as_str).unwrap_or("")
}

fn flag(step: &Value, name: &str) -> bool {
    step.get(name).and_then(Value::as_bool).unwrap_or(true)
}

impl Splitting {
    /// `None` for a step that is not known.
    fn of(step: &Value) -> Option<Self> {
        let none = Splitting::default();
        let within = Splitting { within_runs: true, ..none };
        Some(match kind(step) {
            _ if step.is_null() => none,
            "BertPreTokenizer" | "Whitespace" | "WhitespaceSplit" | "Punctuation" => none,
            "Digits" | "CharDelimiterSplit" => within,
            "ByteLevel" => Splitting { space: flag(step, "add_prefix_space"), ..within },
            "Metaspace" => {
                let marker = step.get("replacement").and_then(Value::as_str)?.chars().next();
                let scheme = step.get("prepend_scheme").and_then(Value::as_str);
                let marker = marker.filter(|_| scheme != Some("never"));
                Splitting { marker, first: scheme == Some("first"), ..within }
            }
            "Split" if is_known_pattern(step) => within,
            "Sequence" => {
                let steps = step.get("pretokenizers")?.as_array()?;
                steps.iter().try_fold(none, |all, step| Some(all.and(Self::of(step)?)))?
            }
            _ => return None,
        })
    }

    fn and(self, other: Self) -> Self {
        Splitting {
            marker: self.marker.or(other.marker),
            space: self.space || other.space,
            first: self.first || other.first,
            within_runs: self.within_runs || other.within_runs,
        }
    }
}

/// Splits by one character, or by [`ALTERNATIVES`] that leave nothing between their matches.
fn is_known_pattern(step: &Value) -> bool {
    let text = |name: &str| step["pattern"].get(name).and_then(Value::as_str);
    match (text("String"), text("Regex")) {
        (Some(literal), _) => literal.chars().count() == 1,
        (_, Some(regex)) => alternatives(regex).iter().all(|one| ALTERNATIVES.contains(one)),
        _ => false,
    }
}

/// A pattern cut at the bars that are in no bracket.
fn alternatives(regex: &str) -> Vec<&str> {
    let (mut found, mut depth, mut start, mut escaped) = (Vec::new(), 0_i32, 0, false);
    for (at, byte) in regex.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'|' if depth == 0 => {
                found.push(&regex[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&regex[start..]);
    found
}
