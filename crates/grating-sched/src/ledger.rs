//! Who takes how much of each memory.

use std::fmt;

/// What a layout takes of the host's memory, and of the device's where that is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ledgers {
    pub(crate) host: Ledger,
    pub(crate) device: Option<Ledger>,
}

impl Ledgers {
    pub(crate) fn total(&self) -> u64 {
        self.device.map_or(0, |ledger| ledger.total()).saturating_add(self.host.total())
    }
}

/// Every use of one memory under a plan, bytes. The host's sum is the predicted peak of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Ledger {
    /// Code, tokenizer, runtime: what the process takes anyway.
    pub base: u64,
    /// Token ids and types of the pool.
    pub token_ids: u64,
    /// Stem, head, position rows.
    pub resident_parts: u64,
    /// Slots of the sliding window.
    pub window: u64,
    /// Layers that stay.
    pub pinned: u64,
    /// Rows of the token-embedding matrix, with their book-keeping.
    pub row_cache: u64,
    /// Hidden states kept in memory.
    pub hidden_states: u64,
    /// Hidden states on their way to another memory or to disk, or back.
    pub spill_buffers: u64,
    /// Activations of the chunk in hand, and scratch.
    pub workspace: u64,
    /// Hidden state of the shared prefix, and one layer's keys and values of it.
    pub prefix: u64,
}

impl Ledger {
    /// The uses by name, in the order of the fields.
    pub fn uses(&self) -> [(&'static str, u64); 10] {
        [
            ("base", self.base),
            ("token_ids", self.token_ids),
            ("resident_parts", self.resident_parts),
            ("window", self.window),
            ("pinned", self.pinned),
            ("row_cache", self.row_cache),
            ("hidden_states", self.hidden_states),
            ("spill_buffers", self.spill_buffers),
            ("workspace", self.workspace),
            ("prefix", self.prefix),
        ]
    }

    /// The sum of all uses, bytes; `u64::MAX` where it would be more.
    pub fn total(&self) -> u64 {
        self.uses().iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }
}

/// An aligned table of the uses that are not 0, and the total.
impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, bytes) in self.uses().into_iter().filter(|(_, bytes)| *bytes > 0) {
            writeln!(f, "  {:<16}{:>14}", name.replace('_', " "), mebibytes(bytes))?;
        }
        writeln!(f, "  {:<16}{:>14}", "total", mebibytes(self.total()))
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Ledger {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let uses = self.uses().into_iter().chain([("total", self.total())]);
        serializer.collect_map(uses)
    }
}

/// Bytes for people: MiB, one decimal, rounded up so that what is called enough is enough; less than a tenth as KiB, or as
/// bytes.
pub fn mebibytes(bytes: u64) -> String {
    let tenths = (u128::from(bytes) * 10).div_ceil(1 << 20);
    match bytes {
        1 => "1 byte".into(),
        0 | 2..1024 => format!("{bytes} bytes"),
        1024..104_858 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{}.{} MiB", tenths / 10, tenths % 10),
    }
}
