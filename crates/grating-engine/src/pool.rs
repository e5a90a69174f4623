//! The live candidates, cut in chunks, and where their hidden states are between layers.

use std::ops::Range;

use grating_io::SpillStore;
use grating_model::{CpuOps, CpuTensor, Ragged};

use crate::error::{EngineError, Result};
use crate::timeline::Timeline;

/// One candidate of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its number in the request.
    pub(crate) candidate: usize,
    /// Rows that it has in the hidden states.
    pub(crate) rows: usize,
}

/// A run of candidates that goes through a layer together.
pub(crate) struct Chunk {
    pub(crate) members: Vec<Member>,
    pieces: Vec<Piece>,
}

/// Hidden states that belong to a chunk, or some rows of them.
struct Piece {
    place: Place,
    /// The rows that are needed; all of them where it is `None`.
    keep: Option<Vec<Range<usize>>>,
}

enum Place {
    Memory(CpuTensor),
    /// Under this key in the spill store.
    Disk(u64),
}

/// Whose hidden states were written to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The last layer that they have been through, wholly or to its middle; none before the first.
    pub(crate) layer: Option<usize>,
    pub(crate) chunk: usize,
}

/// Where hidden states are kept between layers.
pub(crate) struct Keeper<'a> {
    ops: &'a CpuOps,
    /// The store, where the plan says so. After an error of the disk the rest stays in memory.
    spill: Option<&'a SpillStore>,
    columns: usize,
    /// What is under each key, by key: written after which layer, and which chunk.
    written: Vec<Origin>,
    /// What went wrong with the disk, if anything did.
    pub(crate) fallen_back: Option<grating_io::IoError>,
    /// Whether hidden states that the disk does not take may stay in memory.
    may_fall_back: bool,
}

impl Chunk {
    pub(crate) fn tokens(&self) -> usize {
        self.members.iter().map(|m| m.rows).sum()
    }

    /// Rows of each candidate, as continuations of a prefix.
    pub(crate) fn ragged(&self, prefix: usize) -> Ragged {
        Ragged::from_lengths(self.members.iter().map(|m| m.rows)).after_prefix(prefix)
    }

    /// A chunk whose hidden states are `hidden`.
    pub(crate) fn new(
        members: Vec<Member>,
        hidden: CpuTensor,
        origin: Origin,
        keeper: &mut Keeper<'_>,
    ) -> Result<Self> {
        let mut chunk = Chunk { members, pieces: Vec::new() };
        chunk.put(hidden, origin, keeper)?;
        Ok(chunk)
    }

    /// Starts to read what is on the disk.
    pub(crate) fn prefetch(&self, keeper: &Keeper<'_>) -> Result<()> {
        let Some(store) = keeper.spill else { return Ok(()) };
        for piece in &self.pieces {
            if let Place::Disk(key) = piece.place {
                store.prefetch(key)?;
            }
        }
        Ok(())
    }

    /// Takes the hidden states `[rows, hidden]` out.
    pub(crate) fn take(&mut self, keeper: &Keeper<'_>) -> Result<CpuTensor> {
        let mut pieces = std::mem::take(&mut self.pieces);
        if let [Piece { place: Place::Memory(_), keep: None }] = pieces.as_slice()
            && let Some(Piece { place: Place::Memory(hidden), .. }) = pieces.pop()
        {
            return Ok(hidden);
        }
        let columns = keeper.columns;
        let mut hidden = keeper.ops.scratch(self.tokens(), columns);
        let mut rest = hidden.as_mut_slice();
        for piece in pieces {
            match piece.place {
                Place::Memory(source) => {
                    rest = copy_rows(source.as_slice(), piece.keep.as_deref(), columns, rest);
                }
                Place::Disk(key) => {
                    let store = keeper.spill.expect("what is on the disk has a store");
                    let buffer = store.take(key)?;
                    rest = copy_rows(buffer.as_f32(), piece.keep.as_deref(), columns, rest);
                    store.recycle(buffer);
                }
            }
        }
        debug_assert!(rest.is_empty(), "the pieces are the chunk's rows");
        Ok(hidden)
    }

    /// Puts the hidden states back.
    pub(crate) fn put(
        &mut self,
        hidden: CpuTensor,
        origin: Origin,
        keeper: &mut Keeper<'_>,
    ) -> Result<()> {
        let place = keeper.keep(hidden, origin)?;
        self.pieces = vec![Piece { place, keep: None }];
        Ok(())
    }

    /// Forgets the hidden states, as those of a request that has ended.
    fn discard(self, keeper: &Keeper<'_>) {
        for piece in self.pieces {
            if let (Place::Disk(key), Some(store)) = (piece.place, keeper.spill) {
                store.remove(key);
            }
        }
    }
}

impl<'a> Keeper<'a> {
    pub(crate) fn new(
        ops: &'a CpuOps,
        spill: Option<&'a SpillStore>,
        columns: usize,
        may_fall_back: bool,
    ) -> Self {
        Keeper { ops, spill, columns, written: Vec::new(), fallen_back: None, may_fall_back }
    }

    /// Tells the timeline what the disk has done since the last call.
    pub(crate) fn report(&self, timeline: &mut Timeline) {
        let Some(store) = self.spill.filter(|_| timeline.is_on()) else { return };
        for event in store.take_events() {
            let Some(Origin { layer, chunk }) = self.written.get(event.key as usize) else {
                continue;
            };
            let after = layer.map_or("embedding".into(), |layer| format!("layer {layer}"));
            timeline.spilled(&event, &format!("chunk {chunk} after {after}"));
        }
    }

    fn keep(&mut self, hidden: CpuTensor, origin: Origin) -> Result<Place> {
        let Some(store) = self.spill.filter(|_| self.fallen_back.is_none()) else {
            return Ok(Place::Memory(hidden));
        };
        let values = hidden.as_slice();
        let mut buffer = store.buffer(size_of_val(values));
        buffer.as_f32_mut().copy_from_slice(values);
        let key = self.written.len() as u64;
        match store.write(key, buffer) {
            Ok(()) => {
                self.written.push(origin);
                Ok(Place::Disk(key))
            }
            Err(refused) => {
                store.recycle(refused.buffer);
                if !self.may_fall_back {
                    return Err(EngineError::Io(*refused.error));
                }
                self.fallen_back = Some(*refused.error);
                Ok(Place::Memory(hidden))
            }
        }
    }
}

/// Copies the rows to keep of `source` to the front of `out`; returns what of `out` is left.
fn copy_rows<'o>(
    source: &[f32],
    keep: Option<&[Range<usize>]>,
    columns: usize,
    out: &'o mut [f32],
) -> &'o mut [f32] {
    let whole = 0..source.len() / columns;
    let ranges = keep.unwrap_or(std::slice::from_ref(&whole));
    let mut out = out;
    for rows in ranges {
        let part = &source[rows.start * columns..rows.end * columns];
        let (front, rest) = out.split_at_mut(part.len());
        front.copy_from_slice(part);
        out = rest;
    }
    out
}

/// Leaves only the candidates that `stays` says, and packs what is left in chunks of up to `chunk_tokens`.
///
/// Hidden states in memory are cut at once, so that those of the others are free; those on the disk are cut when they
/// are read.
pub(crate) fn retain(
    chunks: Vec<Chunk>,
    stays: impl Fn(usize) -> bool,
    chunk_tokens: usize,
    keeper: &Keeper<'_>,
) -> Vec<Chunk> {
    let mut members = Vec::new();
    // Pieces of one candidate's rows or more, in the order of the members: (rows, piece).
    let mut pieces = Vec::new();
    for chunk in chunks {
        if !chunk.members.iter().any(|m| stays(m.candidate)) {
            chunk.discard(keeper);
            continue;
        }
        let all_stay = chunk.members.iter().all(|m| stays(m.candidate));
        let live: Vec<Member> =
            chunk.members.iter().copied().filter(|m| stays(m.candidate)).collect();
        match all_stay {
            true => pieces.push((live.len(), chunk.pieces)),
            false => pieces.push((live.len(), shrink(chunk, &stays, keeper))),
        }
        members.extend(live);
    }
    merge(&members, pieces, chunk_tokens)
}

/// The pieces of those members of a chunk that stay.
fn shrink(chunk: Chunk, stays: &impl Fn(usize) -> bool, keeper: &Keeper<'_>) -> Vec<Piece> {
    let mut start = 0;
    let mut keep = Vec::new();
    for member in &chunk.members {
        let rows = start..start + member.rows;
        start = rows.end;
        if stays(member.candidate) {
            keep.push(rows);
        }
    }
    let mut pieces = chunk.pieces;
    match pieces.as_mut_slice() {
        [Piece { place: Place::Memory(hidden), keep: None }] => {
            let rows = keep.iter().map(|r| r.len()).sum();
            let mut cut = keeper.ops.scratch(rows, keeper.columns);
            copy_rows(hidden.as_slice(), Some(&keep), keeper.columns, cut.as_mut_slice());
            vec![Piece { place: Place::Memory(cut), keep: None }]
        }
        [Piece { keep: none @ None, .. }] => {
            *none = Some(keep);
            pieces
        }
        _ => unreachable!("after a layer a chunk is one piece, all of it needed"),
    }
}

/// Joins neighbours, each with its number of members and its pieces, as long as they hold `chunk_tokens` together.
fn merge(members: &[Member], pieces: Vec<(usize, Vec<Piece>)>, chunk_tokens: usize) -> Vec<Chunk> {
    let mut rest = members;
    let mut tokens = |count: usize| -> usize {
        let (own, after) = rest.split_at(count);
        rest = after;
        own.iter().map(|m| m.rows).sum()
    };
    let tokens: Vec<usize> = pieces.iter().map(|&(count, _)| tokens(count)).collect();
    let mut pieces = pieces.into_iter();
    let mut rest = members;
    let join = |range: Range<usize>| {
        let (counts, own): (Vec<usize>, Vec<Vec<Piece>>) =
            pieces.by_ref().take(range.len()).unzip();
        let (members, after) = rest.split_at(counts.iter().sum());
        rest = after;
        Chunk { members: members.to_vec(), pieces: own.into_iter().flatten().collect() }
    };
    grating_sched::chunk::plan(&tokens, chunk_tokens).into_iter().map(join).collect()
}

#[cfg(test)]
mod tests {
    use grating_io::SpillOptions;
    use grating_model::{Isa, Ops, Precision};
    use proptest::prelude::*;

    use super::*;

    const COLUMNS: usize = 3;
    const ORIGIN: Origin = Origin { layer: None, chunk: 0 };

    /// A row's elements tell whose it is: candidate, row, column.
    fn rows(member: Member) -> impl Iterator<Item = f32> {
        (0..member.rows * COLUMNS).map(move |i| (member.candidate * 1000 + i) as f32)
    }

    /// Chunks of up to `chunk_tokens` with the candidates' rows.
    fn chunks(
        lengths: &[usize],
        chunk_tokens: usize,
        ops: &CpuOps,
        keeper: &mut Keeper<'_>,
    ) -> Vec<Chunk> {
        let member = |candidate| Member { candidate, rows: lengths[candidate] };
        let ranges = grating_sched::chunk::plan(lengths, chunk_tokens);
        let chunk = |range: Range<usize>| {
            let members: Vec<Member> = range.map(member).collect();
            let values: Vec<f32> = members.iter().flat_map(|&m| rows(m)).collect();
            let count = values.len() / COLUMNS;
            let hidden = ops.upload(values, count, COLUMNS).unwrap();
            Chunk::new(members, hidden, ORIGIN, keeper).unwrap()
        };
        ranges.into_iter().map(chunk).collect()
    }

    /// A pass's way with the pool: all out and in again, some forgotten, several times over.
    fn check(
        lengths: &[usize],
        leaves_after: &[usize],
        chunk_tokens: usize,
        spill: Option<&SpillStore>,
    ) {
        let ops = CpuOps::new(Isa::Portable, Precision::Full);
        let mut keeper = Keeper::new(&ops, spill, COLUMNS, false);
        let mut pool = chunks(lengths, chunk_tokens, &ops, &mut keeper);
        for layer in 0..4 {
            let live: Vec<usize> =
                (0..lengths.len()).filter(|&c| leaves_after[c] >= layer).collect();
            let members = pool.iter().flat_map(|chunk| &chunk.members);
            assert_eq!(members.map(|m| m.candidate).collect::<Vec<_>>(), live);
            for chunk in &mut pool {
                let longest = chunk.members.iter().map(|m| m.rows).max().unwrap();
                assert!(chunk.tokens() <= chunk_tokens.max(longest));
                chunk.prefetch(&keeper).unwrap();
                let hidden = chunk.take(&keeper).unwrap();
                let expected: Vec<f32> = chunk.members.iter().flat_map(|&m| rows(m)).collect();
                assert_eq!(hidden.as_slice(), expected);
                chunk.put(hidden, ORIGIN, &mut keeper).unwrap();
            }
            pool = retain(pool, |c| leaves_after[c] > layer, chunk_tokens, &keeper);
        }
        assert!(pool.is_empty());
        assert!(spill.is_none_or(SpillStore::is_empty), "the disk holds what nobody needs");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn every_candidate_keeps_its_rows_however_the_pool_shrinks(
            (lengths, leaves_after) in prop::collection::vec((1..9usize, 0..4usize), 1..14)
                .prop_map(|candidates| candidates.into_iter().unzip::<_, _, Vec<_>, Vec<_>>()),
            chunk_tokens in 1..30usize,
            on_disk in any::<bool>(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let store =
                on_disk.then(|| SpillStore::create(folder.path(), SpillOptions::default()).unwrap());
            check(&lengths, &leaves_after, chunk_tokens, store.as_ref());
        }
    }

    #[test]
    fn those_who_leave_memory_free_it_at_once_and_neighbours_are_joined() {
        let ops = CpuOps::new(Isa::Portable, Precision::Full);
        let mut keeper = Keeper::new(&ops, None, COLUMNS, false);
        let pool = chunks(&[4, 4, 4, 4], 8, &ops, &mut keeper);
        assert_eq!(pool.len(), 2);
        let pool = retain(pool, |c| c % 2 == 0, 8, &keeper);
        assert_eq!(pool.len(), 1, "two halves fit one chunk");
        let [chunk] = pool.as_slice() else { unreachable!() };
        for piece in &chunk.pieces {
            let Place::Memory(hidden) = &piece.place else { panic!("nothing is on the disk") };
            assert_eq!(hidden.as_slice().len(), 4 * COLUMNS);
            assert_eq!(piece.keep, None);
        }
    }
}
