//! What is known of characters by themselves, and of pairs: whether they combine, or are one to a reader.

use unicode_normalization_alignments::char::{
    canonical_combining_class, decompose_canonical, decompose_compatible,
};
use unicode_normalization_alignments::{IsNormalized, UnicodeNormalization, is_nfc_quick};
use unicode_segmentation::UnicodeSegmentation;

/// Whether a character neither combines with one beside it, nor is left out by a normalizer, nor belongs to what is
/// one character to a reader (UAX 29) with another such.
///
/// A list of what texts are made of, not of all there is; a character that is missing costs time at most.
pub(in crate::tokenize) fn is_simple(character: char) -> bool {
    let code = character as u32;
    match code {
        0x20..=0x7E | 0x09 | 0x0A | 0x0D => true,
        ..0xA0 => false,
        // Latin, Greek, Cyrillic, Armenian; not the soft hyphen.
        0xA0..=0x2FF | 0x370..=0x377 | 0x37A..=0x37F | 0x384..=0x482 => {
            code != 0xAD && is_assigned(code)
        }
        0x48A..=0x52F | 0x531..=0x556 | 0x561..=0x587 => true,
        // Letters and digits of Hebrew, Arabic, Devanagari, Bengali, Tamil, Thai, Georgian; not their marks.
        0x5D0..=0x5EA | 0x620..=0x64A | 0x660..=0x66F | 0x671..=0x6D5 | 0x6F0..=0x6FC => true,
        0x904..=0x939 | 0x964..=0x97F | 0x985..=0x9B9 | 0x9E6..=0x9F1 | 0xB85..=0xBB9 => {
            is_assigned(code)
        }
        0xE01..=0xE30 | 0xE32 | 0xE40..=0xE46 | 0xE4F..=0xE5B | 0x10D0..=0x10FC => true,
        0x1E00..=0x1F15 => true,
        // Punctuation, currencies, arrows, signs, boxes; not joiners, directions and line separators.
        0x2000..=0x200A | 0x2010..=0x2027 | 0x202F..=0x205F | 0x20A0..=0x20C0 => true,
        0x2100..=0x218B | 0x2190..=0x2429 | 0x2440..=0x244A | 0x2460..=0x2B73 => true,
        // Chinese, Japanese and Korean; not the voicing marks, nor letters that make up syllables.
        0x3000..=0x3029 | 0x3030..=0x303F | 0x3041..=0x3096 | 0x309D..=0x30FF | 0x3105..=0x312F => {
            true
        }
        0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xAC00..=0xD7A3 => true,
        0xFF01..=0xFF9D | 0xFFE0..=0xFFE6 => true,
        // Pictures; not flags' letters, nor skin tones.
        0x1F300..=0x1F3FA | 0x1F400..=0x1F64F | 0x1F680..=0x1F6C5 | 0x1F900..=0x1F9FF => true,
        0x2_0000..=0x2_A6DF | 0x2_A700..=0x2_B739 => true,
        _ => false,
    }
}

/// Codes within the ranges above that no character has (Unicode 16).
fn is_assigned(code: u32) -> bool {
    !matches!(
        code,
        0x378 | 0x379 | 0x38B | 0x38D | 0x3A2 | 0x984 | 0x98D | 0x98E | 0x991 | 0x992 | 0x9A9
            | 0x9B1 | 0x9B3..=0x9B5 | 0xB8B..=0xB8D | 0xB91 | 0xB96..=0xB98 | 0xB9B | 0xB9D
            | 0xBA0..=0xBA2 | 0xBA5..=0xBA7 | 0xBAB..=0xBAD
    )
}

/// How a normalizer decomposes and composes (UAX 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tokenize) struct Form {
    pub(in crate::tokenize) composes: bool,
    pub(in crate::tokenize) compatible: bool,
}

/// The canonical combining class of what a character begins with once it is decomposed; 0 for a starter.
pub(in crate::tokenize) fn first_class(character: char, form: Form) -> u8 {
    canonical_combining_class(first_of(character, form))
}

pub(in crate::tokenize) fn is_starter(character: char, form: Form) -> bool {
    first_class(character, form) == 0
}

/// What a character is decomposed into.
pub(in crate::tokenize) fn decomposed(character: char, form: Form) -> impl Iterator<Item = char> {
    // Letters and marks have four at most, compatible ones up to 18.
    let mut all = Vec::new();
    match form.compatible {
        true => decompose_compatible(character, |c| all.push(c)),
        false => decompose_canonical(character, |c| all.push(c)),
    }
    all.into_iter()
}

fn first_of(character: char, form: Form) -> char {
    let mut first = None;
    let mut take = |c| {
        first.get_or_insert(c);
    };
    match form.compatible {
        true => decompose_compatible(character, &mut take),
        false => decompose_canonical(character, &mut take),
    }
    first.unwrap_or(character)
}

/// A text in a normal form.
pub(in crate::tokenize) fn normal_form(text: &str, form: Form) -> String {
    match (form.composes, form.compatible) {
        (true, true) => text.nfkc().map(|(c, _)| c).collect(),
        (true, false) => text.nfc().map(|(c, _)| c).collect(),
        (false, true) => text.nfkd().map(|(c, _)| c).collect(),
        (false, false) => text.nfd().map(|(c, _)| c).collect(),
    }
}

/// Whether a character becomes one with nothing before it.
pub(super) fn follows_nothing(character: char, form: Form) -> bool {
    let may = |c: char| matches!(is_nfc_quick(std::iter::once(c)), IsNormalized::Maybe);
    !may(character) && !may(first_of(character, form))
}

/// Whether two characters in a row belong to different graphemes (UAX 29), whatever stands around them.
pub(super) fn breaks(before: char, after: char) -> bool {
    // What goes on after these depends on what precedes them.
    let open = extends(before) || is_regional(before);
    is_simple(before) && is_simple(after) && (before, after) != ('\r', '\n')
        || !open && are_two(before, after)
}

/// Whether a character is a grapheme by itself among others of which that is true, too.
pub(super) fn is_apart(character: char) -> bool {
    let alone = || {
        !extends(character)
            && are_two(character, 'x')
            && are_two(character, character)
            && !is_regional(character)
    };
    character != '\r' && (is_simple(character) || alone())
}

fn extends(character: char) -> bool {
    !are_two('x', character)
}

fn are_two(before: char, after: char) -> bool {
    String::from_iter([before, after]).graphemes(true).nth(1).is_some()
}

/// Letters of which two in a row are a flag.
fn is_regional(character: char) -> bool {
    matches!(character, '\u{1F1E6}'..='\u{1F1FF}')
}
