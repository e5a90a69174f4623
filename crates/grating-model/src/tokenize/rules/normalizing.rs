//! What a normalizer looks at, step by step, and so at which places of a text nothing is looked across.
//!
//! The steps work one after the other, each on what the one before it made of the text. A place is a seam if both of its
//! sides give, step by step, what the two give together, whatever stands further away.

use serde_json::Value;
use tokenizers::normalizers::{BertNormalizer, NormalizerWrapper};
use tokenizers::{NormalizedString, Normalizer};

use super::characters::{
    Form, breaks, first_class, follows_nothing, is_apart, is_simple, is_starter,
};
use unicode_segmentation::UnicodeSegmentation;

/// Characters on each side of a place that are looked at: no step looks further, but for what they are a run of.
const CONTEXT: usize = 40;
/// The same where steps leave out most of them.
const WIDE_CONTEXT: usize = 400;
/// So many characters at least must be left of a side.
const LEAST_CONTEXT: usize = 8;

/// Marks in a row that are more than their base can combine with. The source gives longer runs in their final order.
pub(in crate::tokenize) const MANY_MARKS: usize = 32;

/// What a normalizer looks at.
#[derive(Clone, Debug, Default)]
pub(super) struct Normalizing {
    steps: Vec<Step>,
    /// Puts something before each stretch.
    pub(super) prepends: bool,
    /// Takes white space from the beginning of a stretch.
    pub(super) strips: bool,
}

/// A step that changes more than a stretch's ends.
#[derive(Clone, Debug)]
struct Step {
    looks: Looks,
    normalizer: NormalizerWrapper,
}

/// What a step looks at.
#[derive(Clone, Debug)]
enum Looks {
    /// Each character by itself.
    Characters,
    /// Characters together with those that combine with them.
    Combining(Form),
    /// All that is one character to a reader.
    Graphemes,
    /// Occurrences of these characters in a row, from the left.
    Literal(String),
    /// Spaces, or all white space, in a row.
    Spaces,
    WhiteSpace,
}

impl Normalizing {
    /// `None` for a step that is not known.
    pub(super) fn of(normalizer: Option<&NormalizerWrapper>) -> Option<Self> {
        let mut all = Normalizing::default();
        match normalizer {
            Some(step) => all.add(step).map(|()| all),
            None => Some(all),
        }
    }

    fn add(&mut self, step: &NormalizerWrapper) -> Option<()> {
        use NormalizerWrapper as Kind;
        let form = |composes, compatible| Looks::Combining(Form { composes, compatible });
        let looks = match step {
            Kind::Sequence(steps) => return steps.as_ref().iter().try_for_each(|s| self.add(s)),
            Kind::BertNormalizer(bert) => {
                self.add_bert(bert);
                return Some(());
            }
            Kind::Prepend(_) => {
                self.prepends = true;
                return Some(());
            }
            Kind::StripNormalizer(strip) => {
                self.strips |= strip.strip_left;
                return Some(());
            }
            Kind::Nmt(_) | Kind::Lowercase(_) | Kind::StripAccents(_) | Kind::ByteLevel(_) => {
                Looks::Characters
            }
            Kind::NFC(_) => form(true, false),
            Kind::NFD(_) => form(false, false),
            Kind::NFKC(_) => form(true, true),
            Kind::NFKD(_) => form(false, true),
            Kind::Precompiled(_) => Looks::Graphemes,
            Kind::Replace(_) => Looks::of_pattern(&serde_json::to_value(step).ok()?["pattern"])?,
        };
        self.steps.push(Step { looks, normalizer: step.clone() });
        Some(())
    }

    /// BERT's normalizer does several things, of which one looks at more than a character.
    fn add_bert(&mut self, bert: &BertNormalizer) {
        let (clean, chinese) = (bert.clean_text, bert.handle_chinese_chars);
        let of = BertNormalizer::new;
        let mut push = |looks, normalizer: BertNormalizer| {
            self.steps.push(Step { looks, normalizer: normalizer.into() });
        };
        push(Looks::Characters, of(clean, chinese, Some(false), false));
        if bert.strip_accents.unwrap_or(bert.lowercase) {
            let form = Form { composes: false, compatible: false };
            push(Looks::Combining(form), of(false, false, Some(true), false));
        }
        push(Looks::Characters, of(false, false, Some(false), bert.lowercase));
    }

    /// Whether no step looks across the place between two stretches of text, of which the first one begins where one
    /// can.
    pub(super) fn is_seam(&self, before: &str, after: &str, settled: bool) -> bool {
        let (Some(last), Some(first)) = (before.chars().next_back(), after.chars().next()) else {
            return true;
        };
        if self.is_plain(last) && self.is_plain(first) && (last, first) != ('\r', '\n') {
            return true;
        }
        let seam = |context| {
            self.is_seam_by(Side::end(before, context), Side::start(after, context), settled)
        };
        seam(CONTEXT).or_else(|| seam(WIDE_CONTEXT)) == Some(true)
    }

    /// Most characters are, so that little is to be done for them.
    fn is_plain(&self, character: char) -> bool {
        let replaces = |step: &Step| {
            matches!(step.looks, Looks::Literal(_) | Looks::Spaces | Looks::WhiteSpace)
        };
        is_simple(character) && !self.steps.iter().any(replaces)
    }

    /// `None` where too little is left of a side to say.
    fn is_seam_by(&self, mut left: Side<'_>, mut right: Side<'_>, settled: bool) -> Option<bool> {
        for (n, step) in self.steps.iter().enumerate() {
            if !matches!(step.looks, Looks::Characters) {
                if !left.is_enough() || !right.is_enough() {
                    return None;
                }
                if !step.is_seam(&left, &right, settled)? {
                    return Some(false);
                }
            }
            let far = |step: &Step| matches!(step.looks, Looks::Literal(_) | Looks::Combining(_));
            if !self.steps[n..].iter().skip(1).any(far) {
                (left.whole, right.whole) = (None, None);
            }
            left = left.after(step)?;
            right = right.after(step)?;
        }
        Some(true)
    }

    /// Whether a character is normalized by itself among others of which that is true, too.
    pub(super) fn is_apart(&self, character: char) -> bool {
        let mut text = character.to_string();
        self.steps.iter().all(|step| {
            let apart = text.chars().all(|c| step.is_apart(c));
            let next = step.apply(&text);
            apart && next.map(|next| text = next).is_some()
        })
    }

    /// Whether nothing is left of a character, wherever it stands, and all else is as it would be without it.
    pub(super) fn deletes(&self, character: char) -> bool {
        let (mut text, mut moved) = (character.to_string(), false);
        for step in &self.steps {
            match &step.looks {
                // Among other marks it may be moved, but moves none.
                Looks::Combining(Form { composes: false, .. }) => {
                    moved |= !text.chars().all(|c| step.is_apart(c));
                }
                Looks::Characters => {}
                _ if moved || !text.chars().all(|c| step.is_apart(c)) => return false,
                _ => {}
            }
            match step.apply(&text) {
                Some(next) if next.is_empty() => return true,
                Some(next) => text = next,
                None => return false,
            }
        }
        false
    }

    /// Whether a step loses count of characters: `Precompiled` of those that it leaves out at the beginning of a stretch.
    pub(super) fn misplaces(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.looks, Looks::Graphemes))
    }

    /// How marks are ordered and combined, where no step but ones that leave out characters is before that, and none
    /// that looks at marks behind it.
    pub(super) fn orders_marks(&self) -> Option<Form> {
        use NormalizerWrapper::{BertNormalizer, Nmt};
        let is_combining = |step: &Step| matches!(step.looks, Looks::Combining(_));
        let at = self.steps.iter().position(is_combining)?;
        let Looks::Combining(form) = self.steps[at].looks else { return None };
        let leaves_out = |step: &Step| matches!(step.normalizer, BertNormalizer(_) | Nmt(_));
        let looks = |step: &Step| is_combining(step) || matches!(step.looks, Looks::Graphemes);
        let alone =
            self.steps[..at].iter().all(leaves_out) && !self.steps[at + 1..].iter().any(looks);
        alone.then_some(form)
    }

    /// Whether nothing is left of a character when marks are ordered.
    pub(super) fn deletes_before_marks(&self, character: char) -> bool {
        let mut text = character.to_string();
        let before = self.steps.iter().take_while(|s| !matches!(s.looks, Looks::Combining(_)));
        for step in before {
            text = step.apply(&text).unwrap_or(text);
        }
        text.is_empty()
    }
}

impl Looks {
    fn of_pattern(pattern: &Value) -> Option<Self> {
        let text = |name: &str| pattern.get(name).and_then(Value::as_str);
        match (text("String"), text("Regex")) {
            // One character has nothing beside it to be replaced with.
            (Some(one), _) if one.chars().count() == 1 => Some(Looks::Characters),
            (Some(literal), _) if !literal.is_empty() => Some(Looks::Literal(literal.to_owned())),
            (_, Some(" {2,}" | " +")) => Some(Looks::Spaces),
            (_, Some(r"\s+" | r"\s{2,}" | r"[\s]+" | r"\s{2,}|[\n\r\t]")) => {
                Some(Looks::WhiteSpace)
            }
            _ => None,
        }
    }
}

/// One side of a place: its characters next to the place, as some step gets them.
struct Side<'t> {
    text: std::borrow::Cow<'t, str>,
    /// Whether there are more further away.
    cut: bool,
    /// All of that side as it is written, as long as no step has changed it.
    whole: Option<&'t str>,
}

impl<'t> Side<'t> {
    fn end(text: &'t str, characters: usize) -> Self {
        let start = text.char_indices().rev().nth(characters - 1).map_or(0, |(at, _)| at);
        Side { text: text[start..].into(), cut: start > 0, whole: Some(text) }
    }

    fn start(text: &'t str, characters: usize) -> Self {
        let end = text.char_indices().nth(characters).map_or(text.len(), |(at, _)| at);
        Side { text: text[..end].into(), cut: end < text.len(), whole: Some(text) }
    }

    fn is_enough(&self) -> bool {
        !self.cut || self.text.chars().nth(LEAST_CONTEXT - 1).is_some()
    }

    fn after(self, step: &Step) -> Option<Self> {
        let text = step.apply(&self.text)?;
        let whole = self.whole.filter(|whole| step.apply(whole).is_some_and(|new| new == *whole));
        Some(Side { text: text.into(), cut: self.cut, whole })
    }
}

impl Step {
    fn apply(&self, text: &str) -> Option<String> {
        let mut string = NormalizedString::from(text);
        self.normalizer.normalize(&mut string).ok()?;
        Some(string.get().to_owned())
    }

    /// Whether the two sides give what they give together.
    fn adds_up(&self, left: &str, right: &str) -> Option<bool> {
        let both = self.apply(&[left, right].concat())?;
        Some(both == [self.apply(left)?, self.apply(right)?].concat())
    }

    /// Whether this step does not look across the place.
    fn is_seam(&self, left: &Side<'_>, right: &Side<'_>, settled: bool) -> Option<bool> {
        let (before, after) = (&*left.text, &*right.text);
        let (Some(last), Some(first)) = (before.chars().next_back(), after.chars().next()) else {
            return Some(true);
        };
        match &self.looks {
            Looks::Characters => Some(true),
            Looks::Combining(form) if is_starter(first, *form) => match form.composes {
                true => self.adds_up(before, after),
                false => Some(true),
            },
            // In a long run of marks, which is in its final order, none combines but with what is left of it here: a mark
            // of the same class keeps others of it apart from the base.
            Looks::Combining(form) => {
                let is_mark = |c| !is_starter(c, *form);
                let marks = before.chars().rev().take(MANY_MARKS).filter(|&c| is_mark(c)).count();
                let (last, first) = (first_class(last, *form), first_class(first, *form));
                match settled && marks == MANY_MARKS {
                    true if last == first => Some(true),
                    true => Some(last < first && self.adds_up(left.whole?, after)?),
                    false => Some(false),
                }
            }
            Looks::Graphemes if breaks(last, first) => Some(true),
            // Within one that is long each character counts by itself; short ones are seen whole.
            Looks::Graphemes => {
                let end = before.graphemes(true).next_back();
                let parts = end.into_iter().chain(after.graphemes(true).take(2));
                let apart =
                    parts.map(|part| self.is_by_characters(part)).all(|by| by == Some(true));
                self.adds_up(before, after).map(|adds_up| adds_up && apart)
            }
            Looks::Literal(literal) => Some(match left.whole {
                Some(whole) => !is_within(literal, whole, after),
                None => !literal.contains(last) || !literal.contains(first),
            }),
            Looks::Spaces => Some(last != ' ' || first != ' '),
            Looks::WhiteSpace => Some(!last.is_whitespace() || !first.is_whitespace()),
        }
    }

    fn is_by_characters(&self, grapheme: &str) -> Option<bool> {
        let each: Option<String> =
            grapheme.chars().map(|c| self.apply(c.encode_utf8(&mut [0; 4]))).collect();
        Some(self.apply(grapheme)? == each?)
    }

    fn is_apart(&self, character: char) -> bool {
        match &self.looks {
            Looks::Characters => true,
            Looks::Combining(form) => {
                is_starter(character, *form)
                    && (!form.composes || follows_nothing(character, *form))
            }
            Looks::Graphemes => is_apart(character),
            Looks::Literal(literal) => !literal.contains(character),
            Looks::Spaces => character != ' ',
            Looks::WhiteSpace => !character.is_whitespace(),
        }
    }
}

/// Whether an occurrence of `literal` lies across the end of `before`, of those that are found one after the other from
/// its start.
fn is_within(literal: &str, before: &str, after: &str) -> bool {
    let found = before.match_indices(literal).last();
    let rest = &before[found.map_or(0, |(at, literal)| at + literal.len())..];
    let across = |at: usize| {
        let (start, end) = literal.split_at(at);
        rest.ends_with(start) && after.starts_with(end)
    };
    (1..literal.len()).filter(|&at| literal.is_char_boundary(at)).any(across)
}
