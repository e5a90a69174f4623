//! Memory of large operands: pages of their own, which go back to the system when they are dropped.
//!
//! An allocator that has once freed a large block takes the next ones from its heaps, which keep what is freed (glibc
//! raises its threshold for mappings up to 32 MiB). A process that serves many requests would then hold the largest
//! buffers of all of them, in as many heaps as it has threads.

use std::fmt;

use bytemuck::{Pod, Zeroable};
use memmap2::MmapMut;

/// Plain numbers, zeroed at first, aligned to cache lines, with one owner. Large ones lie in a mapping of their own.
#[derive(Default)]
pub struct Memory(Store);

enum Store {
    Heap(Vec<Line>),
    Pages(MmapMut),
}

/// One cache line.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

const LINE: usize = 64;

/// Bytes from which on memory gets pages of its own: what the usual allocators map at first, too.
const LARGE: usize = 128 << 10;

impl Default for Store {
    fn default() -> Self {
        Store::Heap(Vec::new())
    }
}

impl Memory {
    /// `len` zeros.
    pub fn zeroed<T: Pod>(len: usize) -> Self {
        let bytes = len.saturating_mul(size_of::<T>());
        let pages = (bytes >= LARGE).then(|| MmapMut::map_anon(bytes).ok()).flatten();
        // Where the system gives no pages, the allocator may still have memory, or end the process as it always does.
        let heap = || Store::Heap(bytemuck::zeroed_vec(bytes.div_ceil(LINE)));
        Memory(pages.map_or_else(heap, Store::Pages))
    }

    /// Room for `len` numbers; what they hold is unspecified. What is too small is given back before it is replaced.
    pub fn room<T: Pod>(&mut self, len: usize) -> &mut [T] {
        if self.bytes().len() < len.saturating_mul(size_of::<T>()) {
            *self = Memory::default();
            *self = Memory::zeroed::<T>(len);
        }
        &mut self.as_mut_slice()[..len]
    }

    /// All numbers that there is room for.
    pub fn as_slice<T: Pod>(&self) -> &[T] {
        let bytes = self.bytes();
        bytemuck::cast_slice(&bytes[..bytes.len() / size_of::<T>() * size_of::<T>()])
    }

    /// All numbers that there is room for.
    pub fn as_mut_slice<T: Pod>(&mut self) -> &mut [T] {
        let bytes: &mut [u8] = match &mut self.0 {
            Store::Heap(lines) => bytemuck::cast_slice_mut(lines),
            Store::Pages(pages) => pages,
        };
        let whole = bytes.len() / size_of::<T>() * size_of::<T>();
        bytemuck::cast_slice_mut(&mut bytes[..whole])
    }

    fn bytes(&self) -> &[u8] {
        match &self.0 {
            Store::Heap(lines) => bytemuck::cast_slice(lines),
            Store::Pages(pages) => pages,
        }
    }
}

impl fmt::Debug for Memory {
    /// Without the numbers, of which there are many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} bytes)", self.bytes().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_zeroed_aligned_and_as_many_as_asked_for() {
        for len in [0, 1, 15, 17, LARGE / 4 - 1, LARGE / 4, LARGE / 4 + 1, 1 << 20] {
            let mut memory = Memory::zeroed::<f32>(len);
            assert!(memory.as_slice::<f32>().iter().all(|&x| x == 0.0));
            assert!(memory.as_slice::<f32>().len() >= len);
            assert_eq!(memory.as_slice::<u8>().as_ptr().addr() % LINE, 0, "{len}");
            let room = memory.room::<f32>(len);
            assert_eq!(room.len(), len);
            room.fill(1.0);
        }
    }

    #[test]
    fn room_grows_and_never_shrinks() {
        let mut memory = Memory::default();
        memory.room::<u32>(100_000)[99_999] = 7;
        let place = memory.as_slice::<u32>().as_ptr();
        assert_eq!(memory.room::<u32>(10).as_ptr(), place);
        assert_eq!(memory.room::<u32>(100_000)[99_999], 7);
        assert_eq!(memory.room::<u32>(200_000), vec![0; 200_000]);
    }

    #[test]
    fn large_memory_is_a_mapping_of_its_own() {
        assert!(matches!(Memory::zeroed::<u8>(LARGE).0, Store::Pages(_)));
        assert!(matches!(Memory::zeroed::<u8>(LARGE - 1).0, Store::Heap(_)));
    }
}
