//! Characters that a normalizer leaves out, among others that it keeps.

use super::*;

/// So many of these characters, in an order without a pattern.
fn mixed(characters: &[char], count: usize) -> String {
    let mut state = 16_u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        characters[(state >> 33) as usize % characters.len()]
    };
    (0..count).map(|_| next()).collect()
}

/// Controls and formats, and one of the same block that is none: U+2065, which is not assigned.
fn controls() -> Vec<char> {
    let ranges = [
        '\0'..='\u{8}',
        '\u{e}'..='\u{1f}',
        '\u{7f}'..='\u{9f}',
        '\u{200b}'..='\u{200f}',
        '\u{2060}'..='\u{206f}',
    ];
    ranges.into_iter().flatten().chain(['\u{feff}']).collect()
}

/// A piece may begin anywhere among those that are left out.
#[test]
fn their_cost_depends_on_the_room_not_on_their_number() {
    let all = controls();
    let few = ['\u{1}', '\u{200b}', '\u{2065}', '\u{7f}', '\u{feff}'];
    let letters = ['\u{1}', '\u{ad}', 'a', '\u{200b}', '東', '\u{fe0f}'];
    for characters in [&all[..], &few, &letters] {
        let text = mixed(characters, 300_000);
        for (kind, file) in files() {
            let (_, largest) = read(&plain(&file), &text);
            assert!(largest <= 2 * PIECE, "{kind}: {}: a piece of {largest}", characters.len());
        }
    }
}

#[test]
fn texts_with_them_have_the_ids_of_the_whole() {
    let all = controls();
    for characters in [&all[..], &['\u{1}', '\u{2065}', '\u{feff}', 'a', '\u{301}', 'é']] {
        let text = mixed(characters, 4000);
        for (kind, file) in files() {
            let ids =
                reference(&file).encode_fast(text.as_str(), false).unwrap().get_ids().to_vec();
            for piece in [150, 291, 600] {
                let found = in_pieces(&ours(&file), &text, ids.len(), piece);
                assert_eq!(found, (ids.clone(), false), "{kind}, {piece}");
            }
        }
    }
}
