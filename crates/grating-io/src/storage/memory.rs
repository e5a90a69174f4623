//! Bytes in memory, for embedded models and tests.

use std::borrow::Cow;
use std::fmt;

use super::{Storage, check_bounds};
use crate::error::Result;

/// An image in memory under a label.
///
/// ```
/// use grating_io::{MemoryStorage, Storage};
///
/// let storage = MemoryStorage::from_static("digits", b"0123456789");
/// let mut two = [0; 2];
/// storage.read_at(4, &mut two)?;
/// assert_eq!(&two, b"45");
/// # Ok::<(), grating_io::IoError>(())
/// ```
#[derive(Clone)]
pub struct MemoryStorage {
    name: String,
    bytes: Cow<'static, [u8]>,
}

impl MemoryStorage {
    /// Bytes that live as long as the program, for example from `include_bytes!`; not copied.
    pub fn from_static(name: impl Into<String>, bytes: &'static [u8]) -> Self {
        MemoryStorage { name: name.into(), bytes: Cow::Borrowed(bytes) }
    }

    /// Bytes that the storage takes over; not copied.
    pub fn from_vec(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        MemoryStorage { name: name.into(), bytes: Cow::Owned(bytes) }
    }
}

impl Storage for MemoryStorage {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_bounds(self, offset, buf.len())?;
        let start = offset as usize; // within a slice's length, as just checked
        buf.copy_from_slice(&self.bytes[start..start + buf.len()]);
        Ok(())
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for MemoryStorage {
    /// Without the bytes: an embedded model has millions of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStorage")
            .field("name", &self.name)
            .field("len", &self.bytes.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IoError;

    #[test]
    fn reads_at_the_edges() {
        let storage = MemoryStorage::from_vec("v", vec![1, 2, 3]);
        let mut all = [0; 3];
        storage.read_at(0, &mut all).unwrap();
        assert_eq!(all, [1, 2, 3]);
        storage.read_at(3, &mut []).unwrap();
    }

    #[test]
    fn refuses_what_is_not_there() {
        let storage = MemoryStorage::from_static("s", &[1, 2, 3]);
        for offset in [2, 3, 4, u64::MAX - 1, u64::MAX] {
            let error = storage.read_at(offset, &mut [0; 2]).unwrap_err();
            assert!(matches!(error, IoError::OutOfBounds { found: 3, length: 2, .. }), "{error}");
        }
    }

    #[test]
    fn debug_output_has_no_bytes() {
        let storage = MemoryStorage::from_vec("v", vec![0; 1 << 20]);
        assert_eq!(format!("{storage:?}"), "MemoryStorage { name: \"v\", len: 1048576 }");
    }
}
