//! Which parts of the spill file are in use.

use std::collections::BTreeMap;

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
        let holding = self.free.iter().filter(|&(_, &free)| free >= len);
        let Some((&offset, &free)) = holding.min_by_key(|&(_, &free)| free) else {
            let offset = self.end;
            self.end += len;
            return Area { offset, len };
        };
        self.free.remove(&offset);
        if free > len {
            self.free.insert(offset + len, free - len);
        }
        Area { offset, len }
    }

    /// Gives an area back.
    pub(super) fn release(&mut self, Area { mut offset, mut len }: Area) {
        if len == 0 {
            return;
        }
        if let Some(next) = self.free.remove(&(offset + len)) {
            len += next;
        }
        if let Some((&before, &before_len)) = self.free.range(..offset).next_back()
            && before + before_len == offset
        {
            self.free.remove(&before);
            (offset, len) = (before, before_len + len);
        }
        if offset + len == self.end {
            self.end = offset;
        } else {
            self.free.insert(offset, len);
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
            }
            held.into_iter().for_each(|area| space.release(area));
            prop_assert_eq!((space.end(), space.free.len()), (0, 0));
        }
    }
}
