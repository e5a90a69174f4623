//! Memory that computations and the disk share.

use std::fmt;

use bytemuck::{Pod, Zeroable};
use memmap2::MmapMut;

/// Owned bytes whose address is a multiple of 64: a cache line, and the widest vector register.
pub struct Buffer {
    memory: Memory,
    len: usize,
}

enum Memory {
    Heap(Vec<Line>),
    /// A mapping of its own, which goes back to the system when it is dropped; an allocator may keep what is freed.
    Pages(MmapMut),
}

/// Gives the vector its alignment.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

const LINE: usize = 64;

/// Bytes from which on a buffer gets a mapping of its own.
const LARGE: usize = 128 << 10;

impl Memory {
    fn zeroed(bytes: usize) -> Self {
        let pages = (bytes >= LARGE).then(|| MmapMut::map_anon(bytes).ok()).flatten();
        // Where the system gives no mapping, the allocator may still have memory, or end the process as it always does.
        pages.map_or_else(|| Memory::Heap(bytemuck::zeroed_vec(bytes / LINE)), Memory::Pages)
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Memory::Heap(lines) => bytemuck::cast_slice(lines),
            Memory::Pages(pages) => pages,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Memory::Heap(lines) => bytemuck::cast_slice_mut(lines),
            Memory::Pages(pages) => pages,
        }
    }
}

impl Buffer {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        Buffer { memory: Memory::zeroed(len.next_multiple_of(LINE)), len }
    }

    /// Length, bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory that it takes.
    pub fn capacity(&self) -> usize {
        self.memory.bytes().len()
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.memory.bytes()[..self.len]
    }

    /// The bytes.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.memory.bytes_mut()[..self.len]
    }

    /// The bytes as numbers of the machine's byte order; a rest of less than 4 bytes is left out.
    pub fn as_f32(&self) -> &[f32] {
        bytemuck::cast_slice(&self.as_slice()[..self.len / size_of::<f32>() * size_of::<f32>()])
    }

    /// The bytes as numbers of the machine's byte order; a rest of less than 4 bytes is left out.
    pub fn as_f32_mut(&mut self) -> &mut [f32] {
        let whole = self.len / size_of::<f32>() * size_of::<f32>();
        bytemuck::cast_slice_mut(&mut self.as_mut_slice()[..whole])
    }

    /// Changes the length within the capacity; bytes that appear hold what was there before.
    ///
    /// # Panics
    /// If `len` is above [`Buffer::capacity`].
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity(), "{len} bytes in a buffer of {}", self.capacity());
        self.len = len;
    }
}

impl fmt::Debug for Buffer {
    /// Without the bytes, of which there are many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_aligned_zeroed_and_of_the_length_asked_for() {
        for len in [0, 1, 63, 64, 65, 4096, LARGE - 1, LARGE + 1] {
            let mut buffer = Buffer::zeroed(len);
            assert_eq!(buffer.as_slice().as_ptr().addr() % 64, 0);
            assert_eq!(buffer.as_slice(), vec![0; len]);
            assert!(buffer.capacity() >= len && buffer.capacity() < len + 64);
            buffer.as_mut_slice().fill(7);
            assert_eq!(buffer.as_slice(), vec![7; len]);
            assert_eq!(buffer.is_empty(), len == 0);
        }
    }

    #[test]
    fn numbers_share_the_bytes() {
        let mut buffer = Buffer::zeroed(10);
        buffer.as_f32_mut().copy_from_slice(&[1.5, -2.0]);
        assert_eq!(buffer.as_slice()[..4], 1.5f32.to_ne_bytes());
        assert_eq!(buffer.as_f32(), [1.5, -2.0]);
        buffer.set_len(4);
        assert_eq!(buffer.as_f32(), [1.5]);
    }

    #[test]
    fn a_length_beyond_the_capacity_is_refused() {
        let mut buffer = Buffer::zeroed(10);
        let set = std::panic::AssertUnwindSafe(|| buffer.set_len(65));
        let panic = std::panic::catch_unwind(set).unwrap_err();
        assert_eq!(panic.downcast_ref::<String>().unwrap(), "65 bytes in a buffer of 64");
        assert_eq!(buffer.len(), 10);
    }
}
