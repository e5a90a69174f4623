//! Many strings in few buffers: a string of one letter takes five bytes, and nothing is copied as the list grows.

/// Most bytes of a buffer that several strings share.
const BLOCK: usize = 64 << 10;
/// Most strings of a buffer.
const BLOCK_STRINGS: usize = 16 << 10;
/// Most entries of a piece of a [`Chunked`] list.
const CHUNK: usize = 8 << 10;

/// Strings in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Strings {
    blocks: Vec<Block>,
    len: usize,
    /// Of all blocks but the last.
    full_bytes: usize,
}

#[derive(Debug, Clone, Default)]
struct Block {
    /// Index of its first string.
    first: usize,
    bytes: String,
    /// Where the second and the further strings begin; below [`BLOCK`].
    starts: Vec<u32>,
}

impl Block {
    fn has_room(&self, bytes: usize) -> bool {
        self.bytes.len() + bytes <= BLOCK && self.starts.len() + 1 < BLOCK_STRINGS
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Block>() + self.bytes.capacity() + self.starts.capacity() * size_of::<u32>()
    }
}

impl Strings {
    pub(super) fn push(&mut self, string: &str) {
        self.push_parts(&[string]);
    }

    /// One string, of which there are parts.
    fn push_parts(&mut self, parts: &[&str]) {
        let bytes = parts.iter().map(|part| part.len()).sum();
        match self.blocks.last_mut().filter(|block| block.has_room(bytes)) {
            Some(block) => {
                // Not beyond what a block holds.
                block.starts.push(block.bytes.len() as u32);
                block.bytes.extend(parts.iter().copied());
            }
            None => self.add_block(parts.concat()),
        }
        self.len += 1;
    }

    fn add_block(&mut self, bytes: String) {
        self.full_bytes += self.blocks.last().map_or(0, Block::memory_bytes);
        self.blocks.push(Block { first: self.len, bytes, starts: Vec::new() });
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// # Panics
    /// Where there is no such string.
    pub(super) fn get(&self, index: usize) -> &str {
        assert!(index < self.len, "string {index} of {}", self.len);
        let block = self.blocks.partition_point(|block| block.first <= index) - 1;
        let block = &self.blocks[block];
        let place = index - block.first;
        let start = place.checked_sub(1).map_or(0, |before| block.starts[before] as usize);
        let end = block.starts.get(place).map_or(block.bytes.len(), |&end| end as usize);
        &block.bytes[start..end]
    }

    /// Forgets all but the first so many.
    pub(super) fn truncate(&mut self, len: usize) {
        self.blocks.retain(|block| block.first < len);
        if let Some(block) = self.blocks.last_mut() {
            let kept = len.min(self.len) - block.first;
            if let Some(&end) = block.starts.get(kept - 1) {
                block.bytes.truncate(end as usize);
                block.starts.truncate(kept - 1);
            }
        }
        self.len = self.len.min(len);
        let full = self.blocks.len().saturating_sub(1);
        self.full_bytes = self.blocks[..full].iter().map(Block::memory_bytes).sum();
    }

    /// What it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.full_bytes + self.blocks.last().map_or(0, Block::memory_bytes)
    }
}

/// A list in pieces, so that nothing is copied as it grows.
#[derive(Debug, Clone)]
pub(super) struct Chunked<T>(Vec<Vec<T>>);

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Chunked(Vec::new())
    }
}

impl<T: Copy> Chunked<T> {
    pub(super) fn push(&mut self, entry: T) {
        match self.0.last_mut().filter(|chunk| chunk.len() < CHUNK) {
            Some(chunk) => chunk.push(entry),
            None => self.0.push(vec![entry]),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * CHUNK + last.len())
    }

    pub(super) fn get(&self, index: usize) -> Option<T> {
        self.0.get(index / CHUNK)?.get(index % CHUNK).copied()
    }

    /// How many entries at the beginning are so; those behind are not.
    pub(super) fn partition_point(&self, so: impl Fn(T) -> bool) -> usize {
        let chunk = self.0.partition_point(|chunk| chunk.first().is_some_and(|&first| so(first)));
        let Some(before) = chunk.checked_sub(1) else { return 0 };
        before * CHUNK + self.0[before].partition_point(|&entry| so(entry))
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.0.truncate(len.div_ceil(CHUNK));
        if let Some(last) = self.0.last_mut() {
            last.truncate(len - (len - 1) / CHUNK * CHUNK);
        }
    }

    /// What it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        let full = self.0.len().saturating_sub(1) * CHUNK;
        (full + self.0.last().map_or(0, Vec::capacity)) * size_of::<T>()
            + self.0.capacity() * size_of::<Vec<T>>()
    }
}

/// Strings that some entries of a list have.
#[derive(Debug, Clone, Default)]
pub(super) struct Sparse {
    /// Whose they are, rising.
    of: Chunked<usize>,
    strings: Strings,
}

impl Sparse {
    /// `of` is beyond those before. The string is given by its parts.
    pub(super) fn push(&mut self, of: usize, parts: &[&str]) {
        self.of.push(of);
        self.strings.push_parts(parts);
    }

    pub(super) fn get(&self, of: usize) -> Option<&str> {
        let place = self.of.partition_point(|before| before < of);
        (self.of.get(place)? == of).then(|| self.strings.get(place))
    }

    /// Forgets those of entries from `of` on.
    pub(super) fn truncate(&mut self, of: usize) {
        let kept = self.of.partition_point(|before| before < of);
        self.of.truncate(kept);
        self.strings.truncate(kept);
    }

    /// What it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.of.memory_bytes() + self.strings.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Short ones, empty ones, and some that fill blocks.
    fn string() -> impl Strategy<Value = String> {
        prop_oneof![
            8 => "[aé]{0,3}",
            1 => (BLOCK - 2..BLOCK + 3).prop_map(|len| "x".repeat(len)),
            1 => (0..BLOCK / 2).prop_map(|len| "y".repeat(len)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn strings_come_out_as_they_went_in(all in prop::collection::vec(string(), 0..40), cut in 0usize..50) {
            let mut strings = Strings::default();
            all.iter().for_each(|string| strings.push(string));
            strings.truncate(cut);
            let mut expected: Vec<&String> = all.iter().take(cut).collect();
            for more in &all {
                strings.push(more);
                expected.push(more);
            }
            prop_assert_eq!(strings.len(), expected.len());
            for (index, string) in expected.iter().enumerate() {
                prop_assert_eq!(strings.get(index), string.as_str());
            }
            let blocks: usize = strings.blocks.iter().map(Block::memory_bytes).sum();
            prop_assert_eq!(strings.memory_bytes(), blocks);
        }
    }

    #[test]
    fn tiny_strings_take_little_more_than_their_bytes() {
        let mut strings = Strings::default();
        (0..1_000_000).for_each(|_| strings.push("a"));
        assert!(strings.memory_bytes() < 5_500_000, "{}", strings.memory_bytes());
        assert_eq!((strings.get(0), strings.get(999_999)), ("a", "a"));
    }

    #[test]
    fn some_entries_have_a_string() {
        let mut sparse = Sparse::default();
        (0..30_000).filter(|n| n % 3 == 1).for_each(|n| sparse.push(n, &["", &n.to_string()]));
        for n in [0, 1, 2, 24_574, 24_575, 24_576, 29_998, 29_999, 40_000] {
            let expected = (n % 3 == 1 && n < 30_000).then(|| n.to_string());
            assert_eq!(sparse.get(n), expected.as_deref(), "{n}");
        }
        for cut in [24_577, 5, 2, 0] {
            sparse.truncate(cut);
            assert_eq!(sparse.get(1).is_some(), cut > 1);
            assert_eq!(sparse.of.len(), sparse.strings.len());
            assert_eq!(sparse.of.len(), (0..cut).filter(|n| n % 3 == 1).count());
        }
    }
}
