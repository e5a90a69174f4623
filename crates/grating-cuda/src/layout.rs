//! Where a chunk's rows are, on the device.

use grating_backend::{Ragged, Rows, Scored};

use crate::driver::Driver;
use crate::memory::Buffer;

/// Queries that a block of attention takes together (`QUERIES` of `attention.cuh`), and on tensor cores
/// (`ROUNDED_QUERIES` of `attention_rounded.cuh`).
const QUERIES: [usize; 2] = [32, 64];

/// What a chunk's rows are: tables of indices that lie on the device, copied there once.
#[derive(Debug)]
pub struct CudaLayout<D: Driver> {
    tables: Buffer<D>,
    places: Places,
    pub(crate) sequences: usize,
    /// Tiles of attention, without tensor cores and on them.
    tiles: [usize; 2],
    /// One more than the highest position.
    pub(crate) longest: usize,
    scored: Scored,
}

/// Which number each table begins at.
#[derive(Debug, Clone, Copy)]
struct Places {
    positions: usize,
    scored_positions: usize,
    scored_rows: usize,
    offsets: usize,
    tiles: [usize; 2],
}

/// A chunk's tables as they go to the device.
pub(crate) struct Tables {
    pub(crate) numbers: Vec<u32>,
    places: Places,
    tiles: [usize; 2],
}

impl Tables {
    pub(crate) fn new(rows: &Ragged) -> Self {
        let mut numbers = rows.positions();
        let mut place = |table: &mut dyn Iterator<Item = u32>| {
            let at = numbers.len();
            numbers.extend(table);
            at
        };
        let scored_positions = place(&mut rows.scored_positions().into_iter());
        let scored_rows = place(&mut rows.scored_rows().into_iter().map(|row| row as u32));
        let ends = rows.sequences().map(|sequence| sequence.end as u32);
        let offsets = place(&mut std::iter::once(0).chain(ends));
        let tiles = QUERIES.map(|queries| {
            place(&mut rows.sequences().enumerate().flat_map(|(index, sequence)| {
                let first = (0..sequence.len()).step_by(queries);
                first.flat_map(move |first| [index as u32, first as u32])
            }))
        });
        let places = Places { positions: 0, scored_positions, scored_rows, offsets, tiles };
        let [few, many] = tiles;
        let tiles = [(many - few) / 2, (numbers.len() - many) / 2];
        Tables { numbers, places, tiles }
    }

    /// With the device's copy.
    pub(crate) fn on_device<D: Driver>(&self, rows: &Ragged, tables: Buffer<D>) -> CudaLayout<D> {
        CudaLayout {
            tables,
            places: self.places,
            sequences: rows.len(),
            tiles: self.tiles,
            longest: rows.longest(),
            scored: rows.scored(),
        }
    }
}

impl<D: Driver> CudaLayout<D> {
    fn at(&self, place: usize) -> u64 {
        self.tables.at().offset(place * size_of::<u32>()).0
    }

    pub(crate) fn positions(&self, rows: Rows) -> u64 {
        match rows {
            Rows::All => self.at(self.places.positions),
            Rows::Scored => self.at(self.places.scored_positions),
        }
    }

    pub(crate) fn scored_rows(&self) -> u64 {
        self.at(self.places.scored_rows)
    }

    pub(crate) fn offsets(&self) -> u64 {
        self.at(self.places.offsets)
    }

    /// The tiles of attention on tensor cores or without them: where they are listed, and how many blocks there are.
    pub(crate) fn tiles(&self, rounded: bool, rows: Rows) -> (u64, usize) {
        let which = usize::from(rounded);
        let count = if rows == Rows::All { self.tiles[which] } else { self.sequences };
        (self.at(self.places.tiles[which]), count)
    }

    /// Which rows ask, as attention is told.
    pub(crate) fn scored(&self, rows: Rows) -> u32 {
        match (rows, self.scored) {
            (Rows::All, _) => 0,
            (Rows::Scored, Scored::First) => 1,
            (Rows::Scored, Scored::Last) => 2,
            (Rows::Scored, Scored::Mean) => {
                unreachable!("no token of a sequence is scored alone")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_follow_one_another() {
        let rows = Ragged::new([33, 1, 64], 5, Scored::Last);
        let tables = Tables::new(&rows);
        let of = |from: usize, to: usize| &tables.numbers[from..to];
        let Places { positions, scored_positions, scored_rows, offsets, tiles } = tables.places;
        assert_eq!(of(positions, scored_positions), rows.positions());
        assert_eq!(of(scored_positions, scored_rows), [37, 5, 68]);
        assert_eq!(of(scored_rows, offsets), [32, 33, 97]);
        let [few, many] = tiles;
        assert_eq!(of(offsets, few), [0, 33, 34, 98]);
        // Pairs: the sequence, and the first of its rows in the tile.
        assert_eq!(of(few, many), [0, 0, 0, 32, 1, 0, 2, 0, 2, 32]);
        assert_eq!(of(many, tables.numbers.len()), [0, 0, 1, 0, 2, 0]);
        assert_eq!(tables.tiles, [5, 3]);
    }
}
