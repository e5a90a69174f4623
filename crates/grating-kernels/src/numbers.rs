//! Memory of operands and scratch that is reused: grows when it must, and keeps its place.

use std::fmt;

use bytemuck::Pod;
use grating_memory::Allocation;

/// Plain numbers, zeroed at first, aligned to cache lines, with one owner. Large ones lie in a mapping of their own.
#[derive(Default)]
pub struct Numbers(Allocation);

impl Numbers {
    /// `len` zeros.
    pub fn zeroed<T: Pod>(len: usize) -> Self {
        Numbers(Allocation::zeroed(len.saturating_mul(size_of::<T>())))
    }

    /// Room for `len` numbers; what they hold is unspecified. What is too small is given back before it is replaced.
    pub fn room<T: Pod>(&mut self, len: usize) -> &mut [T] {
        if self.0.bytes().len() < len.saturating_mul(size_of::<T>()) {
            *self = Numbers::default();
            *self = Numbers::zeroed::<T>(len);
        }
        &mut self.as_mut_slice()[..len]
    }

    /// All numbers that there is room for.
    pub fn as_slice<T: Pod>(&self) -> &[T] {
        self.0.as_slice_of()
    }

    /// All numbers that there is room for.
    pub fn as_mut_slice<T: Pod>(&mut self) -> &mut [T] {
        self.0.as_mut_slice_of()
    }
}

impl fmt::Debug for Numbers {
    /// Without the numbers, of which there are many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Numbers({} bytes)", self.0.bytes().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_as_large_as_asked_for() {
        for len in [0, 1, 15, 17, 32 << 10, (32 << 10) + 1, 1 << 20] {
            let mut memory = Numbers::zeroed::<f32>(len);
            assert!(memory.as_slice::<f32>().iter().all(|&x| x == 0.0));
            assert!(memory.as_slice::<f32>().len() >= len);
            let room = memory.room::<f32>(len);
            assert_eq!(room.len(), len);
            room.fill(1.0);
        }
    }

    #[test]
    fn room_grows_and_never_shrinks() {
        let mut memory = Numbers::default();
        memory.room::<u32>(100_000)[99_999] = 7;
        let place = memory.as_slice::<u32>().as_ptr();
        assert_eq!(memory.room::<u32>(10).as_ptr(), place);
        assert_eq!(memory.room::<u32>(100_000)[99_999], 7);
        assert_eq!(memory.room::<u32>(200_000), vec![0; 200_000]);
    }
}
