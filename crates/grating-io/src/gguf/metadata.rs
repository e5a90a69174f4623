//! The keys and values before the tensors.

use std::collections::BTreeMap;
use std::fmt;

use super::cursor::Cursor;
use super::problem::GgufProblem;
use crate::error::Result;

/// A value of a GGUF file's metadata.
///
/// Lists are counted and not kept: they are the vocabulary in all practice, megabytes that are read once, if at all
/// ([`Checkpoint::metadata_list`](crate::Checkpoint::metadata_list)).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum GgufValue {
    /// An unsigned integer of any width.
    Unsigned(u64),
    /// A signed integer of any width.
    Signed(i64),
    /// A float of either width.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// Text.
    Text(String),
    /// So many values.
    List(u64),
}

impl fmt::Display for GgufValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GgufValue::Unsigned(n) => n.fmt(f),
            GgufValue::Signed(n) => n.fmt(f),
            GgufValue::Float(x) => x.fmt(f),
            GgufValue::Bool(b) => b.fmt(f),
            GgufValue::Text(text) => crate::error::quote(text).fmt(f),
            GgufValue::List(length) => write!(f, "a list of {length}"),
        }
    }
}

/// Codes of the format.
const TEXT: u32 = 8;
const LIST: u32 = 9;

/// Lists of lists deeper than this are hostile.
const MAX_DEPTH: usize = 8;

/// The values of a list in a GGUF file's metadata.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum GgufList {
    /// Numbers of any kind, and yes or no as 1 and 0; integers beyond 2^53 are rounded.
    Numbers(Vec<f64>),
    /// Texts.
    Texts(Vec<String>),
}

/// Keys with their values, and where in the file each list begins.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metadata {
    pub(crate) values: BTreeMap<String, GgufValue>,
    pub(crate) lists: BTreeMap<String, u64>,
}

/// Reads `count` keys and their values.
pub(super) fn read(cursor: &mut Cursor<'_>, count: u64) -> Result<Metadata> {
    let Metadata { values: mut map, mut lists } = Metadata::default();
    for _ in 0..count {
        let key = cursor.text()?;
        let kind = cursor.u32()?;
        if kind == LIST {
            lists.insert(key.clone(), cursor.position());
        }
        let value = value(cursor, &key, kind)?;
        if map.contains_key(&key) {
            let reason = "it is there twice".to_string();
            return Err(cursor.fail(GgufProblem::Key { key, reason }));
        }
        map.insert(key, value);
    }
    Ok(Metadata { values: map, lists })
}

/// The values of the list that begins where the cursor stands. Nothing is allocated that the file has no bytes for.
pub(super) fn read_list(cursor: &mut Cursor<'_>, key: &str) -> Result<GgufList> {
    use GgufList::{Numbers, Texts};
    let (kind, length) = (cursor.u32()?, cursor.u64()?);
    if kind == TEXT {
        return Ok(Texts((0..length).map(|_| cursor.text()).collect::<Result<_>>()?));
    }
    let mut numbers = Vec::new();
    for _ in 0..length {
        numbers.push(match value(cursor, key, kind)? {
            GgufValue::Unsigned(n) => n as f64,
            GgufValue::Signed(n) => n as f64,
            GgufValue::Float(x) => x,
            GgufValue::Bool(b) => f64::from(u8::from(b)),
            GgufValue::Text(_) | GgufValue::List(_) => {
                let reason = "it is a list of lists".to_string();
                return Err(cursor.fail(GgufProblem::Key { key: key.to_string(), reason }));
            }
        });
    }
    Ok(Numbers(numbers))
}

fn value(cursor: &mut Cursor<'_>, key: &str, kind: u32) -> Result<GgufValue> {
    use GgufValue::{Bool, Float, Signed, Unsigned};
    Ok(match kind {
        0 => Unsigned(u8::from_le_bytes(cursor.array()?).into()),
        1 => Signed(i8::from_le_bytes(cursor.array()?).into()),
        2 => Unsigned(u16::from_le_bytes(cursor.array()?).into()),
        3 => Signed(i16::from_le_bytes(cursor.array()?).into()),
        4 => Unsigned(u32::from_le_bytes(cursor.array()?).into()),
        5 => Signed(i32::from_le_bytes(cursor.array()?).into()),
        6 => Float(f32::from_le_bytes(cursor.array()?).into()),
        7 => Bool(cursor.array()? != [0]),
        TEXT => GgufValue::Text(cursor.text()?),
        LIST => GgufValue::List(skip_list(cursor, key, 0)?),
        10 => Unsigned(u64::from_le_bytes(cursor.array()?)),
        11 => Signed(i64::from_le_bytes(cursor.array()?)),
        12 => Float(f64::from_le_bytes(cursor.array()?)),
        other => return Err(unknown(cursor, key, other)),
    })
}

/// Passes over a list; returns its length.
fn skip_list(cursor: &mut Cursor<'_>, key: &str, depth: usize) -> Result<u64> {
    if depth == MAX_DEPTH {
        let reason = format!("lists within lists, more than {MAX_DEPTH} deep");
        return Err(cursor.fail(GgufProblem::Key { key: key.to_string(), reason }));
    }
    let (kind, length) = (cursor.u32()?, cursor.u64()?);
    let width = match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        // Each takes some bytes, so that a false length meets the end of the file.
        TEXT => {
            for _ in 0..length {
                let bytes = cursor.u64()?;
                cursor.skip(bytes)?;
            }
            return Ok(length);
        }
        LIST => {
            for _ in 0..length {
                skip_list(cursor, key, depth + 1)?;
            }
            return Ok(length);
        }
        other => return Err(unknown(cursor, key, other)),
    };
    cursor.skip(length.saturating_mul(width))?;
    Ok(length)
}

fn unknown(cursor: &Cursor<'_>, key: &str, kind: u32) -> crate::IoError {
    let reason = format!("it has the unknown type {kind}");
    cursor.fail(GgufProblem::Key { key: key.to_string(), reason })
}

/// Appends a key and its value as the format stores them.
///
/// # Panics
/// For a list: its values were not kept.
pub(super) fn write(key: &str, value: &GgufValue, out: &mut Vec<u8>) {
    write_text(key, out);
    let mut number = |kind: u32, bytes: &[u8]| {
        out.extend(kind.to_le_bytes());
        out.extend(bytes);
    };
    match value {
        // Readers ask for `general.alignment` and its like as 32 bits.
        GgufValue::Unsigned(n) => match u32::try_from(*n) {
            Ok(n) => number(4, &n.to_le_bytes()),
            Err(_) => number(10, &n.to_le_bytes()),
        },
        GgufValue::Signed(n) => number(11, &n.to_le_bytes()),
        GgufValue::Float(x) => number(12, &x.to_le_bytes()),
        GgufValue::Bool(b) => number(7, &[u8::from(*b)]),
        GgufValue::Text(text) => {
            number(TEXT, &[]);
            write_text(text, out);
        }
        GgufValue::List(_) => panic!("{key}: the values of lists are not kept"),
    }
}

/// Appends a length and the text.
pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}
