//! Ways to damage a file, chosen by a seeded generator.

use std::ops::Range;

use super::tree;

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(super) struct Random(u64);

impl Random {
    /// The same numbers for the same seed and round, whatever rounds ran before.
    pub(super) fn new(seed: u64, round: u64) -> Self {
        let mut random = Random(seed);
        Random(random.next() ^ round.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Numbers that nobody expects.
pub(super) const NUMBERS: [&str; 16] = [
    "0",
    "-1",
    "1",
    "2",
    "255",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e999",
    "-0.0",
    "1e-320",
    "3.5",
];

/// Values that stand in for any other.
pub(super) const VALUES: [&str; 12] = [
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "\"\\ud800\"",
    "[null]",
    "{\"type\":null}",
    "\"\\u0000\"",
    "[[1,2],[3,4]]",
    "\"../../etc/passwd\"",
    "-7",
];

/// What stands under a file's name after an accident.
const STRANGERS: [&[u8]; 6] = [
    b"",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    b"<!DOCTYPE html><html><body>404</body></html>",
    b"\x80\x02\x8a\x0a",
    b"PK\x03\x04",
    b"\xff\xfe{\0}\0",
];

/// Damages a file once, or a few times.
pub(super) fn damaged(original: &[u8], random: &mut Random) -> Vec<u8> {
    if random.below(2) == 0
        && let Some(bytes) = tree::damaged(original, random)
    {
        return bytes;
    }
    let mut bytes = original.to_vec();
    for _ in 0..[1, 1, 1, 2, 5][random.below(5)] {
        once(&mut bytes, random);
    }
    bytes
}

fn once(bytes: &mut Vec<u8>, random: &mut Random) {
    match random.below(16) {
        0 | 1 => bytes.truncate(random.below(bytes.len())),
        2 | 3 => flip(bytes, random),
        4 => {
            let noise: Vec<u8> = (0..=random.below(40)).map(|_| random.next() as u8).collect();
            insert(bytes, random, &noise);
        }
        5 => {
            let gone = span(bytes, random);
            bytes.drain(gone);
        }
        6 => {
            let copy = bytes[span(bytes, random)].to_vec();
            insert(bytes, random, &copy);
        }
        7..=9 => {
            let number = random.pick(&NUMBERS).as_bytes();
            replace_one(bytes, random, numbers, number);
        }
        10 | 11 => {
            let value = random.pick(&VALUES).as_bytes();
            replace_one(bytes, random, values, value);
        }
        12 => swap(bytes, random),
        13 => nest(bytes, random),
        14 => binary_number(bytes, random),
        _ => match random.below(4) {
            0 => *bytes = random.pick(&STRANGERS).to_vec(),
            1 => _ = bytes.splice(0..0, "\u{feff}".bytes()),
            2 => bytes.extend_from_slice(b"\n\n,]}"),
            _ => *bytes = bytes.split(|&b| b == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..]),
        },
    }
}

fn flip(bytes: &mut [u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let (at, bit) = (random.below(bytes.len()), random.below(8));
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << bit;
        }
    }
}

fn insert(bytes: &mut Vec<u8>, random: &mut Random, what: &[u8]) {
    let at = random.below(bytes.len() + 1);
    bytes.splice(at..at, what.iter().copied());
}

fn span(bytes: &[u8], random: &mut Random) -> Range<usize> {
    let start = random.below(bytes.len());
    start..(start + random.below(200)).min(bytes.len())
}

/// Digits, with sign, point and exponent.
fn numbers(bytes: &[u8]) -> Vec<Range<usize>> {
    runs(bytes, |b| b.is_ascii_digit() || b"+-.eE".contains(&b), |run| run[0].is_ascii_digit())
}

/// Numbers and words of JSON, and strings without escapes.
fn values(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut found = runs(bytes, |b| b.is_ascii_alphanumeric(), |_| true);
    let quotes: Vec<usize> = (0..bytes.len()).filter(|&i| bytes[i] == b'"').collect();
    found.extend(quotes.windows(2).map(|pair| pair[0]..pair[1] + 1));
    found
}

/// Of a long file only a beginning is searched: headers of weights, most of a tokenizer.
const SEARCHED: usize = 1 << 16;

fn runs(bytes: &[u8], of: impl Fn(u8) -> bool, good: impl Fn(&[u8]) -> bool) -> Vec<Range<usize>> {
    let bytes = &bytes[..bytes.len().min(SEARCHED)];
    let mut found = Vec::new();
    let mut start = 0;
    for at in 0..=bytes.len() {
        if at == bytes.len() || !of(bytes[at]) {
            if start < at && good(&bytes[start..at]) {
                found.push(start..at);
            }
            start = at + 1;
        }
    }
    found
}

type Find = fn(&[u8]) -> Vec<Range<usize>>;

fn replace_one(bytes: &mut Vec<u8>, random: &mut Random, find: Find, with: &[u8]) {
    let found = find(bytes);
    if !found.is_empty() {
        bytes.splice(random.pick(&found).clone(), with.iter().copied());
    }
}

/// Two values in each other's place.
fn swap(bytes: &mut Vec<u8>, random: &mut Random) {
    let found = values(bytes);
    if found.len() < 2 {
        return;
    }
    let (a, b) = (random.pick(&found).clone(), random.pick(&found).clone());
    let (a, b) = if a.start < b.start { (a, b) } else { (b, a) };
    if a.end <= b.start {
        let (first, second) = (bytes[a.clone()].to_vec(), bytes[b.clone()].to_vec());
        bytes.splice(b, first);
        bytes.splice(a, second);
    }
}

/// A value that is deeper than any stack.
fn nest(bytes: &mut Vec<u8>, random: &mut Random) {
    let (open, close) = *random.pick(&[
        ("[", "]"),
        ("{\"a\":", "}"),
        ("{\"type\":\"Sequence\",\"normalizers\":[", "]}"),
    ]);
    let depth = *random.pick(&[100, 1000, 100_000]);
    let nested = [open.repeat(depth), "1".into(), close.repeat(depth)].concat();
    replace_one(bytes, random, values, nested.as_bytes());
}

/// Eight bytes of a binary header that claim much.
fn binary_number(bytes: &mut [u8], random: &mut Random) {
    let numbers = [0, 1, 1 << 20, 1 << 31, 1 << 32, 1 << 40, u64::MAX / 2, u64::MAX];
    let number = random.pick(&numbers).to_le_bytes();
    let at = random.below(bytes.len().min(4096));
    if let Some(place) = bytes.get_mut(at..at + 8) {
        place.copy_from_slice(&number);
    }
}
