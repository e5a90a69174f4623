//! Where each byte of a block goes: runs of neighbouring extents, cut into requests.

use std::ops::Range;

use super::block::{Block, Extent};
use crate::storage::DIRECT_ALIGNMENT;

/// Extents of one file closer than this are read together with what lies between them, bytes.
///
/// Reading a gap of this size takes about as long as one more request costs.
const COALESCED_GAP: u64 = 64 << 10;

/// A block with its place in a slot worked out.
///
/// Every run of neighbours begins on a page of the slot at the offset that it has within its page
/// of the file. The layout is the same however the bytes are read.
#[derive(Debug)]
pub(super) struct Placement {
    pub(super) block: Block,
    /// Where each extent lies in the slot.
    pub(super) places: Vec<Range<usize>>,
    /// In the order of the slot, disjoint.
    pub(super) requests: Vec<Request>,
}

/// One read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) storage: usize,
    /// First byte in the file, aligned.
    pub(super) start: u64,
    /// Bytes at the beginning that nobody asked for.
    pub(super) skip: usize,
    /// Bytes from `start` to the last one asked for.
    pub(super) end: usize,
    /// Where `start` goes in the slot; its length is `end` rounded up to whole pages.
    pub(super) slot: Range<usize>,
}

/// Neighbours in one file: `[start, end)` covers them.
struct Run {
    storage: usize,
    start: u64,
    end: u64,
    slot: usize,
}

impl Run {
    fn aligned_start(&self) -> u64 {
        self.start - self.start % PAGE
    }

    /// Bytes in the slot; saturates for extents that no storage holds.
    fn slot_len(&self) -> usize {
        let exact = usize::try_from(self.end - self.aligned_start()).unwrap_or(usize::MAX);
        exact.checked_next_multiple_of(DIRECT_ALIGNMENT).unwrap_or(usize::MAX)
    }
}

const PAGE: u64 = DIRECT_ALIGNMENT as u64;

impl Placement {
    /// Lays out a block whose extents are known to lie within their storages.
    pub(super) fn new(block: Block, request_bytes: usize) -> Self {
        let runs = runs(&block.extents);
        let places = block.extents.iter().map(|extent| place(extent, &runs)).collect();
        let requests = runs.iter().flat_map(|run| cut(run, request_bytes)).collect();
        Placement { block, places, requests }
    }

    /// The extent to blame when byte `position` of a storage cannot be read.
    pub(super) fn extent_at(&self, storage: usize, position: u64) -> Option<&Extent> {
        let after = |extent: &&Extent| extent.storage == storage && extent.end() > position;
        self.block.extents.iter().filter(after).min_by_key(|extent| extent.offset)
    }
}

/// See [`Block::slot_bytes`].
pub(super) fn slot_bytes(extents: &[Extent]) -> usize {
    runs(extents).last().map_or(0, |run| run.slot.saturating_add(run.slot_len()))
}

/// The runs of a block, one behind the other in the slot. Empty extents are in none.
fn runs(extents: &[Extent]) -> Vec<Run> {
    let mut order: Vec<&Extent> = extents.iter().filter(|extent| extent.len > 0).collect();
    order.sort_by_key(|extent| (extent.storage, extent.offset));
    let mut runs: Vec<Run> = Vec::new();
    for extent in order {
        match runs.last_mut() {
            Some(run)
                if run.storage == extent.storage
                    && extent.offset.saturating_sub(run.end) <= COALESCED_GAP =>
            {
                run.end = run.end.max(extent.end());
            }
            last => {
                let slot = last.map_or(0, |run| run.slot.saturating_add(run.slot_len()));
                let Extent { storage, offset: start, .. } = *extent;
                runs.push(Run { storage, start, end: extent.end(), slot });
            }
        }
    }
    runs
}

fn place(extent: &Extent, runs: &[Run]) -> Range<usize> {
    if extent.len == 0 {
        return 0..0;
    }
    let after = |run: &Run| (run.storage, run.start) > (extent.storage, extent.offset);
    // Every extent that is not empty lies in the last run that begins no later.
    let run = &runs[runs.partition_point(|run| !after(run)) - 1];
    let start = run.slot + (extent.offset - run.aligned_start()) as usize;
    start..start + extent.len
}

/// Requests of `request_bytes`, a multiple of the page; the last of a run may be shorter.
fn cut(run: &Run, request_bytes: usize) -> impl Iterator<Item = Request> {
    let total = (run.end - run.aligned_start()) as usize;
    (0..total).step_by(request_bytes).map(move |begin| {
        let end = request_bytes.min(total - begin);
        let padded = end.next_multiple_of(DIRECT_ALIGNMENT);
        Request {
            storage: run.storage,
            start: run.aligned_start() + begin as u64,
            skip: if begin == 0 { (run.start - run.aligned_start()) as usize } else { 0 },
            end,
            slot: run.slot + begin..run.slot + begin + padded,
        }
    })
}

#[cfg(test)]
#[path = "placement/tests.rs"]
mod tests;
