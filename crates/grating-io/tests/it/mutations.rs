//! Thousands of seeded mutations of good files, on the fuzz targets' entry points.
//!
//! A failure prints its round; the rounds are the same everywhere.

use std::panic::catch_unwind;

use crate::invariants;
use crate::support::{Random, image};

const ROUNDS: u64 = 6000;

/// Fragments that have broken parsers of this kind before.
const FRAGMENTS: [&str; 14] = [
    "0",
    "-1",
    "1e3",
    "18446744073709551615",
    "9223372036854775808",
    "4294967296",
    "null",
    "{}",
    "[[",
    "\"__metadata__\":{}",
    "\"a\"",
    "../x",
    "\\u0000",
    "\u{feff}",
];

/// One to four changes of a copy.
fn mutated(good: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len().max(1));
        let end = (at + random.below(12)).min(bytes.len());
        match random.below(7) {
            _ if bytes.is_empty() => bytes.push(random.next() as u8),
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copy = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, copy);
            }
            5 => {
                let fragment = FRAGMENTS[random.below(FRAGMENTS.len())];
                bytes.splice(at..end, fragment.bytes());
            }
            // Digits matter most: they are the shapes and offsets.
            _ => {
                if let Some(digit) = bytes[at..].iter_mut().find(|b| b.is_ascii_digit()) {
                    *digit = b'0' + random.below(10) as u8;
                }
            }
        }
    }
    bytes
}

/// Feeds the mutations to `entry`; some must survive, or only the first check was ever tested.
fn run(name: &str, entry: fn(&[u8]) -> bool, case: impl Fn(&mut Random) -> Vec<u8>) {
    let mut good = 0;
    for round in 0..ROUNDS {
        let bytes = case(&mut Random(round));
        match catch_unwind(|| entry(&bytes)) {
            Ok(opened) => good += u64::from(opened),
            Err(_) => panic!("{name}, round {round}: {}", bytes.escape_ascii()),
        }
    }
    assert!(good > ROUNDS / 100, "only {good} of {ROUNDS} {name} still open");
    assert!(good < ROUNDS / 2, "{good} of {ROUNDS} {name} still open: hardly mutated");
}

/// Every kind of detail in 32 bytes of data.
fn good_image() -> Vec<u8> {
    let header = r#"{"__metadata__":{"format":"pt"},
        "m.b":{"dtype":"BF16","shape":[2,4],"data_offsets":[0,16]},
        "e":{"dtype":"F32","shape":[0,7],"data_offsets":[16,16]},
        "s":{"dtype":"F64","shape":[],"data_offsets":[16,24]},
        "m.a":{"dtype":"F4","shape":[16],"data_offsets":[24,32]}}  "#;
    image(header, &[7; 32])
}

#[test]
fn whole_images() {
    assert!(invariants::header(&good_image()));
    run("images", invariants::header, |random| mutated(&good_image(), random));
}

/// With the length put right afterwards, so that damage to the text reaches the parser.
#[test]
fn header_texts() {
    let good = good_image();
    let (text, data) = good[8..].split_at(good.len() - 8 - 32);
    run("headers", invariants::header, |random| {
        let text = mutated(text, random);
        [&(text.len() as u64).to_le_bytes(), text.as_slice(), data].concat()
    });
}

#[test]
fn indexes() {
    let good = br#"{"metadata":{"total_size":4},"weight_map":{"a":"1","b":"1","c":"2"}}"#;
    assert!(invariants::index(good));
    run("indexes", invariants::index, |random| mutated(good, random));
}
