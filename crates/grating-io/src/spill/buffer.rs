//! Memory that computations and the disk share.

use std::fmt;

use grating_memory::Allocation;

/// Owned bytes whose address is a multiple of 64: a cache line, and the widest vector register. Many of them lie in a
/// mapping of their own, which goes back to the system when it is dropped.
pub struct Buffer {
    memory: Allocation,
    len: usize,
}

impl Buffer {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        Buffer { memory: Allocation::zeroed(len), len }
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
        &self.memory.as_slice_of()[..self.len / size_of::<f32>()]
    }

    /// The bytes as numbers of the machine's byte order; a rest of less than 4 bytes is left out.
    pub fn as_f32_mut(&mut self) -> &mut [f32] {
        &mut self.memory.as_mut_slice_of()[..self.len / size_of::<f32>()]
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
        for len in [0, 1, 63, 64, 65, 4096, 131_071, 131_073] {
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
        let panic = std::panic::catch_unwind(|| Buffer::zeroed(10).set_len(65));
        let panic = panic.expect_err("there are 64 bytes");
        let message = panic.downcast_ref::<String>().expect("it says how many");
        assert_eq!(message, "65 bytes in a buffer of 64");
    }
}
