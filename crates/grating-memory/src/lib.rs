//! Memory of large operands and buffers: pages of their own, which go back to the system when they are dropped.
//!
//! An allocator that has once freed a large block takes the next ones from its heaps, which keep what is freed (glibc
//! raises its threshold for mappings up to 32 MiB). A process that serves many requests would then hold the largest
//! buffers of all of them, in as many heaps as it has threads.
//!
//! [`Allocation`] is all there is: the one store under the kernels' operands and the buffers of files.
//!
//! ```
//! use grating_memory::Allocation;
//!
//! let mut numbers = Allocation::zeroed(1 << 20);
//! numbers.as_mut_slice_of::<f32>()[3] = 1.5;
//! assert_eq!(numbers.bytes()[12..16], 1.5f32.to_ne_bytes());
//! ```
#![deny(unsafe_code)]

use std::fmt;

use bytemuck::{Pod, Zeroable};
use memmap2::MmapMut;

/// Bytes of a cache line, of which every allocation's address is a multiple: the widest vector register, too.
pub const LINE: usize = 64;

/// Bytes from which on an allocation gets pages of its own: what the usual allocators map at first, too.
const LARGE: usize = 128 << 10;

/// Owned bytes, zeroed at first, aligned to [cache lines](LINE). Large ones lie in a mapping of their own.
#[derive(Default)]
pub struct Allocation(Backing);

enum Backing {
    Heap(Vec<Line>),
    Pages(MmapMut),
}

/// Gives the vector its alignment.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

impl Default for Backing {
    fn default() -> Self {
        Backing::Heap(Vec::new())
    }
}

impl Allocation {
    /// At least `bytes` zeros; up to a cache line more.
    pub fn zeroed(bytes: usize) -> Self {
        let bytes = bytes.checked_next_multiple_of(LINE).unwrap_or(bytes);
        let pages = (bytes >= LARGE).then(|| MmapMut::map_anon(bytes).ok()).flatten();
        // Where the system gives no pages, the allocator may still have memory, or end the process as it always does.
        let heap = || Backing::Heap(bytemuck::zeroed_vec(bytes.div_ceil(LINE)));
        Allocation(pages.map_or_else(heap, Backing::Pages))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            Backing::Heap(lines) => bytemuck::cast_slice(lines),
            Backing::Pages(pages) => pages,
        }
    }

    /// The bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Backing::Heap(lines) => bytemuck::cast_slice_mut(lines),
            Backing::Pages(pages) => pages,
        }
    }

    /// The bytes as numbers of the machine's byte order; what is no whole number at the end is left out.
    pub fn as_slice_of<T: Pod>(&self) -> &[T] {
        let bytes = self.bytes();
        bytemuck::cast_slice(&bytes[..bytes.len() / size_of::<T>() * size_of::<T>()])
    }

    /// The bytes as numbers of the machine's byte order; what is no whole number at the end is left out.
    pub fn as_mut_slice_of<T: Pod>(&mut self) -> &mut [T] {
        let bytes = self.bytes_mut();
        let whole = bytes.len() / size_of::<T>() * size_of::<T>();
        bytemuck::cast_slice_mut(&mut bytes[..whole])
    }
}

impl fmt::Debug for Allocation {
    /// Without the bytes, of which there are many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Allocation({} bytes)", self.bytes().len())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Every so many bytes are looked at: Miri takes minutes for all of them.
    const STRIDE: usize = if cfg!(miri) { 509 } else { 1 };

    #[test]
    fn bytes_are_zeroed_aligned_and_as_many_as_asked_for() {
        let all = |allocation: &Allocation, what: u8| {
            allocation.bytes().iter().step_by(STRIDE).all(|&byte| byte == what)
        };
        for len in [0, 1, 63, 64, 65, 4096, LARGE - 1, LARGE, LARGE + 1, 1 << 20] {
            let mut allocation = Allocation::zeroed(len);
            assert!(all(&allocation, 0));
            assert!((len..len + LINE).contains(&allocation.bytes().len()), "{len}");
            assert_eq!(allocation.bytes().as_ptr().addr() % LINE, 0, "{len}");
            allocation.bytes_mut().fill(7);
            assert!(all(&allocation, 7));
        }
    }

    #[test]
    fn numbers_share_the_bytes() {
        let mut allocation = Allocation::zeroed(64);
        allocation.as_mut_slice_of::<f32>()[1] = -2.0;
        assert_eq!(allocation.bytes()[4..8], (-2.0f32).to_ne_bytes());
        assert_eq!(allocation.as_slice_of::<f32>().len(), 16);
        // 12 bytes each: the last 4 are no whole number.
        assert_eq!(allocation.as_slice_of::<[u32; 3]>().len(), 5);
        assert_eq!(Allocation::default().as_slice_of::<u64>(), []);
    }

    #[test]
    fn large_ones_are_mappings_of_their_own() {
        assert!(matches!(Allocation::zeroed(LARGE).0, Backing::Pages(_)));
        assert!(matches!(Allocation::zeroed(LARGE - LINE).0, Backing::Heap(_)));
    }
}
