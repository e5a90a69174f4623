//! The live candidates, cut in chunks, and where their hidden states are between layers.

use std::ops::Range;

use grating_backend::{Ops, Source};
use grating_io::SpillStore;
use grating_model::{ChunkLayout, ModelError, PassContext};

use crate::compression::Merged;
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
    /// Place of each row among its candidate's own tokens, where some have left.
    places: Option<Vec<u32>>,
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
    /// In the host's memory, as the backend parked them, so many rows.
    Host { bytes: Vec<u8>, rows: usize },
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
    /// Whether they go from the device's memory to the host's.
    parks: bool,
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
        Chunk { members, pieces, places: None, layout: None }
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
            let rows = match &self.places {
                Some(places) => rows.at_positions(after(prefix, places)),
                None => rows,
            };
            self.layout = Some(pass.layout(on.ops, &rows)?);
        }
        Ok(())
    }

    /// Place of each row in its candidate, after a prefix of so many tokens.
    pub(crate) fn positions(&self, prefix: usize) -> Vec<u32> {
        match &self.places {
            Some(places) => after(prefix, places),
            None => after(prefix, &self.following()),
        }
    }

    /// Places of rows that nobody has left.
    fn following(&self) -> Vec<u32> {
        self.members.iter().flat_map(|m| 0..m.rows as u32).collect()
    }

    /// Leaves only the rows that `stays` says, for each whether: of the members, of their places, and of the hidden states
    /// `[rows, hidden]`, which are in hand. Every member has one that stays.
    pub(crate) fn leave(
        &mut self,
        stays: &[bool],
        hidden: B::Tensor,
        store: &HiddenStore<'_, B>,
    ) -> Result<B::Tensor> {
        let ranges = runs(stays);
        let places = self.places.take().unwrap_or_else(|| self.following());
        self.places = Some(kept(&places, &ranges));
        let mut start = 0;
        for member in &mut self.members {
            let rows = start..start + member.rows;
            start = rows.end;
            member.rows = stays[rows].iter().filter(|stays| **stays).count();
        }
        self.layout = None;
        let mut left = store.empty(self.tokens())?;
        store.copy(&mut left, 0, Source::Tensor(&hidden), &ranges)?;
        Ok(left)
    }

    /// Makes one row, the mean, of neighbours: of the members and of the hidden states `[rows, hidden]`, which are in hand.
    /// Positions are counted anew.
    pub(crate) fn merge(
        &mut self,
        on: Executor<'_, B>,
        Merged { groups, rows }: Merged,
        hidden: B::Tensor,
    ) -> grating_model::Result<B::Tensor> {
        debug_assert!(self.places.is_none(), "of rows that have left no means are made");
        self.layout = None;
        for (member, rows) in self.members.iter_mut().zip(rows) {
            member.rows = rows;
        }
        on.model.merged(on.ops, &hidden, groups)
    }

    /// Where its rows are.
    pub(crate) fn layout(&self) -> &ChunkLayout<B> {
        self.layout.as_ref().expect("a chunk is laid out before it goes through a layer")
    }

    /// From now on there is one row a member, that of its scored token.
    pub(crate) fn leave_scored(&mut self) {
        self.members.iter_mut().for_each(|m| m.rows = 1);
        (self.places, self.layout) = (None, None);
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
                Location::Host { bytes, rows } => {
                    let whole = 0..rows;
                    let keep = keep.as_deref().unwrap_or(std::slice::from_ref(&whole));
                    at = store.copy(&mut hidden, at, Source::Host(&bytes), keep)?;
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
        let parks = false;
        HiddenStore { on, spill, columns, row_bytes, written, fallen_back, may_fall_back, parks }
    }

    /// With hidden states in the host's memory between layers, or not.
    pub(crate) fn parking(self, parks: bool) -> Self {
        HiddenStore { parks, ..self }
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
        if self.parks {
            let mut bytes = vec![0; rows * self.row_bytes];
            self.on.ops.park(&hidden, &mut bytes).map_err(|e| self.on.fail(e))?;
            return Ok(Location::Host { bytes, rows });
        }
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
    let mut ranges = Vec::new();
    for member in &chunk.members {
        let rows = start..start + member.rows;
        start = rows.end;
        if stays(member.candidate) {
            ranges.push(rows);
        }
    }
    let mut pieces = chunk.pieces;
    match pieces.as_mut_slice() {
        [Piece { location: Location::Device(hidden), keep: None }] => {
            let rows: usize = ranges.iter().map(|r| r.len()).sum();
            let mut cut = store.empty(rows)?;
            store.copy(&mut cut, 0, Source::Tensor(hidden), &ranges)?;
            pieces = vec![Piece { location: Location::Device(cut), keep: None }];
        }
        [Piece { keep: none @ None, .. }] => *none = Some(ranges.clone()),
        _ => unreachable!("after a layer a chunk is one piece, all of it needed"),
    }
    let members = chunk.members.into_iter().filter(|m| stays(m.candidate)).collect();
    let places = chunk.places.map(|places| kept(&places, &ranges));
    Ok(Chunk { places, ..Chunk::of(members, pieces) })
}

/// Those in these ranges.
fn kept(places: &[u32], ranges: &[Range<usize>]) -> Vec<u32> {
    ranges.iter().flat_map(|rows| &places[rows.clone()]).copied().collect()
}

/// Places after so many tokens.
fn after(prefix: usize, places: &[u32]) -> Vec<u32> {
    places.iter().map(|place| prefix as u32 + place).collect()
}

/// The runs of those that stay.
fn runs(stays: &[bool]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (row, _) in stays.iter().enumerate().filter(|(_, stays)| **stays) {
        match runs.last_mut().filter(|run| run.end == row) {
            Some(run) => run.end = row + 1,
            None => runs.push(row..row + 1),
        }
    }
    runs
}

impl<B: Ops> Chunk<B> {
    /// Takes another chunk's members in, behind its own.
    fn join(&mut self, other: Chunk<B>) {
        // A piece beside others is copied, row by row as its own says.
        self.mark_whole();
        let mut other = other;
        other.mark_whole();
        if self.places.is_some() || other.places.is_some() {
            let mut places = self.places.take().unwrap_or_else(|| self.following());
            places.extend(other.places.take().unwrap_or_else(|| other.following()));
            self.places = Some(places);
        }
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
mod tests;
