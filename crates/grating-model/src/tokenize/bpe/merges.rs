//! Pairs of tokens that become one, and the order in which they do.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{NONE, Symbol};

/// More symbols than this are merged through a heap; up to there looking for the first pair is faster.
const FEW: usize = 48;

/// What a pair becomes, by pair, with open addressing: 16 bytes an entry.
#[derive(Clone)]
pub(super) struct Merges {
    /// A power of two of entries, at most two thirds of them taken.
    table: Vec<Entry>,
}

#[derive(Clone, Copy)]
struct Entry {
    left: u32,
    right: u32,
    merge: Merge,
}

/// The lower the rank, the earlier a pair is merged.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Merge {
    rank: u32,
    id: u32,
}

const NO_MERGE: Merge = Merge { rank: NONE, id: NONE };

/// Memory of merging, kept from word to word.
#[derive(Default)]
pub(super) struct Scratch {
    next: Vec<Merge>,
}

impl Merges {
    /// An empty table for so many pairs.
    pub(super) fn with_capacity(pairs: usize) -> Self {
        let empty = Entry { left: NONE, right: NONE, merge: NO_MERGE };
        Merges { table: vec![empty; (pairs * 3 / 2 + 1).next_power_of_two()] }
    }

    /// Of a pair that is given twice the last one counts.
    pub(super) fn insert(&mut self, left: u32, right: u32, rank: u32, id: u32) {
        let place = self.place(left, right);
        self.table[place] = Entry { left, right, merge: Merge { rank, id } };
    }

    fn place(&self, left: u32, right: u32) -> usize {
        let mask = self.table.len() - 1;
        let key = (u64::from(left) << 32 | u64::from(right)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut place = (key >> 32) as usize & mask;
        loop {
            let entry = &self.table[place];
            if entry.merge == NO_MERGE || (entry.left, entry.right) == (left, right) {
                return place;
            }
            place = (place + 1) & mask;
        }
    }

    fn get(&self, left: Symbol, right: Symbol) -> Merge {
        self.table[self.place(left.id, right.id)].merge
    }

    /// Merges until no pair is left: the one of the lowest rank first, of equal ones the leftmost.
    pub(super) fn apply(&self, symbols: &mut Vec<Symbol>, scratch: &mut Scratch) {
        match symbols.len() <= FEW {
            true => self.apply_to_few(symbols, &mut scratch.next),
            false => self.apply_to_many(symbols),
        }
    }

    /// `next[at]` is what the pair at `at` would become. A merge changes two pairs, so all others are kept; moving the few
    /// that follow takes less time than a heap.
    fn apply_to_few(&self, symbols: &mut Vec<Symbol>, next: &mut Vec<Merge>) {
        next.clear();
        next.extend(symbols.windows(2).map(|pair| self.get(pair[0], pair[1])));
        while let Some((at, merge)) = first(next) {
            symbols[at].id = merge.id;
            symbols.remove(at + 1);
            next.remove(at);
            if at > 0 {
                next[at - 1] = self.get(symbols[at - 1], symbols[at]);
            }
            if at < next.len() {
                next[at] = self.get(symbols[at], symbols[at + 1]);
            }
        }
    }

    /// A linked list of symbols, and a heap of the pairs by rank and place. A merge leaves outdated pairs in the heap, which
    /// are recognised when they come up: n log n in all, where looking for the first pair would take the square.
    fn apply_to_many(&self, symbols: &mut Vec<Symbol>) {
        let count = symbols.len() as u32;
        // Neighbours by place; one that was merged into its left neighbour has no id any more.
        let mut left: Vec<u32> = (0..count).map(|at| at.wrapping_sub(1)).collect();
        let mut right: Vec<u32> = (1..=count).collect();
        let pair = |symbols: &[Symbol], at: u32, right: u32| {
            let merge = self.get(symbols[at as usize], symbols[right as usize]);
            (merge != NO_MERGE).then_some(Reverse((merge.rank, at, merge.id)))
        };
        let pairs = (1..count).filter_map(|at| pair(symbols, at - 1, at));
        let mut heap: BinaryHeap<Reverse<(u32, u32, u32)>> = pairs.collect();
        while let Some(Reverse((rank, at, id))) = heap.pop() {
            let (here, there) = (at as usize, right[at as usize] as usize);
            if symbols[here].id == NONE || there == count as usize {
                continue;
            }
            // What was pushed for symbols that have changed since is out of date.
            if self.get(symbols[here], symbols[there]) != (Merge { rank, id }) {
                continue;
            }
            symbols[here].id = id;
            symbols[there].id = NONE;
            right[here] = right[there];
            if right[here] < count {
                left[right[here] as usize] = at;
                heap.extend(pair(symbols, at, right[here]));
            }
            if left[here] != NONE {
                heap.extend(pair(symbols, left[here], at));
            }
        }
        symbols.retain(|symbol| symbol.id != NONE);
    }
}

/// The first of the pairs of the lowest rank.
fn first(next: &[Merge]) -> Option<(usize, Merge)> {
    let (at, merge) = next.iter().enumerate().min_by_key(|(_, merge)| merge.rank)?;
    (merge.rank != NONE).then_some((at, *merge))
}
