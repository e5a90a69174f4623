//! A small table of normalization, as sentencepiece writes it: a trie as a double array, and what its keys become.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Of each kind: letters together with their marks, compatible forms, what becomes a space, and what is left out.
const ENTRIES: &[(&str, &str)] = &[
    ("ﬁ", "fi"),
    ("½", "1\u{2044}2"),
    ("Ａ", "A"),
    ("ｶ", "カ"),
    ("ｶﾞ", "ガ"),
    ("＇", "'"),
    ("e\u{301}", "é"),
    ("é", "é"),
    ("©", "(c)"),
    ("\u{fdfa}", "صلى الله عليه وسلم"),
    ("\u{1112}\u{1161}", "하"),
    ("\u{3000}", " "),
    ("\u{200b}", " "),
    ("\u{2028}", " "),
    ("\u{1}", ""),
    ("\u{feff}", ""),
    ("\u{ad}", ""),
    ("\u{fe0f}", ""),
    ("\u{316}", ""),
];

/// Each node has 256 places of its own.
#[derive(Default)]
struct Node {
    children: Vec<(u8, usize)>,
    value: Option<usize>,
}

pub(super) fn table() -> String {
    let (mut nodes, mut texts) = (vec![Node::default()], Vec::new());
    for (key, text) in ENTRIES {
        let mut at = 0;
        for byte in key.bytes() {
            let known = nodes[at].children.iter().find(|(label, _)| *label == byte);
            at = match known {
                Some((_, child)) => *child,
                None => {
                    let child = nodes.len();
                    nodes[at].children.push((byte, child));
                    nodes.push(Node::default());
                    child
                }
            };
        }
        nodes[at].value = Some(texts.len());
        texts.extend(text.bytes().chain([0]));
    }
    let base = |node: usize| 256 * (node + 1);
    let mut units = vec![0_u32; base(nodes.len())];
    units[0] = (base(0) << 10) as u32;
    for (number, node) in nodes.iter().enumerate() {
        if let Some(value) = node.value {
            units[base(number)] = 1 << 31 | value as u32;
        }
        for (label, child) in &node.children {
            let place = base(number) + usize::from(*label);
            let has_value = u32::from(nodes[*child].value.is_some());
            let offset = (place ^ base(*child)) as u32;
            units[place] = offset << 10 | has_value << 8 | u32::from(*label);
        }
    }
    let trie: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    STANDARD.encode([&(trie.len() as u32).to_le_bytes()[..], &trie, &texts].concat())
}
