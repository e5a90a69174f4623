//! The live candidates, cut in chunks, and where their hidden states are between layers.

use std::ops::Range;

use grating_backend::{Ops, Source};
use grating_io::SpillStore;
use grating_model::{ChunkLayout, ModelError, PassContext};

use crate::error::{EngineError, Result};
use crate::executor::Executor;
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
pub(crate) struct Chunk<B: Ops> {
    pub(crate) members: Vec<Member>,
    pieces: Vec<Piece<B>>,
    /// Where its rows are; made when it is first asked for, and anew when they are others.
    layout: Option<ChunkLayout<B>>,
}

/// Hidden states that belong to a chunk, or some rows of them.
struct Piece<B: Ops> {
    location: Location<B>,
    /// The rows that are needed; all of them where it is `None`.
    keep: Option<Vec<Range<usize>>>,
}

enum Location<B: Ops> {
    /// In the backend's memory.
    Device(B::Tensor),
    /// Under this key in the spill store, so many rows.
    Disk { key: u64, rows: usize },
}

/// Whose hidden states were written to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The job's number in the pass.
    pub(crate) job: usize,
    /// The last layer that they have been through, wholly or to its middle; none before the first.
    pub(crate) layer: Option<usize>,
    pub(crate) chunk: usize,
}

impl Origin {
    /// The chunk's name in a pass of so many jobs.
    pub(crate) fn chunk(&self, jobs: usize) -> String {
        match jobs {
            1 => format!("chunk {}", self.chunk),
            _ => format!("request {}, chunk {}", self.job, self.chunk),
        }
    }
}

/// Where hidden states are kept between layers.
pub(crate) struct HiddenStore<'a, B: Ops> {
    on: Executor<'a, B>,
    /// The store, where the plan says so. After an error of the disk the rest stays in memory.
    spill: Option<&'a SpillStore>,
    columns: usize,
    /// Bytes of a row where it is kept.
    row_bytes: usize,
    /// What is under each key, by key: written after which layer, and which chunk.
    written: Vec<Origin>,
    /// What went wrong with the disk, if anything did.
    pub(crate) fallen_back: Option<grating_io::IoError>,
    /// Whether hidden states that the disk does not take may stay in memory.
    may_fall_back: bool,
}

impl<B: Ops> Chunk<B> {
    pub(crate) fn tokens(&self) -> usize {
        self.members.iter().map(|m| m.rows).sum()
    }

    /// A chunk whose hidden states are `hidden`.
    pub(crate) fn new(
        members: Vec<Member>,
        hidden: B::Tensor,
        origin: Origin,
        store: &mut HiddenStore<'_, B>,
    ) -> Result<Self> {
        let mut chunk = Chunk::of(members, Vec::new());
        chunk.put(hidden, origin, store)?;
        Ok(chunk)
    }

    fn of(members: Vec<Member>, pieces: Vec<Piece<B>>) -> Self {
        Chunk { members, pieces, layout: None }
    }

    /// Makes [`Self::layout`] that of the members' rows, as continuations of a prefix of so many tokens.
    pub(crate) fn lay_out(
        &mut self,
        on: Executor<'_, B>,
        pass: &PassContext<B>,
        prefix: usize,
    ) -> grating_model::Result<()> {
        if self.layout.is_none() {
            let rows = on.model.ragged(self.members.iter().map(|m| m.rows), prefix);
            self.layout = Some(pass.layout(on.ops, &rows)?);
        }
        Ok(())
    }

    /// Where its rows are.
    pub(crate) fn layout(&self) -> &ChunkLayout<B> {
        self.layout.as_ref().expect("a chunk is laid out before it goes through a layer")
    }

    /// From now on there is one row a member, that of its scored token.
    pub(crate) fn leave_scored(&mut self) {
        self.members.iter_mut().for_each(|m| m.rows = 1);
        self.layout = None;
    }

    /// Whether the scored tokens are all that is left.
    pub(crate) fn scored_alone(&self) -> bool {
        self.members.iter().all(|m| m.rows == 1)
    }

    /// Starts to read what is on the disk.
    pub(crate) fn prefetch(&self, store: &HiddenStore<'_, B>) -> Result<()> {
        let Some(spill) = store.spill else { return Ok(()) };
        for piece in &self.pieces {
            if let Location::Disk { key, .. } = piece.location {
                spill.prefetch(key)?;
            }
        }
        Ok(())
    }

    /// Takes the hidden states `[rows, hidden]` out.
    pub(crate) fn take(&mut self, store: &HiddenStore<'_, B>) -> Result<B::Tensor> {
        let mut pieces = std::mem::take(&mut self.pieces);
        if let [Piece { location: Location::Device(_), keep: None }] = pieces.as_slice()
            && let Some(Piece { location: Location::Device(hidden), .. }) = pieces.pop()
        {
            return Ok(hidden);
        }
        let mut hidden = store.empty(self.tokens())?;
        let mut at = 0;
        for Piece { location, keep } in pieces {
            match location {
                Location::Device(tensor) => {
                    let keep = keep.expect("what is needed whole is a chunk's only piece or cut");
                    at = store.copy(&mut hidden, at, Source::Tensor(&tensor), &keep)?;
                }
                Location::Disk { key, rows } => {
                    let spill = store.spill.expect("what is on the disk has a store");
                    let buffer = spill.take(key)?;
                    let whole = 0..rows;
                    let keep = keep.as_deref().unwrap_or(std::slice::from_ref(&whole));
                    at = store.copy(&mut hidden, at, Source::Host(buffer.as_slice()), keep)?;
                    spill.recycle(buffer);
                }
            }
        }
        debug_assert_eq!(at, self.tokens(), "the pieces are the chunk's rows");
        Ok(hidden)
    }

    /// Puts the hidden states back.
    pub(crate) fn put(
        &mut self,
        hidden: B::Tensor,
        origin: Origin,
        store: &mut HiddenStore<'_, B>,
    ) -> Result<()> {
        let location = store.keep(hidden, self.tokens(), origin)?;
        self.pieces = vec![Piece { location, keep: None }];
        Ok(())
    }

    /// Forgets the hidden states, as those of a request that has ended.
    fn discard(self, store: &HiddenStore<'_, B>) {
        for piece in self.pieces {
            if let (Location::Disk { key, .. }, Some(spill)) = (piece.location, store.spill) {
                spill.remove(key);
            }
        }
    }
}

impl<'a, B: Ops> HiddenStore<'a, B> {
    pub(crate) fn new(
        on: Executor<'a, B>,
        spill: Option<&'a SpillStore>,
        columns: usize,
        may_fall_back: bool,
    ) -> Self {
        let row_bytes = columns * on.ops.caps().activation_bytes;
        let (written, fallen_back) = (Vec::new(), None);
        HiddenStore { on, spill, columns, row_bytes, written, fallen_back, may_fall_back }
    }

    /// Tells the timeline of a pass of so many jobs what the disk has done since the last call.
    pub(crate) fn report(&self, jobs: usize, timeline: &mut Timeline) {
        let Some(store) = self.spill.filter(|_| timeline.is_on()) else { return };
        for event in store.take_events() {
            let Some(origin) = self.written.get(event.key as usize) else {
                continue;
            };
            let after = origin.layer.map_or("embedding".into(), |layer| format!("layer {layer}"));
            timeline.spilled(&event, &format!("{} after {after}", origin.chunk(jobs)));
        }
    }

    fn keep(&mut self, hidden: B::Tensor, rows: usize, origin: Origin) -> Result<Location<B>> {
        let Some(store) = self.spill.filter(|_| self.fallen_back.is_none()) else {
            return Ok(Location::Device(hidden));
        };
        let mut buffer = store.buffer(rows * self.row_bytes);
        self.on.ops.park(&hidden, buffer.as_mut_slice()).map_err(|e| self.on.fail(e))?;
        let key = self.written.len() as u64;
        match store.write(key, buffer) {
            Ok(()) => {
                self.written.push(origin);
                Ok(Location::Disk { key, rows })
            }
            Err(refused) => {
                store.recycle(refused.buffer);
                if !self.may_fall_back {
                    return Err(EngineError::Io(*refused.error));
                }
                self.fallen_back = Some(*refused.error);
                Ok(Location::Device(hidden))
            }
        }
    }

    fn empty(&self, rows: usize) -> Result<B::Tensor> {
        self.on.ops.empty(rows, self.columns).map_err(|e| self.on.fail(e))
    }

    /// Copies the rows to keep of `source` to `out` from row `at` on; returns the row after them.
    fn copy(
        &self,
        out: &mut B::Tensor,
        mut at: usize,
        source: Source<'_, B::Tensor>,
        keep: &[Range<usize>],
    ) -> Result<usize> {
        for rows in keep {
            let count = rows.len();
            let copied = self.on.ops.copy_rows(out, at, source, rows.clone());
            copied.map_err(|e| self.on.fail(ModelError::from(e)))?;
            at += count;
        }
        Ok(at)
    }
}

/// Forgets the hidden states of chunks that nobody needs any more.
pub(crate) fn discard<B: Ops>(chunks: Vec<Chunk<B>>, store: &HiddenStore<'_, B>) {
    chunks.into_iter().for_each(|chunk| chunk.discard(store));
}

/// Leaves only the candidates that `stays` says, and packs what is left in chunks of up to `chunk_tokens`.
///
/// Hidden states in memory are cut at once, so that those of the others are free; those on the disk are cut when they
/// are read.
///
/// # Errors
/// The backend's.
pub(crate) fn retain<B: Ops>(
    chunks: Vec<Chunk<B>>,
    stays: impl Fn(usize) -> bool,
    chunk_tokens: usize,
    store: &HiddenStore<'_, B>,
) -> Result<Vec<Chunk<B>>> {
    let mut live = Vec::new();
    for chunk in chunks {
        if !chunk.members.iter().any(|m| stays(m.candidate)) {
            chunk.discard(store);
            continue;
        }
        live.push(match chunk.members.iter().all(|m| stays(m.candidate)) {
            true => chunk,
            false => shrink(chunk, &stays, store)?,
        });
    }
    let tokens: Vec<usize> = live.iter().map(Chunk::tokens).collect();
    let mut live = live.into_iter();
    let join = |range: Range<usize>| {
        live.by_ref().take(range.len()).reduce(|mut first, next| {
            first.join(next);
            first
        })
    };
    Ok(grating_sched::chunk::plan(&tokens, chunk_tokens).into_iter().filter_map(join).collect())
}

/// Those members of a chunk that stay.
fn shrink<B: Ops>(
    chunk: Chunk<B>,
    stays: &impl Fn(usize) -> bool,
    store: &HiddenStore<'_, B>,
) -> Result<Chunk<B>> {
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
        [Piece { location: Location::Device(hidden), keep: None }] => {
            let rows: usize = keep.iter().map(|r| r.len()).sum();
            let mut cut = store.empty(rows)?;
            store.copy(&mut cut, 0, Source::Tensor(hidden), &keep)?;
            pieces = vec![Piece { location: Location::Device(cut), keep: None }];
        }
        [Piece { keep: none @ None, .. }] => *none = Some(keep),
        _ => unreachable!("after a layer a chunk is one piece, all of it needed"),
    }
    let members = chunk.members.into_iter().filter(|m| stays(m.candidate)).collect();
    Ok(Chunk::of(members, pieces))
}

impl<B: Ops> Chunk<B> {
    /// Takes another chunk's members in, behind its own.
    fn join(&mut self, other: Chunk<B>) {
        // A piece beside others is copied, row by row as its own says.
        self.mark_whole();
        let mut other = other;
        other.mark_whole();
        self.members.append(&mut other.members);
        self.pieces.append(&mut other.pieces);
        self.layout = None;
    }

    /// Says of its only piece, if all of it is needed, which rows those are.
    fn mark_whole(&mut self) {
        if let [Piece { location: Location::Device(_), keep: None }] = self.pieces.as_slice() {
            let rows = self.tokens();
            self.pieces[0].keep = Some(std::iter::once(0..rows).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use grating_backend::{Backend, BackendError, Precision};
    use grating_cpu::{CpuOps, Isa};
    use grating_io::SpillOptions;
    use grating_model::Model;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::golden;

    const COLUMNS: usize = 3;
    const ORIGIN: Origin = Origin { job: 0, layer: None, chunk: 0 };

    /// A row's elements tell whose it is: candidate, row, column.
    fn rows(member: Member) -> impl Iterator<Item = f32> {
        (0..member.rows * COLUMNS).map(move |i| (member.candidate * 1000 + i) as f32)
    }

    fn backend() -> (CpuOps, Model) {
        (CpuOps::new(Isa::Portable, Precision::Full), golden("bert-gelu-f32").0)
    }

    fn on<'a>(ops: &'a CpuOps, model: &'a Model) -> Executor<'a, CpuOps> {
        Executor { name: "bert", model, ops }
    }

    /// Chunks of up to `chunk_tokens` with the candidates' rows.
    fn chunks(
        lengths: &[usize],
        chunk_tokens: usize,
        store: &mut HiddenStore<'_, CpuOps>,
    ) -> Vec<Chunk<CpuOps>> {
        let member = |candidate| Member { candidate, rows: lengths[candidate] };
        let ranges = grating_sched::chunk::plan(lengths, chunk_tokens);
        let chunk = |range: Range<usize>| {
            let members: Vec<Member> = range.map(member).collect();
            let values: Vec<f32> = members.iter().flat_map(|&m| rows(m)).collect();
            let count = values.len() / COLUMNS;
            let write = |out: &mut [f32]| {
                out.copy_from_slice(&values);
                Ok::<(), BackendError>(())
            };
            let hidden = store.on.ops.written(count, COLUMNS, write).unwrap();
            Chunk::new(members, hidden, ORIGIN, store).unwrap()
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
        let (ops, model) = backend();
        let mut store = HiddenStore::new(on(&ops, &model), spill, COLUMNS, false);
        let mut pool = chunks(lengths, chunk_tokens, &mut store);
        for layer in 0..4 {
            let live: Vec<usize> =
                (0..lengths.len()).filter(|&c| leaves_after[c] >= layer).collect();
            let members = pool.iter().flat_map(|chunk| &chunk.members);
            assert_eq!(members.map(|m| m.candidate).collect::<Vec<_>>(), live);
            for chunk in &mut pool {
                let longest = chunk.members.iter().map(|m| m.rows).max().unwrap();
                assert!(chunk.tokens() <= chunk_tokens.max(longest));
                chunk.prefetch(&store).unwrap();
                let hidden = chunk.take(&store).unwrap();
                let expected: Vec<f32> = chunk.members.iter().flat_map(|&m| rows(m)).collect();
                assert_eq!(hidden.as_slice(), expected);
                chunk.put(hidden, ORIGIN, &mut store).unwrap();
            }
            pool = retain(pool, |c| leaves_after[c] > layer, chunk_tokens, &store).unwrap();
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
    fn a_job_that_ends_leaves_nothing_on_the_disk() {
        let (ops, model) = backend();
        let folder = tempfile::tempdir().unwrap();
        let spill = SpillStore::create(folder.path(), SpillOptions::default()).unwrap();
        let mut store = HiddenStore::new(on(&ops, &model), Some(&spill), COLUMNS, false);
        let pool = chunks(&[4, 4, 4, 4], 8, &mut store);
        assert!(!spill.is_empty());
        discard(pool, &store);
        assert!(spill.is_empty());
    }

    #[test]
    fn those_who_leave_memory_free_it_at_once_and_neighbours_are_joined() {
        let (ops, model) = backend();
        let mut store = HiddenStore::new(on(&ops, &model), None, COLUMNS, false);
        let pool = chunks(&[4, 4, 4, 4], 8, &mut store);
        assert_eq!(pool.len(), 2);
        let pool = retain(pool, |c| c % 2 == 0, 8, &store).unwrap();
        assert_eq!(pool.len(), 1, "two halves fit one chunk");
        let [chunk] = pool.as_slice() else { unreachable!() };
        for piece in &chunk.pieces {
            let Location::Device(hidden) = &piece.location else {
                panic!("nothing is on the disk")
            };
            assert_eq!(hidden.as_slice().len(), 4 * COLUMNS);
            assert_eq!(piece.keep.as_deref(), Some(std::slice::from_ref(&(0..4))));
        }
    }
}
