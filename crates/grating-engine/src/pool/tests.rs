//! The pool on its way: rows and candidates leave it, in memory and on the disk.

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
    parks: bool,
) {
    let (ops, model) = backend();
    let mut store = HiddenStore::new(on(&ops, &model), spill, COLUMNS, false).parking(parks);
    let mut pool = chunks(lengths, chunk_tokens, &mut store);
    for layer in 0..4 {
        let live: Vec<usize> = (0..lengths.len()).filter(|&c| leaves_after[c] >= layer).collect();
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
        place in 0..3usize,
    ) {
        let on_disk = place == 1;
        let folder = tempfile::tempdir().unwrap();
        let store =
            on_disk.then(|| SpillStore::create(folder.path(), SpillOptions::default()).unwrap());
        check(&lengths, &leaves_after, chunk_tokens, store.as_ref(), place == 2);
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
        let Location::Device(hidden) = &piece.location else { panic!("nothing is on the disk") };
        assert_eq!(hidden.as_slice().len(), 4 * COLUMNS);
        assert_eq!(piece.keep.as_deref(), Some(std::slice::from_ref(&(0..4))));
    }
}

#[test]
fn rows_leave_with_their_places_wherever_their_chunk_goes_then() {
    let (ops, model) = backend();
    let folder = tempfile::tempdir().unwrap();
    let spill = SpillStore::create(folder.path(), SpillOptions::default()).unwrap();
    for spill in [None, Some(&spill)] {
        let mut store = HiddenStore::new(on(&ops, &model), spill, COLUMNS, false);
        let mut pool = chunks(&[4, 3, 2], 7, &mut store);
        assert_eq!(pool.len(), 2);
        // Of candidate 0 rows 1 and 2 leave, of candidate 1 row 0.
        let stays = [true, false, false, true, false, true, true];
        let hidden = pool[0].take(&store).unwrap();
        let hidden = pool[0].leave(&stays, hidden, &store).unwrap();
        pool[0].put(hidden, ORIGIN, &mut store).unwrap();
        assert_eq!(pool[0].positions(10), [10, 13, 11, 12]);
        let mut pool = retain(pool, |c| c != 0, 7, &store).unwrap();
        let [chunk] = pool.as_mut_slice() else { panic!("both fit one chunk") };
        assert_eq!(chunk.positions(10), [11, 12, 10, 11]);
        let whole = |candidate, rows| rows_of(Member { candidate, rows });
        let expected = [&whole(1, 3)[COLUMNS..], &whole(2, 2)].concat();
        assert_eq!(chunk.take(&store).unwrap().as_slice(), expected);
    }
}

fn rows_of(member: Member) -> Vec<f32> {
    rows(member).collect()
}
