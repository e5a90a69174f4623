//! Which rows are in memory, in the order of their last use; every step takes constant time.

use std::collections::HashMap;

/// Marks the end of the list.
const NONE: u32 = u32::MAX;

/// A map from ids to numbers 0..capacity. A new id gets a new number, or that of the id that has
/// not been used for longest.
#[derive(Debug)]
pub(super) struct Lru {
    capacity: usize,
    numbers: HashMap<u32, u32>,
    /// By number.
    links: Vec<Link>,
    newest: u32,
    oldest: u32,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    id: u32,
    newer: u32,
    older: u32,
}

impl Lru {
    pub(super) fn new(capacity: usize) -> Self {
        // Ids are 32 bits wide: more are never needed, and the end's mark stays free.
        let capacity = capacity.min(NONE as usize);
        let (numbers, links) = (HashMap::new(), Vec::new());
        Lru { capacity, numbers, links, newest: NONE, oldest: NONE }
    }

    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// About what map and list take, bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.numbers.capacity() * (size_of::<(u32, u32)>() + 1)
            + self.links.capacity() * size_of::<Link>()
    }

    /// The number of an id that is in memory, which has now been used.
    pub(super) fn get(&mut self, id: u32) -> Option<usize> {
        let number = *self.numbers.get(&id)?;
        self.unlink(number);
        self.link_newest(number);
        Some(number as usize)
    }

    /// The number of an id that was not in memory; `None` if there is room for nothing.
    pub(super) fn insert(&mut self, id: u32) -> Option<usize> {
        if self.capacity == 0 {
            return None;
        }
        let number = if self.links.len() < self.capacity {
            self.links.push(Link { id, newer: NONE, older: NONE });
            self.links.len() as u32 - 1
        } else {
            let oldest = self.oldest;
            self.unlink(oldest);
            self.numbers.remove(&self.links[oldest as usize].id);
            self.links[oldest as usize].id = id;
            oldest
        };
        self.numbers.insert(id, number);
        self.link_newest(number);
        Some(number as usize)
    }

    fn unlink(&mut self, number: u32) {
        let Link { newer, older, .. } = self.links[number as usize];
        match self.links.get_mut(newer as usize) {
            Some(link) => link.older = older,
            None => self.newest = older,
        }
        match self.links.get_mut(older as usize) {
            Some(link) => link.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, number: u32) {
        let before = std::mem::replace(&mut self.newest, number);
        let link = &mut self.links[number as usize];
        (link.newer, link.older) = (NONE, before);
        match self.links.get_mut(before as usize) {
            Some(link) => link.newer = number,
            None => self.oldest = number,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_list_in_the_order_of_use(
            capacity in 0usize..6,
            ids in prop::collection::vec(0u32..10, 0..100),
        ) {
            let mut lru = Lru::new(capacity);
            let mut model: Vec<(u32, usize)> = Vec::new(); // Oldest first.
            for id in ids {
                let known = model.iter().position(|&(have, _)| have == id);
                prop_assert_eq!(lru.get(id), known.map(|at| model[at].1));
                if let Some(at) = known {
                    let entry = model.remove(at);
                    model.push(entry);
                } else if capacity > 0 {
                    let number =
                        if model.len() < capacity { model.len() } else { model.remove(0).1 };
                    prop_assert_eq!(lru.insert(id), Some(number));
                    model.push((id, number));
                } else {
                    prop_assert_eq!(lru.insert(id), None);
                }
                prop_assert_eq!(lru.len(), model.len());
            }
        }
    }
}
