//! Why a plan is what it is.

use std::fmt;

use crate::ledger::mebibytes;

/// One reason for one choice of a plan; `Display` gives a sentence.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(tag = "reason", rename_all = "snake_case"))]
#[non_exhaustive]
pub enum PlanReason {
    /// The user chose the window.
    WindowAsked {
        /// Slots asked for; `None` for all layers.
        layers: Option<usize>,
    },
    /// All layers stay in memory.
    AllResident {
        /// Bytes of all layers.
        bytes: u64,
    },
    /// No budget was given: two slots.
    NoBudget,
    /// Two whole layers fit.
    TwoLayers,
    /// Half layers, because whole ones do not fit.
    HalfLayers {
        /// Predicted peak with two whole layers instead, bytes.
        two_layers_total: u64,
    },
    /// Half layers although whole ones would fit at the cost of the row cache, pinned layers or chunk.
    HalfLayersPreferred {
        /// What two slots of half layers are smaller, bytes.
        saved: u64,
    },
    /// One slot: reading and computing take turns.
    SingleSlot,
    /// Leading layers stay in memory.
    Pinned {
        /// How many.
        layers: usize,
        /// Of so many.
        of: usize,
    },
    /// Further layers stay in the host's memory, and only cross the link to the device.
    PinnedInHost {
        /// How many.
        layers: usize,
        /// Of so many.
        of: usize,
    },
    /// The chunk size of choice.
    ChunkTarget {
        /// Tokens.
        tokens: usize,
    },
    /// A smaller chunk, to fit or because the memory does more elsewhere.
    ChunkReduced {
        /// Tokens.
        tokens: usize,
        /// Tokens without a budget.
        target: usize,
    },
    /// The chunk that the user asked for.
    ChunkAsked {
        /// Tokens.
        tokens: usize,
    },
    /// The chunk is as large as the longest sequence.
    ChunkRaised {
        /// Tokens of the longest candidate or of the shared prefix.
        longest: usize,
    },
    /// Hidden states stay in memory.
    HiddenInMemory {
        /// Their bytes.
        bytes: u64,
    },
    /// Hidden states go to disk.
    Spilled {
        /// Bytes of all of them.
        bytes: u64,
        /// Chunks that stay in memory.
        resident_chunks: usize,
        /// All chunks.
        chunks: usize,
    },
    /// Hidden states go to the host's memory between layers.
    Parked {
        /// Bytes of all of them.
        bytes: u64,
        /// Chunks that stay on the device.
        resident_chunks: usize,
        /// All chunks.
        chunks: usize,
    },
    /// The user wants hidden states on disk.
    SpillAsked,
    /// The row cache has the rows that were asked for, or by default a tenth of the vocabulary.
    RowCacheShare {
        /// Rows.
        rows: usize,
        /// Of so many.
        vocab: usize,
    },
    /// The row cache is smaller than by default: the pool cannot use more.
    RowCachePool {
        /// Rows.
        rows: usize,
    },
    /// The row cache is smaller than by default: the budget has no more.
    RowCacheReduced {
        /// Rows.
        rows: usize,
        /// Rows wanted.
        wanted: usize,
    },
    /// Computing hides the reading of weights.
    ReadingHidden {
        /// Tokens in each layer.
        tokens: usize,
        /// Tokens needed.
        needed: f64,
    },
    /// Computing waits for weights or hidden states.
    Stalls {
        /// Share of the time, 0 to 1.
        share: f64,
        /// Tokens in each layer.
        tokens: usize,
        /// Tokens needed for the reading to be hidden.
        needed: f64,
    },
}

/// What a window of half layers is like.
const HALF_LAYERS: &str = "attention and feed-forward take turns in the window";

impl fmt::Display for PlanReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::WindowAsked { layers: Some(n) } => write!(f, "a window of {n} layers, as asked"),
            Self::WindowAsked { layers: None } => write!(f, "all layers in memory, as asked"),
            Self::AllResident { bytes } => {
                write!(f, "all layers ({}) stay in memory: the budget has room", mebibytes(bytes))
            }
            Self::NoBudget => f.write_str(
                "no budget: two layers at a time, one computing and one loading, which is the leanest \
                 window that costs no time while computing covers the reading",
            ),
            Self::TwoLayers => f.write_str("two whole layers fit: one computes, one loads"),
            Self::HalfLayers { two_layers_total } => {
                let peak = mebibytes(two_layers_total);
                write!(f, "{HALF_LAYERS}: with two whole layers the peak would be {peak}")
            }
            Self::HalfLayersPreferred { saved } => {
                let saved = mebibytes(saved);
                write!(f, "{HALF_LAYERS}: two whole layers would take {saved} more, which does more elsewhere")
            }
            Self::SingleSlot => f.write_str(
                "one slot: reading and computing take turns, because a second slot does not fit",
            ),
            Self::Pinned { layers, of } => write!(
                f,
                "the first {layers} of {of} layers stay in memory, with what the budget has left"
            ),
            Self::PinnedInHost { layers, of } => write!(
                f,
                "{layers} more of {of} layers stay in the host's memory: they are not read from the disk again"
            ),
            Self::ChunkTarget { tokens } => {
                write!(f, "chunks of {tokens} tokens: more would not compute faster")
            }
            Self::ChunkReduced { tokens, target } => {
                write!(f, "chunks of {tokens} tokens instead of {target}, for the budget")
            }
            Self::ChunkAsked { tokens } => write!(f, "chunks of {tokens} tokens, as asked"),
            Self::ChunkRaised { longest } => {
                write!(f, "chunks of {longest} tokens: the longest sequence, which is never cut")
            }
            _ => self.fmt_kept(f),
        }
    }
}

impl PlanReason {
    /// Of what is kept where, and what that costs.
    fn fmt_kept(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::HiddenInMemory { bytes } => {
                write!(f, "hidden states ({}) stay in memory", mebibytes(bytes))
            }
            Self::Spilled { bytes, resident_chunks, chunks } => write!(
                f,
                "hidden states ({}) go to disk between layers, {resident_chunks} of {chunks} chunks \
                 stay in memory, for the budget",
                mebibytes(bytes)
            ),
            Self::Parked { bytes, resident_chunks, chunks } => write!(
                f,
                "hidden states ({}) go to the host's memory between layers, {resident_chunks} of {chunks} \
                 chunks stay on the device, for its budget",
                mebibytes(bytes)
            ),
            Self::SpillAsked => f.write_str("hidden states go to disk, as asked"),
            Self::RowCacheShare { rows, vocab } => write!(
                f,
                "{rows} embedding rows are kept, {:.1} % of the vocabulary",
                100.0 * rows as f64 / vocab.max(1) as f64
            ),
            Self::RowCachePool { rows } => {
                write!(f, "{rows} embedding rows are kept: the pool has no more tokens")
            }
            Self::RowCacheReduced { rows, wanted } => {
                write!(f, "{rows} embedding rows are kept instead of {wanted}, for the budget")
            }
            Self::ReadingHidden { tokens, needed } => write!(
                f,
                "computing hides reading: {tokens} tokens in a layer, {needed:.0} needed on this machine"
            ),
            Self::Stalls { share, tokens, needed } => write!(
                f,
                "computing waits {:.1} % of the time: {tokens} tokens in a layer, {needed:.0} needed to \
                 hide the reading of weights on this machine",
                100.0 * share
            ),
            _ => Ok(()), // The others are written above.
        }
    }
}
