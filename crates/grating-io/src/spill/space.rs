//! Which parts of the spill file are in use.

use std::collections::{BTreeMap, BTreeSet};

/// Extents begin on multiples of this, bytes: whole pages are written without reading them first.
const ALIGNMENT: u64 = 4096;

/// First byte and length of a part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) offset: u64,
    len: u64,
}

/// Free areas below `end`; everything beyond is free.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// Length by offset; no two touch each other or the end.
    free: BTreeMap<u64, u64>,
    /// The same areas as (length, offset): a pruned pool of many chunks leaves many holes.
    by_length: BTreeSet<(u64, u64)>,
    end: u64,
}

impl Space {
    /// One past the last byte in use.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Takes the smallest free area that holds `bytes`, or room at the end.
    pub(super) fn allocate(&mut self, bytes: usize) -> Area {
        let len = (bytes as u64).next_multiple_of(ALIGNMENT);
        let Some(&(free, offset)) = self.by_length.range((len, 0)..).next() else {
            let offset = self.end;
            self.end += len;
            return Area { offset, len };
        };
        self.withdraw(offset);
        if free > len {
            self.insert(offset + len, free - len);
        }
        Area { offset, len }
    }

    fn insert(&mut self, offset: u64, len: u64) {
        self.free.insert(offset, len);
        self.by_length.insert((len, offset));
    }

    /// Takes a free area off the lists; its length.
    fn withdraw(&mut self, offset: u64) -> Option<u64> {
        let len = self.free.remove(&offset)?;
        self.by_length.remove(&(len, offset));
        Some(len)
    }

    /// Gives an area back.
    pub(super) fn release(&mut self, Area { mut offset, mut len }: Area) {
        if len == 0 {
            return;
        }
        if let Some(next) = self.withdraw(offset + len) {
            len += next;
        }
        if let Some((&before, &before_len)) = self.free.range(..offset).next_back()
            && before + before_len == offset
        {
            self.withdraw(before);
            (offset, len) = (before, before_len + len);
        }
        if offset + len == self.end {
            self.end = offset;
        } else {
            self.insert(offset, len);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_grow_together_and_the_end_moves_back() {
        let mut space = Space::default();
        let areas: Vec<_> = (0..4).map(|_| space.allocate(5000)).collect();
        assert_eq!(areas[3], Area { offset: 3 * 8192, len: 8192 });
        space.release(areas[0]);
        space.release(areas[2]);
        space.release(areas[1]);
        assert_eq!(space.free, [(0, 3 * 8192)].into());
        assert_eq!(space.allocate(4096).offset, 0);
        space.release(areas[3]);
        assert_eq!((space.end(), space.free.len()), (4096, 0));
    }

    #[test]
    fn the_smallest_hole_that_fits_is_taken() {
        let mut space = Space::default();
        let [large, _, small, _] = [3, 1, 1, 1].map(|pages| space.allocate(pages * 4096));
        space.release(large);
        space.release(small);
        assert_eq!(space.allocate(1).offset, small.offset);
        assert_eq!(space.allocate(1).offset, large.offset);
    }

    proptest! {
        #[test]
        fn areas_never_overlap_and_everything_comes_back(
            steps in prop::collection::vec((any::<bool>(), 0usize..30_000), 0..200),
        ) {
            let mut space = Space::default();
            let mut held: Vec<Area> = Vec::new();
            for (take, n) in steps {
                if take || held.is_empty() {
                    let new = space.allocate(n);
                    prop_assert!(new.len >= n as u64 && new.offset + new.len <= space.end());
                    // Nothing overlaps with no bytes, wherever they lie.
                    let apart = |old: &Area| {
                        old.len == 0
                            || new.len == 0
                            || old.offset + old.len <= new.offset || new.offset + new.len <= old.offset
                    };
                    prop_assert!(held.iter().all(apart));
                    held.push(new);
                } else {
                    space.release(held.swap_remove(n % held.len()));
                }
                let in_use: u64 = held.iter().map(|area| area.len).sum();
                prop_assert_eq!(in_use + space.free.values().sum::<u64>(), space.end());
                let listed: BTreeSet<_> = space.free.iter().map(|(&o, &l)| (l, o)).collect();
                prop_assert_eq!(&listed, &space.by_length);
            }
            held.into_iter().for_each(|area| space.release(area));
            prop_assert_eq!((space.end(), space.free.len()), (0, 0));
        }
    }
}
