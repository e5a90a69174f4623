//! Damage to what JSON says, not to how it is written: one value of a tree is replaced, moved, repeated or gone.

use serde_json::Value;

use super::damage::{NUMBERS, Random, VALUES};

/// Damages a JSON file, one line of a file of JSON lines, or the header of a safetensors file, which stays well-formed;
/// nothing where it is none of these.
pub(super) fn damaged(original: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    if let Some(whole) = tree(original, random) {
        return Some(whole);
    }
    if let Some(header) = safetensors(original, random) {
        return Some(header);
    }
    let mut lines: Vec<Vec<u8>> = original.split(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
    let line = random.below(lines.len());
    lines[line] = tree(&lines[line], random)?;
    Some(lines.join(&b"\n"[..]))
}

/// With the length put right, so that the damage reaches what reads the header.
fn safetensors(original: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let (length, rest) = original.split_first_chunk::<8>()?;
    let (header, data) = rest.split_at_checked(u64::from_le_bytes(*length).try_into().ok()?)?;
    let header = tree(header, random)?;
    Some([&(header.len() as u64).to_le_bytes(), header.as_slice(), data].concat())
}

fn tree(original: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut root: Value = serde_json::from_slice(original).ok()?;
    let place = random.below(count(&root));
    let other = nth(&mut root, random.below(place + 1)).map(|value| value.clone())?;
    change(nth(&mut root, place)?, other, random);
    serde_json::to_vec(&root).ok()
}

/// Values in a tree, itself included; of a long list (a vocabulary) the first ones, so that others get their turn.
fn count(value: &Value) -> usize {
    let mut found = 0;
    walk(value, &mut |_| {
        found += 1;
        false
    });
    found
}

const MEMBERS: usize = 12;

/// Visits values, parents first, until `visit` says that it has enough.
fn walk(value: &Value, visit: &mut impl FnMut(&Value) -> bool) -> bool {
    visit(value)
        || match value {
            Value::Array(list) => list.iter().take(MEMBERS).any(|value| walk(value, visit)),
            Value::Object(map) => map.values().take(3 * MEMBERS).any(|value| walk(value, visit)),
            _ => false,
        }
}

/// The value that [`walk`] visits after `n` others.
fn nth(value: &mut Value, n: usize) -> Option<&mut Value> {
    fn find<'a>(value: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
        if *left == 0 {
            return Some(value);
        }
        *left -= 1;
        match value {
            Value::Array(list) => list.iter_mut().take(MEMBERS).find_map(|value| find(value, left)),
            Value::Object(map) => {
                map.values_mut().take(3 * MEMBERS).find_map(|value| find(value, left))
            }
            _ => None,
        }
    }
    let mut left = n;
    find(value, &mut left)
}

/// Bytes that copies of a value may come to.
const LARGEST: usize = 1 << 21;

fn change(value: &mut Value, other: Value, random: &mut Random) {
    let parsed = |text: &&str| serde_json::from_str(text).unwrap_or(Value::Null);
    match random.below(8) {
        0 | 1 => *value = parsed(random.pick(&NUMBERS)),
        2 => *value = parsed(random.pick(&VALUES)),
        3 => *value = other,
        4 => *value = Value::String("a".repeat(*random.pick(&[1, 300, 100_000]))),
        5 => {
            let copies = *random.pick(&[1, 2, 70, 5000]);
            *value =
                Value::Array(vec![other.clone(); copies.min(LARGEST / other.to_string().len())]);
        }
        _ => match value {
            Value::Object(map) if !map.is_empty() => {
                let key = map.keys().nth(random.below(map.len())).cloned().unwrap();
                let gone = map.remove(&key);
                if random.below(2) == 0 {
                    map.insert(format!("{key}x"), gone.unwrap_or_default());
                }
            }
            Value::Array(list) if !list.is_empty() => {
                let at = random.below(list.len());
                match random.below(3) {
                    0 => _ = list.remove(at),
                    1 => list.push(list[at].clone()),
                    _ => list.truncate(at),
                }
            }
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or(0.0);
                *value = (number * *random.pick(&[-1.0, 0.5, 2.0, 1e6]) + 1.0).into();
            }
            Value::String(text) => text.push_str(["\0", "\u{202e}x", "."][random.below(3)]),
            Value::Bool(on) => *on = !*on,
            _ => *value = other,
        },
    }
}
