//! The material that the vocabularies are made of: common words, single characters, and filler.

use std::collections::HashSet;

/// Common English words, roughly by frequency; a later repetition of a word is ignored.
const WORDS: &str = include_str!("words.txt");

/// Endings that English words take, which also serve as pieces of their own.
pub(super) const ENDINGS: [&str; 12] =
    ["s", "ed", "ing", "er", "ly", "es", "ion", "al", "ment", "ness", "able", "ity"];

/// Distinct lower-case words, most frequent first.
pub(super) fn words() -> Vec<&'static str> {
    let mut seen = HashSet::new();
    WORDS.split_whitespace().filter(|word| seen.insert(*word)).collect()
}

/// Zipf's law: the weight of the word at `rank` (from 0).
pub(super) fn zipf(rank: usize) -> u64 {
    1_000_000 / (rank as u64 + 10)
}

/// Letters, digits and marks of the alphabetic scripts, ASCII first.
pub(super) fn letters() -> impl Iterator<Item = char> {
    [
        0x21..=0x7E,       // ASCII
        0xA1..=0x17F,      // Latin-1 and Latin Extended-A
        0x370..=0x3FF,     // Greek
        0x400..=0x45F,     // Cyrillic
        0x5D0..=0x5EA,     // Hebrew
        0x621..=0x64A,     // Arabic
        0x904..=0x939,     // Devanagari
        0xE01..=0xE3A,     // Thai
        0x2010..=0x2027,   // dashes and quotation marks
        0x3001..=0x3002,   // ideographic comma and full stop
        0x3041..=0x3096,   // Hiragana
        0x30A1..=0x30FA,   // Katakana
        0x1F300..=0x1F64F, // pictographs and emoticons
    ]
    .into_iter()
    .flatten()
    .filter_map(char::from_u32)
    .filter(|c| !c.is_whitespace() && !c.is_control() && *c != '\u{AD}')
}

/// CJK ideographs and Hangul syllables.
pub(super) fn ideographs() -> impl Iterator<Item = char> {
    (0x4E00..=0x9FFF).chain(0xAC00..=0xD7A3).filter_map(char::from_u32)
}

/// Ordered pairs of indices below `n`, in a fixed shuffled order that never repeats a pair.
///
/// A vocabulary of the public size needs far more entries than a word list holds; pairs of known
/// pieces fill it with strings that look like compound words.
pub(super) fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    // Golden-section stride made coprime to the number of pairs: visits each exactly once.
    let total = n * n;
    let mut stride = (total as f64 * 0.618_034) as usize | 1;
    while gcd(stride, total) > 1 {
        stride += 2;
    }
    (0..total).map(move |i| {
        let at = (i as u128 * stride as u128 % total.max(1) as u128) as usize;
        (at / n, at % n)
    })
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_many_distinct_and_plain() {
        let words = words();
        assert!(words.len() > 800, "{}", words.len());
        assert_eq!(words[0], "the");
        assert!(words.iter().all(|w| w.bytes().all(|b| b.is_ascii_lowercase())));
        assert_eq!(words.iter().collect::<HashSet<_>>().len(), words.len());
    }

    #[test]
    fn pairs_visits_each_pair_once() {
        for n in [0, 1, 2, 7, 30] {
            let seen: HashSet<_> = pairs(n).collect();
            assert_eq!(seen.len(), n * n);
            assert!(seen.iter().all(|&(a, b)| a < n && b < n));
        }
    }
}
